"""What can be asked of a corpus: its encoders' indexes, its words, both together, and the trained ranker over them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.shelf import RetrieverChoice, starting_choice
from indexes.errors import InputError, NotFoundError
from indexes.mixes import DEFAULT_MIX, Mix
from indexes.paths import DataPaths

LEXICAL, FUSED = "lexical", "fused"
RERANKED = "+rerank"  # ends the key of a retriever whose best passages the ranker puts in order


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A retriever as people pick it. `key` names it in links and calls; `encoder` is "" where words alone decide.

    `mix` is how much words count where it is fused. `ranker` is the run whose trained ranker can put its passages in
    order, "" if there is none.
    """

    key: str
    label: str
    meaning: str
    encoder: str
    is_fused: bool = False
    mix: Mix = DEFAULT_MIX
    ranker: str = ""
    is_reranked: bool = False

    @property
    def reranked(self) -> Choice:
        """The same with its best passages in the order of the ranker; raises `InputError` where there is none."""
        if not self.ranker:
            raise InputError(
                f"'{self.label}' cannot be re-ranked: no ranker was trained on this corpus yet. Teach a retriever "
                "first, or ask without re-ranking."
            )
        return replace(
            self,
            key=self.key + RERANKED,
            label=f"{self.label}, re-ranked",
            meaning=f"{self.meaning} The ranker of run '{self.ranker}' then puts the best of them in order.",
            is_reranked=True,
        )


def list_all(paths: DataPaths, dense: Sequence[RetrieverChoice]) -> list[Choice]:
    """The retrievers of a corpus with the indexes `dense`: each of those, the lexical one, and the fusion."""
    start = starting_choice(dense)
    if start is None:
        return []
    rankers = {each.encoder: each.encoder for each in dense if has_ranker(paths, each.encoder)}
    usual = rankers.get(start.encoder) or next(iter(rankers), "")
    choices = [
        Choice(
            key=each.encoder,
            label=each.label,
            meaning=each.meaning,
            encoder=each.encoder,
            ranker=rankers.get(each.encoder, usual),
        )
        for each in dense
    ]
    return [*choices, _lexical(usual), _fused(start, usual)]


def _lexical(ranker: str) -> Choice:
    meaning = "Words alone (BM25): it finds passages that use the words of the question, the rarer the better."
    return Choice(key=LEXICAL, label="Lexical", meaning=meaning, encoder="", ranker=ranker)


def _fused(start: RetrieverChoice, ranker: str) -> Choice:
    meaning = f"'{start.label}' and the words together: {start.mix.sentence}."
    return Choice(
        key=FUSED,
        label="Fused",
        meaning=meaning,
        encoder=start.encoder,
        is_fused=True,
        mix=start.mix,
        ranker=ranker,
    )


def has_ranker(paths: DataPaths, run: str) -> bool:
    """Whether `run` left a trained ranker, and is known with the encoder that it was trained beside."""
    return (paths.run(run) / "ranker").is_dir() and bool(ranker_base(paths, run))


def ranker_base(paths: DataPaths, run: str) -> str:
    """The encoder whose scores the ranker of `run` was trained beside, "" if that is not known."""
    return str(read_config(paths.run(run)).get("base", ""))


def read_config(run: Path) -> dict[str, Any]:
    """The settings of the run in this folder, {} where they cannot be read."""
    try:
        found = json.loads((run / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def find_choice(choices: Sequence[Choice], dense: Sequence[RetrieverChoice], key: str | None) -> Choice:
    """The choice that `key` names: its own key, "baseline" or "distilled", or the one to start with where it is empty.

    Any of them followed by `RERANKED` is re-ranked. Raises `NotFoundError` with the names there are.
    """
    plain = (key or "").removesuffix(RERANKED)
    named = _alias(dense, plain)
    found = next((choice for choice in choices if choice.key == named), None)
    if found is None:
        known = ", ".join(f"'{choice.key}'" for choice in choices)
        raise NotFoundError(
            f"There is no retriever '{plain}' of this corpus any more (there are: {known}). Pick one of them, or "
            "reload the page."
        )
    return found.reranked if (key or "").endswith(RERANKED) else found


def _alias(dense: Sequence[RetrieverChoice], key: str) -> str:
    if not key:
        start = starting_choice(dense)
        return start.encoder if start else ""
    if key in ("baseline", "distilled") and key not in [each.encoder for each in dense]:
        of_kind = [each for each in dense if each.kind == key]
        start = starting_choice(of_kind)
        return start.encoder if start else key
    return key
