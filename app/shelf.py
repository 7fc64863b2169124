"""The encoders and indexes that the page has open, and what can be asked of a corpus."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from distill.ranker.ranker import Ranker, load_ranker
from distill.verdict.promotion import promoted
from indexes.corpus import Corpus, list_corpora
from indexes.encoders.precision import comparable
from indexes.errors import InputError, NotFoundError
from indexes.lexical import LexicalIndex
from indexes.mixes import DEFAULT_MIX, Mix, kept_mix
from indexes.paths import DataPaths
from indexes.types import CorpusInfo, Encoder, Tokenizer, Vectors

if TYPE_CHECKING:
    from indexes.passage_index import PassageIndex


LoadEncoder = Callable[[str, DataPaths], Encoder]
LoadRanker = Callable[[Path], Ranker]
Kind = Literal["baseline", "distilled", "other"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrieverChoice:
    """An index of a corpus as people pick it; `mix` is how much words count beside it in a fused search."""

    encoder: str
    kind: Kind
    is_promoted: bool = False
    mix: Mix = DEFAULT_MIX

    @property
    def label(self) -> str:
        label = {"baseline": "Baseline", "distilled": f"Distilled: {self.encoder}", "other": self.encoder}[self.kind]
        return f"{label} (promoted)" if self.is_promoted else label

    @property
    def meaning(self) -> str:
        meaning = {
            "baseline": f"{self.encoder} as it came: never taught on any corpus of yours.",
            "distilled": f"{self.encoder} was taught here, on questions about this corpus.",
            "other": f"{self.encoder} is another encoder that this corpus was indexed with.",
        }[self.kind]
        return f"{meaning} It was promoted: it answers where no other is picked." if self.is_promoted else meaning


def list_choices(paths: DataPaths, baseline: str, corpus: CorpusInfo) -> list[RetrieverChoice]:
    """The retrievers of `corpus`: the baseline first, then those taught here, then the rest."""
    standing, folder = promoted(paths, corpus.name), Corpus.open(paths, corpus.name).folder
    choices = [
        RetrieverChoice(
            encoder=index.encoder,
            kind=_kind(paths, baseline, index.encoder),
            is_promoted=index.encoder == standing,
            mix=kept_mix(folder, index.encoder) or DEFAULT_MIX,
        )
        for index in corpus.indexes
        if not _is_in_training(paths, index.encoder)
    ]
    order = ("baseline", "distilled", "other")
    return sorted(choices, key=lambda choice: (order.index(choice.kind), choice.encoder))


def _is_in_training(paths: DataPaths, encoder: str) -> bool:
    """Whether `encoder` is what a run is still training: its passages can be indexed before it can read questions."""
    return paths.run(encoder).is_dir() and not paths.encoder(encoder).is_dir()


def starting_choice(choices: Sequence[RetrieverChoice]) -> RetrieverChoice | None:
    """The retriever to use where none was picked: the promoted one, or else the first; None if there is none."""
    return next((choice for choice in choices if choice.is_promoted), choices[0] if choices else None)


def look_up(
    paths: DataPaths, baseline: str, corpus: str | None
) -> tuple[list[CorpusInfo], CorpusInfo | None, list[RetrieverChoice]]:
    """All corpora as they are on disk now, the one to show, and its retrievers.

    That is `corpus` if it is still there, or else the first that is indexed.
    """
    corpora = list_corpora(paths)
    shown = next((info for info in corpora if info.name == corpus), None)
    shown = shown or next((info for info in corpora if info.indexes), corpora[0] if corpora else None)
    return corpora, shown, list_choices(paths, baseline, shown) if shown else []


def picked_corpus(paths: DataPaths, picked: str | None) -> str:
    """The corpus that was picked; the first one where the page was quicker clicked than it could pick one."""
    if picked:
        return picked
    corpora = list_corpora(paths)
    if not corpora:
        raise InputError("There is no corpus yet. Add files on the Corpora tab first.")
    return next((info for info in corpora if info.indexes), corpora[0]).name


def _kind(paths: DataPaths, baseline: str, encoder: str) -> Kind:
    if encoder == baseline:
        return "baseline"
    return "distilled" if paths.encoder(encoder).is_dir() else "other"


class SerialEncoder:
    """An `Encoder` that answers one caller at a time: a tokenizer borrowed by two threads fails."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        return self._encoder.name

    @property
    def fingerprint(self) -> str:
        return self._encoder.fingerprint

    @property
    def dimension(self) -> int:
        return self._encoder.dimension

    @property
    def max_tokens(self) -> int:
        return self._encoder.max_tokens

    @property
    def tokenizer(self) -> Tokenizer:
        return self._encoder.tokenizer

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of questions, shape (B, D)."""
        with self._lock:
            return self._encoder.encode_queries(texts)

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of passages, shape (N, D)."""
        with self._lock:
            return self._encoder.encode_passages(texts)


class IndexShelf:
    """The indexes of every corpus, over encoders that are loaded once each."""

    def __init__(self, paths: DataPaths, load_encoder: LoadEncoder, load_ranker: LoadRanker = load_ranker) -> None:
        self._paths = paths
        self._load = load_encoder
        self._load_ranker = load_ranker
        self._lexical: dict[str, tuple[str, LexicalIndex]] = {}
        self._rankers: dict[str, tuple[float, Ranker]] = {}
        self._reading = threading.Lock()  # of lexical indexes and rankers: one reads them, the others wait for it
        self._opening = threading.Lock()  # Chroma's first two clients of a process trip over each other
        self.ranking = threading.Lock()  # a ranker's model serves one question at a time
        self._lock = threading.Lock()
        self._encoders: dict[str, SerialEncoder] = {}

    def encoder(self, name: str) -> Encoder:
        """The encoder called `name`, loaded once and shared by everyone who asks questions."""
        with self._lock:
            if name not in self._encoders:
                self._encoders[name] = SerialEncoder(self._load(name, self._paths))
            return self._encoders[name]

    def new_encoder(self, name: str) -> Encoder:
        """Another copy of the encoder, so that embedding a corpus does not make questions wait for its batches."""
        return self._load(name, self._paths)

    def index(self, corpus: str, encoder: str) -> PassageIndex:
        """The index of `corpus` by `encoder` as it is on disk now: another process may have made or remade it.

        It is opened anew for each question, which takes a few milliseconds and never shows a deleted corpus.
        """
        from indexes.passage_index import PassageIndex

        info = next((each for each in Corpus.open(self._paths, corpus).indexes() if each.encoder == encoder), None)
        if info is None:
            raise NotFoundError(
                f"Corpus '{corpus}' has no index by '{encoder}' any more. Pick another retriever, or reload the page."
            )
        if not comparable(self.encoder(encoder).fingerprint, info.fingerprint):
            self._forget(encoder)  # taught again since it was loaded
        known = self.encoder(encoder)
        with self._opening:
            return PassageIndex.open(self._paths, corpus, known)

    def _forget(self, encoder: str) -> None:
        with self._lock:
            self._encoders.pop(encoder, None)

    def lexical(self, corpus: str) -> LexicalIndex:
        """The lexical index of `corpus` as it is on disk now, read again only where the corpus has changed."""
        with self._reading:
            content = Corpus.open(self._paths, corpus).content_hash()
            if self._lexical.get(corpus, ("",))[0] != content:
                self._lexical[corpus] = (content, LexicalIndex.open(self._paths, corpus))
            return self._lexical[corpus][1]

    def ranker(self, run: str) -> Ranker:
        """The trained ranker of `run`, loaded once and again when it was trained anew."""
        folder = self._paths.run(run) / "ranker"
        with self._reading:
            written_at = folder.stat().st_mtime if folder.is_dir() else 0.0
            if self._rankers.get(run, (-1.0,))[0] != written_at:
                self._rankers[run] = (written_at, self._load_ranker(folder))
            return self._rankers[run][1]


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
