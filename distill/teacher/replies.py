"""What a reply of the LLM said about the order of passages: pure."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "repaired", "partial", "refused"]  # from best to worst

_LONGEST_REPLY = 20_000  # characters that are read, from the end: what is longer is no order
_THINKING = re.compile(
    r"<(think|thinking|thought|reasoning)>.*?(?:</\1>|\Z)|\A.*</(?:think|thinking|thought|reasoning)>",
    re.DOTALL | re.IGNORECASE,
)
_NUMBER_WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_N = r"(?<!\d)\d{1,6}(?!\d)"
_NAME = rf"(?:passage|document|text|snippet|item)s?\s*(?:number\s*|no\.?\s*|nr\.?\s*|#\s*)?\[?({_N})\]?"
_CHAIN = re.compile(rf"(?:\[\s*{_N}\s*\]|{_N})(?:\s*[>≻→»=≈~]+\s*(?:\[\s*{_N}\s*\]|{_N}))+")
_COMMAS = re.compile(rf"(?:\[\s*{_N}\s*\]|{_N})(?:\s*,\s*(?:\[\s*{_N}\s*\]|{_N}))+")
_LIST_ITEM = re.compile(
    rf"^\s*{_N}[.):]\s*(?:(?:passage\s*)?\[({_N})\].*|passage\s+({_N})\b.*|({_N})\s*)$", re.MULTILINE | re.IGNORECASE
)
_ELEMENT = re.compile(rf"{_N}|\"[^\"\n]{{1,40}}\"|'[^'\n]{{1,40}}'")
_JSON_LIST = re.compile(rf"\[\s*((?:{_ELEMENT.pattern})(?:\s*,\s*(?:{_ELEMENT.pattern}))+)\s*\]")
_BRACKETED = re.compile(rf"\[\s*({_N}(?:\s*,\s*{_N})*)\s*\]")
_NAMED = re.compile(rf"\b{_NAME}", re.IGNORECASE)
_LONE = re.compile(rf"\[\s*({_N})\s*\]|({_N})")
_LEADING = re.compile(rf"\A\[\s*({_N})\s*\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Permutation:
    """The positions (from 0) that the LLM named, best first, and how far the reply could be trusted.

    ok: every position exactly once, in the form asked for. repaired: every position, after repeats or strangers were
    dropped or another form was read. partial: only some positions. refused: fewer than two.
    """

    order: tuple[int, ...]
    status: Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The one position (from 0) that the LLM named, None if it named none or several."""

    position: int | None
    status: Status


def parse_permutation(reply: str, n: int) -> Permutation:
    """The order of `n` passages in `reply`, which names them [1] to [n].

    Only what was said is returned: a missing tail is never filled in, because it would teach the order in which the
    passages happened to stand.
    """
    numbers, as_asked = _ordered_numbers(_plain(reply), n)
    order = tuple(dict.fromkeys(number - 1 for number in numbers if 1 <= number <= n))
    if len(order) < min(2, n):
        return Permutation(order=(), status="refused")
    if len(order) < n:
        return Permutation(order=order, status="partial")
    return Permutation(order=order, status="ok" if as_asked and len(numbers) == n else "repaired")


def parse_choice(reply: str, n: int) -> Choice:
    """Which of `n` passages `reply` names as the best: the one it begins with in brackets, or the only one it names."""
    text = _plain(reply)
    if leading := _LEADING.match(text):
        named = {int(leading[1])}
    elif bracketed := _BRACKETED.findall(text):
        named = {number for group in bracketed for number in _integers(group)}
    else:
        named = set(_integers(" ".join(match[0] for match in _LONE.finditer(text))))
    if len(named) != 1 or not 1 <= (number := named.pop()) <= n:
        return Choice(position=None, status="refused")
    as_asked = text.rstrip(".") in (f"[{number}]", str(number))
    return Choice(position=number - 1, status="ok" if as_asked else "repaired")


def _plain(reply: str) -> str:
    """What the LLM said for all to hear, its digits and brackets in ASCII and without Markdown's emphasis."""
    text = _THINKING.sub("", reply[-_LONGEST_REPLY:])
    text = unicodedata.normalize("NFKC", text).translate(str.maketrans("【】〔〕〉", "[][]>", "*`"))
    foreign = [c for c in set(text) if not c.isascii() and c.isdecimal()]
    return text.translate({ord(c): str(unicodedata.decimal(c)) for c in foreign}).strip()


def _ordered_numbers(text: str, n: int) -> tuple[list[int], bool]:
    """Passage numbers in order of mention, and whether they came as [2] > [1] > … and nothing else."""
    if listed := _json_numbers(text):
        return listed, False
    if chain := _longest(_CHAIN, text):
        if re.search(r"[=≈~]", chain):
            return [], False  # a tie is no order, and either way to read it would be made up
        return _integers(chain), "[" in chain and ">" in chain and chain == text.rstrip(".")
    if items := [next(filter(None, groups)) for groups in _LIST_ITEM.findall(text)]:
        return [int(item) for item in items], False
    bracketed = [number for group in _BRACKETED.findall(text) for number in _integers(group)]
    if bracketed:
        return _prose(bracketed, n, alone=not re.search(r"\w", _BRACKETED.sub("", text))), False
    if named := _NAMED.findall(_digits_for_words(text)):
        return _prose([int(number) for number in named], n, alone=False), False
    return _integers(_longest(_COMMAS, text)), False


def _prose(numbers: list[int], n: int, *, alone: bool) -> list[int]:
    """`numbers` that stand between words, unless they are more likely a description than an order.

    An order names each passage once, and as the passages were shuffled, hardly ever in the order of the prompt.
    """
    if alone or (len(set(numbers)) == len(numbers) and not (n > 2 and numbers == sorted(numbers))):
        return numbers
    return []


def _longest(form: re.Pattern[str], text: str) -> str:
    """The longest match of `form`, the last one of several: replies end with what they decided on."""
    return max((match[0] for match in reversed(list(form.finditer(text)))), key=lambda found: len(found), default="")


def _integers(text: str) -> list[int]:
    return [int(number) for number in re.findall(_N, text)]


def _digits_for_words(text: str) -> str:
    values = {word: str(value) for value, word in enumerate(_NUMBER_WORDS, start=1)}
    words = "|".join(_NUMBER_WORDS)
    return re.sub(rf"\b(passage|document)\s+({words})\b", lambda m: f"{m[1]} {values[m[2].lower()]}", text, flags=re.I)


def _json_numbers(text: str) -> list[int]:
    """The numbers of the longest JSON list in `text` whose elements name one passage each, [] without any."""
    lists = [_ELEMENT.findall(found[1]) for found in _JSON_LIST.finditer(text)]
    numbers = [[_integers(element) for element in elements] for elements in lists]
    whole = [[each[0] for each in found] for found in numbers if all(len(each) == 1 for each in found)]
    return max(reversed(whole), key=len, default=[])
