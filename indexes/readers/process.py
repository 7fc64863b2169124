"""Any supported file → `Document`s; what is read as a whole, in a process that may hang or crash on a hostile file."""

from __future__ import annotations

import io
import os
import re
import signal
import sys
import tempfile
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import cache
from itertools import accumulate, chain, pairwise
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Any

from indexes.errors import UnreadableFileError
from indexes.files import (
    CODE_SUFFIXES,
    MAILBOX_SUFFIX,
    RECORD_SUFFIXES,
    SUPPORTED_SUFFIXES,
    WHOLE_SUFFIXES,
    is_readable,
    kind_of,
    stem_of,
    suffix_of,
)
from indexes.processes import Child, serve
from indexes.readers.mail import mails_of, read_mail
from indexes.readers.office import (
    read_book,
    read_html,
    read_notebook,
    read_rtf,
    read_slides,
    read_word,
    read_workbook,
)
from indexes.readers.pdf import read_pdf
from indexes.readers.pictures import PagePicture, draw_pages
from indexes.readers.records import read_json, read_jsonl, read_table
from indexes.readers.text import Text, guess_note, open_text, text_pieces
from indexes.types import Document

ReadOne = Callable[[Path, str], list[Document]]
_LIMIT_S = 300.0  # of one file; a PDF of 5,000 pages takes half a minute
_MAX_MEMORY = 2**33  # bytes of address space of the reading process
_GRACE_S = 10


class ReaderProcess:
    """A process that reads files one after the other, and is started anew after one on which it hung or crashed."""

    def __init__(self, limit_s: float = _LIMIT_S) -> None:
        self._limit_s = limit_s
        self._lock = Lock()
        self._child: Child | None = None

    def read(self, file: Path, source: str) -> list[Document]:
        """The documents in `file`; raises `UnreadableFileError`, also if it takes longer than the limit."""
        told = self._ask({"file": str(file.resolve()), "source": source})
        return [Document(**each | {"page_starts": tuple(each["page_starts"])}) for each in told["documents"]]

    def draw(self, file: Path, page: int, text: str) -> list[PagePicture]:
        """The pages of a PDF from `page` on that `text` stands on; raises `UnreadableFileError` as `read` does."""
        told = self._ask({"file": str(file.resolve()), "page": page, "text": text})
        return [
            PagePicture(**each | {"webp": b64decode(each["webp"]), "marks": tuple(map(tuple, each["marks"]))})
            for each in told["pages"]
        ]

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        try:
            with self._lock:
                if self._child is None or self._child.status is not None:
                    self._child = Child(__name__)
                told = self._child.ask(question | {"limit_s": self._limit_s}, self._limit_s)
            if "unreadable" in told:
                raise UnreadableFileError(str(told["unreadable"]))
            return told
        except TimeoutError:
            raise UnreadableFileError(
                f"Reading took more than {self._limit_s:g} seconds and was given up. The file is damaged, or made to "
                "be slow; save it again or split it."
            ) from None
        except EOFError:
            raise UnreadableFileError(
                "The reader failed on the file: it is damaged, or too large. Open it and save it again, or split it."
            ) from None


@cache
def shared_reader(process_id: int) -> ReaderProcess:
    """The reader of the process with this id; a fork does not share its parent's."""
    return ReaderProcess()


def read_apart(file: Path, source: str) -> list[Document]:
    """The documents in `file`, read by the reader of this process."""
    return shared_reader(os.getpid()).read(file, source)


def main() -> None:
    """Answers what a `ReaderProcess` asks."""
    _limit_memory()
    serve(_answer)


def _answer(asked: dict[str, Any]) -> dict[str, Any]:
    signal.alarm(int(asked["limit_s"] + _GRACE_S))  # also when the one that asked has died and cannot end us
    try:
        file = Path(asked["file"])
        if "page" not in asked:
            return {"documents": [asdict(document) for document in read_one(file, asked["source"])]}
        drawn = draw_pages(file, asked["page"], asked["text"])
        return {"pages": [asdict(each) | {"webp": b64encode(each.webp).decode("ascii")} for each in drawn]}
    except Exception as error:  # noqa: BLE001  # one bad file never stops the rest
        return {"unreadable": str(_unreadable(error))}
    finally:
        signal.alarm(0)


def _unreadable(error: Exception) -> UnreadableFileError:
    """What to say of any `error`: hostile bytes reach corners of every parser that raise anything."""
    if isinstance(error, UnreadableFileError):
        return error
    said = "it is damaged, or of a kind that is not known here. Open and save it again."
    return UnreadableFileError(f"The reader failed on the file ({type(error).__name__}): {said}")


def _limit_memory() -> None:
    if sys.platform == "linux":
        import resource

        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY, _MAX_MEMORY))


NO_TEXT = "The file contains no text."
_READERS: dict[str, Callable[[Path], Text]] = {
    ".pdf": read_pdf,
    ".pptx": read_slides,
    ".xlsx": read_workbook,
    ".docx": read_word,
    ".epub": read_book,
    ".html": read_html,
    ".htm": read_html,
    ".rtf": read_rtf,
    ".ipynb": read_notebook,
}
_LITTLE, _MUCH = 200, 2**16  # characters out of a file of that many bytes: nearly all of it was not text


def read_one(file: Path, source: str) -> list[Document]:
    """The documents in `file`, of which a mail with attachments has several; `UnreadableFileError` if none has text."""
    try:
        return _read_one(file, source)
    except Exception as error:
        raise _unreadable(error) from error


def _read_one(file: Path, source: str) -> list[Document]:
    attached: list[tuple[str, bytes]] = []
    if suffix_of(source) == ".eml":
        read, attached = read_mail(file)
    else:
        read = _READERS[suffix_of(source)](file)
    if not read.text.strip():
        raise UnreadableFileError(NO_TEXT)
    found, notes = _read_attachments(attached, source, read.title)
    n_bytes = file.stat().st_size
    if len(read.text) < _LITTLE and n_bytes > _MUCH and not found:
        notes.append(f"Only {len(read.text)} characters of text were found in {n_bytes / 2**10:,.0f} KiB.")
    note = " ".join(filter(None, (read.note, *notes)))
    known = asdict(read) | {"title": read.title or stem_of(source), "note": note}
    return [Document(id=source, source=source, **known), *found]


def _read_attachments(attached: list[tuple[str, bytes]], source: str, mail: str) -> tuple[list[Document], list[str]]:
    """The documents in what is attached to a mail, named under it, and a sentence for each file that is not read."""
    found, notes, unread = [], [], []
    for name, content in attached:
        if not is_readable(name, lambda content=content: io.BytesIO(content)):  # type: ignore[misc]
            unread.append(name)
            continue
        try:
            with tempfile.TemporaryDirectory(prefix="attached-") as folder:
                file = Path(folder, "attachment")
                file.write_bytes(content)
                for document in read_file(file, name, read_one):
                    title = " › ".join(filter(None, (mail, document.title)))
                    found.append(replace(document, id=f"{source}#{document.id}", source=source, title=title))
        except UnreadableFileError as error:
            notes.append(f"Attachment '{name}': {error}")
    return found, [*notes, f"Attached and not read: {', '.join(unread)}."] if unread else notes


def read_file(file: Path, source: str, read_one: ReadOne) -> Iterator[Document]:
    """The documents in `file`, one at a time; `read_one` reads what has to be read as a whole."""
    suffix = suffix_of(source)
    if not is_readable(source, lambda: file.open("rb")):
        supported = ", ".join((*SUPPORTED_SUFFIXES, ".zip"))
        raise UnreadableFileError(f"'{suffix or source}' files cannot be read; supported: {supported}.")
    if file.stat().st_size == 0:
        raise UnreadableFileError("The file is empty.")
    packed = suffix.endswith(".gz")
    plain = suffix.removesuffix(".gz")
    if plain in WHOLE_SUFFIXES:
        return iter(read_one(file, source))
    if plain == MAILBOX_SUFFIX:
        return _read_mailbox(file, source, read_one)
    if plain == ".jsonl":
        return read_jsonl(file, source, packed=packed)
    if plain == ".json":
        return read_json(file, source, packed=packed)
    if plain in RECORD_SUFFIXES:
        return read_table(file, source, delimiter="\t" if plain == ".tsv" else None, packed=packed)
    return _read_text(file, source, packed=packed)


def _read_mailbox(file: Path, source: str, read_one: ReadOne) -> Iterator[Document]:
    """The mails of a mailbox, each read as a file of its own; the last one tells which could not be read."""
    last, unread = None, []
    with tempfile.TemporaryDirectory(prefix="mailbox-") as folder:
        mail = Path(folder, "mail.eml")
        for number, content in enumerate(mails_of(file), start=1):
            mail.write_bytes(content)
            try:
                for document in read_one(mail, f"{source}:{number}.eml"):
                    if last:
                        yield last
                    name = document.id.replace(f":{number}.eml", f":{number}", 1)
                    last = replace(document, id=name, source=source)
            except UnreadableFileError as error:
                unread.append(f"mail {number}: {error}")
    if not last:
        raise UnreadableFileError("The name says mailbox (.mbox), but there is no mail in it that can be read.")
    note = f"{len(unread)} mails could not be read; the first is {unread[0]}" if unread else ""
    yield replace(last, note=" ".join(filter(None, (last.note, note))))


def _read_text(file: Path, source: str, *, packed: bool) -> Iterator[Document]:
    """The text as one document; a long one as several, whose ids say at which character each begins."""
    title = PurePosixPath(source).name if suffix_of(source) in CODE_SUFFIXES else stem_of(source)
    offset = n_read = 0
    with open_text(file, packed=packed) as text:
        pieces = text_pieces(text)
        first, second = next(pieces), next(pieces, None)
        if second is None:
            if not first.strip():
                raise UnreadableFileError(NO_TEXT)
            yield Document(id=source, source=source, title=title, text=first, note=guess_note(text))
            return
        for number, piece in enumerate(chain((first, second), pieces), start=1):
            if piece.strip():
                n_read += 1
                part = f"{title} (part {number})"
                yield Document(id=f"{source}@{offset}", source=source, title=part, text=piece, note=guess_note(text))
            offset += len(piece)
    if not n_read:
        raise UnreadableFileError(NO_TEXT)


# Raised whenever a reader or the splitter makes other passages of the same file: what was read before is read again.
READING = 4
# What is shown as nothing, and would keep a word from being found, and what no store or tokenizer takes.
_UNSEEN = re.compile("[\x00\x01-\x08\x0e-\x1a\x1c-\x1f\x7f\u00ad\u200b\u2060\ufeff\ufffe\uffff]")
_NUL = "\x00"


def read_documents(file: Path, source: str, read_one: ReadOne = read_apart) -> Iterator[Document]:
    """The documents in `file`, one at a time; each has its kind, and the day of the file if it names none itself.

    A file is one document. Every record of a csv, tsv, json or jsonl file is one too, and so is every mail of a
    mailbox, every attachment that is read, and every stretch of about a million characters of a longer text. `read_one`
    reads what has to be read as a whole. Raises `UnreadableFileError` with a sentence for people when the file is
    empty, has no text, or is not what its name says.
    """
    moment = file.stat().st_mtime
    day = datetime.fromtimestamp(moment, UTC).date().isoformat() if 0 <= moment < 2**37 else ""
    for document in read_file(file, source, read_one):
        kind, date = kind_of(source), document.date or day
        yield replace(_clean(document), kind=kind, date=date)


def _clean(document: Document) -> Document:
    """The document without what nobody sees and neither SQLite nor a tokenizer takes; NULs are counted in its note."""
    starts = document.page_starts or (0,)
    pages = [_storable(document.text[a:b]) for a, b in pairwise((*starts, len(document.text)))]
    n_nul = document.text.count(_NUL)
    said = f"{n_nul} character{'s' * (n_nul != 1)} without meaning (NUL) left out." if n_nul else ""
    return replace(
        document,
        id=_storable(document.id),
        title=_storable(document.title),
        text="".join(pages),
        page_starts=tuple(accumulate(map(len, pages[:-1]), initial=0)) if document.page_starts else (),
        note=" ".join(filter(None, (document.note, said))),
    )


def _storable(text: str) -> str:
    return _UNSEEN.sub("", text.encode("utf-8", "replace").decode())
