"""The stages that train: ranker, scores, retriever, index. Each reads the file before it and leaves its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from distill.json_files import write_json
from distill.jsonl import Record, read_records, write_records
from distill.labelling import kept_out, orders
from distill.ranker.ranker import LateInteractionRanker, Ranker, load_ranker
from distill.retriever.doubtful import doubtful_passages
from distill.retriever.settings import DEFAULTS, Objective, RetrieverConfig, Training
from distill.retriever.targets import (
    Method,
    contrastive,
    direct,
    intermediate,
    pseudo_label,
    said_by_places,
)
from distill.run import WITHOUT_LLM, Distillation, Stage
from indexes.chroma import PassageIndex
from indexes.encoder_files import hub_answers
from indexes.encoders import load_encoder, load_trainable
from indexes.errors import InputError, UserError
from indexes.ingest import index_corpus
from indexes.queries import read_queries
from indexes.torch_encoder import SentenceTransformerEncoder

BLEND = 1.0  # how much an order counts beside the ranker's scores where only the query side learns; our choice


def check_ranker(run: Distillation) -> None:
    """Raises `NotFoundError` if the run is to train a cross-encoder that is not to be had, before an LLM is paid."""
    is_wanted = run.config.ranker == "cross-encoder" and run.config.method == "intermediate"
    if is_wanted and not run.file("ranker").is_dir():
        for note in _begin(run)[1]:
            run.say("ranker", remark=note)


def make_ranker(run: Distillation) -> None:
    """Trains stage 1; without orders, or for a method that takes none, the ranker stays as it begins."""
    from distill.training import drop_checkpoints

    folder = run.file("ranker")
    if folder.is_dir():
        return
    found = orders(run)
    if not found and run.config.teacher != WITHOUT_LLM and not run.teacher_refused:
        raise UserError(
            f"None of the replies of the LLM held an order (see {run.file('rankings.jsonl')}). "
            "Use a stronger LLM: set LLM_MODEL."
        )
    if found and run.config.method == "intermediate":
        ranker, report = _trained(run, found)
    else:
        ranker, report = LateInteractionRanker.from_encoder(base_model(run).model), {}
    partial = run.file("ranker.partial")
    ranker.save(partial)
    write_json(partial / "report.json", {"kind": ranker.kind, "kept": "untrained"} | report)
    partial.rename(folder)
    drop_checkpoints(run.file("ranker-checkpoints"))


def _begin(run: Distillation) -> tuple[list[Ranker], tuple[str, ...]]:
    """The rankers to train, and sentences on them."""
    from distill.ranker.kinds import begin_rankers

    config = run.config
    return begin_rankers(
        config.ranker,
        base_model(run).model,
        run.paths,
        cross_encoder=config.ranker_base,
        seed=config.seed,
        local_files_only=config.ranker != "late-interaction" and not hub_answers(),
        token_vectors=run.token_vectors,
    )


def _trained(run: Distillation, found: Mapping[str, Record]) -> tuple[Ranker, dict[str, object]]:
    from distill.ranker.report import RankerSettings
    from distill.ranker.training import train_best_ranker

    config = run.config
    rankers, notes = _begin(run)
    ranker, report = train_best_ranker(
        rankers,
        [record for record in read_records(run.file("candidates.jsonl")) if record["id"] in found],
        found,
        run.texts,
        run.file("ranker-checkpoints"),
        RankerSettings(loss=config.ranker_loss, train=config.ranker_train, seed=config.seed),
        lambda done, total: run.say("ranker", done, total),
    )
    return ranker, asdict(report) | {"notes": [*notes, *report.notes]}


def base_model(run: Distillation) -> SentenceTransformerEncoder:
    """The base encoder, loaded anew: training changes it in place, and the baseline's index goes on with the other."""
    return load_trainable(run.config.base, run.paths)


def make_scores(run: Distillation) -> None:
    """Scores all candidates by the ranker."""
    file = run.file("scores.jsonl")
    if not file.is_file():
        score_candidates(run, load_ranker(run.file("ranker"), token_vectors=run.token_vectors), file, "scores")


def score_candidates(run: Distillation, ranker: Ranker, file: Path, stage: Stage) -> None:
    """Writes the scores that `ranker` gives all candidates to `file`."""
    candidates = read_records(run.file("candidates.jsonl"))
    run.say(stage, 0, len(candidates))
    scores = ranker.score(candidates, run.texts, lambda done, total: run.say(stage, done, total))
    rows = zip(candidates, scores, strict=True)
    write_records(file, [_score_record(record, row) for record, row in rows])
    run.say(stage, len(candidates), len(candidates))


def _score_record(record: Record, scores: list[float]) -> Record:
    return {
        "id": record["id"],
        "question": record["question"],
        "passages": [candidate["passage"] for candidate in record["candidates"]],
        "scores": [round(score, 5) for score in scores],
    }


def make_retriever(run: Distillation) -> None:
    """Trains stage 2."""
    if not run.paths.encoder(run.config.name).is_dir():
        config = retriever_config(run)
        train_encoder(run, run.config.name, _targets(run, config), config, "retriever")


def train_encoder(
    run: Distillation, name: str, records: Sequence[Record], config: RetrieverConfig, stage: Stage
) -> None:
    """Trains the run's student on `records`, by `config`, and saves it as the encoder `name`.

    "{stage}.json" in the run's folder then says how it went.
    """
    from distill.card import card_of
    from distill.retriever.publishing import save_encoder
    from distill.retriever.query_side import frozen_corpus
    from distill.retriever.retriever import train_retriever
    from distill.training import drop_checkpoints

    student = _student(run, name, stage)
    checkpoints = run.file(f"{stage}-checkpoints")
    corpus = None
    if config.train == "query" or config.query_first:
        ids = run.corpus.passage_ids_by_length()
        vectors = _index_of(run, student, stage).vectors
        corpus = frozen_corpus(ids, vectors, records, n_most=config.n_corpus, seed=run.config.seed)
    model, report = train_retriever(
        student.model,
        records,
        run.texts,
        Training(
            config=config,
            checkpoints=checkpoints,
            seed=run.config.seed,
            on_progress=lambda done, total: run.say(stage, done, total),
            report_to=run.report_to,
        ),
        corpus,
    )
    how = {"train": config.train, "method": run.config.method, "objective": config.objective}
    write_json(run.file(f"{stage}.json"), asdict(report) | how)
    card = card_of(run, name, student.name, config, report, n_questions=len(records))
    save_encoder(model, run.paths.encoder(name), card)
    drop_checkpoints(checkpoints)


def _student(run: Distillation, name: str, stage: Stage) -> SentenceTransformerEncoder:
    """What stage 2 of the encoder `name` begins with: the base, its passages' rare words counting more if the run wants
    that.
    """
    base = base_model(run)
    if run.config.passage_weights == "none":
        return base
    from distill.retriever.rare_words import weigh_rare_words

    model = weigh_rare_words(base.model, list(run.texts.values()))
    if model is None:
        run.say(stage, remark=f"'{base.name}' does not average token vectors: rare words count as any others")
        return base
    # Under the new encoder's name: if only its questions will be trained, this index is already the new encoder's.
    return SentenceTransformerEncoder(name, model)


def _index_of(run: Distillation, student: SentenceTransformerEncoder, stage: Stage) -> PassageIndex:
    """The student's index, brought up to date first."""
    if student.name == run.config.base:
        return run.index
    for done, total in index_corpus(run.paths, run.corpus, student):
        what = "embedding the passages anew, their rare words counting more" if total else ""
        run.say(stage, done, total, what)
    return PassageIndex.open(run.paths, run.corpus.name, student)


def retriever_config(run: Distillation) -> RetrieverConfig:
    """How stage 2 of this run trains."""
    objectives: Mapping[Method, Objective] = {"intermediate": run.config.objective, "pseudo-label": "margin-mse"}
    return replace(DEFAULTS[run.config.train], objective=objectives.get(run.config.method, "kl"))


def _targets(run: Distillation, config: RetrieverConfig) -> list[Record]:
    """What stage 2 trains on, by the run's method."""
    scores, found = training_records(run, "scores.jsonl"), orders(run)
    method = run.config.method
    if method == "intermediate":
        return intermediate(scores, _said(scores, found, config), temperature=config.teacher_temperature)
    candidates = training_records(run, "candidates.jsonl")
    doubtful = doubtful_passages(read_queries(run.file("questions.jsonl"), "train"), candidates, run.texts)
    if method == "pseudo-label":
        return pseudo_label(scores, doubtful=doubtful)
    if not found:
        raise InputError(f"The method '{method}' learns from the LLM's orders alone, but this run has none.")
    return direct(candidates, found) if method == "direct" else contrastive(candidates, found, doubtful)


def training_records(run: Distillation, name: str) -> list[Record]:
    """The records of the run's file `name` whose questions may train."""
    apart = kept_out(run)
    return [record for record in read_records(run.file(name)) if record["id"] not in apart]


def _said(
    scores: Sequence[Record], found: Mapping[str, Record], config: RetrieverConfig
) -> Mapping[str, Mapping[str, float]]:
    """What the orders say beside the ranker's scores. The query side alone learns less from all of it than from a
    little: see RESULTS.md.
    """
    if config.train == "query":
        return said_by_places(found, BLEND)
    from distill.retriever.evidence import weigh_orders

    return weigh_orders(scores, found)


def make_index(run: Distillation) -> None:
    """Indexes the corpus by the new encoder."""
    index_by(run, run.config.name, "index")


def index_by(run: Distillation, name: str, stage: Stage) -> None:
    """Indexes the corpus by the encoder `name`; passages whose vectors are there are not embedded again."""
    for done, total in index_corpus(run.paths, run.corpus, load_encoder(name, run.paths)):
        run.say(stage, done, total)
