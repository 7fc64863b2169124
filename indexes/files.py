"""Files, folders and zip archives → the files to read, each with its source name, one at a time on disk."""

from __future__ import annotations

import os
import tempfile
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from indexes.archives import Archive
from indexes.errors import InputError, UnreadableFileError
from indexes.formats import ARCHIVE_SUFFIX, CODE_SUFFIXES, SUPPORTED_SUFFIXES, suffix_of


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
