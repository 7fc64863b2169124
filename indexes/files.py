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
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from mimetypes import MimeTypes
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO
from urllib.parse import unquote, urlsplit

from indexes.encodings import guess_names, looks_like_text
from indexes.errors import InputError, StoreError, UnreadableFileError, counted
from indexes.paths import UNFIT

CODE_SUFFIXES = (
    ".py", ".js", ".jsx", ".ts", ".tsx", ".java", ".go", ".c", ".h", ".cc", ".cpp", ".hpp", ".cs", ".rs", ".rb", ".php",
    ".kt", ".swift", ".scala", ".lua", ".pl", ".r", ".sh", ".sql",
)  # fmt: skip
# The text kinds that people are told of; every other file whose content is text is read like these.
TEXT_SUFFIXES = (
    ".txt", ".md", ".markdown", ".rst", ".org", ".tex", ".log", ".srt", ".xml", ".yaml", ".yml", ".toml", *CODE_SUFFIXES
)  # fmt: skip
RECORD_SUFFIXES = (".csv", ".tsv", ".json", ".jsonl")
PACKED_SUFFIXES = tuple(f"{suffix}.gz" for suffix in (".txt", *RECORD_SUFFIXES))
PACKAGE_SUFFIXES = (".docx", ".pptx", ".xlsx", ".epub")
WHOLE_SUFFIXES = (".html", ".htm", ".pdf", *PACKAGE_SUFFIXES, ".rtf", ".ipynb", ".eml")
MAILBOX_SUFFIX = ".mbox"
ARCHIVE_SUFFIX = ".zip"
SUPPORTED_SUFFIXES = (*TEXT_SUFFIXES, *WHOLE_SUFFIXES, MAILBOX_SUFFIX, *RECORD_SUFFIXES, *PACKED_SUFFIXES)
_SAME_KIND = {"markdown": "md", "htm": "html", "yml": "yaml"}
_SUFFIX = re.compile(r"\.[\w+-]{1,12}")
_HEAD = 2**13  # bytes by which text is told from anything else
_NOT_TEXT = ("image/", "audio/", "video/", "font/", "application/vnd.", "application/msword")


def is_address(name: str) -> bool:
    """Whether this is the address of a web page, which no name of a file is."""
    return name.lower().startswith(("http://", "https://"))


def suffix_of(name: str) -> str:
    """The lower-case suffix of a file name, `.jsonl.gz` and its like taken as one.

    A web address is a page (.html), unless it ends like another document; what came is said behind a # otherwise.
    """
    if is_address(name):
        address, _, kind = name.rpartition("#") if "#" in name else (name, "", "")
        suffix = kind or suffix_of(urlsplit(address).path)
        return suffix if suffix in SUPPORTED_SUFFIXES and (kind or suffix not in CODE_SUFFIXES) else ".html"
    lower = PurePosixPath(name.lower())
    packed = "".join(lower.suffixes[-2:])
    return packed if packed in PACKED_SUFFIXES else lower.suffix if _SUFFIX.fullmatch(lower.suffix) else ""


def is_readable(name: str, open_file: Callable[[], IO[bytes]]) -> bool:
    """Whether a file is of a kind that is read: by its name, or because its first bytes are text."""
    suffix = suffix_of(name)
    if suffix in SUPPORTED_SUFFIXES:
        return True
    if suffix == ARCHIVE_SUFFIX or _known_types().types_map[True].get(suffix, "").startswith(_NOT_TEXT):
        return False
    with open_file() as opened:
        return looks_like_text(opened.read(_HEAD))


@cache
def _known_types() -> MimeTypes:
    """The types of files that Python knows, without what this machine has beside them: all machines read the same."""
    return MimeTypes()


def passed_over(names: Iterable[str]) -> str:
    """How many files are not read, by type, as a sentence; "" if there are none."""
    types = Counter(suffix_of(name) or "without a suffix" for name in names)
    kinds = ", ".join(f"{kind} {n}" for kind, n in sorted(types.items()))
    n_files = types.total()
    return f"{counted(n_files, 'file')} passed over: {kinds}" if n_files else ""


def kind_of(name: str) -> str:
    """The type of a file by its name, as a filter knows it: md, html, pdf, jsonl …; packed or not is the same."""
    kind = suffix_of(name).removesuffix(".gz").removeprefix(".")
    return _SAME_KIND.get(kind, kind)


def stem_of(name: str) -> str:
    """The name without folders and suffix; that of a host for its first page."""
    address = urlsplit(name) if is_address(name) else None
    base = PurePosixPath(unquote(address.path)).name or address.netloc if address else PurePosixPath(name).name
    if not base.lower().endswith(suffix_of(name)):
        return base
    return base[: len(base) - len(suffix_of(name))] or base


MAX_ENTRIES = 100_000
MAX_TOTAL = 2**33  # bytes that all members of an archive unpack to
MAX_PACKAGE = 2**28  # the same for an Office document, whose XML is held in memory
MAX_RATIO = 200  # how many times larger, gzip files too; text shrinks to a third or a tenth, a bomb to a thousandth
SMALL = 2**24  # bytes below which a ratio says nothing
_MAX_DIRECTORY = 2**24  # bytes of the list of members
_HEADERS = 76  # bytes of the two of each member at least
_UTF8 = 0x800  # the flag of a member whose name is UTF-8
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
    if sum(_HEADERS + member.compress_size for member in members) > n_packed:
        raise UnreadableFileError("The archive's members overlap, as a zip bomb's do. Pack it again.")
    # The whole against the file too: thousands of small members can be as large.
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
            check_size(self._zip, file.stat().st_size, MAX_TOTAL)
        except PermissionError as error:
            raise UnreadableFileError("The file may not be read; check its rights.") from error
        except UnreadableFileError:
            raise
        except Exception as error:  # zipfile raises more than BadZipFile on hostile bytes
            raise UnreadableFileError("The name says zip archive (.zip), but the content is damaged or not.") from error

    def close(self) -> None:
        self._zip.close()

    def members(self) -> Iterator[tuple[str, int, str]]:
        """(name, number, refusal) of the members by name, without folders and hidden files."""
        seen: set[str] = set()
        named = zip(_names(self._zip.infolist()), enumerate(self._zip.infolist()), strict=True)
        for name, number, info in sorted(((name, *each) for name, each in named), key=lambda each: each[:2]):
            if info.is_dir():
                continue
            refusal = _refusal(name, info, seen)
            seen.add(name)
            if refusal or not _is_hidden(name):
                yield name, number, refusal

    def is_readable(self, name: str, number: int) -> bool:
        """Whether a member is of a kind that is read; a damaged one is looked at as if it were."""
        try:
            return is_readable(name, lambda: self._zip.open(self._zip.infolist()[number]))
        except Exception:  # noqa: BLE001  # whatever is wrong with it, reading it says so
            return True

    def unpack(self, number: int, folder: Path, suffix: str = "") -> Path:
        """The member as a file in `folder`, under a name of ours with this suffix, and with the member's date."""
        info = self._zip.infolist()[number]
        target = folder / f"member{number}{suffix}"
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


def _names(infos: Sequence[zipfile.ZipInfo]) -> list[str]:
    """The members' names: UTF-8 where that is said or fits, or else in the one encoding that all of them fit best."""
    unsaid = {n: info.filename.encode("cp437", "replace") for n, info in enumerate(infos) if not info.flag_bits & _UTF8}
    encoding = guess_names(list(unsaid.values()))
    names = [unsaid[n].decode(encoding, "replace") if n in unsaid else info.filename for n, info in enumerate(infos)]
    return [unicodedata.normalize("NFC", name).replace("\\", "/") for name in names]


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
    """One file to read under the name `source`: `path` itself, or what `fetch` puts into a folder, as a file whose
    suffix says what it is.

    `skipped` is set instead where it is a folder or an archive: the sentence about its files that are not read.
    """

    source: str
    path: Path
    refusal: str = ""
    skipped: str = ""
    fetch: Callable[[Path], Path] | None = None

    @contextmanager
    def on_disk(self) -> Iterator[Path]:
        """The file to read, unpacked as long as it is needed; `UnreadableFileError` if it is refused or damaged."""
        if self.refusal:
            raise UnreadableFileError(self.refusal)
        if self.fetch is None:
            yield self.path
            return
        with tempfile.TemporaryDirectory(prefix="unpacked-") as folder:
            yield self.fetch(Path(folder))


@contextmanager
def open_sources(given: Sequence[Path]) -> Iterator[list[SourceFile]]:
    """Every file in `given`, archives opened as folders are; usable until the context is left."""
    with ExitStack() as archives:
        found: list[SourceFile] = []
        files, passed = list_files(given)
        for source, path in files.items():
            if suffix_of(source) == ARCHIVE_SUFFIX:
                found += _members(source, path, archives)
            else:
                found.append(SourceFile(source=source, path=path))
        for folder, names in passed.items():
            found += _skipped(folder.name, folder, names)
        yield found


def _skipped(source: str, path: Path, names: Iterable[str]) -> list[SourceFile]:
    sentence = passed_over(names)
    return [SourceFile(source=source, path=path, skipped=sentence)] if sentence else []


def _members(source: str, path: Path, archives: ExitStack) -> list[SourceFile]:
    try:
        archive = Archive(path)
    except UnreadableFileError as error:
        return [SourceFile(source=source, path=path, refusal=str(error))]
    archives.callback(archive.close)
    found, passed, members = [], [], list(archive.members())
    judging = benchmark_files(name for name, _, refusal in members if not refusal)
    for name, number, refusal in members:
        if refusal or (name not in judging and archive.is_readable(name, number)):
            fetch = partial(archive.unpack, number, suffix=suffix_of(name))
            found.append(SourceFile(source=f"{source}/{_shown(name)}", path=path, fetch=fetch, refusal=refusal))
        else:
            passed.append(name)
    skipped = _skipped(source, path, passed)
    if found:
        return found + skipped
    nothing = f"The archive holds no file that can be read; supported: {', '.join(SUPPORTED_SUFFIXES)}."
    said = "".join(f" {each.skipped}." for each in skipped)
    return [SourceFile(source=source, path=path, refusal=nothing + said)]


def list_files(given: Sequence[Path]) -> tuple[dict[str, Path], dict[Path, list[str]]]:
    """Each file in `given` by its source name, folders walked in sorted order, and the names of those in each folder
    that are passed over; an archive is a file here.

    A file's source name is its own name; a file in a folder is named by its path from that folder's parent, so two
    `readme.md` of one folder stay apart. Hidden files and empty code are left out.
    """
    found: dict[str, Path] = {}
    passed: dict[Path, list[str]] = {}
    for path in given:
        if not path.exists():
            raise InputError(f"A file or folder was expected at '{path}', but there is none. Check the path.")
        if path.is_dir():
            root = path.resolve()
            passed[root] = []
            walked = {file.relative_to(root.parent).as_posix(): file for file in sorted(_walk(root, passed[root]))}
            judging = benchmark_files(walked)
            passed[root] += sorted(judging)
            found |= {_shown(name): file for name, file in walked.items() if name not in judging}
        elif not path.is_file():
            raise InputError(f"A file or folder was expected at '{path}', but it is a device or a pipe.")
        elif path.name in found and found[path.name].resolve() != path.resolve():
            raise InputError(
                f"Two of the files are called '{path.name}', and a corpus knows its files by name. Rename one, or give "
                "the folder that holds both."
            )
        else:
            found[_shown(path.name)] = path
    return found, passed


def _walk(folder: Path, passed: list[str]) -> Iterator[Path]:
    """The plain files under `folder` that are read; links are not followed. The others' names come to `passed`."""
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            file = Path(parent, name)
            if _is_hidden(name):
                continue
            if file.is_symlink() or not file.is_file() or not is_wanted(file):
                passed.append(name)
            elif suffix_of(name) not in CODE_SUFFIXES or file.stat().st_size:  # an empty __init__.py is no failure
                yield file


def benchmark_files(names: Iterable[str]) -> set[str]:
    """Of these paths those that belong to a benchmark's corpus and are no documents: BEIR's queries and judgements."""
    by_folder: dict[str, set[str]] = {}
    for name in names:
        by_folder.setdefault(str(PurePosixPath(name).parent), set()).add(name)
    found: set[str] = set()
    for folder, inside in by_folder.items():
        first = {PurePosixPath(name).name.removesuffix(".gz"): name for name in inside}
        qrels = by_folder.get(str(PurePosixPath(folder, "qrels")), set())
        if qrels and "corpus.jsonl" in first and "queries.jsonl" in first:
            found |= qrels | {first["queries.jsonl"]}
    return found


def is_wanted(file: Path) -> bool:
    """Whether a file is read, or is an archive that may hold some that are."""
    try:
        return suffix_of(file.name) == ARCHIVE_SUFFIX or is_readable(file.name, lambda: file.open("rb"))
    except OSError:
        return True  # reading it says what is wrong


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def _shown(name: str) -> str:
    """The name with what no name has written out, also bytes that are no UTF-8: such a name can be kept and shown."""
    return UNFIT.sub(lambda found: f"\\x{ord(found[0]):02x}", name)
