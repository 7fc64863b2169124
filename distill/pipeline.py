"""The whole way from a corpus and an LLM to a better retriever: stages in order, each with a file in and a file out.

A stage whose file is complete is not run again, and one that was killed goes on where it was. The rules live in the
rooms; this module only hands their files on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from langchain_core.language_models import BaseChatModel

from distill.candidates import mine_candidates
from distill.jsonl import read_records, write_records
from distill.questions import assign_splits, load_questions, write_questions
from distill.ranker import LateInteractionRanker
from distill.ranker_training import RankerReport, train_ranker
from distill.teacher import first_shown_share, rank_candidates, status_shares
from indexes.chroma import PassageIndex, update_index
from indexes.corpus import Corpus
from indexes.encoders import SentenceTransformerEncoder, load_encoder
from indexes.errors import InputError, UserError
from indexes.judging import Judgement, judge
from indexes.lexical import LexicalIndex, fuse
from indexes.paths import DataPaths
from indexes.queries import read_queries, write_queries
from indexes.types import Candidate, Passage, Query

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
_ROUND_TRIP_DEPTH = 20  # a written question must find its passage among so many fused ones


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
        _claim_folder(self)

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
        depth = max(k, 50)
        pairs = zip(self.index.search_many(questions, depth), self.lexical.search_many(questions, depth), strict=True)
        return [fuse(pair, k) for pair in pairs]

    def file(self, name: str) -> Path:
        """A file of the run."""
        return self.folder / name


def run_distillation(
    paths: DataPaths,
    config: RunConfig,
    connect: Callable[[], BaseChatModel],
    report: Report,
    until: Stage = "verdict",
    concurrency: int = 1,
) -> dict[str, Any]:
    """The run's metrics (what `metrics.json` holds), after all stages up to `until`; {} if it ends before the verdict.

    Raises `InputError` if a run of this name has other settings or goes on in another process, and whatever sentence
    a stage has.
    """
    run = Distillation(paths, config, connect, report, concurrency)
    with _only_process(run):
        for stage in STAGES[: STAGES.index(until) + 1]:
            _RUN_STAGE[stage](run)
    metrics = run.file("metrics.json")
    return json.loads(metrics.read_text(encoding="utf-8")) if until == "verdict" else {}


@contextmanager
def _only_process(run: Distillation) -> Iterator[None]:
    """Keeps a second process off the run's files; the lock goes with its process, so a killed one blocks nobody."""
    from filelock import FileLock, Timeout

    try:
        with FileLock(run.file("lock"), timeout=0):
            yield
    except Timeout as error:
        raise InputError(
            f"Run '{run.config.name}' is going on in another process. Wait for it, or choose another --name."
        ) from error


def _claim_folder(run: Distillation) -> None:
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
    _write_json(file, settings)


def _write_json(file: Path, value: object) -> None:
    partial = file.with_name(file.name + ".partial")
    partial.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    partial.replace(file)


def _questions(run: Distillation) -> None:
    file = run.file("questions.jsonl")
    if file.is_file():
        return
    config = run.config
    if config.questions:
        queries = load_questions(Path(config.questions), seed=config.seed)
    else:
        queries = assign_splits(_written(run), seed=config.seed)
    write_queries(file, _limited(queries, config.limit))


def _limited(queries: Sequence[Query], limit: int) -> list[Query]:
    """At most `limit` training questions (0: all), and every held-out one."""
    train = [query for query in queries if query.split == "train"]
    return [*(train[:limit] if limit else train), *(query for query in queries if query.split != "train")]


def _written(run: Distillation) -> list[Query]:
    def is_found(question: str, passage: Passage) -> bool:
        return any(c.passage.id == passage.id for c in run.fused([question], _ROUND_TRIP_DEPTH)[0])

    return write_questions(
        list(run.corpus.passages()),
        run.llm,
        run.config.n_written,
        run.file("written.jsonl"),
        is_found=is_found,
        seed=run.config.seed,
        on_progress=lambda done, total: run.say("questions", done, total),
        concurrency=run.concurrency,
    )


def _training_queries(run: Distillation) -> list[Query]:
    return read_queries(run.file("questions.jsonl"), "train")


def _candidates(run: Distillation) -> None:
    if run.file("candidates.jsonl").is_file():
        return
    queries = _training_queries(run)
    depth = max(run.config.n_scored, run.config.n_candidates)
    run.say("candidates", 0, len(queries))
    records = [r for r in mine_candidates(queries, run.index, run.lexical, depth) if len(r["candidates"]) > 1]
    if not records:
        raise InputError(
            "To put candidates in order takes at least two of them, but no question has found two passages. "
            f"Add more documents to corpus '{run.corpus.name}'."
        )
    write_records(run.file("candidates.jsonl"), records)
    run.say("candidates", len(queries), len(queries))


def _rankings(run: Distillation) -> None:
    n = run.config.n_candidates
    candidates = [r | {"candidates": r["candidates"][:n]} for r in read_records(run.file("candidates.jsonl"))]
    done = {record["id"] for record in read_records(run.file("rankings.jsonl"))}
    if all(record["id"] in done for record in candidates):
        return
    rank_candidates(
        candidates,
        run.texts,
        run.llm,
        run.file("rankings.jsonl"),
        seed=run.config.seed,
        on_progress=lambda done, total: run.say("rankings", done, total),
        concurrency=run.concurrency,
    )


def _ranker(run: Distillation) -> None:
    folder = run.file("ranker")
    if folder.is_dir():
        return
    rankings = {record["id"]: record for record in read_records(run.file("rankings.jsonl"))}
    usable = [r for r in read_records(run.file("candidates.jsonl")) if len(rankings[r["id"]]["ranking"]) > 1]
    if not usable:
        raise UserError(
            f"None of the {len(rankings)} replies of the LLM held an order (see {run.file('rankings.jsonl')}). "
            "Use a stronger LLM: set LLM_MODEL."
        )
    ranker, report = train_ranker(
        _base_model(run.config, run.paths).model,
        usable,
        rankings,
        run.texts,
        run.file("ranker-checkpoints"),
        seed=run.config.seed,
        on_progress=lambda done, total: run.say("ranker", done, total),
    )
    partial = run.file("ranker.partial")
    ranker.save(partial)
    _write_json(partial / "report.json", asdict(report))
    partial.rename(folder)


def _base_model(config: RunConfig, paths: DataPaths) -> SentenceTransformerEncoder:
    """The base encoder, loaded anew: training changes it in place, and the baseline's index goes on with the other."""
    encoder = load_encoder(config.base, paths)
    if not isinstance(encoder, SentenceTransformerEncoder):
        raise InputError(f"Only sentence-transformers encoders can be taught; '{config.base}' is none.")
    return encoder


def _scores(run: Distillation) -> None:
    if run.file("scores.jsonl").is_file():
        return
    ranker = LateInteractionRanker.load(run.file("ranker"))
    candidates = read_records(run.file("candidates.jsonl"))
    run.say("scores", 0, len(candidates))
    scores = ranker.score(candidates, run.texts)
    write_records(
        run.file("scores.jsonl"),
        [
            {
                "id": record["id"],
                "question": record["question"],
                "passages": [candidate["passage"] for candidate in record["candidates"]],
                "scores": [round(score, 5) for score in row],
            }
            for record, row in zip(candidates, scores, strict=True)
        ],
    )
    run.say("scores", len(candidates), len(candidates))


def _retriever(run: Distillation) -> None:
    from distill.retriever import train_retriever

    folder = run.paths.encoder(run.config.name)
    if folder.is_dir():
        return
    train_retriever(
        _base_model(run.config, run.paths).model,
        read_records(run.file("scores.jsonl")),
        run.texts,
        folder,
        run.file("retriever-checkpoints"),
        card=_card_facts(run),
        seed=run.config.seed,
        on_progress=lambda done, total: run.say("retriever", done, total),
    )


def _card_facts(run: Distillation) -> dict[str, str]:
    origin = (run.config.questions and "given in a file") or f"written by {run.config.teacher}"
    return {
        "name": run.config.name,
        "base": run.config.base,
        "corpus": run.corpus.name,
        "teacher": run.config.teacher,
        "questions": f"{len(_training_queries(run))}, {origin}",
    }


def _index(run: Distillation) -> None:
    for done, total in update_index(run.paths, run.corpus, load_encoder(run.config.name, run.paths)):
        run.say("index", done, total)


def _verdict(run: Distillation) -> None:
    file = run.file("metrics.json")
    if file.is_file():
        return
    rankings = read_records(run.file("rankings.jsonl"))
    ranker_report = RankerReport(**json.loads((run.file("ranker") / "report.json").read_text(encoding="utf-8")))
    held_out = _held_out(run)
    judgement = _judge(run, held_out) if held_out else None
    _write_json(
        file,
        {
            "config": json.loads(run.file("config.json").read_text(encoding="utf-8")),
            "versions": {package: version(package) for package in ("sentence-transformers", "torch", "chromadb")},
            "questions": len(held_out),
            "held_out": "given in the question file" if run.config.questions else "written by the LLM",
            "retrievers": judgement.metrics if judgement else {},
            "verdict": list(judgement.comparisons) if judgement else [],
            "teacher": status_shares(rankings) | {"best_shown_at": first_shown_share(rankings)},
            "ranker": asdict(ranker_report),
        },
    )


def _held_out(run: Distillation) -> list[Query]:
    queries = read_queries(run.file("questions.jsonl"))
    return [query for query in queries if query.split != "train" and query.grades]


def _judge(run: Distillation, queries: Sequence[Query]) -> Judgement:
    run.say("verdict", 0, len(queries))
    distilled = PassageIndex.open(run.paths, run.corpus.name, load_encoder(run.config.name, run.paths))

    def fused_distilled(questions: Sequence[str], k: int) -> list[list[Candidate]]:
        depth = max(k, 50)
        pairs = zip(distilled.search_many(questions, depth), run.lexical.search_many(questions, depth), strict=True)
        return [fuse(pair, k) for pair in pairs]

    searches = {
        run.config.base: run.index.search_many,
        run.config.name: distilled.search_many,
        "lexical": run.lexical.search_many,
        f"fused({run.config.base})": run.fused,
        f"fused({run.config.name})": fused_distilled,
    }
    return judge(queries, searches)


_RUN_STAGE: Mapping[Stage, Callable[[Distillation], None]] = {
    "questions": _questions,
    "candidates": _candidates,
    "rankings": _rankings,
    "ranker": _ranker,
    "scores": _scores,
    "retriever": _retriever,
    "index": _index,
    "verdict": _verdict,
}
