"""The stages that train: ranker, scores, retriever, index. Each reads the file before it and leaves its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

from distill.json_files import write_json
from distill.jsonl import Record, read_records, write_records
from distill.labelling import all_candidates, orders
from distill.ranker.ranker import LateInteractionRanker, Ranker, load_ranker
from distill.retriever.doubtful import doubtful_passages
from distill.retriever.settings import DEFAULTS, Objective, RetrieverConfig, Training
from distill.retriever.targets import (
    SHARPNESS,
    Method,
    contrastive,
    direct,
    intermediate,
    pseudo_label,
    said_by_places,
    utility,
)
from distill.run import WITHOUT_LLM, Distillation
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
        [record for record in all_candidates(run) if record["id"] in found],
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
    """Scores all candidates: by the ranker, or without any model by their places where the fused order teaches."""
    file = run.file("scores.jsonl")
    if file.is_file():
        return
    candidates = all_candidates(run)
    run.say("scores", 0, len(candidates))
    if run.config.teacher == WITHOUT_LLM and run.config.control == "fused":
        scores = [[SHARPNESS * utility(n) for n, _ in enumerate(r["candidates"], start=1)] for r in candidates]
    else:
        ranker = load_ranker(run.file("ranker"), token_vectors=run.token_vectors)
        scores = ranker.score(candidates, run.texts, lambda done, total: run.say("scores", done, total))
    rows = zip(candidates, scores, strict=True)
    write_records(file, [_score_record(record, row) for record, row in rows])
    run.say("scores", len(candidates), len(candidates))


def _score_record(record: Record, scores: list[float]) -> Record:
    return {
        "id": record["id"],
        "question": record["question"],
        "passages": [candidate["passage"] for candidate in record["candidates"]],
        "scores": [round(score, 5) for score in scores],
    }


def make_retriever(run: Distillation) -> None:
    """Trains stage 2."""
    from distill.card import card_of
    from distill.retriever.publishing import save_encoder
    from distill.retriever.query_side import frozen_corpus
    from distill.retriever.retriever import train_retriever
    from distill.training import drop_checkpoints

    folder = run.encoder_folder
    if folder.is_dir():
        return
    config = retriever_config(run)
    records = _targets(run, config)
    student = _student(run)
    corpus = None
    if config.train == "query" or config.query_first:
        ids = run.corpus.passage_ids_by_length()
        vectors = _index_of(run, student).vectors
        corpus = frozen_corpus(ids, vectors, records, n_most=config.n_corpus, seed=run.config.seed)
    model, report = train_retriever(
        student.model,
        records,
        run.texts,
        Training(
            config=config,
            checkpoints=run.file("retriever-checkpoints"),
            seed=run.config.seed,
            on_progress=lambda done, total: run.say("retriever", done, total),
            report_to=run.report_to,
        ),
        corpus,
    )
    how = {"train": config.train, "method": run.config.method, "objective": config.objective}
    write_json(run.file("retriever.json"), asdict(report) | how)
    save_encoder(model, folder, card_of(run, student.name, config, report, n_questions=len(records)))
    drop_checkpoints(run.file("retriever-checkpoints"))


def _student(run: Distillation) -> SentenceTransformerEncoder:
    """What stage 2 begins with: the base, its passages' rare words counting more if the run wants that."""
    base = base_model(run)
    if run.config.passage_weights == "none":
        return base
    from distill.retriever.rare_words import weigh_rare_words

    model = weigh_rare_words(base.model, list(run.texts.values()))
    if model is None:
        run.say("retriever", remark=f"'{base.name}' does not average token vectors: rare words count as any others")
        return base
    # Under the new encoder's name: if only its questions will be trained, this index is already the new encoder's.
    return SentenceTransformerEncoder(run.config.name, model)


def _index_of(run: Distillation, student: SentenceTransformerEncoder) -> PassageIndex:
    """The student's index, brought up to date first."""
    if student.name == run.config.base:
        return run.index
    for done, total in index_corpus(run.paths, run.corpus, student):
        what = "embedding the passages anew, their rare words counting more" if total else ""
        run.say("retriever", done, total, what)
    return PassageIndex.open(run.paths, run.corpus.name, student)


def retriever_config(run: Distillation) -> RetrieverConfig:
    """How stage 2 of this run trains."""
    objectives: Mapping[Method, Objective] = {"intermediate": run.config.objective, "pseudo-label": "margin-mse"}
    return replace(DEFAULTS[run.config.train], objective=objectives.get(run.config.method, "kl"))


def _targets(run: Distillation, config: RetrieverConfig) -> list[Record]:
    """What stage 2 trains on, by the run's method."""
    scores, found = read_records(run.file("scores.jsonl")), orders(run)
    method = run.config.method
    if method == "intermediate":
        return intermediate(scores, _said(scores, found, config), temperature=config.teacher_temperature)
    candidates = all_candidates(run)
    doubtful = doubtful_passages(read_queries(run.file("questions.jsonl"), "train"), candidates, run.texts)
    if method == "pseudo-label":
        return pseudo_label(scores, doubtful=doubtful)
    if not found:
        raise InputError(f"The method '{method}' learns from the LLM's orders alone, but this run has none.")
    return direct(candidates, found) if method == "direct" else contrastive(candidates, found, doubtful)


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
    """Indexes the corpus by the new encoder; passages whose vectors stay are not embedded again."""
    encoder = load_encoder(run.config.name, run.paths)
    for done, total in index_corpus(run.paths, run.corpus, encoder):
        run.say("index", done, total)
