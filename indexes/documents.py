"""Any supported file → `Document`s."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import accumulate, pairwise
from pathlib import Path

from indexes.files import kind_of
from indexes.readers.process import ReadOne, read_apart, read_file
from indexes.types import Document

# Raised whenever a reader or the splitter makes other passages of the same file: what was read before is read again.
READING = 3
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
