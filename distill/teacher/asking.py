"""One question put to the teacher: prompts that fit, shuffled passages, reminders, and an account of it."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from langchain_core.messages import AIMessage, BaseMessage

from distill.prompts import best_messages, choice_reminder, ranking_messages, reminder_message
from distill.records import ReplyStatus
from distill.teacher.replies import Choice, Permutation, parse_choice, parse_permutation

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


T = TypeVar("T", Permutation, Choice)
MAX_ASKED_AGAIN = 2
_INSTRUCTION_TOKENS = 250  # of the prompt without question and passages, the reminders included
_REPLY_TOKENS = 8  # of a passage in the reply: " > [12]"
_MOST_REPLY_KEPT = 2000


class Asks(Protocol):
    """Whoever answers a prompt."""

    async def ask(self, messages: Sequence[BaseMessage]) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much is shown at once.

    Listwise: at most `window` passages a prompt, fewer where the context cannot hold half of `passage_tokens` of each;
    windows move by `stride`. Best-of: the best of `best_set` passages at a time, until `best_top` are found.
    """

    context_tokens: int = 8192
    passage_tokens: int = 150
    window: int = 20
    stride: int = 10
    best_set: int = 4
    best_top: int = 5
    count: CountTokens = estimate_tokens

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
        return self.context_tokens - _INSTRUCTION_TOKENS - 2 * self.count(question) - n * _REPLY_TOKENS


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the teacher said of one question, by positions (from 0) in the list of its passages.

    `order`: the best, and no tail that was not said. `passes`: the orders that it was made of. `shown`: positions in
    the order of the prompts. `agreement`: mean τ between the passes, None for a single one. `best_at`: for each prompt
    (place of the passage that was put first, number of passages shown).
    """

    order: tuple[int, ...]
    status: ReplyStatus
    shown: tuple[int, ...]
    n_asked: int
    reply: str
    passes: tuple[tuple[int, ...], ...]
    agreement: float | None
    best_at: tuple[tuple[int, int], ...]


NO_ORDER = Order(order=(), status="refused", shown=(), n_asked=0, reply="", passes=(), agreement=None, best_at=())


@dataclass(slots=True, kw_only=True)
class Talk:
    """The prompts about one question and what came of them; `key` decides how passages are shuffled."""

    asker: Asks
    question: str
    passages: Sequence[str]
    limits: Limits
    key: str
    shown: list[int] = field(default_factory=list)
    replies: list[str] = field(default_factory=list)
    statuses: list[ReplyStatus] = field(default_factory=list)
    best_at: list[tuple[int, int]] = field(default_factory=list)

    async def order(self, items: Sequence[int], repeat: int) -> tuple[int, ...]:
        """`items` as the teacher orders them, as far as it does; shown in an order that depends on `repeat`."""
        shown = shuffled(items, self.key, repeat)

        found = await self._asked(shown, ranking_messages, parse_permutation, reminder_message())
        if not found.order:
            return ()
        self.best_at.append((found.order[0], len(shown)))
        return tuple(shown[place] for place in found.order)

    async def best(self, shown: Sequence[int]) -> int | None:
        """The one of `shown`, in that order, that the teacher picks; None if it picks none."""
        found = await self._asked(shown, best_messages, parse_choice, choice_reminder())
        if found.position is None:
            return None
        self.best_at.append((found.position, len(shown)))
        return shown[found.position]

    async def _asked(
        self,
        shown: Sequence[int],
        prompt: Callable[[str, Sequence[str]], list[BaseMessage]],
        read: Callable[[str, int], T],
        reminder: BaseMessage,
    ) -> T:
        """What `read` makes of the reply; asked again at most twice while that is a refusal."""
        limits = self.limits
        budget = limits.passage_budget(self.question, len(shown))
        passages = [self.passages[item] for item in shown]
        messages: list[BaseMessage] = prompt(
            self.question, fit_passages(passages, budget, limits.count, most=limits.passage_tokens)
        )
        self.shown += shown
        n_again = 0
        while True:
            reply = await self.asker.ask(messages)
            self.replies.append(reply)
            found = read(reply, len(shown))
            n_again += 1
            if found.status != "refused" or n_again > MAX_ASKED_AGAIN:
                self.statuses.append(found.status)
                return found
            messages = [*messages, AIMessage(cut(reply, 60, limits.count)), reminder]

    def finished(
        self, order: Sequence[int], passes: Sequence[Sequence[int]], status: ReplyStatus, agreement: float | None
    ) -> Order:
        """The talk's account, with the `order` that came of it."""
        return Order(
            order=tuple(order),
            status=status,
            shown=tuple(dict.fromkeys(self.shown)),
            n_asked=len(self.replies),
            reply="\n".join(self.replies)[:_MOST_REPLY_KEPT],
            passes=tuple(map(tuple, passes)),
            agreement=agreement,
            best_at=tuple(self.best_at),
        )


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
