"""Bytes → text, whole or piece by piece: what encoding a file has, gzip, and where a long text may be cut."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from indexes.encodings import guess_encoding, looks_like_text, unmarked_utf16
from indexes.errors import UnreadableFileError
from indexes.files import MAX_RATIO, SMALL

MAX_PIECE = 2**20  # characters of a text that are held at once; a longer one is read piece by piece
MAX_WHOLE = 2**26  # bytes of a file whose format has to be read whole
MAX_UNPACKED = 2**34  # bytes that a gzip file may unpack to
_CHUNK = 2**20
_BINARY = "The name says text, but the content is binary."
_MAGIC = {
    b"%PDF-": "a PDF",
    b"PK\x03\x04": "a zip archive or an Office document",
    b"\xd0\xcf\x11\xe0": "an old or password-protected Office document",
    b"\x1f\x8b": "packed by gzip",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"GIF8": "a picture",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """What a reader found in one file: the fields of a `Document` that only the file knows."""

    text: str
    title: str = ""
    page_starts: tuple[int, ...] = ()
    date: str = ""
    note: str = ""


def guess_note(text: TextIO) -> str:
    """That the encoding of an opened text was guessed, as a sentence; "" where the bytes leave no doubt."""
    is_told = text.encoding.startswith("utf-")
    return "" if is_told else f"The encoding is not told by the file; it was read as {text.encoding}."


def read_whole(file: Path) -> bytes:
    """The bytes of a file whose format cannot be read in pieces; a sentence when they are too many."""
    n_bytes = file.stat().st_size
    if n_bytes > MAX_WHOLE:
        raise UnreadableFileError(
            f"The file has {n_bytes / 2**20:,.0f} MiB, and this format is read up to {MAX_WHOLE // 2**20} MiB: split "
            "it, or save it as plain text (.txt), which may have any length."
        )
    return file.read_bytes()


def decode_text(content: bytes) -> str:
    """`content` as text: UTF-8 (or UTF-16 by its mark) if it is that, otherwise the likeliest encoding."""
    return io.TextIOWrapper(io.BytesIO(content), encoding=_encoding(iter([content])), errors="replace").read()


@contextmanager
def open_text(file: Path, *, packed: bool) -> Iterator[TextIO]:
    """The text of a file, opened to be read from its beginning; every end of line is a line feed."""
    try:
        with _open_bytes(file, packed=packed) as opened:
            encoding = _encoding(_chunks(opened, file.stat().st_size if packed else None))
        with (
            _open_bytes(file, packed=packed) as opened,
            io.TextIOWrapper(opened, encoding=encoding, errors="replace") as text,
        ):
            yield text
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UnreadableFileError("The name says gzip (.gz), but the content is damaged or something else.") from error


def text_pieces(text: TextIO, most: int = MAX_PIECE) -> Iterator[str]:
    """The text in pieces of at most `most` characters, cut after a paragraph, a line or a word if there is any."""
    held = ""
    while True:
        held += text.read(most - len(held) + 1)
        if len(held) <= most:
            yield held
            return
        cut = _last_break(held, most)
        yield held[:cut]
        held = held[cut:]


def _last_break(held: str, most: int) -> int:
    for separator in ("\n\n", "\n", " "):
        found = held.rfind(separator, most // 2, most)
        if found >= 0:
            return found + len(separator)
    return most


def _open_bytes(file: Path, *, packed: bool) -> BinaryIO:
    return cast(BinaryIO, gzip.open(file, "rb")) if packed else file.open("rb")


def _chunks(opened: BinaryIO, n_packed: int | None) -> Iterator[bytes]:
    n_read = 0
    while chunk := opened.read(_CHUNK):
        n_read += len(chunk)
        if n_packed is not None and (n_read > MAX_UNPACKED or (n_read > SMALL and n_read > MAX_RATIO * n_packed)):
            raise UnreadableFileError(
                f"The file unpacks to more than {MAX_RATIO} times its size or {MAX_UNPACKED // 2**30} GiB, as a bomb "
                "does. Unpack it yourself if you trust it."
            )
        yield chunk


def _encoding(chunks: Iterator[bytes]) -> str:
    """The encoding of the text whose bytes come in `chunks`; all of them are looked at, one is held at a time."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    guess, first, chunk = "", True, b""
    for chunk in chunks:
        if first and (known := _marked(chunk) or unmarked_utf16(chunk)):
            return known
        first = False
        if not looks_like_text(chunk):
            raise UnreadableFileError(_BINARY)
        guess = guess or _guess_unless_utf8(decoder, chunk)
    return guess or _guess_unless_utf8(decoder, b"", before=chunk) or "utf-8-sig"


def _guess_unless_utf8(decoder: codecs.IncrementalDecoder, chunk: bytes, before: bytes = b"") -> str:
    try:
        decoder.decode(chunk, final=not chunk)
    except UnicodeDecodeError:
        return _guess(chunk or before)
    return ""


def _marked(head: bytes) -> str:
    """The encoding that a byte-order mark names, "" without one; other formats are told by their first bytes."""
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    for magic, what in _MAGIC.items():
        if head.startswith(magic):
            raise UnreadableFileError(f"The name says text, but the content is {what}. Give the file its right name.")
    return ""


def _guess(chunk: bytes) -> str:
    text = chunk.decode("utf-8", errors="replace")
    n_bad = text.count("\ufffd")
    if 10 * n_bad < sum(character > "\x7f" for character in text) - n_bad:
        return "utf-8-sig"  # some damaged bytes in what is UTF-8 for the most part
    if guess := guess_encoding(chunk):
        return guess
    raise UnreadableFileError("The text's encoding cannot be told; save the file as UTF-8.")
