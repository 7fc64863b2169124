"""The commands as scripts use them: real encoder, formats and exit statuses."""

import errno
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from command_line import run_apart, run_here
from fakes import KeywordEncoder

from indexes.commands import run_command_line
from indexes.errors import InputError
from indexes.ingest import add_files
from indexes.paths import DataPaths

pytestmark = pytest.mark.slow

RECORDS = {
    "cats": "Cats are small carnivores that purr and hunt mice at night.",
    "bread": "Bread is baked from flour, water and yeast in a hot oven.",
    "mars": "Mars is the fourth planet from the Sun and has two small moons.",
}


def run(data: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return run_here("indexes", *arguments, environment=of(data))


def of(data: Path) -> dict[str, str]:
    return os.environ | {"DATA_DIR": str(data), "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, started_before: Callable[[Path], DataPaths]) -> Path:
    folder = tmp_path_factory.mktemp("commands")
    started_before(folder / "data")
    corpus = folder / "corpus.jsonl"
    corpus.write_text("".join(json.dumps({"id": k, "title": k, "text": v}) + "\n" for k, v in RECORDS.items()))
    done = run(folder / "data", "add", "facts", corpus)
    assert done.returncode == 0, done.stderr
    assert "3 documents, 3 passages" in done.stderr
    return folder / "data"


def test_search_finds_by_meaning_and_prints_json(data: Path) -> None:
    done = run(data, "search", "facts", "Which animal catches rodents?", "--k", "1", "--json")
    (found,) = json.loads(done.stdout)
    assert found["document_id"] == "cats"
    assert found["text"] == RECORDS["cats"]


def test_list_prints_corpora_with_sources_and_indexes(data: Path) -> None:
    (corpus,) = json.loads(run(data, "list", "--json").stdout)
    assert (corpus["name"], corpus["n_documents"]) == ("facts", 3)
    assert corpus["sources"][0]["source"] == "corpus.jsonl"
    assert corpus["indexes"][0]["encoder"] == "all-MiniLM-L6-v2"


def test_evaluate_prints_the_documented_keys_and_writes_trec_files(data: Path, tmp_path: Path) -> None:
    questions = tmp_path / "questions.jsonl"
    records = [
        {"id": "1", "question": "Which planet has two moons?", "positives": ["mars"], "split": "dev"},
        {"id": "2", "question": "What is made of flour?", "positives": ["bread"], "split": "dev"},
        {"id": "3", "question": "Which planet has two moons?", "positives": ["cats"], "split": "train"},
    ]
    questions.write_text("".join(json.dumps(record) + "\n" for record in records))
    out = tmp_path / "out"
    command = ("evaluate", "facts", "--questions", questions, "--encoder", "all-MiniLM-L6-v2", "--split", "dev")
    done = run(data, *command, "--k", "1,3", "--run-out", out, "--json")
    report = json.loads(done.stdout)
    assert (report["corpus"], report["questions"]) == ("facts", 2)
    assert report["retrievers"]["all-MiniLM-L6-v2"] == {
        "hit_rate@1": 1.0,
        "hit_rate@3": 1.0,
        "recall@1": 1.0,
        "recall@3": 1.0,
        "recall@10": 1.0,
        "mrr@10": 1.0,
        "ndcg@10": 1.0,
    }
    assert sorted(path.suffix for path in out.iterdir()) == [".run", ".txt"]
    assert (out / "qrels.txt").read_text() == "1 0 mars 1\n2 0 bread 1\n"
    narrow = of(data) | {"COLUMNS": "50"}
    shown = run_apart("indexes", *command, "--retriever", "dense,lexical,fused", environment=narrow).stdout
    assert "3: fused(all-MiniLM-L6-v2)" in shown  # as a column's name it would be cut
    assert "…" not in shown


def test_a_benchmark_as_beir_lays_it_out_is_added_and_judged(data: Path, tmp_path: Path) -> None:
    """Its queries and judgements are no documents, in a folder or a zip, and positives that are not there are said."""
    folder = tmp_path / "tiny"
    (folder / "qrels").mkdir(parents=True)
    records: list[dict[str, object]] = [{"_id": k, "title": "", "text": v, "metadata": {}} for k, v in RECORDS.items()]
    records[0]["metadata"] = {"url": "https://elsewhere.example"}
    (folder / "corpus.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (folder / "queries.jsonl").write_text('{"_id": "1", "text": "two small moons"}\n{"_id": "2", "text": "flour"}\n')
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n1\tmars\t2\n2\tcake\t1\n")
    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path, "tiny")
    for given in (folder, Path(packed)):
        added = run(data, "add", given.stem, given)
        assert "3 documents, 3 passages" in added.stderr
        assert "2 files passed over: .jsonl 1, .tsv 1" in added.stderr
    assert "elsewhere" not in run(data, "search", "tiny", "elsewhere cats", "--retriever", "lexical", "--json").stdout
    command = ("evaluate", "tiny", "--questions", folder / "queries.jsonl", "--retriever", "lexical", "--json")
    judged = run(data, *command, "--qrels", folder / "qrels" / "test.tsv")
    assert json.loads(judged.stdout)["retrievers"]["lexical"]["ndcg@10"] == 0.5
    assert "1 of 2 positives name no document of this corpus (first: 'cake')" in judged.stderr
    (folder / "test.trec").write_text("1 0 MARS 1\n2 0 cake 1\n")
    refused = run(data, *command, "--qrels", folder / "test.trec")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "2 of 2 positives name no document of this corpus (first: 'MARS')" in refused.stderr


def test_a_file_of_addresses_stands_for_its_pages(data: Path, tmp_path: Path) -> None:
    (tmp_path / "pages.txt").write_text("http://127.0.0.1:9/a\n# and\nhttp://localhost:9/b\n")
    assert run(data, "add", "facts", tmp_path / "pages.txt").stderr.count("is in a private network") == 2
    (tmp_path / "notes.txt").write_text("http://127.0.0.1:9/a is where it runs.\n")
    assert "notes.txt: read, 1 documents" in run(data, "add", "notes", tmp_path / "notes.txt").stderr


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (("search", "nowhere", "why?"), 1, "There is no corpus 'nowhere'"),
        (("add", "facts", "no-such-file.txt"), 1, "there is none"),
        (("search", "facts", "why?", "--encoder", "nobody"), 1, "There is no encoder 'nobody'"),
        (("add", "facts", "http://127.0.0.1:9/page"), 1, "is in a private network (127.0.0.1)"),
        (("delete", "facts", "no-such-source"), 1, "no source 'no-such-source'"),
        (("evaluate", "facts", "--questions", "none.jsonl"), 1, "there is none"),
        (("evaluate", "facts", "--questions", "none.jsonl", "--k", "0"), 2, "whole numbers from 1"),
        (("search",), 2, "Missing argument"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    data: Path, arguments: tuple[str, ...], status: int, sentence: str
) -> None:
    done = run(data, *arguments)
    assert done.returncode == status
    assert sentence in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_listing_does_not_import_torch(data: Path) -> None:
    code = "import sys, runpy; sys.argv = ['indexes', 'list']\n"
    code += "try: runpy.run_module('indexes', run_name='__main__')\n"
    code += "except SystemExit: pass\n"
    code += "assert 'torch' not in sys.modules and 'chromadb' not in sys.modules"
    environment = os.environ | {"DATA_DIR": str(data)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "facts" in done.stdout


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (MemoryError(), "Memory is full"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "Memory is full"),
        (RuntimeError("could not create a primitive"), "Memory is full"),
        (OSError(errno.ENOSPC, "No space left on device"), "The disk is full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "The disk is full"),
        (sqlite3.OperationalError("database or disk is full"), "The disk is full"),
        (ValueError("Error while serializing: I/O error: No space left on device (os error 28)"), "The disk is full"),
        (RuntimeError("PytorchStreamWriter failed writing file data/3: file write failed"), "The disk is full"),
    ],
)
def test_a_full_memory_or_disk_is_said_in_a_sentence(
    error: Exception, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = typer.Typer(pretty_exceptions_enable=False)

    @commands.command()
    def grow() -> None:
        raise error

    with pytest.raises(SystemExit) as ended:
        run_command_line(commands, [])
    assert ended.value.code == 1
    assert what in capsys.readouterr().err


def test_other_errors_keep_their_traceback() -> None:
    commands = typer.Typer(pretty_exceptions_enable=False)

    @commands.command()
    def fail() -> None:
        raise RuntimeError("could not create a primitive descriptor for a matmul primitive")

    with pytest.raises(RuntimeError, match="descriptor"):
        run_command_line(commands, [])


def test_what_a_command_keeps_is_for_its_user_alone(tmp_path: Path) -> None:
    commands = typer.Typer(pretty_exceptions_enable=False)

    @commands.command()
    def keep() -> None:
        list(add_files(DataPaths(tmp_path / "data"), "zoo", [tmp_path / "a.txt"], KeywordEncoder()))

    (tmp_path / "a.txt").write_text("A cat purrs.")
    before = os.umask(0o022)
    try:
        with pytest.raises(SystemExit):
            run_command_line(commands, [])
    finally:
        os.umask(before)
    kept = [*(tmp_path / "data").rglob("*"), tmp_path / "data"]
    assert len(kept) > 8 and not [each for each in kept if each.stat().st_mode & 0o077]


@pytest.mark.parametrize("name", ["a\u202eb", "a\x1b[2J", "a\nb", "\u2066x"])
def test_a_name_that_shows_another_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="not shown, or turn others"):
        DataPaths(Path()).corpus(name)
