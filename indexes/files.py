"""Files, folders and zip archives, which may be hostile → the files to read, one at a time on disk."""

from __future__ import annotations

import os
import re
import shutil
import stat
import struct
import tempfile
import time
import unicodedata
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from indexes.errors import InputError, StoreError, UnreadableFileError

CODE_SUFFIXES = (".py", ".js", ".ts", ".java", ".go", ".c", ".h", ".cpp", ".rs")
TEXT_SUFFIXES = (".txt", ".md", ".markdown", ".rst", *CODE_SUFFIXES)
RECORD_SUFFIXES = (".csv", ".tsv", ".json", ".jsonl")
PACKED_SUFFIXES = tuple(f"{suffix}.gz" for suffix in (".txt", *RECORD_SUFFIXES))
PACKAGE_SUFFIXES = (".docx", ".pptx", ".xlsx", ".epub")
ARCHIVE_SUFFIX = ".zip"
SUPPORTED_SUFFIXES = (
    *TEXT_SUFFIXES, ".html", ".htm", ".pdf", *PACKAGE_SUFFIXES, ".eml", *RECORD_SUFFIXES, *PACKED_SUFFIXES
)  # fmt: skip
_SAME_KIND = {"markdown": "md", "htm": "html"}


def suffix_of(name: str) -> str:
    """The lower-case suffix of a file name, `.jsonl.gz` and its like taken as one."""
    lower = PurePosixPath(name.lower())
    packed = "".join(lower.suffixes[-2:])
    return packed if packed in PACKED_SUFFIXES else lower.suffix


def kind_of(name: str) -> str:
    """The type of a file by its name, as a filter knows it: md, html, pdf, jsonl …; packed or not is the same."""
    kind = suffix_of(name).removesuffix(".gz").removeprefix(".")
    return _SAME_KIND.get(kind, kind)


def stem_of(name: str) -> str:
    """The name without folders and suffix."""
    base = PurePosixPath(name).name
    return base[: len(base) - len(suffix_of(name))] or base


MAX_ENTRIES = 100_000
MAX_TOTAL = 2**33  # bytes that all members of an archive unpack to
MAX_PACKAGE = 2**28  # the same for an Office document, whose XML is held in memory
MAX_RATIO = 200  # how many times larger, gzip files too; text shrinks to a third or a tenth, a bomb to a thousandth
SMALL = 2**24  # bytes below which a ratio says nothing
_MAX_DIRECTORY = 2**24  # bytes of the list of members
_DRIVE = re.compile(r"[A-Za-z]:")


def check_size(archive: zipfile.ZipFile, n_packed: int, most: int = MAX_PACKAGE) -> None:
    """Raises a sentence when an archive of `n_packed` bytes would unpack to more than is sound.

    The sizes are those that the archive claims; zipfile unpacks no byte more than that.
    """
    members = archive.infolist()
    if len(members) > MAX_ENTRIES:
        raise UnreadableFileError(
            f"The archive has {len(members):,} entries; at most {MAX_ENTRIES:,} are read. Split it."
        )
    total = sum(member.file_size for member in members)
    if total > most:
        raise UnreadableFileError(
            f"The archive unpacks to {total / 2**20:,.0f} MiB; at most {most // 2**20:,} MiB are read. Split it."
        )
    # The whole against the file too: members that overlap share their packed bytes.
    sizes = [(total, n_packed), *((member.file_size, member.compress_size) for member in members)]
    if any(size > SMALL and size > MAX_RATIO * packed for size, packed in sizes):
        raise UnreadableFileError(
            f"The archive unpacks to more than {MAX_RATIO} times its size, as a zip bomb does. Unpack it yourself if "
            "you trust it."
        )


def check_directory(file: BinaryIO) -> None:
    """Raises a sentence when the list of members, which zipfile holds as a whole, is too long to be looked at."""
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end - 2**17))  # the record of the end, behind it a comment of 64 KiB at most
    tail = file.read()
    found = [struct.unpack_from("<12xL", tail, place)[0] for place in _places(tail, b"PK\x05\x06", 16)]
    found += [struct.unpack_from("<40xQ", tail, place)[0] for place in _places(tail, b"PK\x06\x06", 48)]
    if any(_MAX_DIRECTORY < size <= end for size in found):  # more than the file has is damage, and zipfile says so
        raise UnreadableFileError(f"The archive lists too many files; at most {MAX_ENTRIES:,} are read. Split it.")
    file.seek(0)


def _places(tail: bytes, mark: bytes, length: int) -> list[int]:
    return [match.start() for match in re.finditer(re.escape(mark), tail) if match.start() + length <= len(tail)]


class Archive:
    """An open zip file; `close` it. Opening one that is damaged, huge or a bomb raises `UnreadableFileError`."""

    def __init__(self, file: Path) -> None:
        try:
            with file.open("rb") as opened:
                check_directory(opened)
            self._zip = zipfile.ZipFile(file)
        except PermissionError as error:
            raise UnreadableFileError("The file may not be read; check its rights.") from error
        except UnreadableFileError:
            raise
        except Exception as error:  # zipfile raises more than BadZipFile on hostile bytes
            raise UnreadableFileError("The name says zip archive (.zip), but the content is damaged or not.") from error
        try:
            check_size(self._zip, file.stat().st_size, MAX_TOTAL)
        except UnreadableFileError:
            self.close()
            raise

    def close(self) -> None:
        self._zip.close()

    def members(self, wanted: Callable[[str], bool]) -> Iterator[tuple[str, int, str]]:
        """(name, number, refusal) of the members that are `wanted`, by name, and of those that are refused."""
        seen: set[str] = set()
        numbered = enumerate(self._zip.infolist())
        for name, number, info in sorted((info.filename.replace("\\", "/"), n, info) for n, info in numbered):
            if info.is_dir():
                continue
            refusal = _refusal(name, info, seen)
            seen.add(name)
            if refusal or wanted(name):
                yield name, number, refusal

    def unpack(self, number: int, folder: Path) -> Path:
        """The member as a file in `folder`, under a name of ours and with the member's date."""
        info = self._zip.infolist()[number]
        target = folder / f"member{number}"
        try:
            with self._zip.open(info) as member, target.open("wb") as file:
                shutil.copyfileobj(member, file, 2**20)
            moment = time.mktime((*info.date_time, 0, 0, -1))
            os.utime(target, (moment, moment))
        except OSError as error:
            raise StoreError(f"Unpacking into {folder} failed: {error.strerror}. Free some space.") from error
        except (ValueError, OverflowError):
            return target  # its date is none
        except Exception as error:  # a damaged member raises BadZipFile, zlib's, lzma's or the encryption's errors
            target.unlink(missing_ok=True)
            raise UnreadableFileError("The archive is damaged here; pack it again.") from error
        return target


def _refusal(name: str, info: zipfile.ZipInfo, seen: set[str]) -> str:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if name.startswith("/") or _DRIVE.match(name) or ".." in PurePosixPath(name).parts:
        return "The name leads out of the archive; such a member is not read."
    if kind not in (0, stat.S_IFREG):
        return "The member is a link or a device; only plain files are read."
    if name in seen:
        return "The archive has this name twice; only the first is read."
    if info.flag_bits & 1:
        return "The member asks for a password; pack it without one."
    if suffix_of(name) == ARCHIVE_SUFFIX:
        return "An archive in an archive is not opened; unpack it and add the files."
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One file to read under the name `source`: `path` itself, or a member of the archive there."""

    source: str
    path: Path
    archive: Archive | None = None
    member: int = 0
    refusal: str = ""

    @contextmanager
    def on_disk(self) -> Iterator[Path]:
        """The file to read, unpacked as long as it is needed; `UnreadableFileError` if it is refused or damaged."""
        if self.refusal:
            raise UnreadableFileError(self.refusal)
        if self.archive is None:
            yield self.path
            return
        with tempfile.TemporaryDirectory(prefix="unpacked-") as folder:
            yield self.archive.unpack(self.member, Path(folder))


@contextmanager
def open_sources(given: Sequence[Path]) -> Iterator[list[SourceFile]]:
    """Every file in `given`, archives opened as folders are; usable until the context is left."""
    with ExitStack() as archives:
        found: list[SourceFile] = []
        for source, path in list_files(given):
            if suffix_of(source) == ARCHIVE_SUFFIX:
                found += _members(source, path, archives)
            else:
                found.append(SourceFile(source=source, path=path))
        yield found


def _members(source: str, path: Path, archives: ExitStack) -> list[SourceFile]:
    try:
        archive = Archive(path)
    except UnreadableFileError as error:
        return [SourceFile(source=source, path=path, refusal=str(error))]
    archives.callback(archive.close)
    found = [
        SourceFile(source=f"{source}/{_shown(name)}", path=path, archive=archive, member=number, refusal=refusal)
        for name, number, refusal in archive.members(_is_wanted)
    ]
    nothing = f"The archive holds no file that can be read; supported: {', '.join(SUPPORTED_SUFFIXES)}."
    return found or [SourceFile(source=source, path=path, refusal=nothing)]


def list_files(given: Sequence[Path]) -> list[tuple[str, Path]]:
    """(source name, file) of each file in `given`, folders walked in sorted order; an archive is a file here.

    A file's source name is its own name; a file in a folder is named by its path from that folder's parent, so two
    `readme.md` of one folder stay apart. Hidden files, links, empty code, and files of a folder with other
    suffixes, are passed over.
    """
    found: dict[str, Path] = {}
    for path in given:
        if not path.exists():
            raise InputError(f"A file or folder was expected at '{path}', but there is none. Check the path.")
        if path.is_dir():
            root = path.resolve()
            found |= {_shown(file.relative_to(root.parent).as_posix()): file for file in sorted(_walk(root))}
        elif not path.is_file():
            raise InputError(f"A file or folder was expected at '{path}', but it is a device or a pipe.")
        elif path.name in found and found[path.name].resolve() != path.resolve():
            raise InputError(
                f"Two of the files are called '{path.name}', and a corpus knows its files by name. Rename one, or give "
                "the folder that holds both."
            )
        else:
            found[_shown(path.name)] = path
    return list(found.items())


def _walk(folder: Path) -> Iterator[Path]:
    """The plain files under `folder` that are wanted; links are not followed."""
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            file = Path(parent, name)
            if not (_is_wanted(name) or suffix_of(name) == ARCHIVE_SUFFIX) or file.is_symlink() or not file.is_file():
                continue
            if suffix_of(name) in CODE_SUFFIXES and file.stat().st_size == 0:
                continue  # such as __init__.py: nothing is wrong with it
            yield file


def _is_wanted(name: str) -> bool:
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))
    return suffix_of(name) in SUPPORTED_SUFFIXES and not hidden


def _shown(name: str) -> str:
    """The name with control characters and bytes that are no UTF-8 written out: such a name can be kept and shown."""
    return "".join(f"\\x{ord(c):02x}" if unicodedata.category(c) in ("Cc", "Cs") else c for c in name)
