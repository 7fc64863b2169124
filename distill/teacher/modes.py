"""The ways to get an order of passages out of a teacher of any strength, and one order out of several."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, TypeAlias, Union

from distill.prompts import mask_identifiers
from distill.records import ReplyStatus
from distill.teacher.asking import Asks, Limits, Order, Talk, cut, joint_status, shuffled
from indexes.errors import InputError

Node: TypeAlias = Union[int, "list[Node]"]


class _NoChoiceError(Exception):
    """The teacher picked none: whatever would rest on that choice is not known."""


async def best_of(talk: Talk, repeat: int) -> Order:
    """The best passages by a tournament: the best of small groups, then of their winners.

    Once the best is out, only the groups it was in are asked again. Ends after `best_top`, or at a choice that was
    refused.
    """
    n = len(talk.passages)
    tree = _tree(shuffled(range(n), talk.key, repeat), talk.limits.best_set)
    known: dict[frozenset[int], int] = {}
    order: list[int] = []

    async def winner(node: Node) -> int | None:
        if isinstance(node, int):
            return None if node in order else node
        left = [item for child in node if (item := await winner(child)) is not None]
        if len(left) < 2:
            return left[0] if left else None
        group = frozenset(left)
        if group not in known:
            picked = await talk.best(shuffled(left, talk.key, repeat))
            if picked is None:
                raise _NoChoiceError
            known[group] = picked
        return known[group]

    wanted = min(n, talk.limits.best_top)
    try:
        while len(order) < wanted and (item := await winner(tree)) is not None:
            order.append(item)
    except _NoChoiceError:
        pass
    status: ReplyStatus = "ok" if len(order) == wanted else "partial" if order else "refused"
    return talk.finished(order, [order], status, None)


def _tree(items: Sequence[int], size: int) -> Node:
    nodes: list[Node] = list(items)
    while len(nodes) > size:
        n_groups = -(-len(nodes) // size)
        nodes = [nodes[group::n_groups] for group in range(n_groups)]
    return nodes


def most_choices(n: int, limits: Limits) -> int:
    """The most choices that `best_of` can take of `n` passages."""
    groups, depth, left = 0, 0, n
    while left > 1:
        left = -(-left // limits.best_set)
        groups += left
        depth += 1
    return groups + (min(n, limits.best_top) - 1) * depth


Permutation = Sequence[int]


def mean_places(orders: Sequence[Permutation], n: int) -> list[float]:
    """The mean place (from 0) of each of `n` items; those that an order does not name share its last places."""
    totals = [0.0] * n
    for order in orders:
        unnamed = (len(order) + n - 1) / 2
        places = {item: float(place) for place, item in enumerate(order)}
        for item in range(n):
            totals[item] += places.get(item, unnamed)
    return [total / max(1, len(orders)) for total in totals]


def borda(orders: Sequence[Permutation], n: int) -> list[int]:
    """All `n` items by their mean place; equal ones as the first order has them."""
    places, first = mean_places(orders, n), mean_places(orders[:1], n)
    return sorted(range(n), key=lambda item: (round(places[item], 9), first[item], item))


def aggregate(orders: Sequence[Permutation], n: int) -> tuple[int, ...]:
    """The items that `orders` agree to name, best first (Borda): none if `orders` says nothing.

    It ends before the first item that fewer than half of the orders that say something name, so that no tail is
    invented.
    """
    said = [order for order in orders if order]
    if not said:
        return ()
    whole = borda(said, n)
    counts = [sum(item in order for order in said) for item in range(n)]
    length = next((place for place, item in enumerate(whole) if 2 * counts[item] < len(said)), n)
    return tuple(whole[:length])


def pair_agreement(first: Permutation, second: Permutation, n: int) -> float:
    """Kendall τ of two orders of `n` items over the pairs that both decide; 0 without any such pair.

    A named item stands before every unnamed one; two unnamed items are not decided.
    """
    sums = count = 0
    places = [{item: place for place, item in enumerate(order)} for order in (first, second)]
    for a, b in combinations(range(n), 2):
        signs = [_sign(place.get(a, n), place.get(b, n)) for place in places]
        if all(signs):
            count += 1
            sums += signs[0] * signs[1]
    return sums / count if count else 0.0


def _sign(a: int, b: int) -> int:
    return (a < b) - (b < a)


_MOST_COMPARED = 100  # of a file with 100,000 orders of one question, every two would take days


def mutual_agreement(orders: Sequence[Permutation], n: int) -> float | None:
    """Mean τ of every two of the orders that say something, a hundred at most; None with fewer than two of them."""
    said = [order for order in orders if order][:_MOST_COMPARED]
    taus = [pair_agreement(a, b, n) for a, b in combinations(said, 2)]
    return sum(taus) / len(taus) if taus else None


def first_agreement(orders: Sequence[Permutation]) -> float | None:
    """Share of the pairs of orders that say something, a hundred at most, which put the same item first; None with
    fewer than two.
    """
    pairs = list(combinations([order[0] for order in orders if order][:_MOST_COMPARED], 2))
    return sum(a == b for a, b in pairs) / len(pairs) if pairs else None


Name = Literal["listwise", "best-of"]

AUTO_MODES = ("listwise", "listwise-3", "best-of")  # in the order of their cost
MOST_SHUFFLES = 20
_MODE = re.compile(r"(listwise)(?:-(\d+))?|best-of")
_DEFAULT = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """listwise: whole lists, `shuffles` times, made one. best-of: the best of few, again and again."""

    name: Name
    shuffles: int = 1

    def __str__(self) -> str:
        return self.name if self.shuffles == 1 else f"{self.name}-{self.shuffles}"


def parse_mode(text: str) -> Mode:
    """The mode that `text` names: listwise, listwise-3 or best-of."""
    found = _MODE.fullmatch(text.strip().lower())
    shuffles = int(found[2] or 1) if found else 0
    if not found or not 1 <= shuffles <= MOST_SHUFFLES:
        raise InputError(
            f"'{text}' is no mode of the teacher. Use listwise, listwise-3 (shuffles, at most {MOST_SHUFFLES}) "
            "or best-of."
        )
    if found[1]:
        return Mode(name="listwise", shuffles=shuffles)
    return Mode(name="best-of")


def calls_per_question(mode: Mode | str, n: int, limits: Limits = _DEFAULT) -> int:
    """How many requests one question with `n` candidates takes: at most so many for best-of, reminders not counted."""
    mode = parse_mode(mode) if isinstance(mode, str) else mode
    if n < 2:
        return 0
    if mode.name == "listwise":
        return mode.shuffles * len(limits.windows(n))
    return most_choices(n, limits)


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
    return await (_listwise(talk, mode, repeat) if mode.name == "listwise" else best_of(talk, repeat))


async def _listwise(talk: Talk, mode: Mode, repeat: int) -> Order:
    n = len(talk.passages)
    shuffles = range(repeat * mode.shuffles, (repeat + 1) * mode.shuffles)
    orders = [await _one_pass(talk, shuffle) for shuffle in shuffles]
    order = aggregate(orders, n)
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
