"""How far two rankings agree: pure."""

from __future__ import annotations

from collections.abc import Sequence


def kendall_tau(first: Sequence[str], second: Sequence[str]) -> float:
    """Agreement of two rankings over what both contain: 1 equal, -1 reversed, 0 if fewer than two are shared."""
    place = {identifier: position for position, identifier in enumerate(second)}
    shared = [place[identifier] for identifier in first if identifier in place]
    pairs = [(a, b) for index, a in enumerate(shared) for b in shared[index + 1 :]]
    return sum(1 if a < b else -1 for a, b in pairs) / len(pairs) if pairs else 0.0
