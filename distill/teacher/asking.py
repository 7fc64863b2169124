"""One question put to the teacher: shuffles and windows of passages in prompts that fit, reminders, and an account."""

from __future__ import annotations

import hashlib
import math
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from langchain_core.messages import AIMessage, BaseMessage

from distill.llm.calls import Asker
from distill.prompts import mask_identifiers, ranking_messages, reminder_message
from distill.records import ReplyStatus
from distill.teacher.aggregation import aggregate, proven_front
from distill.teacher.replies import parse_permutation
from indexes.errors import InputError

CountTokens = Callable[[str], int]

_ELLIPSIS = " …"
_WIDE_FROM = 0x2E80  # CJK and what follows: about a token a character


def estimate_tokens(text: str) -> int:
    """About how many tokens a model sees in `text`: one for 3.5 letters, or for one character of a wide script."""
    wide = sum(ord(character) >= _WIDE_FROM for character in text)
    return math.ceil(wide + (len(text) - wide) / 3.5)


def fit_passages(
    passages: Sequence[str], budget_tokens: int, count: CountTokens = estimate_tokens, *, most: int | None = None
) -> list[str]:
    """`passages`, each cut to the same number of tokens where they would together pass `budget_tokens`.

    What short ones leave over goes to the long ones. None is longer than `most` tokens. A cut one ends with " …".
    """
    lengths = [count(passage) for passage in passages]
    limit = min(_fair_limit(lengths, budget_tokens), most or budget_tokens)
    return [p if length <= limit else cut(p, limit, count) for p, length in zip(passages, lengths, strict=True)]


def _fair_limit(lengths: Sequence[int], budget: int) -> int:
    """The greatest limit at which the lengths, each cut to it, sum to at most `budget`; their greatest if all fit."""
    left = max(0, budget)
    for place, length in enumerate(sorted(lengths)):
        share = left // (len(lengths) - place)
        if length > share:
            return share
        left -= length
    return max(lengths, default=0)


def cut(text: str, limit: int, count: CountTokens = estimate_tokens) -> str:
    """The longest beginning of `text`, up to the end of a word where it has words, of at most `limit` tokens with " …".

    "" if nothing fits.
    """
    if count(text) <= limit:
        return text
    low, high = 0, len(text) - 1
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if count(text[:middle] + _ELLIPSIS) <= limit else (low, middle - 1)
    kept = text[:low]
    words = kept.rsplit(maxsplit=1)
    if low and not text[low].isspace() and len(words) > 1 and len(words[1]) < 30:
        kept = words[0]
    kept = kept.rstrip()
    return kept + _ELLIPSIS if kept else ""


MAX_ASKED_AGAIN = 2
_INSTRUCTION_TOKENS = 250  # of the prompt without question and passages, the reminders included
_REPLY_TOKENS = 8  # of a passage in the reply: " > [12]"
_MOST_REPLY_KEPT = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much is shown at once: at most `window` passages a prompt, fewer where the context cannot hold half of
    `passage_tokens` of each; windows move by `stride`.
    """

    context_tokens: int = 8192
    passage_tokens: int = 150
    window: int = 20
    stride: int = 10

    def windows(self, n: int, question: str = "") -> list[tuple[int, int]]:
        """(first, behind the last) of each window over `n` passages, from the back to the front."""
        room = self.passage_budget(question, 0) // (self.passage_tokens // 2 + _REPLY_TOKENS)
        size = max(2, min(self.window, room))
        stride = max(1, min(self.stride, size - 1))
        first = max(0, n - size)
        spans = [(first, n)]
        while first:
            first = max(0, first - stride)
            spans.append((first, first + size))
        return spans

    def passage_budget(self, question: str, n: int) -> int:
        """Tokens that `n` passages may take together."""
        return self.context_tokens - _INSTRUCTION_TOKENS - 2 * estimate_tokens(question) - n * _REPLY_TOKENS


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the teacher said of one question, by positions (from 0) in the list of its passages.

    `order`: the best, and no tail that was not said. `passes`: the orders that it was made of. `shown`: positions in
    the order of the prompts. `best_at`: for each prompt (place of the passage that was put first, passages shown).
    """

    order: tuple[int, ...] = ()
    status: ReplyStatus = "refused"
    shown: tuple[int, ...] = ()
    n_asked: int = 0
    reply: str = ""
    passes: tuple[tuple[int, ...], ...] = ()
    best_at: tuple[tuple[int, int], ...] = ()


_DEFAULT = Limits()
MOST_SHUFFLES = 20


def n_shuffles(mode: str) -> int:
    """How often a list is asked for in the `mode` of a run: once in listwise, three times in listwise-3."""
    found = re.fullmatch(r"listwise(?:-(\d{1,3}))?", mode.strip().lower())
    n = int(found[1] or 1) if found else 0
    if not 1 <= n <= MOST_SHUFFLES:
        raise InputError(
            f"'{mode}' is no mode of the teacher. Use listwise, or listwise-3 (shuffles, at most {MOST_SHUFFLES})."
        )
    return n


def calls_per_question(shuffles: int, n: int, limits: Limits = _DEFAULT) -> int:
    """How many requests one question with `n` candidates takes, reminders not counted."""
    return shuffles * len(limits.windows(n)) if n > 1 else 0


async def order_question(
    asker: Asker,
    question: str,
    passages: Sequence[str],
    *,
    key: str,
    shuffles: int = 1,
    limits: Limits = _DEFAULT,
    repeat: int = 0,
) -> Order:
    """The teacher's order of `passages`, which come best first by retrieval: what that many `shuffles` agree on.

    `key` decides how they are shuffled; each `repeat` shuffles them in another way.
    """
    fitting = cut(mask_identifiers(question), limits.context_tokens // 8)
    talk = _Talk(asker=asker, question=fitting, passages=passages, limits=limits, key=key)
    passes = [await talk.one_pass(n) for n in range(repeat * shuffles, (repeat + 1) * shuffles)]
    return Order(
        order=aggregate(passes, len(passages)),
        status=joint_status(talk.statuses),
        shown=tuple(dict.fromkeys(talk.shown)),
        n_asked=len(talk.replies),
        reply="\n".join(talk.replies)[:_MOST_REPLY_KEPT],
        passes=tuple(passes),
        best_at=tuple(talk.best_at),
    )


@dataclass(slots=True, kw_only=True)
class _Talk:
    """The prompts about one question and what came of them; `key` decides how passages are shuffled."""

    asker: Asker
    question: str
    passages: Sequence[str]
    limits: Limits
    key: str
    shown: list[int] = field(default_factory=list)
    replies: list[str] = field(default_factory=list)
    statuses: list[ReplyStatus] = field(default_factory=list)
    best_at: list[tuple[int, int]] = field(default_factory=list)

    async def one_pass(self, shuffle: int) -> tuple[int, ...]:
        """The order of all passages by windows that move from the back to the front (Sun et al., EMNLP 2023)."""
        current = list(range(len(self.passages)))
        said: list[tuple[tuple[int, ...], list[int]]] = []
        for first, last in self.limits.windows(len(current), self.question):
            items = current[first:last]
            placed = await self._ask(shuffled(items, self.key, shuffle))
            rest = [item for item in items if item not in placed]
            current[first:last] = [*placed, *rest]
            said.append((placed, rest))
        return proven_front(current, said)

    async def _ask(self, shown: Sequence[int]) -> tuple[int, ...]:
        """`shown` as the teacher orders them, as far as it does; asked again at most twice while that is a refusal."""
        limits = self.limits
        budget = limits.passage_budget(self.question, len(shown))
        passages = [self.passages[item] for item in shown]
        messages: list[BaseMessage] = ranking_messages(
            self.question, fit_passages(passages, budget, most=limits.passage_tokens)
        )
        self.shown += shown
        for _ in range(1 + MAX_ASKED_AGAIN):
            reply = await self.asker.ask(messages)
            self.replies.append(reply)
            found = parse_permutation(reply, len(shown))
            if found.status != "refused":
                break
            messages = [*messages, AIMessage(cut(reply, 60)), reminder_message()]
        self.statuses.append(found.status)
        if found.order:
            self.best_at.append((found.order[0], len(shown)))
        return tuple(shown[place] for place in found.order)


def shuffled(items: Sequence[int], key: str, repeat: int) -> list[int]:
    """`items` in an order that `key` and `repeat` decide, never the same in two repeats that follow one another."""
    # The order of retrieval would leak into the answer; by key, not by a running state, so that a resumed run agrees.
    digest = hashlib.blake2b(f"{key}:{repeat}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    order = list(items)
    random.Random(int.from_bytes(digest)).shuffle(order)  # noqa: S311
    if repeat and order == shuffled(items, key, repeat - 1):
        order.reverse()
    return order


def joint_status(statuses: Sequence[ReplyStatus]) -> ReplyStatus:
    """The status of an order made of several replies: refused if all are, else the worst, a refused part as partial."""
    if all(status == "refused" for status in statuses):
        return "refused"
    if any(status in ("refused", "partial") for status in statuses):
        return "partial"
    return "repaired" if "repaired" in statuses else "ok"
