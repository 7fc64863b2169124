"""Folders and archives are walked in order, and nothing hostile in them leads anywhere or stops the rest."""

import io
import os
import stat
import struct
import zipfile
from pathlib import Path

import pytest
from fakes import KeywordEncoder

from benchmarks.sample_files import pdf_bytes
from indexes.corpus import Corpus
from indexes.errors import InputError, UnreadableFileError
from indexes.files import check_directory, check_size, list_files, open_sources
from indexes.ingest import add_files
from indexes.paths import DataPaths
from indexes.types import FileOutcome


def make_zip(file: Path, members: dict[str, bytes]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file


def outcomes(*given: Path) -> dict[str, str]:
    """What each source says: its text, or why it is refused."""
    found = {}
    with open_sources(given) as files:
        for file in files:
            if file.skipped:
                found[file.source] = f"skipped: {file.skipped}"
                continue
            try:
                with file.on_disk() as path:
                    found[file.source] = path.read_text()
            except UnreadableFileError as error:
                found[file.source] = f"refused: {error}"
    return found


def add(paths: DataPaths, encoder: KeywordEncoder, *files: Path) -> list[FileOutcome]:
    return [event.outcome for event in add_files(paths, "pets", list(files), encoder) if event.outcome]


def test_an_archive_is_a_folder(tmp_path: Path) -> None:
    members = {"b/dog.txt": b"bark", "a/cat.md": b"purr", ".git/x.txt": b"", "__MACOSX/cat.md": b"", "a/photo.png": b""}
    make_zip(tmp_path / "docs" / "pets.zip", members)
    (tmp_path / "docs" / "bird.txt").write_text("sing")
    expected = {"docs/bird.txt": "sing", "docs/pets.zip/a/cat.md": "purr", "docs/pets.zip/b/dog.txt": "bark"}
    passed = {"docs/pets.zip": "skipped: 1 file passed over: .png 1"}
    assert outcomes(tmp_path / "docs") == expected | passed
    assert list(outcomes(tmp_path / "docs" / "pets.zip")) == ["pets.zip/a/cat.md", "pets.zip/b/dog.txt", "pets.zip"]


def test_only_the_member_that_is_read_is_on_disk_and_it_has_its_date(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as archive:
        archive.writestr(zipfile.ZipInfo("cat.txt", (2001, 2, 3, 12, 0, 0)), b"purr")
    with open_sources([tmp_path / "pets.zip"]) as (file,):
        with file.on_disk() as path:
            assert path.stat().st_mtime == pytest.approx(981_201_600, abs=86_400)
        assert not path.exists()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("../escape.txt", "leads out"),
        ("a/../../escape.txt", "leads out"),
        ("..\\escape.txt", "leads out"),
        ("/etc/cron.d/escape.txt", "leads out"),
        ("C:\\escape.txt", "leads out"),
        ("inner.zip", "archive in an archive"),
        ("INNER.ZIP", "archive in an archive"),
    ],
)
def test_a_hostile_name_is_refused_and_the_rest_is_read(tmp_path: Path, name: str, sentence: str) -> None:
    found = outcomes(make_zip(tmp_path / "in" / "pets.zip", {name: b"bad", "cat.txt": b"purr"}))
    assert found.pop("pets.zip/cat.txt") == "purr"
    (refused,) = found.values()
    assert sentence in refused
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["in", "pets.zip"]


def test_links_devices_locked_and_doubled_members_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "pets.zip"
    with zipfile.ZipFile(file, "w") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        for name, mode in (("link.txt", stat.S_IFLNK), ("device.txt", stat.S_IFCHR)):
            info = zipfile.ZipInfo(name)
            info.external_attr = (mode | 0o644) << 16
            archive.writestr(info, "/etc/passwd")
        archive.writestr("cat.txt", "purr")
        archive.writestr("cat.txt", "other")
        archive.writestr("locked.txt", "secret")
    content = file.read_bytes()
    entry = content.rindex(b"PK\x01\x02")  # the last of the directory is locked.txt: set its flag "encrypted"
    file.write_bytes(content[: entry + 8] + struct.pack("<H", 1) + content[entry + 10 :])
    with open_sources([file]) as files:
        refusals = [(source.source.removeprefix("pets.zip/"), source.refusal) for source in files]
    assert [(name, refusal.split(";")[0]) for name, refusal in refusals] == [
        ("cat.txt", ""),
        ("cat.txt", "The archive has this name twice"),
        ("device.txt", "The member is a link or a device"),
        ("link.txt", "The member is a link or a device"),
        ("locked.txt", "The member asks for a password"),
    ]


def test_a_bomb_is_refused_by_what_it_claims(tmp_path: Path) -> None:
    file = make_zip(tmp_path / "bomb.zip", {"zeros.txt": bytes(2**25)})
    assert "as a zip bomb does" in outcomes(file)["bomb.zip"]


def test_nothing_in_an_archive_is_unpacked_again_whatever_it_is_called(
    paths: DataPaths, encoder: KeywordEncoder, tmp_path: Path
) -> None:
    """What unpacks to itself, or to sixteen that unpack to sixteen, is a file like any; by its first bytes a zip."""
    inner = make_zip(tmp_path / "in" / "inner.zip", {"cat.txt": b"purr"}).read_bytes()
    names = ("a.ZIP", "b.zip ", "c.txt", "d.docx", "e.epub", "f.txt.gz", "g.eml", "h.pdf", "i.json")
    members = {**dict.fromkeys(names, inner), "cat.txt": b"purr"}
    found = add(paths, encoder, make_zip(tmp_path / "pets.zip", members))
    assert [outcome.source for outcome in found if outcome.n_documents] == ["pets.zip/cat.txt"]


def test_members_that_overlap_are_refused_before_one_of_them_is_unpacked(tmp_path: Path) -> None:
    """Sixty thousand names for the same bytes took minutes to be refused one by one."""
    content = make_zip(tmp_path / "pets.zip", {"a.txt": b"purr"}).read_bytes()
    entry, end = content.index(b"PK\x01\x02"), content.index(b"PK\x05\x06")
    names = [content[entry:end].replace(b"a.txt", f"{n:05}".encode()) for n in range(9)]
    record = struct.pack("<4xHHHHLLH", 0, 0, 9, 9, 9 * (end - entry), entry, 0)
    (tmp_path / "pets.zip").write_bytes(content[:entry] + b"".join(names) + b"PK\x05\x06" + record[4:])
    assert "overlap" in outcomes(tmp_path / "pets.zip")["pets.zip"]


def test_an_archive_that_claims_too_little_unpacks_no_more_than_that(tmp_path: Path) -> None:
    """The limits look at claimed sizes, so a claim has to bind: a lie is damage."""
    file = make_zip(tmp_path / "liar.zip", {"zeros.txt": bytes(2**20)})
    size, lie = struct.pack("<I", 2**20), struct.pack("<I", 1000)
    file.write_bytes(file.read_bytes().replace(size, lie))
    assert "damaged here" in outcomes(file)["liar.zip/zeros.txt"]


def test_an_archive_of_too_many_entries_is_refused() -> None:
    with zipfile.ZipFile(io.BytesIO(), "w") as archive:
        archive.filelist.extend([zipfile.ZipInfo("x.txt")] * 100_001)
        with pytest.raises(UnreadableFileError, match="100,001 entries"):
            check_size(archive, 2**24)
        archive.filelist.clear()


@pytest.mark.parametrize("end", [("PK\x05\x06", 8, "<L", 16 - 8), ("PK\x06\x06", 36, "<Q", 20)])
def test_a_list_of_members_too_long_to_hold_is_refused_before_it_is_read(end: tuple[str, int, str, int]) -> None:
    """A file of 64 MiB can list a million members, and zipfile makes an object of each."""
    mark, gap, form, rest = end
    record = mark.encode() + bytes(gap) + struct.pack(form, 2**24 + 1) + bytes(rest)
    with pytest.raises(UnreadableFileError, match="too many files"):
        check_directory(io.BytesIO(bytes(2**24 + 1) + record))


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04rubbish"])
def test_what_is_no_archive_is_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "fake.zip").write_bytes(content)
    assert "name says zip archive" in outcomes(tmp_path / "fake.zip")["fake.zip"]


def test_an_archive_without_anything_to_read_is_said(tmp_path: Path) -> None:
    assert "no file that can be read" in outcomes(make_zip(tmp_path / "x.zip", {"photo.png": b""}))["x.zip"]


def test_a_damaged_member_does_not_stop_the_others_and_an_archive_added_again_is_unchanged(
    paths: DataPaths, encoder: KeywordEncoder, tmp_path: Path
) -> None:
    file = tmp_path / "pets.zip"
    with zipfile.ZipFile(file, "w") as archive:  # stored, so that a text can be found and damaged
        archive.writestr("bad.txt", "Birds sing.")
        archive.writestr("cat.txt", "Cats purr.")
    file.write_bytes(file.read_bytes().replace(b"Birds sing.", b"Birds sang."))
    statuses = [(outcome.source, outcome.status) for outcome in add(paths, encoder, file)]
    assert statuses == [("pets.zip/bad.txt", "failed"), ("pets.zip/cat.txt", "read")]
    assert [outcome.status for outcome in add(paths, encoder, file)] == ["failed", "unchanged"]
    assert [info.source for info in Corpus.open(paths, "pets").sources()] == ["pets.zip/cat.txt"]


def test_a_long_text_under_a_new_name_leaves_the_old_name_free(
    paths: DataPaths, encoder: KeywordEncoder, tmp_path: Path
) -> None:
    """Its parts are named by the file, so they have to be renamed with it."""
    file, kept = tmp_path / "long.txt", tmp_path / "kept.txt"
    file.write_text("c" + " " * 1_100_000 + "c")
    add(paths, encoder, file)
    file.rename(kept)
    events = add_files(paths, "pets", [kept], encoder, sync=True)
    assert [event.outcome.status for event in events if event.outcome] == ["renamed"]
    file.write_text("d" + " " * 1_100_000 + "d")
    assert [outcome.status for outcome in add(paths, encoder, file)] == ["read"]


def test_a_partly_scanned_pdf_is_read_and_says_so(paths: DataPaths, encoder: KeywordEncoder, tmp_path: Path) -> None:
    (tmp_path / "half.pdf").write_bytes(pdf_bytes(["Cats purr.", "", "Dogs bark."]))
    (outcome,) = add(paths, encoder, tmp_path / "half.pdf")
    assert (outcome.status, outcome.reason) == ("read", "1 of 3 pages have no text: they are blank or scanned.")


def test_links_hidden_folders_and_empty_code_in_a_folder_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "docs" / ".hidden").mkdir(parents=True)
    (tmp_path / "docs" / ".hidden" / "x.txt").write_text("x")
    (tmp_path / "docs" / "cat.txt").write_text("purr")
    (tmp_path / "docs" / "__init__.py").touch()
    (tmp_path / "docs" / "link.txt").symlink_to("/etc/passwd")
    (tmp_path / "docs" / "loop").symlink_to(tmp_path / "docs")
    assert list(list_files([tmp_path / "docs"])[0]) == ["docs/cat.txt"]


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(InputError, match="a device or a pipe"):
        list_files([tmp_path / "pipe.txt"])


def test_a_name_that_is_no_utf8_or_moves_the_cursor_is_written_out(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for name in (b"caf\xe9.txt", b"a\x1b[2J.txt", "b\u202etxt.exe.txt".encode()):
        Path(os.fsdecode(os.fsencode(tmp_path / "docs") + b"/" + name)).write_text("x")
    assert list(list_files([tmp_path / "docs"])[0]) == [
        "docs/a\\x1b[2J.txt",
        "docs/b\\x202etxt.exe.txt",
        "docs/caf\\xdce9.txt",
    ]


def test_thousands_of_tiny_files_are_listed_in_order(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for number in range(3000):
        (tmp_path / "docs" / f"{number:05}.txt").touch()
    names = list(list_files([tmp_path / "docs"])[0])
    assert names == [f"docs/{number:05}.txt" for number in range(3000)]


def test_bytes_of_an_archive_within_an_office_document_are_its_own(tmp_path: Path) -> None:
    """A docx is a zip too, and is read as what it is."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr("word/document.xml", "x")
    files = {"report.docx": written.getvalue(), "cat.txt": b"purr"}
    assert list(list_files([make_zip(tmp_path / "in" / "x.zip", files).parent])[0]) == ["in/x.zip"]
    with open_sources([tmp_path / "in" / "x.zip"]) as found:
        assert [file.source for file in found] == ["x.zip/cat.txt", "x.zip/report.docx"]
