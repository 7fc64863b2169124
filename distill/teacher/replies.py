"""What a reply of the LLM says about the order of passages, and which end of it is the best: pure."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from distill.llm.reply_cache import without_thinking
from distill.records import ReplyStatus

Direction = Literal["", "best first", "worst first", "unclear"]

_UP = (
    r"ascending|increasing|rising|(?:auf)?steigend\w*|zunehmend\w*|croissante?s?|ascendante?s?|ascendentes?|crecientes?"
)
_DOWN = (
    r"descending|decreasing|falling|(?:ab)fallend\w*|absteigend\w*|abnehmend\w*|décroissante?s?|descendante?s?"
    r"|descendentes?|decrecientes?"
)
_ORDER = (
    r"order\w*|sort\w*|rank\w*|list\w*|relevanc\w+|usefulness|scores?|reihenfolge|relevanz|geordnet|ordre|pertinence"
    r"|classement|orden\w*|relevancia|pertinencia"
)
_BEST = (
    r"best|most|highest|strongest|top|beste\w*|relevanteste\w*|meisten|wichtigste\w*|höchste\w*|meilleure?s?|plus"
    r"|mejor(?:es)?|más|mayor"
)
_WORST = (
    r"worst|least|lowest|weakest|poorest|schlechteste\w*|wenigsten|unwichtigste\w*|irrelevanteste\w*|niedrigste\w*"
    r"|pires?|moins|peor(?:es)?|menos|menor"
)
_FIRST = r"first|zuerst|zunächst|d'abord|en premi(?:er|ère)|primero"
_LAST = r"last|zuletzt|en derni(?:er|ère)|al final"
_TO = r"(?:\b(?:to|through|up|bis|zu[mr]?|à|aux?|al?|hacia)\b|->|→|–)"
_BEGIN = r"(?:start|begin)\w* (?:with|from|at)|beginnend mit|en commençant par|empezando por"
_END = r"ending with|endend mit|en finissant par|terminando (?:en|con)"
_GAP = r"[^.;:!?\n\[\]<>]{0,40}?"
_FEW_WORDS = rf"(?:[^\w.;:!?\n]+(?!(?:{_FIRST}|{_LAST})\b)\w+){{0,3}}[^\w.;:!?\n]+"


def _announced(order: str, first: str, last: str, chinese: str) -> re.Pattern[str]:
    """Words that say that what is `first` stands first; `order` are adjectives for it."""
    return re.compile(
        rf"\b(?:{first})\b{_GAP}{_TO}{_GAP}\b(?:{last})\b"
        rf"|\b(?:{first})\b{_FEW_WORDS}(?:{_FIRST})\b|\b(?:{last})\b{_FEW_WORDS}(?:{_LAST})\b"
        rf"|\b(?:{_BEGIN})\b{_FEW_WORDS}(?:{first})\b|\b(?:{_END})\b{_FEW_WORDS}(?:{last})\b"
        rf"|\b(?:{order})\b(?:\W+\w+){{0,3}}?\W+(?:{_ORDER})\b|\b(?:{_ORDER})\b(?:\W+\w+){{0,3}}?\W+(?:{order})\b"
        rf"|\b(?:{order})\W*\Z|\A\W*(?:{order})\b|{chinese}"
    )


_WORST_FIRST = _announced(_UP, _WORST, _BEST, r"\blow to high\b|升序|昇順|[从由](?:最)?(?:低|差|不相关)到")
_BEST_FIRST = _announced(_DOWN, _BEST, _WORST, r"\bhigh to low\b|降序|降順|[从由](?:最)?(?:高|好|相关)到")
_UNCLEAR = re.compile(
    rf"\b(?:reversed?|inverted) (?:order|ranking|list)|\border (?:is )?reversed|umgekehrte\w* reihenfolge|ordre inverse"
    rf"|orden inverso|\b(?:{_UP})\b{_GAP}\b(?:rank|place|position|number|distance|ids?)\b(?! of relevance)"
)
_NEGATION = re.compile(
    r"\b(?:not(?! only)|none|neither|nor|never|no(?! doubt)|cannot|without|irrelevant\w*|unrelated|useless|unhelpful"
    r"|nicht|nichts|kein\w*|weder|unpassend\w*|ne|n'\w+|pas|aucune?s?|ni|non|hors sujet|ningun[oa]s?|ningún"
    r"|tampoco)\b|n't\b|不"
)
_RULED_OUT = re.compile(
    r"\b(?:not|no|none|neither|nor|never|cannot|nicht|kein\w*|weder|ne|pas|ni|non)\b(?:\W+\w+){0,3}?\W+(?:answer\w*"
    r"|relevan\w*|related|useful|helpful|matter\w*|help\w*|beantwort\w*|antwort\w*|hilf\w*|pertinent\w*|répond\w*"
    r"|respond\w*|útil\w*)|n't (?:really )?(?:answer|help|relat|matter)\w*|\birrelevant\w*|\bunrelated|\buseless"
    r"|hors sujet|\A\W*(?:(?:is|are|was|do|does|did|can|could|ist|sind|kann)\W+)?(?:not|nor|nicht|ne|no)\b"
    r"|\A\W*\w+n't\b"
)
_NEXT_BEST = re.compile(r"\b(?:second|next|third|fourth)[ -]best\b")
_BEST_WORD = re.compile(rf"\b(?:{_BEST}|better|first|perfect\w*|ideal\w*)\b")
_WORST_WORD = re.compile(rf"\b(?:{_WORST})\b")
_SLIGHTED = re.compile(rf"\b(?:{_WORST}|worse|poor\w*|bad|behind|below|than)\b")
_AMOUNT = re.compile(r"\bat (?:least|most|best)\b|\bau moins\b|\b(?:al|por lo) menos\b|\bbut not least\b")
_LESS = re.compile(r"\b(?:less|weaker|lower)\b")
MENTION = "\0"
_CLAUSE = re.compile(r"[.,;:!?\n]|\b(?:and|but|while|whereas|und|aber|während|et|mais|y|pero)\b")
_IN_ORDER = re.compile(
    r"\b(?:first|then|next|followed|second|third|finally|lastly|last|best|most|better|zuerst|dann|danach|gefolgt|puis"
    r"|ensuite|suivi|luego|después|seguido)\b"
)


def words(text: str) -> str:
    """`text` as the patterns here take it."""
    return _AMOUNT.sub(
        "", _NEXT_BEST.sub("second", re.sub(r"[_\-’]", lambda m: "'" if m[0] == "’" else " ", text.lower()))
    )


def announced(before: str, after: str) -> Direction:
    """Which end of an order the text right `before` and `after` it says is the best; "" if it says nothing."""
    said = [words(before), words(after)]
    worst_first = any(_WORST_FIRST.search(text) for text in said)
    best_first = any(_BEST_FIRST.search(text) for text in said)
    if any(_UNCLEAR.search(text) for text in said) or (worst_first and best_first):
        return "unclear"
    return "worst first" if worst_first else "best first" if best_first else ""


def negated(text: str) -> bool:
    """Whether `text` says of something that it is not so."""
    return _NEGATION.search(words(text)) is not None


def rules_out(text: str) -> bool:
    """Whether what follows a passage says that it is no answer."""
    return _RULED_OUT.search(words(text)) is not None


def names_worst(text: str) -> bool:
    """Whether `text` is about the worst and not about the best."""
    text = words(text)
    return _WORST_WORD.search(text) is not None and _BEST_WORD.search(text) is None


def names_best(text: str) -> bool:
    """Whether `text` is about the best and not about the worst."""
    text = words(text)
    return _BEST_WORD.search(text) is not None and _WORST_WORD.search(text) is None


def tells_best_first(text: str) -> bool:
    """Whether sentences in which `MENTION` stands for each passage tell an order, best first.

    Something has to say that it is an order, and nothing is denied. What is praised is the first of them, what is
    slighted the last; to be less than another is to come after what was praised.
    """
    text = words(text)
    if _NEGATION.search(text) or not _IN_ORDER.search(text):
        return False
    n, named, praised = text.count(MENTION), 0, False
    for clause in _CLAUSE.split(text):
        here = clause.count(MENTION)
        named += here
        praises = _BEST_WORD.search(clause) is not None
        if praises and not (named <= 1 or named == here):
            return False
        if _SLIGHTED.search(clause) and (here > 1 or named < n):
            return False
        if _LESS.search(clause) and not praised:
            return False
        praised |= praises
    return True


_LONGEST_REPLY = 20_000  # characters that are read, from the end: what is longer is no order
_NUMBER_WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_N = r"(?<!\d)\d{1,6}(?!\d)"
_NAME = rf"(?:passage|document|text|snippet|item)s?\s*(?:number\s*|no\.?\s*|nr\.?\s*|#\s*)?\[?({_N})\]?"
_CHAIN = re.compile(rf"(?:\[\s*{_N}\s*\]|{_N})(?:\s*[>≻→»<≺←«≥≤=≈~]+\s*(?:\[\s*{_N}\s*\]|{_N}))+")
_COMMAS = re.compile(rf"(?:\[\s*{_N}\s*\]|{_N})(?:\s*,\s*(?:\[\s*{_N}\s*\]|{_N}))+")
_LIST_ITEM = re.compile(
    rf"^[^\S\n]*({_N})[.):]\s*(?:(?:passage\s*)?\[({_N})\](.*)|passage\s+({_N})\b(.*)|({_N})\s*)$",
    re.MULTILINE | re.IGNORECASE,
)
_TIE, _DOWNWARDS, _UPWARDS = re.compile(r"[=≈~≥≤]"), re.compile(r"[>≻]"), re.compile(r"[<≺←«]")
_DECIMAL = re.compile(r"\d+(?:\.\d+)?")
_BEFORE, _AFTER = 400, 120  # characters around an order that may say which end of it is the best
_CONNECTORS = re.compile(
    r"\b(?:and|then|next|second|third|finally|last(?:ly)?|followed by|by|passages?|documents?|texts?|snippets?|items?"
    r"|comes?|und|dann|danach|gefolgt von|zuletzt|et|puis|ensuite|enfin|suivi de|y|luego|después|por último)\b",
    re.IGNORECASE,
)
_ELEMENT = re.compile(rf"{_N}|\"[^\"\n]{{1,40}}\"|'[^'\n]{{1,40}}'")
_JSON_LIST = re.compile(rf"\[\s*((?:{_ELEMENT.pattern})(?:\s*,\s*(?:{_ELEMENT.pattern}))+)\s*\]")
_BRACKETED = re.compile(rf"\[\s*({_N}(?:\s*,\s*{_N})*)\s*\]")
_NAMED = re.compile(rf"\b{_NAME}", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Permutation:
    """The positions (from 0) that the LLM named, best first, and how far the reply could be trusted.

    ok: every position exactly once, in the form asked for. repaired: every position, after repeats or strangers were
    dropped or another form was read. partial: only some positions. refused: fewer than two.
    """

    order: tuple[int, ...]
    status: ReplyStatus


def parse_permutation(reply: str, n: int) -> Permutation:
    """The order of `n` passages in `reply`, which names them [1] to [n].

    Only what was said is returned: a missing tail is never filled in, because it would teach the order in which the
    passages happened to stand. An order that says that its best is last is turned round; where that is not clear, or
    passages are named to be ruled out, it is refused.
    """
    numbers, as_asked = _ordered_numbers(_plain(reply), n)
    order = tuple(dict.fromkeys(number - 1 for number in numbers if 1 <= number <= n))
    if len(order) < min(2, n):
        return Permutation(order=(), status="refused")
    if len(order) < n:
        return Permutation(order=order, status="partial")
    return Permutation(order=order, status="ok" if as_asked and len(numbers) == n else "repaired")


def _plain(reply: str) -> str:
    """What the LLM said for all to hear, its digits and brackets in ASCII and without Markdown's emphasis."""
    text = without_thinking(html.unescape(reply[-_LONGEST_REPLY:]))
    text = re.sub(r"\\(?:succ|gt)\b", ">", re.sub(r"\\(?:prec|lt)\b", "<", text))
    text = unicodedata.normalize("NFKC", text).translate(str.maketrans("【】〔〕〉", "[][]>", "*`"))
    foreign = [c for c in set(text) if not c.isascii() and c.isdecimal()]
    return text.translate({ord(c): str(unicodedata.decimal(c)) for c in foreign}).strip()


def _ordered_numbers(text: str, n: int) -> tuple[list[int], bool]:
    """Passage numbers, best first, and whether they came as [2] > [1] > … and nothing else."""
    if listed := _json_list(text):
        numbers, start, end = listed
        return _turned(numbers, n, *_around(text, start, end)), False
    if chain := _longest(_CHAIN, text):
        return _of_chain(chain, text, n), "[" in chain[0] and ">" in chain[0] and chain[0] == text.rstrip(".")
    if len(items := list(_LIST_ITEM.finditer(text))) > 1:
        return _of_list(items, text, n), False
    if bracketed := list(_BRACKETED.finditer(text)):
        return _of_mentions([_Mention.of(match) for match in bracketed], text, n), False
    text = _digits_for_words(text)
    if named := list(_NAMED.finditer(text)):
        return _of_mentions([_Mention.of(match) for match in named], text, n), False
    if commas := _longest(_COMMAS, text):
        before, after = _around(text, commas.start(), commas.end())
        ruled_out = negated(_clause(before)) or rules_out(after) or names_worst(_clause(before))
        return [] if ruled_out else _turned(_integers(commas[0]), n, before, after), False
    return [], False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mention:
    """Passage numbers that stand together, and where in the text."""

    numbers: tuple[int, ...]
    start: int
    end: int

    @classmethod
    def of(cls, match: re.Match[str]) -> _Mention:
        return cls(numbers=tuple(_integers(match[1])), start=match.start(), end=match.end())


def _around(text: str, start: int, end: int) -> tuple[str, str]:
    """What stands before an order, from the passage named last, and after it in the same line."""
    before = text[max(0, start - _BEFORE) : start]
    named = list(_BRACKETED.finditer(before))
    after = text[end : end + _AFTER].lstrip("]}\"' ,")
    return before[named[-1].end() :] if named else before, re.split(r"\n|\[", after, maxsplit=1)[0]


def _clause(before: str) -> str:
    """The end of `before` that goes with what follows it."""
    return re.split(r"[.;!?\n]\s*(?=\S)", before)[-1]


def _turned(numbers: list[int], n: int, before: str, after: str) -> list[int]:
    """`numbers` with the best first, as the words around them say; [] where they are not clear."""
    if negated(_clause(before)) and announced(before, after) != "best first":
        return []
    direction = announced(before, after)
    if direction == "worst first":
        return _reversed(numbers, n)
    return [] if direction == "unclear" else numbers


def _reversed(numbers: Sequence[int], n: int) -> list[int]:
    """`numbers` from the last; [] unless they are all `n`: the worst of some say nothing of the best."""
    known = [number for number in numbers if 1 <= number <= n]
    return known[::-1] if sorted(known) == list(range(1, n + 1)) else []


def _of_chain(chain: re.Match[str], text: str, n: int) -> list[int]:
    numbers, direction = _integers(chain[0]), announced(*_around(text, chain.start(), chain.end()))
    down, up = _DOWNWARDS.search(chain[0]), _UPWARDS.search(chain[0])
    if _TIE.search(chain[0]) or (down and up) or direction == "unclear":
        return []  # a tie is no order, and either way to read it would be made up
    if up:
        return [] if direction == "best first" else _reversed(numbers, n)
    if direction == "worst first":
        return [] if down else _reversed(numbers, n)
    return numbers


def _of_list(items: Sequence[re.Match[str]], text: str, n: int) -> list[int]:
    """The passages of lines with a number each, which is their place unless words say otherwise."""
    places = [int(item[1]) for item in items]
    numbers = [int(next(filter(None, (item[2], item[4], item[6])))) for item in items]
    first, last = (next((said for said in (item[3], item[5]) if said), "") for item in (items[0], items[-1]))
    before, after = _around(text, items[0].start(), items[-1].end())
    direction = announced(before, after)
    if not direction and names_worst(first):
        direction = "worst first" if names_best(last) else "unclear"
    if direction == "unclear" or negated(_clause(before)) or (not direction and rules_out(first)):
        return []
    if all(a > b for a, b in pairwise(places)):
        return [] if direction == "best first" else _reversed(numbers, n)
    if len(set(places)) == len(places) and places != sorted(places):
        return []
    return _reversed(numbers, n) if direction == "worst first" else numbers


def _of_mentions(mentions: Sequence[_Mention], text: str, n: int) -> list[int]:
    """The passages that sentences or a loose list name, unless they are more likely a description than an order.

    An order names each passage once, and as the passages were shuffled, hardly ever in the order of the prompt.
    """
    numbers = [number for mention in mentions for number in mention.numbers]
    parts = [text[a.end : b.start] for a, b in pairwise(mentions)]
    before, after = _around(text, mentions[0].start, mentions[-1].end)
    alone = not re.search(r"\w", before + after + "".join(parts))
    if not alone and (len(set(numbers)) < len(numbers) or (n > 2 and numbers == sorted(numbers))):
        return []
    if parts and all(_UPWARDS.search(part) for part in parts):
        return _reversed(numbers, n)
    if parts and all(_DOWNWARDS.search(part) and not _UPWARDS.search(part) for part in parts):
        return numbers if announced(before, after) in ("", "best first") else []
    sides = [_DECIMAL.findall(part) for part in (_clause(before), *parts, after)]
    if any(sides[1:-1]):
        sign, said = _sign(sides), announced(before, after)
        if "unclear" in (sign, said) or (sign, said) in (("worst first", "best first"), ("scores", "worst first")):
            return []
        return _reversed(numbers, n) if "worst first" in (sign, said) else numbers
    if any(re.search(r"[^\W\d]", _CONNECTORS.sub("", part)) for part in parts):
        told = MENTION.join([before, *parts, after])
        return numbers if announced(before, after) in ("", "best first") and tells_best_first(told) else []
    if negated(_clause(before)) or rules_out(after) or (not announced(before, after) and names_worst(_clause(before))):
        return []
    return _turned(numbers, n, before, after)


def _sign(sides: Sequence[Sequence[str]]) -> str:
    """What numbers before, between and after passages are: places if one stands before each, "scores" if they fall."""
    before, after = sides[:-1], sides[1:]
    if all(before) and not sides[-1]:
        places = [float(each[-1]) for each in before]
        if sorted(places) == list(range(1, len(places) + 1)):
            return (
                "best first" if places == sorted(places) else "worst first" if places[0] == max(places) else "unclear"
            )
    if all(after) and not sides[0]:
        scores = [float(each[0]) for each in after]
        if all(a > b for a, b in pairwise(scores)) and sorted(scores) != list(range(1, len(scores) + 1)):
            return "scores"
    return "unclear"


def _longest(form: re.Pattern[str], text: str) -> re.Match[str] | None:
    """The longest match of `form`, the last one of several: replies end with what they decided on."""
    return max(reversed(list(form.finditer(text))), key=lambda found: len(found[0]), default=None)


def _integers(text: str) -> list[int]:
    return [int(number) for number in re.findall(_N, text)]


def _digits_for_words(text: str) -> str:
    values = {word: str(value) for value, word in enumerate(_NUMBER_WORDS, start=1)}
    words = "|".join(_NUMBER_WORDS)
    return re.sub(rf"\b(passage|document)\s+({words})\b", lambda m: f"{m[1]} {values[m[2].lower()]}", text, flags=re.I)


def _json_list(text: str) -> tuple[list[int], int, int] | None:
    """The longest JSON list in `text` whose elements name one passage each, and where it stands."""
    found = []
    for match in _JSON_LIST.finditer(text):
        numbers = [_integers(element) for element in _ELEMENT.findall(match[1])]
        if all(len(each) == 1 for each in numbers):
            found.append(([each[0] for each in numbers], match.start(), match.end()))
    return max(reversed(found), key=lambda each: len(each[0]), default=None)
