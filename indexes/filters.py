"""Which passages a search may find: by source, by type of file and by date."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from typing import Any

from indexes.errors import InputError
from indexes.types import Passage

_DAY = re.compile(r"\d{4}(-\d{2}(-\d{2})?)?")
# SQLite, in which the vector store looks values up, bounds the variables of one statement at 32,766.
_MAX_VALUES = 30_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Facets:
    """What passages have in common that can be filtered by; each is "" where unknown."""

    source: str
    kind: str
    date: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PassageFilter:
    """The passages of these `sources` (names, or patterns such as `reports/*`) and `kinds` (pdf, html …), whose date
    lies from `since` to `until` (YYYY, YYYY-MM or YYYY-MM-DD, both included); what is empty leaves all in.

    A passage without a date is outside any span of dates. One text stands for a tuple of it.
    """

    sources: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    since: str = ""
    until: str = ""

    def __post_init__(self) -> None:
        for name in ("sources", "kinds"):
            object.__setattr__(self, name, _texts(name, getattr(self, name)))
        for name, day in (("since", self.since), ("until", self.until)):
            if day and not (isinstance(day, str) and _DAY.fullmatch(day)):
                raise InputError(f"A date like 2026, 2026-11 or 2026-11-21 was expected for {name}, but got '{day}'.")

    @classmethod
    def of(cls, wanted: PassageFilter | str | Mapping[str, Any] | None) -> PassageFilter:
        """`wanted` as a filter: a text is a source, a mapping has the fields of a filter, "source" and "kind" too."""
        if isinstance(wanted, PassageFilter):
            return wanted
        given: object = {"sources": wanted} if wanted and isinstance(wanted, str) else wanted or {}
        plural = {"source": "sources", "kind": "kinds"}
        pairs = list(given.items()) if isinstance(given, Mapping) else [("", given)]
        named: dict[str, Any] = {plural.get(key, key): value for key, value in pairs}
        if len(named) < len(pairs) or not named.keys() <= {field.name for field in fields(cls)}:
            raise InputError(
                'A source, or a filter such as {"source": "reports/*", "kind": "pdf", "since": "2024", "until": '
                f'"2025-06"}} was expected, but got {wanted!r}.'
            )
        return cls(**named)

    def __bool__(self) -> bool:
        """Whether anything is left out at all."""
        return bool(self.sources or self.kinds or self.since or self.until)

    def takes_source(self, source: str) -> bool:
        return not self.sources or source in self.sources or any(fnmatchcase(source, each) for each in self.sources)

    def takes_kind(self, kind: str) -> bool:
        return not self.kinds or kind in {each.lower().lstrip(".") for each in self.kinds}

    def takes_date(self, date: str) -> bool:
        if not (self.since or self.until):
            return True
        return bool(date) and date >= self.since and (not self.until or date[: len(self.until)] <= self.until)

    def takes(self, passage: Passage | Facets) -> bool:
        """Whether a search may find `passage`."""
        return self.takes_source(passage.source) and self.takes_kind(passage.kind) and self.takes_date(passage.date)


def _texts(name: str, value: object) -> tuple[str, ...]:
    """One text or several as a tuple of them."""
    values = (value,) if isinstance(value, str) else value
    if not isinstance(values, tuple | list | set | frozenset) or not all(isinstance(each, str) for each in values):
        raise InputError(f"A text or a list of texts was expected for {name}, but got {value!r}.")
    return tuple(values)


EVERYTHING = PassageFilter()


def chroma_where(wanted: PassageFilter, facets: Iterable[Facets]) -> Mapping[str, Any] | None:
    """`wanted` in the words of Chroma, given all facets there are in the corpus; None if no passage fits.

    Chroma compares no texts, so what fits is looked up in the manifest.
    """
    fitting = [each for each in facets if wanted.takes(each)]
    if not fitting:
        return None
    asked = {"source": wanted.sources, "kind": wanted.kinds, "date": wanted.since or wanted.until}
    clauses = [_is_one_of(name, {getattr(each, name) for each in fitting}) for name, what in asked.items() if what]
    return clauses[0] if len(clauses) == 1 else {"$and": clauses}


def _is_one_of(field: str, values: set[str]) -> Mapping[str, Any]:
    if len(values) > _MAX_VALUES:
        raise InputError(
            f"At most {_MAX_VALUES:,} values of '{field}' can be searched at once, but {len(values):,} fit the filter. "
            "Narrow it."
        )
    return {field: {"$in": sorted(values)}}
