"""Simulated teachers: orders made from known positives, for figures that always carry the word "simulated".

`fit_noise` reads the error rate of a real LLM off its published orders of the TREC Deep Learning 2019 passages, and
`noisy` makes such errors on other questions. `KnowingLLM` is asked like a real one, so it can be asked in rounds.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from numpy.typing import NDArray

from distill.prompts import mask_identifiers
from distill.records import CandidateList

Floats = NDArray[np.float64]

_N_FIRST = 10  # of each first-stage list: as many as our teachers order
_GRADES = (1, 2, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """A Plackett-Luce teacher: utility = `relevant` · is positive − `rank` · log(first-stage rank) + Gumbel noise.

    `shared` is the part of the noise's variance that two orders of one question have in common, so that two shuffles
    agree as often as the real LLM's do.
    """

    relevant: float
    rank: float
    shared: float
    pair_accuracy: float  # of the real orders: how often a relevant passage stands before one that is not
    self_agreement: float  # of the real orders: mean Kendall τ between two of them


class KnowingLLM(BaseChatModel):
    """Puts passages first that are known to answer, and the others by their cosine with the question.

    `answers` are the texts of the known passages of each question.
    """

    answers: Mapping[str, Sequence[str]]
    encoder: Any  # an `Encoder`

    @property
    def _llm_type(self) -> str:
        return "simulated"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        prompt = str(messages[-1].content)
        [question] = re.findall(r"^Question: (.*)$", prompt, re.MULTILINE)
        known = [mask_identifiers(text) for text in self.answers.get(question, ())]
        shown = re.findall(r"^\[(\d+)\] (.*?)(?:…)?(?=\n\n\[\d+\] |\n\nQuestion: )", prompt, re.MULTILINE | re.DOTALL)
        cosines = self.encoder.encode_passages([text for _, text in shown]) @ self.encoder.encode_queries([question])[0]
        worth = [
            (any(each.startswith(text) for each in known), float(cosine))
            for (_, text), cosine in zip(shown, cosines, strict=True)
        ]
        best = sorted(range(len(shown)), key=lambda at: worth[at], reverse=True)
        reply = " > ".join(f"[{shown[at][0]}]" for at in best)
        return ChatResult(generations=[ChatGeneration(message=AIMessage(reply))])


def noisy(record: CandidateList, positives: set[str], noise: Noise, *, seed: int, n_orders: int = 1) -> list[list[str]]:
    """`n_orders` orders of the candidates by a teacher that errs as `noise` says."""
    rng = np.random.default_rng([seed, *record.id.encode()])
    is_positive = np.array([candidate.document in positives for candidate in record.candidates], dtype=float)
    places = np.arange(len(is_positive))
    utility = noise.relevant * is_positive - noise.rank * np.log1p(places)
    same = rng.gumbel(size=len(places))
    orders = []
    for _ in range(n_orders):
        own = rng.gumbel(size=len(places))
        mixed = np.sqrt(noise.shared) * same + np.sqrt(1 - noise.shared) * own
        orders.append([record.candidates[place].passage for place in np.argsort(-(utility + mixed))])
    return orders


def fit_noise(folder: Path) -> Noise:
    """The noise of gpt-3.5-turbo, fitted by maximum likelihood on its orders in `folder` (the set msmarco-dl19).

    Each order of the first ten first-stage passages is a Plackett-Luce draw whose utilities are a weight for each NIST
    grade and one for the logarithm of the first-stage rank. A known positive of another set counts as the highest
    grade, everything else as grade 0.
    """
    from scipy.optimize import minimize

    lists = _orders(folder)
    features = [order for orders in lists for order in orders]

    def loss(weights: Floats) -> float:
        total = 0.0
        for x in features:
            u = x @ weights
            total += float((np.logaddexp.accumulate(u[::-1])[::-1] - u).sum())
        return total

    weights = minimize(loss, np.ones(len(_GRADES) + 1)).x
    real = _self_agreement([[_first_stage_places(order) for order in orders] for orders in lists])
    return Noise(
        relevant=float(weights[len(_GRADES) - 1]),
        rank=float(weights[-1]),
        shared=_shared_part(lists, weights, real),
        pair_accuracy=_pair_accuracy(features),
        self_agreement=real,
    )


def _orders(folder: Path) -> list[list[Floats]]:
    """For each question the LLM's orders: features (N, 4) of the passages as placed: one-hot grade, −log rank."""
    relevance = {record["id"]: record["relevance"] for record in _read(folder / "questions.jsonl.gz")}
    first_stage = {record["qid"]: record["ranking"] for record in _read(folder / "first_stage.jsonl.gz")}
    lists: dict[str, list[Floats]] = {}
    for record in _read(folder / "llm_rankings.jsonl.gz"):
        question = record["qid"]
        rank = {passage: place for place, passage in enumerate(first_stage[question][:_N_FIRST])}
        placed = [passage for passage in record["ranking"] if passage in rank]
        rows = [_features(relevance[question].get(passage, 0), rank[passage]) for passage in placed]
        lists.setdefault(question, []).append(np.array(rows, dtype=float))
    return list(lists.values())


def _features(grade: int, place: int) -> list[float]:
    return [*(float(grade == known) for known in _GRADES), -float(np.log1p(place))]


def _read(file: Path) -> list[dict[str, Any]]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _first_stage_places(order: Floats) -> list[float]:
    return [float(value) for value in order[:, -1]]


def _pair_accuracy(orders: Sequence[Floats]) -> float:
    right = [
        bool(first > second)
        for relevant in (order[:, 1] + order[:, 2] for order in orders)  # NIST: grades 2 and 3 answer the question
        for place, first in enumerate(relevant)
        for second in relevant[place + 1 :]
        if first != second
    ]
    return float(np.mean(right))


def _self_agreement(lists: Sequence[Sequence[Sequence[float]]]) -> float:
    """Mean Kendall τ between two orders of one question."""
    from scipy.stats import kendalltau

    taus = []
    for orders in lists:
        places: list[Mapping[float, int]] = [{key: place for place, key in enumerate(order)} for order in orders]
        for a, first in enumerate(places):
            for second in places[a + 1 :]:
                keys = sorted(first.keys() & second.keys())
                taus.append(kendalltau([first[key] for key in keys], [second[key] for key in keys]).statistic)
    return float(np.mean(taus))


def _shared_part(lists: Sequence[Sequence[Floats]], weights: Floats, real: float) -> float:
    """The shared part of the noise, in steps of a tenth, with which simulated orders agree as the real ones do."""

    def simulated(shared: float) -> float:
        rng = np.random.default_rng(0)
        made = []
        for orders in lists:
            features = orders[0]
            same = rng.gumbel(size=len(features))
            draws = [
                features @ weights + np.sqrt(shared) * same + np.sqrt(1 - shared) * rng.gumbel(size=len(features))
                for _ in range(2)
            ]
            made.append([[float(features[place, -1]) for place in np.argsort(-draw)] for draw in draws])
        return _self_agreement(made)

    return min((step / 10 for step in range(11)), key=lambda shared: abs(simulated(shared) - real))
