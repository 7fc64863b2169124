"""The teacher's order of a list of candidates as numbers."""

from __future__ import annotations

from typing import Final

from distill.jsonl import Record

UNRANKED: Final = 1_000_000  # target of a candidate that the teacher saw and did not place
PADDING: Final = -1  # target of a place where there is no candidate, or one that the teacher never saw


def rank_targets(record: Record, ranking: Record) -> list[int]:
    """The teacher's rank from 0 of each candidate of `record`, `UNRANKED` where it saw but did not place the passage.

    Candidates that the teacher never saw are `PADDING`: nothing is known of them.
    """
    place = {identifier: rank for rank, identifier in enumerate(ranking["ranking"])}
    shown = set(ranking["shown"])
    return [place.get(c["passage"], UNRANKED) if c["passage"] in shown else PADDING for c in record["candidates"]]
