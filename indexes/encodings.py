"""Bytes → the encoding of the text that they are: told by their shape, otherwise guessed by its words."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Sequence
from unicodedata import category, name

_CONTROLS = bytes({*range(1, 32), 127} - set(b"\b\t\n\v\f\r\x1b"))  # bytes that no text has many of
_COMMON = re.compile(r"[\x20-\x7e\r\n\u3000-\u3002\uff0c]")
_SAMPLE = 2**16  # bytes
_SENTENCE = re.compile(rb"\n|(?<=[.?!]) ")
_WORD = re.compile(r"[^\W\d_]{2,}")
_ODD = re.compile(r"[^\W\d_][‚„…†‡‰¡-¬®-¶¸-¿×÷˘-˝─-◿][^\W\d_]|[a-zß-ÿ][A-ZÀ-ÞŠŒŽ][a-zß-ÿ]")
_SCRIPTS = {"LATIN", "CYRILLIC", "GREEK", "ARABIC", "HEBREW", "THAI"}
_RARE = ("iso8859", "mac", "cp4", "cp7", "cp8")
# UTF-8 it is not, whoever asks; and of the Macintosh's, these are found where Western European is meant.
_NEVER = ("utf-8", "utf-8-sig", "utf-7", "mac-latin2", "mac-turkish", "mac-iceland")
# What Windows writes names into an archive with, by country.
_DOS = (
    "cp437", "cp850", "cp852", "cp866", "cp737", "cp857", "cp862", "cp874", "cp932", "gb18030", "big5hkscs", "cp949",
)  # fmt: skip


def looks_like_text(head: bytes) -> bool:
    """Whether these bytes may be text in some encoding: a NUL here and there is no matter, other controls are."""
    filled = head.replace(b"\x00", b"")
    return (bool(filled) and 50 * _n_controls(filled) <= len(filled)) or bool(unmarked_utf16(head))


def _n_controls(content: bytes) -> int:
    return len(content) - len(content.translate(None, _CONTROLS))


def unmarked_utf16(head: bytes) -> str:
    """UTF-16 in the byte order in which the common characters are many, "" if these bytes are something else.

    Only what has NULs or other control bytes comes into question: every blank and every end of line has one.
    """
    sample = head[:_SAMPLE]
    filled, n_nul = sample.replace(b"\x00", b""), sample.count(0)
    if n_nul + _n_controls(filled) < max(2, len(sample) // 100):
        return ""
    if 4 * n_nul < len(sample) and 50 * _n_controls(filled) <= len(filled) and _decoded(filled, "utf-8"):
        return ""  # text as it is, with some NULs in it
    common = {}
    for encoding in ("utf-16-le", "utf-16-be"):
        text = _decoded(sample, encoding)
        n_strange = sum(category(c)[0] == "C" and not c.isspace() for c in text)
        common[encoding] = 0 if 50 * n_strange > len(text) else len(_COMMON.findall(text))
    best = max(common, key=lambda encoding: common[encoding])
    return best if common[best] > len(sample) // 200 else ""


def guess_encoding(content: bytes) -> str:
    """The likeliest encoding of text that is no UTF-8, "" if there is none; sentences in plain ASCII tell nothing."""
    from chardet import EncodingEra, detect_all

    sample = b"\n".join(each for each in _SENTENCE.split(content) if not each.isascii())[:_SAMPLE]
    eras = EncodingEra.MODERN_WEB | EncodingEra.LEGACY_ISO | EncodingEra.LEGACY_MAC | EncodingEra.DOS
    found = detect_all(sample, ignore_threshold=True, encoding_era=eras, exclude_encodings=_NEVER, compat_names=False)
    return _likeliest(sample, found, usual=("cp1252",), rare=_RARE)


def guess_names(names: Sequence[bytes]) -> str:
    """The one encoding of the names in an archive that does not say it."""
    from chardet import detect_all

    sample = b"\n".join(names)
    if _decoded(sample, "utf-8") or sample.isascii():
        return "utf-8"
    found = detect_all(sample, ignore_threshold=True, include_encodings=_DOS, compat_names=False)
    return _likeliest(sample, found, usual=("cp437", "cp850")) or "cp437"


def _likeliest(sample: bytes, found: Iterable[object], usual: Sequence[str], rare: tuple[str, ...] = ("-",)) -> str:
    """The best of what was `found`, the `usual` ones before others, and those in which words look odd last."""
    weights: dict[str, float] = {}
    for each in found:
        encoding, confidence = str(each["encoding"]), float(each["confidence"])  # type: ignore[index]
        if text := _decoded(sample, encoding):
            commonness = 1.4 if encoding in usual else 0.7 if encoding.startswith(rare) else 1.0
            weights[encoding] = confidence * commonness * (0.3 if _is_odd(text) else 1.0)
    return max(weights, key=lambda encoding: weights[encoding], default="")


def _decoded(sample: bytes, encoding: str) -> str:
    """The text, whose last character may be cut; "" if this is not its encoding."""
    try:
        return codecs.getincrementaldecoder(encoding)().decode(sample)
    except (LookupError, UnicodeDecodeError):
        return ""


def _is_odd(text: str) -> bool:
    """Whether a word has a sign or a capital in the midst of it, or letters of two scripts."""
    scripts = ({name(c, "").split(" ")[0] for c in word} & _SCRIPTS for word in set(_WORD.findall(text)))
    return bool(_ODD.search(text)) or any(len(found) > 1 for found in scripts)
