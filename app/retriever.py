"""The retrievers that people pick: which there are of a corpus, over encoders loaded once each, and what one finds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from distill.ranker.ranker import Ranker, load_ranker
from distill.ranker.rerank import open_scorer
from distill.run_folder import RANKER, RunFolder
from indexes.corpus import Corpus, corpora
from indexes.encoders.loading import LoadEncoder, SerialEncoder
from indexes.encoders.torch import comparable
from indexes.errors import InputError, NotFoundError
from indexes.langchain import IndexRetriever, to_candidate
from indexes.mixes import DEFAULT_MIX, kept_mix
from indexes.observing import step
from indexes.paths import DataPaths
from indexes.retrievers import Retriever, Search, open_search, split_key
from indexes.types import Candidate, Encoder

if TYPE_CHECKING:
    from indexes.passage_index import PassageIndex


LoadRanker = Callable[[Path], Ranker]
Role = Literal["baseline", "distilled", "other"]  # in the order in which they are offered
Way = Literal["", "Taught", "Baseline", "Words", "Both"]
WAYS: tuple[Way, ...] = get_args(Way)[1:]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A retriever as people pick it; `role` is its encoder's.

    `ranker` is the run whose trained ranker can put its passages in order, "" if there is none; `way` the name of one
    that is offered first.
    """

    retriever: Retriever
    meaning: str
    way: Way = ""
    role: Role = "other"
    is_promoted: bool = False
    ranker: str = ""

    @property
    def key(self) -> str:
        return self.retriever.key

    @property
    def label(self) -> str:
        """What people call it, on every tab."""
        name = self.way or replace(self.retriever, is_reranked=False).name.replace("BM25", "words")
        return f"{name}, re-ranked" if self.retriever.is_reranked else name

    @property
    def reranked(self) -> Choice:
        """The same with its best passages in the order of the ranker; raises `InputError` where there is none."""
        if not self.ranker:
            raise InputError(
                f"'{self.label}' cannot be re-ranked: no ranker was trained on this corpus yet. Teach a retriever "
                "first, or ask without re-ranking."
            )
        meaning = f"{self.meaning} The ranker of run '{self.ranker}' then puts the best of them in order."
        return replace(self, retriever=replace(self.retriever, is_reranked=True), meaning=meaning)


def list_choices(paths: DataPaths, baseline: str, corpus: Corpus) -> list[Choice]:
    """The retrievers of `corpus`: those by vectors, first the baseline, then those taught here and the rest; the one
    by words; and the fusion of each of the first with that one.
    """
    standing = corpus.promoted()
    encoders = [index.encoder for index in corpus.indexes() if not _is_in_training(paths, index.encoder)]
    dense = [_dense(paths, baseline, each, standing is not None and each == standing.encoder) for each in encoders]
    dense.sort(key=lambda choice: (get_args(Role).index(choice.role), choice.key))
    taught = max((each for each in dense if each.role == "distilled"), key=partial(_rank, paths), default=None)
    start = starting_choice(dense)
    if start is None:
        return []
    meaning = "The words of the question alone (BM25), the rarer the better."
    lexical = Choice(retriever=Retriever(kind="lexical"), meaning=meaning)
    rankers = [each.key for each in dense if _has_ranker(RunFolder(paths.run(each.key)))]
    usual = start.key if start.key in rankers else next(iter(rankers), "")
    main = (taught or start).key
    ways: dict[str, Way] = {dense[0].key: "Baseline", "lexical": "Words", f"fused({main})": "Both"}
    ways |= {main: "Taught"} if taught else {}
    return [
        replace(
            each,
            ranker=each.retriever.encoder if each.retriever.encoder in rankers else usual,
            way=ways.get(each.key, ""),
        )
        for each in (*dense, lexical, *(_fused(corpus, each) for each in dense))
    ]


def _rank(paths: DataPaths, taught: Choice) -> tuple[bool, bool, float]:
    """The greatest is the one that is called taught: what was promoted, or else the newest that is no free control."""
    return taught.is_promoted, not taught.key.endswith("-free"), paths.encoder(taught.key).stat().st_mtime


def _fused(corpus: Corpus, dense: Choice) -> Choice:
    mix = kept_mix(corpus, dense.key) or DEFAULT_MIX
    meaning = f"{dense.label} and words together: {mix.sentence}."
    return replace(dense, retriever=replace(dense.retriever, kind="fused", mix=mix), meaning=meaning)


def _dense(paths: DataPaths, baseline: str, encoder: str, is_promoted: bool) -> Choice:
    is_taught = paths.encoder(encoder).is_dir()
    role: Role = "baseline" if encoder == baseline else "distilled" if is_taught else "other"
    alias, meaning = {
        "baseline": ("Baseline", f"By meaning, with {encoder} as it came: never taught on any corpus of yours."),
        "distilled": (f"Taught: {encoder}", f"By meaning, as learned from questions about this corpus ({encoder})."),
        "other": ("", f"{encoder} is another encoder that this corpus was indexed with."),
    }[role]
    if is_promoted:
        meaning = f"{meaning} It was promoted: it answers where no other is picked."
    return Choice(
        retriever=Retriever(encoder=encoder, alias=alias), meaning=meaning, role=role, is_promoted=is_promoted
    )


def _is_in_training(paths: DataPaths, encoder: str) -> bool:
    """Whether `encoder` is what a run is still training: its passages can be indexed before it can read questions."""
    return paths.run(encoder).is_dir() and not paths.encoder(encoder).is_dir()


def _has_ranker(run: RunFolder) -> bool:
    """Whether the run left a ranker, and is known with the encoder that it was trained beside."""
    return run.file(RANKER).is_dir() and bool(run.config and run.config.base)


def starting_choice(choices: Sequence[Choice]) -> Choice | None:
    """The retriever to use where none was picked: the promoted one, or else the first; None if there is none."""
    return next((choice for choice in choices if choice.is_promoted), choices[0] if choices else None)


def taught_choice(choices: Sequence[Choice]) -> Choice | None:
    """The retriever that is called taught, None if there is none."""
    return next((choice for choice in choices if choice.way == "Taught"), None)


def find_choice(choices: Sequence[Choice], key: str | None, is_reranked: bool = False) -> Choice:
    """The choice with this key, or the one meant by "baseline", "distilled" or "fused", or by "" for the one to start
    with; raises `NotFoundError` with the keys there are.
    """
    plain, reranks = split_key(key or "")
    by_key = [each for each in choices if each.key == plain]
    named = [each for each in choices if plain in ("", "fused" if each.retriever.kind == "fused" else each.role)]
    found = starting_choice(by_key or named)
    if found is None:
        known = ", ".join(f"'{choice.key}'" for choice in choices)
        raise NotFoundError(
            f"There is no retriever '{plain}' of this corpus any more (there are: {known}). Pick one of them, or "
            "reload the page."
        )
    return found.reranked if reranks or is_reranked else found


def look_up(paths: DataPaths, baseline: str, corpus: str | None) -> tuple[list[str], str | None, list[Choice]]:
    """The names of all corpora as they are on disk now, the one to show, and its retrievers.

    That is `corpus` if it is still there, or else the first that is indexed.
    """
    known = corpora(paths)
    shown = next((each for each in known if each.name == corpus), None) or _first(known)
    names = [each.name for each in known]
    return (names, shown.name, list_choices(paths, baseline, shown)) if shown else (names, None, [])


def picked_corpus(paths: DataPaths, picked: str | None) -> str:
    """The corpus that was picked; the first one where the page was quicker clicked than it could pick one."""
    if picked:
        return picked
    first = _first(corpora(paths))
    if first is None:
        raise InputError("There is no corpus yet. Add files on the Corpora tab first.")
    return first.name


def _first(known: Sequence[Corpus]) -> Corpus | None:
    return next((each for each in known if each.indexes()), known[0] if known else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieval:
    """What one retriever found for a question, best first, and how long it took."""

    corpus: str
    choice: Choice
    candidates: tuple[Candidate, ...]
    took_ms: float


class Retrievers:
    """The retrievers of every corpus, over encoders and rankers that are loaded once each."""

    def __init__(
        self, paths: DataPaths, baseline: str, load_encoder: LoadEncoder, load_ranker: LoadRanker = load_ranker
    ) -> None:
        self._paths = paths
        self._baseline = baseline
        self._load = load_encoder
        self._load_ranker = load_ranker
        self._encoders: dict[str, SerialEncoder] = {}
        self._rankers: dict[str, tuple[float, Ranker]] = {}
        self._lock = threading.Lock()
        self._loading = threading.Lock()  # one loads a ranker, the others wait for it
        self._ranking = threading.Lock()  # a ranker's model serves one question at a time

    def encoder(self, name: str) -> Encoder:
        """The encoder called `name`, loaded once and shared by everyone who asks questions."""
        with self._lock:
            if name not in self._encoders:
                self._encoders[name] = SerialEncoder(self._load(name, self._paths))
            return self._encoders[name]

    def new_encoder(self, name: str) -> Encoder:
        """Another copy of the encoder, so that embedding a corpus does not make questions wait for its batches."""
        return self._load(name, self._paths)

    def encoder_of(self, corpus: Corpus, name: str) -> Encoder:
        """The encoder called `name` as `corpus` is indexed by it; loaded again if it was taught again since."""
        info = next((each for each in corpus.indexes() if each.encoder == name), None)
        if info is None:
            raise NotFoundError(
                f"Corpus '{corpus.name}' has no index by '{name}' any more. Pick another retriever, or reload the page."
            )
        if not comparable(self.encoder(name).fingerprint, info.fingerprint):
            with self._lock:
                self._encoders.pop(name, None)
        return self.encoder(name)

    def index(self, corpus: str | Corpus, encoder: str) -> PassageIndex:
        """The index of `corpus` by `encoder` as it is on disk now: another process may have made or remade it."""
        from indexes.passage_index import PassageIndex

        opened = Corpus.open(self._paths, corpus)
        return PassageIndex.open(self._paths, opened, self.encoder_of(opened, encoder))

    def ranker(self, run: str) -> Ranker:
        """The trained ranker of `run`, loaded once and again when it was trained anew."""
        folder = self._paths.run(run) / "ranker"
        with self._loading:
            written_at = folder.stat().st_mtime if folder.is_dir() else 0.0
            if self._rankers.get(run, (-1.0,))[0] != written_at:
                self._rankers[run] = (written_at, self._load_ranker(folder))
            return self._rankers[run][1]

    def choices(self, corpus: Corpus) -> list[Choice]:
        """The retrievers of `corpus`; raises `InputError` where it is not indexed."""
        choices = list_choices(self._paths, self._baseline, corpus)
        if not choices:
            raise InputError(f"Corpus '{corpus.name}' is not indexed yet. Wait until it is, or add its files again.")
        return choices

    def search(self, corpus: Corpus, choice: Choice) -> Search:
        """What finds passages of `corpus` as `choice` says; opened for each question, it never shows what is gone."""
        load, encoder = partial(self.encoder_of, corpus), choice.retriever.encoder
        scorer = None
        if choice.retriever.is_reranked:
            ranker = self.ranker(choice.ranker)
            scorer = open_scorer(self._paths, corpus, choice.ranker, encoder, load, ranker, self._ranking)
        return open_search(self._paths, corpus, choice.retriever, load, scorer)

    def reading(self, corpus: str | None) -> AbstractContextManager[Corpus]:
        """The corpus to ask, `corpus` or else the first: its manifest is opened once for all that one thread asks."""
        return Corpus.reading(self._paths, picked_corpus(self._paths, corpus))

    def find(self, corpus: Corpus, choice: Choice, question: str, k: int) -> Retrieval:
        """What `choice` finds in `corpus` for `question`; the time is that of the search alone."""
        with step("retrieve", retriever=choice.key):
            retriever = IndexRetriever(search=self.search(corpus, choice))
            started = time.perf_counter()
            documents = retriever.invoke(question, k=k)
        took_ms = (time.perf_counter() - started) * 1000
        found = tuple(map(to_candidate, documents))
        return Retrieval(corpus=corpus.name, choice=choice, candidates=found, took_ms=took_ms)

    def retrieve(
        self, corpus: str | None, key: str | None, question: str, k: int, is_reranked: bool = False
    ) -> Retrieval:
        """What the retriever of `corpus` that `key` names (see `find_choice`) finds for `question`."""
        with self.reading(corpus) as opened:
            return self.find(opened, find_choice(self.choices(opened), key, is_reranked), question, k)
