"""What several rounds have said of one question, as one order: pure. Nothing is said that no round has shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from distill.jsonl import Record
from distill.teacher.modes import proven_front
from distill.teacher.talk import joint_status


def merge_orders(rounds: Sequence[Sequence[Record]]) -> list[Record]:
    """The ranking record of each question of all `rounds`, in the order of the first round that has it.

    Rounds after the first show the best so far among passages that were not seen before, so what beats it beats all
    that it has beaten. `ranking` is as much of the joint order as follows; `shown` is all that it stands before, whose
    order among each other is not known where no round has compared them.
    """
    said: dict[str, list[Record]] = {}
    for records in rounds:
        for record in records:
            said.setdefault(record["id"], []).append(record)
    return [_merged(each) for each in said.values()]


def _merged(records: Sequence[Record]) -> Record:
    heard = [record for record in records if record["ranking"] and record["weight"]]
    if len(heard) < 2:
        return heard[0] if heard else records[0]
    ids = list(dict.fromkeys(passage for record in heard for passage in record["shown"]))
    numbers = {passage: number for number, passage in enumerate(ids)}
    order: list[int] = []
    said: list[tuple[list[int], list[int]]] = []
    for record in heard:
        placed = [numbers[passage] for passage in record["ranking"]]
        rest = [numbers[passage] for passage in record["shown"] if passage not in set(record["ranking"])]
        said.append((placed, rest))
        order = _inserted([*placed, *rest], order)
    front = [ids[number] for number in proven_front(order, said)]
    agreements = [record["agreement"] for record in heard if record.get("agreement") is not None]
    return heard[0] | {
        "ranking": front,
        "shown": ids,
        "status": joint_status([record["status"] for record in heard]),
        "n_asked": sum(record["n_asked"] for record in heard),
        "reply": "",
        "agreement": min(agreements, default=None),
        "weight": min(record["weight"] for record in heard),
        "best_at": [pair for record in heard for pair in record["best_at"]],
        "n_rounds": len(heard),
    }


def _inserted(new: Sequence[int], before: Sequence[int]) -> list[int]:
    """All of both: what `new` puts before the first that it shares with `before`, then `before`, then the others."""
    shared = next((place for place, item in enumerate(new) if item in before), 0)
    return list(dict.fromkeys([*new[:shared], *before, *new]))


def merge_candidates(rounds: Sequence[Sequence[Record]]) -> list[Record]:
    """The candidate record of each question: what the first of the `rounds` has shown, what later ones have shown, and
    what was not shown.
    """
    later: Mapping[str, list[Record]] = {record["id"]: [] for record in rounds[0]}
    for records in rounds[1:]:
        for record in records:
            later[record["id"]].append(record)
    return [_joined(record, later[record["id"]]) if later[record["id"]] else record for record in rounds[0]]


def _joined(first: Record, later: Sequence[Record]) -> Record:
    """`first` says how many of its candidates were shown ("n_shown"), as do all records of a second round's run."""
    n = first["n_shown"]
    head = {c["passage"]: c for c in first["candidates"][:n]}
    for record in later:
        for candidate in record["candidates"]:
            head.setdefault(candidate["passage"], candidate)
    tail = [c for c in first["candidates"][n:] if c["passage"] not in head]
    return first | {"candidates": [*head.values(), *tail], "n_shown": len(head)}
