"""The stages that train: ranker, scores, retriever, index; the free control beside them, and the model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from distill.json_files import parsed, read_json, read_records, write_json, write_records
from distill.ranker.ranker import Ranker, begin_ranker, load_ranker
from distill.records import CandidateList, RankerReport, Ranking, RetrieverReport, ScoreList
from distill.retriever.evidence import fit_evidence
from distill.retriever.lists import DEFAULTS, RetrieverConfig, Training, by_evidence
from distill.retriever.publishing import BY_ORDERS, WITHOUT_ORDERS, Card, base_license
from distill.run import Distillation
from distill.run_config import WITHOUT_LLM, Stage
from distill.run_folder import EVIDENCE, FIRST_SCORES, RANKER, RANKINGS, SCORES, TARGETS
from distill.stages.labelling import all_candidates, kept_out, orders
from indexes.encoders.finding import find_encoder
from indexes.encoders.loading import load_trainable
from indexes.encoders.torch import SentenceTransformerEncoder
from indexes.errors import UserError
from indexes.ingest import index_corpus
from indexes.passage_index import PassageIndex
from indexes.paths import replacing


def check_ranker(run: Distillation) -> None:
    """Raises `NotFoundError` if the ranker that the run is to begin with is not to be had, before an LLM is paid."""
    if run.config.ranker_base and not run.file(RANKER).is_dir():
        for note in _begin(run)[1]:
            run.say("ranker", remark=note)


def _begin(run: Distillation) -> tuple[Ranker, tuple[str, ...]]:
    """The ranker to train, and sentences on it."""
    config = run.config
    return begin_ranker(
        config.ranker_base, base_model(run).model, run.paths, seed=config.seed, token_vectors=run.token_vectors
    )


def make_ranker(run: Distillation) -> None:
    """Trains stage 1; without orders the ranker stays as it begins."""
    from distill.trainer import drop_checkpoints

    folder = run.file(RANKER)
    if folder.is_dir():
        return
    found = orders(run)
    if not found and run.config.teacher != WITHOUT_LLM and run.teacher.trust != "refuse":
        raise UserError(
            f"None of the replies of the LLM held an order (see {run.file(RANKINGS)}). "
            "Use a stronger LLM: set LLM_MODEL."
        )
    ranker, report = _trained(run, found) if found else _untrained(run)
    with replacing(folder) as partial:
        ranker.save(partial)
        write_json(partial / "report.json", asdict(report))
    drop_checkpoints(run.file("ranker-checkpoints"))


def _untrained(run: Distillation) -> tuple[Ranker, RankerReport]:
    ranker, _ = _begin(run)
    return ranker, RankerReport(kind=ranker.kind)


def _trained(run: Distillation, found: Mapping[str, Ranking]) -> tuple[Ranker, RankerReport]:
    from distill.ranker.agreement import RankerSettings
    from distill.ranker.training import train_ranker

    ranker, notes = _begin(run)
    report = train_ranker(
        ranker,
        [record for record in all_candidates(run) if record.id in found],
        found,
        run.texts,
        run.file("ranker-checkpoints"),
        RankerSettings(
            weighs_signals=run.config.recipe == "auto",
            trains_model=run.config.trains_whole_ranker,
            seed=run.config.seed,
            report_to=run.report_to,
        ),
        lambda done, total: run.say("ranker", done, total),
    )
    return ranker, replace(report, notes=(*notes, *report.notes))


def base_model(run: Distillation) -> SentenceTransformerEncoder:
    """The base encoder, loaded anew: training changes it in place, and the baseline's index goes on with the other."""
    return load_trainable(run.config.base, run.paths)


def ranker_report(run: Distillation) -> RankerReport:
    """What stage 1 did."""
    return parsed(RankerReport, read_json(run.file(RANKER) / "report.json"))


def make_scores(run: Distillation) -> None:
    """Scores all candidates by the ranker, and by what it began as: the one has learned from the orders, the other has
    not, and so can be held against them.
    """
    if _has_learned(run) and not run.file(FIRST_SCORES).is_file():
        _score(run, _begin(run)[0], FIRST_SCORES, "as it began")
    if not run.file(SCORES).is_file():  # last: the verdict re-ranks by the token vectors that are then at hand
        _score(run, load_ranker(run.file(RANKER), token_vectors=run.token_vectors), SCORES)


def _has_learned(run: Distillation) -> bool:
    return ranker_report(run).kept != "untrained"


def _first_scores(run: Distillation) -> list[ScoreList]:
    """The scores of the ranker as it began, of the questions that may train."""
    return training_records(run, FIRST_SCORES if _has_learned(run) else SCORES)


def _score(run: Distillation, ranker: Ranker, name: str, label: str = "") -> None:
    """Writes the scores that `ranker` gives all candidates to the run's file `name`."""
    candidates = all_candidates(run)
    run.say("scores", 0, len(candidates), label)
    scores = ranker.score(candidates, run.texts, lambda done, total: run.say("scores", done, total, label))
    rows = zip(candidates, scores, strict=True)
    write_records(run.file(name), [_score_list(record, row) for record, row in rows])
    run.say("scores", len(candidates), len(candidates), label)


def _score_list(record: CandidateList, scores: list[float]) -> ScoreList:
    return ScoreList(
        id=record.id,
        question=record.question,
        passages=tuple(candidate.passage for candidate in record.candidates),
        scores=tuple(round(score, 5) for score in scores),
    )


def make_retriever(run: Distillation) -> None:
    """Trains stage 2."""
    if not run.encoder_folder.is_dir():
        train_encoder(run, run.config.name, run.encoder_folder, make_targets(run), retriever_config(run), "retriever")


def make_targets(run: Distillation) -> list[ScoreList]:
    """What stage 2 trains on, as the run's file then holds it."""
    file = run.file(TARGETS)
    if not file.is_file():
        write_records(file, _targets(run))
    return read_records(file, ScoreList)


def _targets(run: Distillation) -> list[ScoreList]:
    scores = training_records(run, SCORES)
    if run.config.recipe == "paper":
        return scores
    found, before = orders(run), _first_scores(run)
    evidence = fit_evidence(before, found, top1=run.teacher.top1, top1_weight=run.teacher.top1_weight)
    if evidence is None:
        return scores
    write_json(run.file(EVIDENCE), asdict(evidence) | {"sentence": evidence.sentence()})
    return by_evidence(before, found, evidence, scores)


def training_records(run: Distillation, name: str) -> list[ScoreList]:
    """The records of the run's file `name` whose questions may train."""
    apart = kept_out(run)
    return [record for record in read_records(run.file(name), ScoreList) if record.id not in apart]


def retriever_config(run: Distillation) -> RetrieverConfig:
    """How stage 2 of this run trains."""
    config = DEFAULTS[run.config.train]
    if run.config.recipe == "paper":
        return replace(config, in_batch_negatives=False, n_passages=run.config.n_candidates)
    return config


def train_encoder(
    run: Distillation, name: str, folder: Path, records: Sequence[ScoreList], config: RetrieverConfig, stage: Stage
) -> None:
    """Trains the run's student on `records`, by `config`, and saves it in `folder` as the encoder `name`.

    "{stage}.json" in the run's folder then says how it went.
    """
    from distill.retriever.publishing import save_encoder
    from distill.retriever.training import frozen_corpus, train_retriever
    from distill.trainer import drop_checkpoints

    student = _student(run, name, stage)
    checkpoints = run.file(f"{stage}-checkpoints")
    corpus = None
    if config.train == "query":
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
    write_json(run.file(f"{stage}.json"), asdict(report))
    save_encoder(model, folder, card_of(run, name, student.name, config, report, n_questions=len(records)))
    drop_checkpoints(checkpoints)


def _student(run: Distillation, name: str, stage: Stage) -> SentenceTransformerEncoder:
    """What stage 2 of the encoder `name` begins with: the base; where only questions learn, its passages' rare words
    count more if the run wants that.
    """
    base = base_model(run)
    if not run.config.weighs_passages:
        return base
    from distill.retriever.training import weigh_rare_words

    model = weigh_rare_words(base.model, list(run.texts.values()))
    if model is None:
        run.say(stage, remark=f"'{base.name}' does not average token vectors: rare words count as any others")
        return base
    # Under the new encoder's name: as only its questions will be trained, this index is already the new encoder's.
    return SentenceTransformerEncoder(name, model)


def _index_of(run: Distillation, student: SentenceTransformerEncoder, stage: Stage) -> PassageIndex:
    """The student's index, brought up to date first."""
    if student.name == run.config.base:
        return run.index
    for done, total in index_corpus(run.paths, run.corpus, student):
        what = "embedding the passages anew, their rare words counting more" if total else ""
        run.say(stage, done, total, what)
    return PassageIndex.open(run.paths, run.corpus.name, student)


def make_index(run: Distillation) -> None:
    """Indexes the corpus by the new encoder."""
    index_by(run, run.config.name, "index")


def index_by(run: Distillation, name: str, stage: Stage) -> None:
    """Indexes the corpus by the encoder `name`; passages whose vectors are there are not embedded again."""
    for done, total in index_corpus(run.paths, run.corpus, run.opened(name)):
        run.say(stage, done, total)


def card_of(
    run: Distillation, name: str, student: str, config: RetrieverConfig, report: RetrieverReport, *, n_questions: int
) -> Card:
    """The card of the encoder `name` that `run` has taught; `student` is the name of what its training began with."""
    is_control = name == run.config.free_name
    is_base = student == run.config.base
    loss = f"{report.loss_at_first:.3f} → {report.loss_at_last:.3f}"
    return Card(
        name=name,
        base=run.config.base,
        corpus=run.corpus.name,
        teacher=WITHOUT_LLM if is_control else _teacher(run),
        questions=f"{n_questions}, {run.config.origin}",
        license=base_license(run.config.base, find_encoder(run.config.base, run.paths)),
        keeps_passages=config.train == "query" and is_base,
        lesson=WITHOUT_ORDERS if is_control else _lesson(run),
        settings=asdict(config) | {"recipe": run.config.recipe, "seed": run.config.seed},
        figures={"KL divergence in training, first to last": loss},
    )


def _teacher(run: Distillation) -> str:
    refused = ", whose orders were not trusted and did not teach" if run.teacher.trust == "refuse" else ""
    people = ", and people's votes" if run.config.votes else ""
    known = ", and passages known to answer" if run.config.positives == "first" else ""
    return run.config.teacher + refused + people + known


def _lesson(run: Distillation) -> str:
    """What the encoder learned from, in a sentence: the LLM's orders may have been refused, or not asked for."""
    return BY_ORDERS if orders(run) else WITHOUT_ORDERS


def control_of(run: Distillation) -> str:
    """The name of the run's free control, "" where it has none: a run without orders is free itself."""
    return run.config.free_name if run.config.free_name and orders(run) else ""


def make_control(run: Distillation) -> None:
    """Trains the free control and indexes the corpus by it."""
    name = control_of(run)
    if not name:
        return
    folder = run.paths.encoder(name)
    if not folder.is_dir():
        train_encoder(run, name, folder, _first_scores(run), DEFAULTS[run.config.train], "control")
    index_by(run, name, "control")
