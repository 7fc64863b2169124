"""Question files are read as they are documented, and a wrong line is named."""

import gzip
from pathlib import Path

import pytest

from indexes.errors import InputError
from indexes.queries import read_judged, read_qrels, read_queries, write_queries
from indexes.types import Query


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    queries = [
        Query(id="1", text="Warum?", answers=("a",), positives=("d1",), split="train"),
        Query(id="2", text="Why?", relevance=(("d1", 3),), split="dev"),
    ]
    write_queries(tmp_path / "q.jsonl", queries)
    assert read_queries(tmp_path / "q.jsonl") == queries
    assert read_queries(tmp_path / "q.jsonl", "dev") == queries[1:]


def test_gzipped_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl.gz").write_bytes(gzip.compress(b'{"question": "Why?"}\n'))
    assert read_queries(tmp_path / "q.jsonl.gz")[0].text == "Why?"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "At least one question"),
        (b"not json\n", "Line 1"),
        (b'{"question": "a"}\n{"title": "a document", "text": "b"}\n', "Line 2"),
        (b'{"question": " "}\n', "Line 1"),
        (b'{"question": "a", "positives": "d1"}\n', "Line 1"),
        (b'{"id": "1", "question": "a"}\n{"id": "1", "question": "b"}\n', "stands twice"),
    ],
)
def test_a_bad_file_gives_its_sentence(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "q.jsonl").write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        read_queries(tmp_path / "q.jsonl")


def test_a_missing_split_is_said_with_those_there_are(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_bytes(b'{"question": "a", "split": "train"}\n')
    with pytest.raises(InputError, match="splits found: 'train'"):
        read_queries(tmp_path / "q.jsonl", "dev")


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is none"):
        read_queries(tmp_path / "none.jsonl")


def test_a_text_has_a_question_a_line_each_once(tmp_path: Path) -> None:
    file = tmp_path / "q.txt"
    file.write_bytes("\ufeffOne?\r\n\r\n Two? \r\nOne?\r\n".encode())
    assert [(query.id, query.text) for query in read_queries(file)] == [("1", "One?"), ("2", "Two?")]
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        read_queries(file)
    file.write_text("\n")
    with pytest.raises(InputError, match="no question"):
        read_queries(file)


def test_a_line_of_a_record_ends_at_a_line_break_alone(tmp_path: Path) -> None:
    """Others may stand in a text as they are, and a record cut there would be no JSON."""
    write_queries(tmp_path / "q.jsonl", [Query(id="1", text="One\u2028or\x85two?")])
    assert read_queries(tmp_path / "q.jsonl")[0].text == "One\u2028or\x85two?"


@pytest.mark.parametrize(
    "judgements",
    [
        "query-id\tcorpus-id\tscore\n1\td 1\t2\n1\td2\t0\n2\td3\t0\n9\td1\t1\n",  # BEIR
        "1\t0\td 1\t2\n1\t0\td2\t0\n2\t0\td3\t0\n9\t0\td1\t1\n",  # TREC, between tabs
        '{"query-id": "1", "corpus-id": "d 1", "score": 2}\n{"query-id": "1", "corpus-id": "d2", "score": 0}\n'
        '{"query_id": "2", "doc_id": "d3", "relevance": 0}\n',  # MTEB's and ir_datasets' names
    ],
)
def test_judgements_of_a_benchmark_grade_its_questions(tmp_path: Path, judgements: str) -> None:
    (tmp_path / "queries.jsonl").write_text('{"_id": "1", "text": "Why?"}\n{"query_id": "2", "text": "How?"}\n')
    (tmp_path / "test.tsv").write_text(judgements)
    (query,) = read_judged(tmp_path / "queries.jsonl", tmp_path / "test.tsv")
    assert (query.text, query.grades, query.positives) == ("Why?", {"d 1": 2, "d2": 0}, ("d 1",))


def test_judgements_of_other_questions_or_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "queries.jsonl").write_text('{"_id": "1", "text": "Why?"}\n')
    qrels = tmp_path / "qrels"
    qrels.write_text("7 0 d1 1\n")
    assert read_qrels(qrels) == {"7": {"d1": 1}}
    with pytest.raises(InputError, match=r"None of the 1 questions .* which is about such as '7'"):
        read_judged(tmp_path / "queries.jsonl", qrels)
    qrels.write_text("7 0 d1 1\n7 0 d1\n")
    with pytest.raises(InputError, match=r"Line 2 .* is no judgement"):
        read_qrels(qrels)
