"""What strangers write, by the thousand: replies, texts, answers, files of questions and settings, damaged documents.

Some here; `BULK=100000 pytest tests/test_in_bulk.py` takes as many, and a twentieth of that in damaged files, which
another SEED damages otherwise.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import tempfile
from contextlib import suppress
from html.parser import HTMLParser
from pathlib import Path

import pytest
from command_line import run_here
from fakes import WordTokenizer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_encoders import tiny_static

from app.answering import cite_by_words, find_citations
from app.rendering import to_safe_html
from benchmarks.sample_files import write_samples
from distill.json_files import peek_json
from distill.questions.reading import read_like, read_log
from distill.records import CandidateList, Retrieved
from distill.run_config import read_settings
from distill.teacher.orders import read_given, read_rankings, read_votes
from distill.teacher.replies import parse_permutation
from indexes.errors import InputError, UserError
from indexes.queries import read_qrels, read_queries
from indexes.splitting import PassageSettings, split_document
from indexes.types import Document

N = int(os.environ.get("BULK", "150"))
SEED = int(os.environ.get("SEED", "7"))
often = settings(max_examples=N, suppress_health_check=list(HealthCheck), derandomize="BULK" not in os.environ)
PIECES = [
    "[1]",
    "[2]",
    "[9]",
    "[1, 3]",
    "【2】",
    " > ",
    "\n",
    "passage ",
    "best",
    "not ",
    "1. ",
    "<think>",
    "</think>",
    "{",
    "}",
    '"',
    ",",
]
pieces = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=12)), max_size=30).map("".join)


@often
@given(pieces, st.integers(1, 12))
def test_a_reply_teaches_only_positions_that_there_are_each_once(reply: str, n: int) -> None:
    found = parse_permutation(reply, n)
    assert len(set(found.order)) == len(found.order) and set(found.order) <= set(range(n))
    assert (found.status == "refused") == (len(found.order) < min(2, n))


@often
@given(st.text(max_size=600), st.sampled_from(["a.txt", "a.md", "a.py", "a.rst", "a.html", "a.csv"]))
def test_text_out_is_text_in(text: str, source: str) -> None:
    document = Document(id=source, source=source, text=text, title="t")
    for passage in split_document(document, WordTokenizer(), PassageSettings(max_tokens=24, overlap_tokens=4)):
        assert passage.text == text[passage.start : passage.end]


class Tags(HTMLParser):
    """The tags of a piece of HTML."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.found.add(tag)


MARKUP = [
    "<script>",
    "<img src=x>",
    "![a](http://b)",
    "[a](javascript:b)",
    "`",
    "```",
    "|",
    "# ",
    "* ",
    "&",
    "http://a.b",
    "[1]",
]


@often
@given(st.lists(st.one_of(st.sampled_from(MARKUP), st.text(max_size=9)), max_size=25).map("".join), st.integers(0, 6))
def test_an_answer_is_safe_and_cites_what_there_is(text: str, n: int) -> None:
    for citation in find_citations(text, n):
        assert 0 <= citation.start < citation.end <= len(text) and all(1 <= each <= n for each in citation.numbers)
    tags = Tags()
    tags.feed(to_safe_html(text, n, lambda number, claim: f"<b>{number}</b>"))
    assert not tags.found & {"script", "img", "a", "iframe", "style", "link", "svg", "object", "form", "input", "meta"}
    cite_by_words(text, [text, "another passage with words"])


values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8), lambda v: st.lists(v, max_size=4)
)
NAMES = [
    "id",
    "question",
    "positives",
    "answers",
    "split",
    "ranking",
    "shown",
    "corpus",
    "name",
    "seed",
    "mode",
    "n_written",
    "rounds",
]
records = st.lists(st.dictionaries(st.sampled_from(NAMES), values, max_size=6), max_size=4)


READERS = (
    read_queries,
    read_qrels,
    read_given,
    read_log,
    read_votes,
    lambda file: read_like(file, seed=1),
    lambda file: read_settings(file, {}),
)


@settings(often, max_examples=max(50, N // 4))
@given(st.one_of(st.binary(max_size=200), records.map(lambda rows: "\n".join(map(json.dumps, rows)).encode())))
def test_files_of_questions_orders_and_settings_are_read_or_refused_in_a_sentence(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in ("a.jsonl", "a.txt", "a.json", "a.toml", "a.jsonl.gz"):
            file = Path(folder) / name
            file.write_bytes(content)
            for read in READERS:
                try:
                    read(file)
                except UserError as error:
                    assert len(str(error)) > 20


DEEP = b'{"id": "a", "question": "q", "ranking": ' + b"[" * 100_000


@pytest.mark.parametrize(
    "content",
    [
        DEEP,
        DEEP + b"]" * 100_000 + b"}\n",
        b'{"id": ' + b"9" * 5000 + b"}\n",
        b'{"id": "a", "question": "q", "relevance": {"d": Infinity}}\n',
        b'{"id": "a", "corpus-id": "d", "score": Infinity}\n',
        b"a\td\t1e999\n",
        pytest.param(
            b'{"id": "a", "question": "q", "ranking": [' + b"1, " * 10**6 + b"NaN]}\n", marks=pytest.mark.slow
        ),
        b"a\t" * 10**6,
    ],
    ids=lambda content: repr(content[-24:]),
)
def test_a_file_that_is_made_to_break_its_reader_is_refused_in_a_sentence(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    for read in READERS:
        with suppress(UserError):
            read(tmp_path / "a.jsonl")
    peek_json(tmp_path / "a.jsonl")


@pytest.mark.slow
def test_a_small_file_that_unpacks_to_much_is_refused_before_it_takes_the_memory(tmp_path: Path) -> None:
    member = gzip.compress(b" " * 2**24)
    (tmp_path / "a.jsonl.gz").write_bytes(member * 17)
    for read in (read_queries, read_qrels, read_given):
        with pytest.raises(InputError, match="more than 256 MiB"):
            read(tmp_path / "a.jsonl.gz")


@pytest.mark.slow
def test_a_hundred_thousand_orders_of_one_question_are_one_soon(tmp_path: Path) -> None:
    """Every two of them would be compared for days; ids that nobody knows are told, and ids twice count once."""
    record = CandidateList(id="q", question="q", candidates=tuple(Retrieved(passage=p) for p in "abc"))
    lines = '{"id": "q", "ranking": ["c", "c", "x", "a"]}\n' * 10**5 + '{"id": "unknown", "ranking": ["a"]}\n'
    (tmp_path / "a.jsonl").write_text(lines)
    rankings, notes = read_rankings(tmp_path / "a.jsonl", [record])
    assert [each.ranking for each in rankings] == [("c", "a")]
    assert len(notes) == 2


def damaged(content: bytes, draw: random.Random) -> bytes:
    """`content` with bytes turned, taken out, doubled or cut off."""
    data = bytearray(content)
    for _ in range(draw.choice((1, 1, 3, 20))):
        at, length = draw.randrange(len(data) or 1), draw.choice((1, 2, 16, 200))
        match draw.randrange(4):
            case 0:
                data[at : at + 1] = bytes([draw.randrange(256)])
            case 1:
                del data[at : at + length]
            case 2:
                data[at:at] = data[at : at + length]
            case _:
                data[at : at + length] = draw.randbytes(length)
    return bytes(data[: draw.randrange(len(data)) + 1]) if draw.random() < 0.15 and data else bytes(data)


@pytest.mark.slow
def test_a_folder_of_damaged_files_is_added_each_of_them_read_or_refused_in_a_sentence(tmp_path: Path) -> None:
    data, folder, n = tmp_path / "data", tmp_path / "files", max(50, N // 20)
    (tmp_path / "samples").mkdir()
    folder.mkdir()
    samples, draw = write_samples(tmp_path / "samples"), random.Random(SEED)  # noqa: S311
    for number in range(n):
        sample = samples[number % len(samples)]
        (folder / f"{number}-{sample.name}").write_bytes(damaged(sample.read_bytes(), draw))
    tiny_static().save_pretrained(str(data / "encoders" / "tiny"), create_model_card=False)
    environment = {**os.environ, "DATA_DIR": str(data), "ENCODER": "tiny"}
    done = run_here("indexes", "add", "zoo", folder, "--json", environment=environment)
    assert "Traceback" not in done.stderr
    outcomes = json.loads(done.stdout)
    told = {each["source"].split("/")[1] for each in outcomes if "/" in each["source"]}
    assert not [each.name for each in folder.iterdir() if each.name not in told and each.stat().st_size]  # empty code
    assert not [each for each in outcomes if each["status"] == "failed" and len(each["reason"]) < 18]
    assert {each["status"] for each in outcomes} >= {"read", "failed"}
