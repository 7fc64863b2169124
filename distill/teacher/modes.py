"""The ways to get an order of passages out of a teacher, for teachers of every strength."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from distill.prompts import mask_identifiers
from distill.teacher.aggregation import Method, aggregate, mutual_agreement
from distill.teacher.fitting import cut
from distill.teacher.talk import Asks, Limits, Order, Talk, joint_status
from distill.teacher.tournaments import best_of, most_choices, pairwise
from indexes.errors import InputError

Name = Literal["listwise", "best-of", "pairwise"]

MODES = ("listwise", "listwise-3", "best-of", "pairwise")
AUTO_MODES = ("listwise", "listwise-3", "best-of")  # pairs take too many requests to be tried on a sample
MOST_SHUFFLES = 20
_MODE = re.compile(r"(listwise)(?:-(\d+)(?:-(borda|kemeny))?)?|best-of|pairwise")
_DEFAULT = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """listwise: whole lists, `shuffles` times, made one by `method`. best-of: the best of few, again and again.

    pairwise: every pair in both orders.
    """

    name: Name
    shuffles: int = 1
    method: Method = "borda"

    def __str__(self) -> str:
        if self.shuffles == 1:
            return self.name
        return f"{self.name}-{self.shuffles}" + ("" if self.method == "borda" else f"-{self.method}")


def parse_mode(text: str) -> Mode:
    """The mode that `text` names: listwise, listwise-3, listwise-5-kemeny, best-of or pairwise."""
    found = _MODE.fullmatch(text.strip().lower())
    shuffles = int(found[2] or 1) if found else 0
    if not found or not 1 <= shuffles <= MOST_SHUFFLES:
        raise InputError(
            f"'{text}' is no mode of the teacher. Use listwise, listwise-3 (that many shuffles, up to {MOST_SHUFFLES}; "
            "listwise-3-kemeny to aggregate them by Kemeny), best-of or pairwise."
        )
    if found[1]:
        return Mode(name="listwise", shuffles=shuffles, method="kemeny" if found[3] == "kemeny" else "borda")
    return Mode(name="best-of" if found[0] == "best-of" else "pairwise")


def calls_per_question(mode: Mode | str, n: int, limits: Limits = _DEFAULT) -> int:
    """How many requests one question with `n` candidates takes: at most so many for best-of, reminders not counted."""
    mode = parse_mode(mode) if isinstance(mode, str) else mode
    if n < 2:
        return 0
    if mode.name == "listwise":
        return mode.shuffles * len(limits.windows(n))
    return n * (n - 1) if mode.name == "pairwise" else most_choices(n, limits)


async def order_question(
    mode: Mode,
    asker: Asks,
    question: str,
    passages: Sequence[str],
    *,
    key: str,
    limits: Limits = _DEFAULT,
    repeat: int = 0,
) -> Order:
    """The teacher's order of `passages`, which come best first by retrieval.

    `key` decides how they are shuffled; each `repeat` shuffles them in another way.
    """
    fitting = cut(mask_identifiers(question), limits.context_tokens // 8, limits.count)
    talk = Talk(asker=asker, question=fitting, passages=passages, limits=limits, key=key)
    if mode.name == "listwise":
        return await _listwise(talk, mode, repeat)
    return await (best_of if mode.name == "best-of" else pairwise)(talk, repeat)


async def _listwise(talk: Talk, mode: Mode, repeat: int) -> Order:
    n = len(talk.passages)
    shuffles = range(repeat * mode.shuffles, (repeat + 1) * mode.shuffles)
    orders = [await _one_pass(talk, shuffle) for shuffle in shuffles]
    order = aggregate(orders, n, mode.method)
    return talk.finished(order, orders, joint_status(talk.statuses), mutual_agreement(orders, n))


async def _one_pass(talk: Talk, shuffle: int) -> tuple[int, ...]:
    """The order of all passages by windows that move from the back to the front (Sun et al., EMNLP 2023)."""
    current = list(range(len(talk.passages)))
    said: list[tuple[tuple[int, ...], list[int]]] = []
    for first, last in talk.limits.windows(len(current), talk.question):
        items = current[first:last]
        placed = await talk.order(items, shuffle)
        rest = [item for item in items if item not in placed]
        current[first:last] = [*placed, *rest]
        said.append((placed, rest))
    return proven_front(current, said)


def proven_front(order: Sequence[int], said: Sequence[tuple[Sequence[int], Sequence[int]]]) -> tuple[int, ...]:
    """The longest beginning of `order` that follows from what was `said`.

    `said` has (placed best first, left behind) of each window. An item belongs to it if it was placed, and stands,
    directly or over others, before every later one. The rest of `order` is the retrieval's, not the teacher's.
    """
    beats = dict.fromkeys(order, 0)
    for placed, rest in said:
        behind = sum(1 << item for item in rest)
        for item in reversed(placed):
            beats[item] |= behind
            behind |= 1 << item
    for middle in order:
        for item in order:
            if beats[item] >> middle & 1:
                beats[item] |= beats[middle]
    named = {item for placed, _ in said for item in placed}
    later = sum(1 << item for item in order)
    front: list[int] = []
    for item in order:
        later &= ~(1 << item)
        if item not in named or later & ~beats[item]:
            break
        front.append(item)
    return tuple(front)
