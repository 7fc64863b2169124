"""Orders from small choices, for teachers that lose themselves in long lists."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TypeAlias, Union

from distill.teacher.replies import Status
from distill.teacher.talk import Limits, Order, Talk, joint_status, shuffled

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
    status: Status = "ok" if len(order) == wanted else "partial" if order else "refused"
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


async def pairwise(talk: Talk, repeat: int) -> Order:
    """All passages by how many others they were preferred to, each pair shown in both orders.

    Equal ones by their own comparisons, then in a shuffled order. Passages of no answered pair are left out.
    """
    start = shuffled(range(len(talk.passages)), talk.key, repeat)
    passes = [
        await _preferences(talk, [(a, b) if way else (b, a) for a, b in combinations(start, 2)]) for way in (1, 0)
    ]
    orders = [_by_wins(start, preferences) for preferences in passes]
    order = _by_wins(start, passes[0] + passes[1])
    status = joint_status(talk.statuses)
    whole = len(order) == len(start)
    agreement = _same_choices(*passes)
    return talk.finished(order, orders, "repaired" if status == "partial" and whole else status, agreement)


async def _preferences(talk: Talk, pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """(preferred, other) of each pair that was answered."""
    found = []
    for pair in pairs:
        if (best := await talk.best(pair)) is not None:
            found.append((best, pair[1] if best == pair[0] else pair[0]))
    return found


def _by_wins(items: Sequence[int], preferences: Sequence[tuple[int, int]]) -> list[int]:
    compared = [item for item in items if any(item in pair for pair in preferences)]
    wins = {item: sum(best == item for best, _ in preferences) for item in compared}
    among_equals = {
        item: sum(best == item and wins[best] == wins.get(other) for best, other in preferences) for item in compared
    }
    return sorted(compared, key=lambda item: (-wins[item], -among_equals[item]))


def _same_choices(first: Sequence[tuple[int, int]], second: Sequence[tuple[int, int]]) -> float | None:
    """1 if every pair had the same winner in both orders, -1 if none had; None if no pair was answered twice."""
    there = {frozenset(pair): pair[0] for pair in second}
    same = [there[frozenset(pair)] == pair[0] for pair in first if frozenset(pair) in there]
    return 2 * sum(same) / len(same) - 1 if same else None
