"""One order out of several of the same things: pure. An order may be partial: it names the best, and no tail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Literal

Method = Literal["borda", "kemeny"]
Order = Sequence[int]

_EXACT_UP_TO = 10


def mean_places(orders: Sequence[Order], n: int) -> list[float]:
    """The mean place (from 0) of each of `n` items; those that an order does not name share its last places."""
    totals = [0.0] * n
    for order in orders:
        unnamed = (len(order) + n - 1) / 2
        places = {item: float(place) for place, item in enumerate(order)}
        for item in range(n):
            totals[item] += places.get(item, unnamed)
    return [total / max(1, len(orders)) for total in totals]


def borda(orders: Sequence[Order], n: int) -> list[int]:
    """All `n` items by their mean place; equal ones as the first order has them."""
    places, first = mean_places(orders, n), mean_places(orders[:1], n)
    return sorted(range(n), key=lambda item: (round(places[item], 9), first[item], item))


def kemeny(orders: Sequence[Order], n: int) -> list[int]:
    """The order of all `n` items with the fewest pairs against `orders` (Kemeny 1959).

    Exact up to 10 items (dynamic programming over subsets); beyond, the best that moving one item at a time finds
    from Borda's order. Of equally good ones the exact search takes the one nearest to Borda's.
    """
    start = borda(orders, n)
    cost = disagreements(orders, n)
    return _exact(start, cost) if n <= _EXACT_UP_TO else _moved(start, cost)


def disagreements(orders: Sequence[Order], n: int) -> list[list[int]]:
    """(n, n): how many orders put b before a, which a ranking that puts a before b goes against."""
    cost = [[0] * n for _ in range(n)]
    for order in orders:
        named = set(order)
        rest = [item for item in range(n) if item not in named]
        for place, before in enumerate(order):
            for after in (*order[place + 1 :], *rest):
                cost[after][before] += 1
    return cost


def _exact(start: Sequence[int], cost: Sequence[Sequence[int]]) -> list[int]:
    n = len(start)
    best: list[tuple[int, int]] = [(0, -1)] * (1 << n)  # of each set of items yet to place: cost, who comes first
    for left in range(1, 1 << n):
        items = [place for place in range(n) if left >> place & 1]
        best[left] = min(
            (best[left & ~(1 << a)][0] + sum(cost[start[a]][start[b]] for b in items if b != a), a) for a in items
        )
    order, left = [], (1 << n) - 1
    while left:
        first = best[left][1]
        order.append(start[first])
        left &= ~(1 << first)
    return order


def _moved(start: Sequence[int], cost: Sequence[Sequence[int]]) -> list[int]:
    order = list(start)
    while (move := _best_move(order, cost)) is not None:
        source, target = move
        order.insert(target, order.pop(source))
    return order


def _best_move(order: Sequence[int], cost: Sequence[Sequence[int]]) -> tuple[int, int] | None:
    """From where to where one item should go; None if every move costs."""
    best, found = 0, None
    for source, item in enumerate(order):
        for direction in (-1, 1):
            change, target = 0, source + direction
            while 0 <= target < len(order):
                other = order[target]
                change += direction * (cost[other][item] - cost[item][other])
                if change < best:
                    best, found = change, (source, target)
                target += direction
    return found


_METHODS: dict[Method, Callable[[Sequence[Order], int], list[int]]] = {"borda": borda, "kemeny": kemeny}


def aggregate(orders: Sequence[Order], n: int, method: Method = "borda") -> tuple[int, ...]:
    """The items that `orders` agree to name, best first: none if `orders` says nothing.

    It ends before the first item that fewer than half of the orders that say something name, so that no tail is
    invented.
    """
    said = [order for order in orders if order]
    if not said:
        return ()
    whole = _METHODS[method](said, n)
    counts = [sum(item in order for order in said) for item in range(n)]
    length = next((place for place, item in enumerate(whole) if 2 * counts[item] < len(said)), n)
    return tuple(whole[:length])


def pair_agreement(first: Order, second: Order, n: int) -> float:
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


def mutual_agreement(orders: Sequence[Order], n: int) -> float | None:
    """Mean τ of every two of the orders that say something; None with fewer than two of them."""
    said = [order for order in orders if order]
    taus = [pair_agreement(a, b, n) for a, b in combinations(said, 2)]
    return sum(taus) / len(taus) if taus else None


def first_agreement(orders: Sequence[Order]) -> float | None:
    """Share of the pairs of orders that say something which put the same item first; None with fewer than two."""
    pairs = list(combinations([order[0] for order in orders if order], 2))
    return sum(a == b for a, b in pairs) / len(pairs) if pairs else None
