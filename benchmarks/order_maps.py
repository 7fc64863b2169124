"""Cheap encoders of every quality, for the table order_verdict: the base with a linear map on its question vectors.

Each map learns what one teacher says of the training questions, by KL divergence over the corpus, in a second or two;
passages keep their vectors. Teachers range from the known answers down to one that sorts passages by their length.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from distill.records import Ranking
from distill.teacher.orders import draw_held_out
from distill.verdict.verdict import FIRST_CHOICE_METRIC
from indexes.encoders.finding import DEFAULT_ENCODER
from indexes.encoders.loading import load_encoder
from indexes.evaluation import MetricsByQuery, compare_runs, evaluate_run, make_qrels, run_of_candidates
from indexes.lexical import LexicalIndex
from indexes.mixes import blend
from indexes.passage_index import PassageIndex
from indexes.paths import DataPaths
from indexes.queries import read_queries
from indexes.types import Candidate, Query, Vectors

_EPOCHS = (1, 2, 4, 8)
_TEMPERATURE, _LEARNING_RATE, _BATCH = 0.05, 1e-3, 32
_N_LISTED = 10

Order = list[int]  # numbers of passages, best first


@dataclass
class Measured:
    """A corpus with its questions as vectors, and a teacher's real orders as numbers of passages."""

    paths: DataPaths
    folder: Path

    @cached_property
    def passages(self) -> list[Any]:
        return sorted(self.index_corpus.passages(), key=lambda passage: passage.id)

    @cached_property
    def index_corpus(self) -> Any:
        from indexes.corpus import Corpus

        return Corpus.open(self.paths, self.folder.name)

    @cached_property
    def index(self) -> PassageIndex:
        return PassageIndex.open(self.paths, self.folder.name, load_encoder(DEFAULT_ENCODER, self.paths))

    @cached_property
    def vectors(self) -> Vectors:
        """Of the passages, shape (P, D)."""
        return self.index.vectors([passage.id for passage in self.passages])

    @cached_property
    def queries(self) -> list[Query]:
        return read_queries(self.folder / "questions.jsonl.gz")

    @cached_property
    def questions(self) -> dict[str, Vectors]:
        """The vector of each question by its id."""
        vectors = self.index.encoder.encode_queries([query.text for query in self.queries])
        return {query.id: vector for query, vector in zip(self.queries, vectors, strict=True)}

    def answered_by(self, question: str, passage: int) -> Query:
        """The question as it is judged where the document of `passage` counts as the answer."""
        return Query(id=question, text="", positives=(self.passages[passage].document_id,))

    def numbers_of(self, question: str, documents: Sequence[str]) -> Order:
        """For each document that is there the passage nearest to the question."""
        near = [self.of_document[document] for document in documents if document in self.of_document]
        return [max(numbers, key=lambda n: float(self.vectors[n] @ self.questions[question])) for numbers in near]

    @cached_property
    def of_document(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for number, passage in enumerate(self.passages):
            found.setdefault(passage.document_id, []).append(number)
        return found


def measure(paths: DataPaths, folder: Path, seed: int) -> Iterator[dict[str, Any]]:
    """A record for each teacher and number of epochs: what its held-out orders foretell, and what dev questions say."""
    import torch

    torch.manual_seed(seed)
    at = Measured(paths, folder)
    with gzip.open(folder / "llm_rankings.jsonl.gz", "rt", encoding="utf-8") as lines:
        given = [json.loads(line) for line in lines]
    real = {g["id"]: (at.numbers_of(g["id"], g["ranking"]), at.numbers_of(g["id"], g["shown"])) for g in given}
    apart = draw_held_out(
        [Ranking(id=identifier, ranking=tuple(map(str, order))) for identifier, (order, _) in real.items()], seed
    )
    dev = [query for query in at.queries if query.split == "dev" and query.grades]
    before = _judged(at, dev, lambda vectors: vectors)
    for name, taught in _teachers(at, real, seed).items():
        says = taught if name in ("its reversed order", "by length") else {i: o for i, (o, _) in real.items()}
        kept = [at.answered_by(i, says[i][0]) for i in apart]
        train = {i: order for i, order in taught.items() if i not in apart}
        first = _judged(at, kept, lambda vectors: vectors)
        for n_epochs, mapped in _maps(at, train, name):
            foretold = compare_runs(first, _judged(at, kept, mapped), FIRST_CHOICE_METRIC)
            judged = compare_runs(before, _judged(at, dev, mapped))
            yield {"row": name, "n": len(kept), "epochs": n_epochs} | {
                "foretold": asdict(foretold),
                "judged": asdict(judged),
            }


def _teachers(at: Measured, real: Mapping[str, tuple[Order, Order]], seed: int) -> dict[str, dict[str, Order]]:
    known = {query.id: query for query in at.queries}
    number_of = {passage.id: number for number, passage in enumerate(at.passages)}
    texts = [known[identifier].text for identifier in real]
    dense = at.index.search_many(texts, 50)
    lexical = LexicalIndex.open(at.paths, at.folder.name).search_many(texts, 50)
    both = [blend(*pair, 50) for pair in zip(dense, lexical, strict=True)]

    def listed(found: Sequence[Sequence[Candidate]]) -> dict[str, Order]:
        pairs = zip(real, found, strict=True)
        return {i: [number_of[c.passage.id] for c in cs[:_N_LISTED] if c.passage.id in number_of] for i, cs in pairs}

    return {
        "known answers": {i: at.numbers_of(i, list(known[i].grades)) for i in real},
        "the LLM's first": {i: order[:1] for i, (order, _) in real.items()},
        "the LLM's order": {i: order for i, (order, _) in real.items()},
        "fused retrieval (free)": listed(both),
        "keyword search (free)": listed(lexical),
        "its reversed order": {i: order[::-1] for i, (order, _) in real.items()},
        "by length": {i: sorted(shown, key=lambda n: -len(at.passages[n].text)) for i, (_, shown) in real.items()},
    }


def _maps(at: Measured, train: Mapping[str, Order], name: str) -> Iterator[tuple[int, Callable[[Vectors], Vectors]]]:
    """The map after each number of epochs."""
    import torch

    ids = [identifier for identifier, order in train.items() if order]
    corpus = torch.from_numpy(at.vectors)
    questions = torch.from_numpy(np.stack([at.questions[identifier] for identifier in ids]))
    targets = torch.zeros(len(ids), len(corpus))
    for row, identifier in enumerate(ids):
        order = train[identifier]
        even = name == "known answers"
        weights = [0.0 if even else -2 * math.log2(place + 1) for place in range(1, len(order) + 1)]
        targets[row, order] = torch.softmax(torch.tensor(weights), dim=0)
    weight = torch.eye(corpus.shape[1], requires_grad=True)
    optimizer = torch.optim.Adam([weight], lr=_LEARNING_RATE)
    for epoch in range(1, max(_EPOCHS) + 1):
        for batch in torch.randperm(len(ids)).split(_BATCH):
            mapped = torch.nn.functional.normalize(questions[batch] @ weight, dim=1)
            loss = -(targets[batch] * torch.log_softmax(mapped @ corpus.T / _TEMPERATURE, dim=1)).sum(1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if epoch in _EPOCHS:
            yield epoch, _mapping(weight.detach().numpy().copy())


def _mapping(weight: Vectors) -> Callable[[Vectors], Vectors]:
    def mapped(vectors: Vectors) -> Vectors:
        moved = vectors @ weight
        return np.asarray(moved / np.linalg.norm(moved, axis=-1, keepdims=True), dtype=np.float32)

    return mapped


def _judged(at: Measured, dev: Sequence[Query], mapped: Callable[[Vectors], Vectors]) -> MetricsByQuery:
    scores = mapped(np.stack([at.questions[query.id] for query in dev])) @ at.vectors.T
    run = {}
    for query, row in zip(dev, scores, strict=True):
        best = np.argsort(-row)[:60]
        run[query.id] = run_of_candidates([Candidate(passage=at.passages[n], score=float(row[n])) for n in best], 20)
    return evaluate_run(make_qrels(dev), run)
