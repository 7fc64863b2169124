"""Which files can be read, told by their names."""

from __future__ import annotations

from pathlib import PurePosixPath

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
