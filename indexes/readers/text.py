"""Bytes → text, whole or piece by piece: what encoding a file has, gzip, and where a long text may be cut."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO, cast

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
    guess, first = "", True
    for chunk in chunks:
        if first and (marked := _marked(chunk)):
            return marked
        first = False
        if b"\x00" in chunk:
            raise UnreadableFileError(_BINARY)
        if not guess:
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError:
                guess = _guess(chunk)
    return guess or "utf-8-sig"


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
    from charset_normalizer import from_bytes

    text = chunk.decode("utf-8", errors="replace")
    n_bad = text.count("\ufffd")
    if 10 * n_bad < sum(character > "\x7f" for character in text) - n_bad:
        return "utf-8-sig"  # some damaged bytes in what is UTF-8 for the most part
    best = from_bytes(chunk).best()
    if best is None:
        raise UnreadableFileError("The text's encoding cannot be told; save the file as UTF-8.")
    return best.encoding
