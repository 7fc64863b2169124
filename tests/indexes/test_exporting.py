"""A corpus travels as one file; what comes back is what went, embeds nothing, and may be hostile."""

import io
import json
import sqlite3
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from fakes import KeywordEncoder

from indexes.corpus import Corpus, list_corpora
from indexes.doctor import examine
from indexes.errors import InputError, UserError
from indexes.ingest import add_files, delete_corpus, export_corpus, import_corpus
from indexes.mixes import Mix, keep_mix, kept_mix
from indexes.passage_index import PassageIndex
from indexes.paths import DataPaths


@pytest.fixture
def exported(paths: DataPaths, encoder: KeywordEncoder, tmp_path: Path) -> Path:
    """A file with a corpus "My pets" of two files, one in a folder."""
    (tmp_path / "in").mkdir()
    (tmp_path / "cats.txt").write_text("Cats purr.")
    (tmp_path / "in" / "dogs.jsonl").write_text('{"id": "rex", "text": "Dogs bark."}\n')
    list(add_files(paths, "My pets", [tmp_path / "cats.txt", tmp_path / "in"], encoder))
    keep_mix(Corpus.open(paths, "My pets"), encoder.name, Mix(lexical=0.3))
    export_corpus(paths, "My pets", tmp_path / "pets.corpus")
    return tmp_path / "pets.corpus"


def test_what_is_imported_is_what_was_exported(
    paths: DataPaths, encoder: KeywordEncoder, exported: Path, tmp_path: Path
) -> None:
    other = DataPaths(tmp_path / "elsewhere")
    assert import_corpus(other, exported) == "My pets"
    before, after = Corpus.open(paths, "My pets"), Corpus.open(other, "My pets")
    assert list(after.passages()) == list(before.passages())
    assert (after.info(), after.settings, kept_mix(after, "keywords")) == (
        before.info(),
        before.settings,
        Mix(lexical=0.3),
    )
    assert after.uid != before.uid, "two corpora would share a collection on one server"
    assert PassageIndex.open(other, "My pets", encoder).search("who does bark", 1)[0].passage.document_id == "rex"
    assert examine(other, "My pets") == []
    list(add_files(other, "My pets", [tmp_path / "cats.txt"], encoder))
    assert encoder.n_encoded_passages == 2


def test_nothing_is_written_over(paths: DataPaths, exported: Path) -> None:
    with pytest.raises(InputError, match="is there already"):
        export_corpus(paths, "My pets", exported)
    with pytest.raises(InputError, match=r"There is a corpus 'My pets' already.*--name"):
        import_corpus(paths, exported)
    assert import_corpus(paths, exported, "Twin") == "Twin"
    delete_corpus(paths, "My pets")
    assert [info.name for info in list_corpora(paths)] == ["Twin"]


def packed(exported: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """The exported file with other members."""
    with zipfile.ZipFile(exported) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(exported.with_name("hostile"), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return exported.with_name("hostile")


def changed_by(statement: str) -> Callable[[dict[str, bytes]], None]:
    def change(members: dict[str, bytes]) -> None:
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.deserialize(members["manifest.sqlite"])
            connection.executescript(statement)
            members["manifest.sqlite"] = connection.serialize()

    return change


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i, i, i FROM n"
HOSTILE: list[Callable[[dict[str, bytes]], None]] = [
    lambda members: members.update({"../escaped.txt": b"x"}),
    lambda members: members.update({"/escaped.txt": b"x"}),
    lambda members: members.update({"files/../../escaped.txt": b"x"}),
    lambda members: members.update({"files/run.sh": b"x"}),
    lambda members: members.update({f"files/{'0' * 32}.txt": b"0" * 2**26}),
    lambda members: members.pop("manifest.sqlite") and None,
    lambda members: members.update({"manifest.sqlite": b""}),
    lambda members: members.update({"manifest.sqlite": members["manifest.sqlite"][:9000]}),
    changed_by("UPDATE sources SET content_hash = '../../../escaped'"),
    changed_by("UPDATE passages SET text = x'00'"),
    changed_by("UPDATE meta SET value = 99 WHERE key = 'format'"),
    changed_by("UPDATE meta SET value = '{\"lexical\": \"a lot\"' WHERE key LIKE 'mix of %'"),
    changed_by(f"DROP TABLE vectors; CREATE VIEW vectors AS {ENDLESS}"),
    changed_by("DELETE FROM meta"),
]


@pytest.mark.parametrize("change", HOSTILE)
def test_a_hostile_file_is_refused_and_leaves_nothing(
    exported: Path, tmp_path: Path, change: Callable[[dict[str, bytes]], None]
) -> None:
    other = DataPaths(tmp_path / "elsewhere")
    with pytest.raises(UserError):
        import_corpus(other, packed(exported, change))
    assert list_corpora(other) == []
    assert [each.name for each in other.root.iterdir() if each.name != "locks"] == []
    assert not list(tmp_path.rglob("escaped*"))


def test_a_file_of_something_else_is_refused(paths: DataPaths, tmp_path: Path) -> None:
    for content in (b"", b"PK\x03\x04 no zip", json.dumps({}).encode(), io.BytesIO().getvalue()):
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(UserError):
            import_corpus(paths, tmp_path / "file")
