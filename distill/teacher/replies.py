"""What a reply of the LLM says about the order of passages: pure.

Read are the form that was asked for and lists that leave no doubt. Whatever else a reply says in words is no order: it
costs less to ask again than to teach what was not meant.
"""

from __future__ import annotations

import html
import re
import unicodedata
from dataclasses import dataclass

from distill.llm.reply_cache import without_thinking
from distill.records import ReplyStatus

_LONGEST_REPLY = 20_000  # characters that are read, from the end: what is longer is no order
_BEFORE = 400  # characters before an order that may say which end of it is the best
_N = r"(?<![\w.])\d{1,6}(?!\w|\.\d)"
_BRACKETED = rf"\[\s{{0,4}}{_N}\s{{0,4}}\]"
_PLAIN = rf"(?:\b(?:passage|document|text|snippet|item)\s{{1,4}})?{_N}"
_SIGN = r"\s{0,4}-?[>≻→»<≺←«≥≤=≈~]{1,3}-?\s{0,4}"
_COMMA = r"[\"']?\s{0,4}[,;\n]\s{0,4}(?:[-•]\s{0,4})?[\"']?"
_CHAIN = re.compile(rf"{_BRACKETED}(?:{_SIGN}{_BRACKETED})+|{_PLAIN}(?:{_SIGN}{_PLAIN})+", re.IGNORECASE)
_LIST = re.compile(rf"{_BRACKETED}(?:(?:{_COMMA}|\s?){_BRACKETED})+|{_PLAIN}(?:{_COMMA}{_PLAIN})+", re.IGNORECASE)
_LIST_ITEM = re.compile(
    rf"^[^\S\n]*(?:rank\s)?({_N})[.):]\s{{0,4}}(?:(?:passage\s)?\[({_N})\](.*)|passage\s({_N})\b(.*)|({_N})\s*)$\n?",
    re.MULTILINE | re.IGNORECASE,
)
_BEST = re.compile(
    r"\b(?:best|most|highest|strongest|top|high to low|descending|decreasing|beste\w*|meisten|höchste\w*|absteigend\w*"
    r"|meilleure?s?|plus|décroissant\w*|mejor\w*|más|mayor|descendente\w*)\b|最好|最相关|降序",
    re.IGNORECASE,
)
_WORST = re.compile(
    r"\b(?:worst|(?<!at )least|lowest|weakest|poorest|low to high|ascending|increasing|rising|revers\w*|inverted"
    r"|best\W+(?:\w+\W+)?last|irrelevant\w*|unrelated|useless|schlechteste\w*|wenigsten|niedrigste\w*|aufsteigend\w*"
    r"|umgekehrt\w*|irrelevante\w*|pires?|moins|croissant\w*|inverse|peor\w*|menos|menor|ascendente\w*|creciente\w*)\b"
    r"|最差|最不相关|升序|(?:\bnot|n't)\W+(?:\w+\W+)?(?:answer|relevan|help)",
    re.IGNORECASE,
)


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
    passages happened to stand. An order whose best may be its last, or that words around it deny, is refused.
    """
    numbers, as_asked = _ordered_numbers(_plain(reply))
    order = tuple(dict.fromkeys(number - 1 for number in numbers if 1 <= number <= n))
    if len(order) < min(2, n):
        return Permutation(order=(), status="refused")
    if len(order) < n:
        return Permutation(order=order, status="partial")
    return Permutation(order=order, status="ok" if as_asked and len(numbers) == n else "repaired")


def _plain(reply: str) -> str:
    """What the LLM said for all to hear, its digits and brackets in ASCII and without Markdown's emphasis."""
    text = without_thinking(html.unescape(reply[-_LONGEST_REPLY:]))
    text = re.sub(r"\\(?:succ|gt)\b", ">", re.sub(r"\\(?:prec|lt)\b", "<", re.sub(r"```\w*|\$", "", text)))
    text = unicodedata.normalize("NFKC", text).translate(str.maketrans("【】〔〕〉", "[][]>", "*`"))
    foreign = [c for c in set(text) if not c.isascii() and c.isdecimal()]
    return text.translate({ord(c): str(unicodedata.decimal(c)) for c in foreign}).strip()


def _ordered_numbers(text: str) -> tuple[list[int], bool]:
    """Passage numbers, best first, and whether they came as [2] > [1] > … and nothing else."""
    if chain := _longest(_CHAIN, text):
        signs = set(re.sub(r"[^>≻→»<≺←«≥≤=≈~]", "", chain[0]))
        doubt = not signs <= set(">≻→»") or _is_doubted(text, chain.start(), chain.end())
        return [] if doubt else _integers(chain[0]), "[" in chain[0] and signs == {">"} and chain[0] == text.rstrip(".")
    if len(items := list(_LIST_ITEM.finditer(text))) > 1:
        places = [int(item[1]) for item in items]
        is_worst = _ends_with_best(items[0][3] or items[0][5] or "")
        doubt = is_worst or places != sorted(places) or _is_doubted(text, items[0].start(), items[-1].end())
        return [] if doubt else [int(item[2] or item[4] or item[6]) for item in items], False
    if named := _longest(_LIST, text):
        before = _sentence_before(text, named.start()).rstrip(" [\"'-•")
        alone = before[-1:] in ("", ":") and not re.search(r"\w", _line_after(text, named.end()))
        return _integers(named[0]) if alone and not _ends_with_best(before) else [], False
    return [], False


def _is_doubted(text: str, start: int, end: int) -> bool:
    """Whether the words around an order speak of its worst first, or deny it."""
    return _ends_with_best(_sentence_before(text, start)) or _ends_with_best(_line_after(text, end))


def _ends_with_best(words: str) -> bool:
    words = words.replace("_", " ")
    best, worst = _BEST.search(words), _WORST.search(words)
    return worst is not None and not (best and best.start() < worst.start())


def _sentence_before(text: str, start: int) -> str:
    """The last sentence before `start` that has a word in it."""
    sentences = re.split(r"(?<=[.;!?。])\s|\n", text[max(0, start - _BEFORE) : start])
    return next((each for each in reversed(sentences) if re.search(r"\w", each)), "")


def _line_after(text: str, end: int) -> str:
    return text[end:].split("\n", 1)[0]


def _longest(form: re.Pattern[str], text: str) -> re.Match[str] | None:
    """The longest match of `form`, the last one of several: replies end with what they decided on."""
    return max(reversed(list(form.finditer(text))), key=lambda found: len(_integers(found[0])), default=None)


def _integers(text: str) -> list[int]:
    return [int(number) for number in re.findall(_N, text)]
