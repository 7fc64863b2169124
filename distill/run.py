"""One run: its settings, its folder, and what its stages share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from langchain_core.language_models import BaseChatModel

from indexes.chroma import PassageIndex, update_index
from indexes.corpus import Corpus
from indexes.encoders import load_encoder
from indexes.errors import InputError
from indexes.lexical import LexicalIndex, search_fused
from indexes.paths import DataPaths
from indexes.types import Candidate

Stage = Literal["questions", "candidates", "rankings", "ranker", "scores", "retriever", "index", "verdict"]
STAGES: tuple[Stage, ...] = (
    "questions",
    "candidates",
    "rankings",
    "ranker",
    "scores",
    "retriever",
    "index",
    "verdict",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """What a run is: it goes on only with the same settings."""

    name: str
    corpus: str
    base: str
    questions: str = ""
    n_written: int = 0
    n_candidates: int = 10
    n_scored: int = 20
    limit: int = 0
    seed: int = 13
    teacher: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Where a run is: `done` of `total` steps of a stage, or a remark."""

    stage: Stage
    done: int = 0
    total: int = 0
    remark: str = ""


Report = Callable[[Event], None]


class Distillation:
    """One run: its folder, its config, and what its stages share."""

    def __init__(
        self,
        paths: DataPaths,
        config: RunConfig,
        connect: Callable[[], BaseChatModel],
        report: Report,
        concurrency: int,
    ) -> None:
        self.paths = paths
        self.config = config
        self.concurrency = concurrency
        self.folder = paths.run(config.name)
        self._connect = connect
        self._report = report
        self.corpus = Corpus.open(paths, config.corpus)
        self.encoder = load_encoder(config.base, paths)
        claim_folder(self)

    @cached_property
    def llm(self) -> BaseChatModel:
        """The teacher, connected when it is first needed."""
        return self._connect()

    @cached_property
    def index(self) -> PassageIndex:
        """The baseline's index, brought up to date first."""
        for done, total in update_index(self.paths, self.corpus, self.encoder):
            self.say("candidates", done, total, "" if total == 0 else "indexing the corpus with the base encoder")
        return PassageIndex.open(self.paths, self.corpus.name, self.encoder)

    @cached_property
    def lexical(self) -> LexicalIndex:
        """The BM25 twin."""
        return LexicalIndex.open(self.paths, self.corpus.name)

    @cached_property
    def texts(self) -> Mapping[str, str]:
        """The full text of each passage by id."""
        return {passage.id: passage.full_text for passage in self.corpus.passages()}

    def say(self, stage: Stage, done: int = 0, total: int = 0, remark: str = "") -> None:
        """Reports where the run is."""
        self._report(Event(stage=stage, done=done, total=total, remark=remark))

    def fused(self, questions: Sequence[str], k: int) -> list[list[Candidate]]:
        """Reciprocal rank fusion of the baseline and BM25."""
        return search_fused(self.index, self.lexical, questions, k)

    def file(self, name: str) -> Path:
        """A file of the run."""
        return self.folder / name


@contextmanager
def only_process(run: Distillation) -> Iterator[None]:
    """Keeps a second process off the run's files; the lock goes with its process, so a killed one blocks nobody."""
    from filelock import FileLock, Timeout

    try:
        with FileLock(run.file("lock"), timeout=0):
            yield
    except Timeout as error:
        raise InputError(
            f"Run '{run.config.name}' is going on in another process. Wait for it, or choose another --name."
        ) from error


def claim_folder(run: Distillation) -> None:
    """Notes the run's settings in its folder, or refuses to go on with others than it was begun with."""
    settings = asdict(run.config) | {"fingerprint": run.encoder.fingerprint, "content": run.corpus.content_hash()}
    file = run.file("config.json")
    if file.is_file():
        known = json.loads(file.read_text(encoding="utf-8"))
        changed = [
            f"{key}: {known.get(key)!r} → {value!r}" for key, value in settings.items() if known.get(key) != value
        ]
        if changed:
            raise InputError(
                f"Run '{run.config.name}' was begun with other settings ({'; '.join(changed)}). Give the same ones to "
                f"go on, choose another --name, or delete {run.folder} to begin anew."
            )
        return
    if run.paths.encoder(run.config.name).exists():
        raise InputError(f"There is an encoder '{run.config.name}' already. Choose another --name.")
    run.folder.mkdir(parents=True, exist_ok=True)
    write_json(file, settings)


def write_json(file: Path, value: object) -> None:
    """Writes `value` to `file`, which appears complete or not at all."""
    partial = file.with_name(file.name + ".partial")
    partial.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    partial.replace(file)
