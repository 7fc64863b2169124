"""What the LLM said about the order of passages: pure."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "repaired", "partial", "refused"]

_THINKING = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL | re.IGNORECASE)
_BRACKETED = re.compile(r"\[\s*(\d+(?:\s*,\s*\d+)*)\s*\]")
_CHAIN = re.compile(r"\[?\d+\]?(?:\s*[>,]\s*\[?\d+\]?)+")
_LIST_ITEM = re.compile(r"^\s*\d+[.)]\s*(?:passage\s*)?\[?(\d+)\]?\s*$", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Permutation:
    """The positions (from 0) that the LLM named, best first, and how far the reply could be trusted.

    ok: every position exactly once, in the form asked for. repaired: every position, after repeats or strangers were
    dropped or another form was read. partial: only some positions. refused: fewer than two.
    """

    order: tuple[int, ...]
    status: Status


def parse_permutation(reply: str, n: int) -> Permutation:
    """The order of `n` passages in `reply`, which names them [1] to [n].

    Only what was said is returned: a missing tail is never filled in, because it would teach the order in which the
    passages happened to stand.
    """
    text = _THINKING.sub("", reply).strip()
    numbers, as_asked = _numbers(text)
    known = [number - 1 for number in numbers if 1 <= number <= n]
    order = tuple(dict.fromkeys(known))
    if len(order) < min(2, n):
        return Permutation(order=(), status="refused")
    if len(order) < n:
        return Permutation(order=order, status="partial")
    clean = as_asked and len(numbers) == n
    return Permutation(order=order, status="ok" if clean else "repaired")


def _numbers(text: str) -> tuple[list[int], bool]:
    """Passage numbers in order of mention, and whether they came as [2] > [1] > … and nothing else."""
    if listed := _json_numbers(text):
        return listed, False
    chains = [chain for chain in _CHAIN.findall(text) if "[" in chain and ">" in chain]
    if chains:
        longest = max(chains, key=len)
        return [int(number) for number in re.findall(r"\d+", longest)], longest == text.rstrip(".")
    if bracketed := _BRACKETED.findall(text):
        return [int(number) for group in bracketed for number in group.split(",")], False
    if items := _LIST_ITEM.findall(text):
        return [int(item) for item in items], False
    bare = max(_CHAIN.findall(text), key=len, default="")
    return [int(number) for number in re.findall(r"\d+", bare)], False


def _json_numbers(text: str) -> list[int]:
    """The numbers of the first JSON list of integers (or of passage names) in `text`."""
    start, end = text.find("["), text.rfind("]")
    if start < 0 or end < start:
        return []
    try:
        values = json.loads(text[start : end + 1])
    except ValueError:
        return []
    if not isinstance(values, list) or len(values) < 2:
        return []
    found = [re.search(r"\d+", str(value)) for value in values]
    return [int(match[0]) for match in found if match] if all(found) else []


def kendall_tau(first: Sequence[str], second: Sequence[str]) -> float:
    """Agreement of two rankings over what both contain: 1 equal, -1 reversed, 0 if fewer than two are shared."""
    place = {identifier: position for position, identifier in enumerate(second)}
    shared = [place[identifier] for identifier in first if identifier in place]
    pairs = [(a, b) for index, a in enumerate(shared) for b in shared[index + 1 :]]
    return sum(1 if a < b else -1 for a, b in pairs) / len(pairs) if pairs else 0.0
