"""One order out of several: of shuffles, of windows, of people; how far two agree: pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations, takewhile


def aggregate(orders: Sequence[Sequence[int]], n: int) -> tuple[int, ...]:
    """Those of `n` items that `orders` agree to name, by their mean place (Borda), equal ones as the first order has
    them: none if `orders` says nothing.

    It ends before the first item that fewer than half of the orders that say something name, so that no tail is
    invented.
    """
    said = [order for order in orders if order]
    places = [_places(order, n) for order in said]
    means = [round(sum(each[item] for each in places) / len(said), 9) if said else 0.0 for item in range(n)]
    counts = Counter(item for order in said for item in order)
    best_first = sorted(range(n), key=lambda item: (means[item], places[0][item] if said else 0.0, item))
    return tuple(takewhile(lambda item: 0 < len(said) <= 2 * counts[item], best_first))


def _places(order: Sequence[int], n: int) -> list[float]:
    """The place (from 0) of each of `n` items; those that `order` does not name share its last places."""
    known = {item: float(place) for place, item in enumerate(order)}
    return [known.get(item, (len(order) + n - 1) / 2) for item in range(n)]


def pair_agreement(first: Sequence[int], second: Sequence[int], n: int) -> float:
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


def first_agreement(orders: Sequence[Sequence[int]]) -> float | None:
    """Share of the pairs of orders that say something which put the same item first; None with fewer than two."""
    firsts = Counter(order[0] for order in orders if order)
    n = firsts.total()
    return sum(count * (count - 1) for count in firsts.values()) / (n * (n - 1)) if n > 1 else None


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
