"""The whole way from a corpus and an LLM to a better retriever, stage by stage, and what it would ask of the LLM."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from distill.llm.connection import DEFAULT_OPENAI_MODEL, LLMConfig
from distill.llm.spending import FREE, Estimate, Price, find_price
from distill.questions.reading import assign_splits
from distill.run import Connect, Distillation, Report, only_process
from distill.run_config import FROM_FILE, STAGES, WITHOUT_LLM, RunConfig, Stage
from distill.run_folder import RunFolder
from distill.stages.proposing import N_ASKED
from distill.teacher.asking import Limits, calls_per_question, n_shuffles
from distill.teacher.assessment import N_QUESTIONS
from distill.teacher.trust import N_PROBES, N_SHOWN
from distill.verdict.report import Metrics
from indexes.paths import DataPaths
from indexes.processes import release_memory
from indexes.queries import read_queries

if TYPE_CHECKING:
    from distill.ranker.ranker import TokenVectors


def run_distillation(
    paths: DataPaths,
    config: RunConfig,
    connect: Connect,
    report: Report,
    until: Stage = "verdict",
    report_to: str = "none",
    token_vectors: TokenVectors | None = None,
) -> Metrics | None:
    """The run's metrics, after all stages up to `until`; None if it ends before the verdict.

    Raises `InputError` if a run of this name has other settings or goes on in another process, and whatever sentence
    a stage has. Runs over one corpus that share `token_vectors` embed its passages for the ranker once.
    """
    from distill.stages import judging, labelling, rounds, training  # with torch, which an estimate does not need

    makes: dict[Stage, Callable[[Distillation], None]] = {
        "questions": labelling.make_questions,
        "candidates": labelling.make_candidates,
        "teacher": labelling.assess,
        "rankings": labelling.make_rankings,
        "ranker": training.make_ranker,
        "scores": training.make_scores,
        "retriever": training.make_retriever,
        "control": training.make_control,
        "index": training.make_index,
        "verdict": judging.make_verdict,
    }
    run = Distillation(paths, config, connect, report, report_to, token_vectors)
    with only_process(run):
        rounds.check_rounds(run)
        training.check_ranker(run)
        for stage in STAGES[: STAGES.index(until) + 1]:
            run.say(stage)
            if stage == "ranker":
                rounds.make_rounds(run)
            makes[stage](run)
            release_memory()
        if until == "verdict":
            rounds.drop_indexes(run)
    return RunFolder(run.folder).metrics if until == "verdict" else None


_CHARACTERS_A_TOKEN = 3.5
_MOST_PASSAGE_TOKENS = 150  # more of a passage is not shown
_FRAME_TOKENS = 150  # of a prompt beside its passages
_EXAMPLES_TOKENS = 700  # eight real questions beside what they may be about
_QUESTION_TOKENS = 45
_TOKENS_A_PLACE = 5  # of an order, as in "[12] > "
_KEPT = 0.75  # of written questions, as measured on one corpus with the embedded LLM
_TRAINING_SHARE = 0.8
# Of the embedded LLM on two cores with nothing beside it, tokens a second.
_EMBEDDED_READS, _EMBEDDED_WRITES = 63.0, 28.0


def estimate(
    config: RunConfig, price: Price | None, *, n_characters: float, is_embedded: bool, n_training: int | None = None
) -> Estimate:
    """Calls, tokens, money and time of a run with `config` that has done nothing yet; an order of magnitude.

    The time is known for the embedded LLM alone. Replies that must be asked for again are not foreseen. A passage has
    `n_characters` on average; `n_training` questions train, or as many as the file of questions says.
    """
    n_questions = _n_training(config) if n_training is None else n_training
    n_questions = min(n_questions, config.limit) if config.limit else n_questions
    passage = min(n_characters / _CHARACTERS_A_TOKEN, _MOST_PASSAGE_TOKENS)
    calls, read, written = 0.0, 0.0, 0.0
    if config.n_written and not config.questions:
        calls = config.n_written / _KEPT
        read = calls * (_FRAME_TOKENS + passage + (_EXAMPLES_TOKENS if config.like else 0))
        written = calls * _QUESTION_TOKENS
    if config.teacher != WITHOUT_LLM:
        asked, shown = _teacher_calls(config, n_questions)
        probed = N_PROBES if config.teacher != FROM_FILE else 0
        calls += asked + probed
        read += asked * (_FRAME_TOKENS + shown * passage) + probed * (_FRAME_TOKENS + N_SHOWN * passage)
        written += (asked * shown + probed * N_SHOWN) * _TOKENS_A_PLACE
    seconds = read / _EMBEDDED_READS + written / _EMBEDDED_WRITES if is_embedded else None
    return Estimate(
        calls=round(calls),
        prompt_tokens=round(read),
        reply_tokens=round(written),
        cost=price.of(read, written) if price else None,
        seconds=seconds,
    )


def _teacher_calls(config: RunConfig, n_questions: int) -> tuple[int, int]:
    """How often the teacher is asked at most, and the passages in a prompt."""
    n, shuffles = config.n_candidates, n_shuffles(config.mode)
    of_question = calls_per_question(shuffles, n)
    asked = (config.rounds - 1) * n_questions * of_question
    if config.teacher != FROM_FILE:
        n_sampled = min(N_ASKED, n_questions) if config.retrieval == "auto" else 0
        asked += n_sampled * calls_per_question(shuffles, 2 * n)
        asked += (2 * min(N_QUESTIONS, n_questions) + n_questions - n_sampled) * of_question
    return asked, min(n, Limits().window)


def price_of(llm: LLMConfig, paths: DataPaths) -> Price | None:
    """The price of `llm`: nothing where it is embedded, None where it is not known."""
    model = llm.model or ("" if llm.base_url else DEFAULT_OPENAI_MODEL)
    return FREE if llm.is_embedded else find_price(model, paths.root / "prices.toml")


def _n_training(config: RunConfig) -> int:
    if not config.questions:
        return round(config.n_written * _TRAINING_SHARE)
    queries = assign_splits(read_queries(Path(config.questions)), seed=config.seed)
    return sum(query.split == "train" for query in queries)
