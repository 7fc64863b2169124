"""The Evaluate tab: judged questions in, figures out, a look at each question, and answers that are judged."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterator, Sequence
from functools import partial
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory

import gradio as gr

from app import evaluating
from app.handlers.buttons import StopFlag, Update, busy, idle, only
from app.handlers.pickers import corpus_picker
from app.rendering import notice_html, table_html
from app.retriever import look_up, picked_corpus, starting_choice
from app.streaming import N_READ, whole_answers
from app.tables import progress_html
from app.workbench import Workbench
from indexes.corpus import Corpus
from indexes.errors import InputError, UserError
from indexes.evaluation import Judgement, judge_in_steps
from indexes.retrievers import open_searches
from indexes.types import Passage, Query

UPLOADED = ""
MAX_QUESTIONS = 5_000
_MAX_LISTED = 200
_MAX_LISTED_CHARACTERS = 160
_N_AT_ONCE = 16


EvaluateChoices = namedtuple("EvaluateChoices", "corpus source answering")
"""What can be evaluated, and with which questions."""


def list_choices(bench: Workbench, corpus: str | None, source: str | None, answering: str | None) -> EvaluateChoices:
    """The corpora, the runs on the picked one that have held judged questions out, and who can find for the LLM."""
    names, shown, retrievers = look_up(bench.paths, bench.encoder, corpus)
    runs = evaluating.judged_runs(bench.paths, shown) if shown else []
    choices = [*((f"Held out by run '{run}'", run) for run in runs), ("The file that I upload", UPLOADED)]
    update = gr.update(choices=choices)
    if source not in [value for _, value in choices]:
        update["value"] = choices[0][1]
    encoders = gr.update(choices=[(each.label, each.key) for each in retrievers])
    start = starting_choice(retrievers)
    if start and answering not in [each.key for each in retrievers]:
        encoders["value"] = start.key
    return EvaluateChoices(corpus=corpus_picker(names, shown, corpus), source=update, answering=encoders)


EvaluationView = namedtuple(
    "EvaluationView", "evaluation progress results figures charts csv trec svg left right evaluate stop"
)
"""The evaluation as it stands: what is kept for this visitor, what is shown, and the buttons."""


def run_evaluation(
    bench: Workbench,
    corpus: str | None,
    source: str | None,
    file: str | None,
    limit: float | None,
    metric: str,
    flag: StopFlag,
) -> Iterator[EvaluationView]:
    """Progress while every retriever of the corpus is asked, then figures, pictures and files."""
    flag.is_set = False
    evaluation = None
    try:
        yield _say(notice_html("Reading the questions …", "busy"), busy())
        corpus = picked_corpus(bench.paths, corpus)
        most = max(1, min(int(limit or 1), MAX_QUESTIONS))
        questions, said = evaluating.choose_questions(bench.paths, corpus, _read(bench, source, file), most)
        for step in _steps(bench, corpus, questions):
            if flag.is_set:
                break
            if isinstance(step, int):
                yield _say(progress_html("Asking every retriever", step, len(questions)), busy())
            else:
                evaluation = step
        if evaluation is None:
            yield _say(notice_html("Stopped. Nothing was kept; fewer questions take less time."), idle())
            return
    except UserError as error:
        yield _say(notice_html(str(error), "error"), idle())
        return
    with TemporaryDirectory() as folder:  # the page copies the files before it asks for more
        yield _show(evaluation, metric, Path(folder))._replace(progress=notice_html(said) if said else "")


def _say(progress: str, buttons: tuple[Update, Update]) -> EvaluationView:
    return only(EvaluationView, progress=progress, evaluate=buttons[0], stop=buttons[1])


def _read(bench: Workbench, source: str | None, file: str | None) -> Sequence[Query]:
    return evaluating.read_held_out(bench.paths, source) if source else evaluating.read_upload(file)


def _steps(bench: Workbench, corpus: str, questions: Sequence[Query]) -> Iterator[int | Judgement]:
    opened = Corpus.open(bench.paths, corpus)
    choices = bench.retrievers.choices(opened)
    load = partial(bench.retrievers.encoder_of, opened)
    searches = open_searches(bench.paths, opened, [choice.retriever for choice in choices], load)
    named = {choice.label: searches[choice.key] for choice in choices}
    return judge_in_steps(questions, named, evaluating.CURVE_CUTOFFS, _N_AT_ONCE, corpus)


def _show(evaluation: Judgement, metric: str, folder: Path) -> EvaluationView:
    comparisons = evaluation.against_first(metric)
    drawings = evaluating.draw(evaluation, comparisons, metric)
    files = evaluating.write_files(folder, evaluation, drawings)
    names = list(evaluation.by_query)
    start, stop = idle()
    return EvaluationView(
        evaluation=evaluation,
        progress="",
        results=gr.update(visible=True),
        figures=evaluating.figures_html(evaluation, comparisons, metric),
        charts=evaluating.charts_html(drawings),
        **{kind: gr.update(value=str(file)) for kind, file in files.items()},
        left=gr.update(choices=names, value=names[0]),
        right=gr.update(choices=names, value=names[min(1, len(names) - 1)]),  # a taught one if there is any
        evaluate=start,
        stop=stop,
    )


MetricView = namedtuple("MetricView", "figures charts svg")
"""What depends on the metric that differences are taken in."""


def change_metric(evaluation: Judgement | None, metric: str) -> Iterator[MetricView]:
    """Figures and pictures with the differences in another metric."""
    if evaluation is None or metric not in evaluating.METRICS:
        yield only(MetricView)
        return
    with TemporaryDirectory() as folder:
        shown = _show(evaluation, metric, Path(folder))
        yield MetricView(shown.figures, shown.charts, shown.svg)


# --- question by question --------------------------------------------------------------------------------------


def list_pairs(evaluation: Judgement | None, left: str | None, right: str | None, metric: str, order: str) -> Update:
    """The questions with the metric on both sides, for the list to pick from."""
    if evaluation is None or not {left, right} <= evaluation.by_query.keys():
        return gr.update(samples=[])
    pairs = evaluating.pair_up(evaluation, left or "", right or "", metric, order)[:_MAX_LISTED]
    samples = [
        [f"{pair.gain:+.3f}", f"{pair.left:.3f}", f"{pair.right:.3f}", pair.query.text[:_MAX_LISTED_CHARACTERS]]
        for pair in pairs
    ]
    return gr.update(samples=samples)


def open_pair(
    bench: Workbench,
    place: int,
    evaluation: Judgement | None,
    left: str | None,
    right: str | None,
    metric: str,
    order: str,
) -> str:
    """The question at `place` of the list, with what both retrievers found."""
    if evaluation is None or not {left, right} <= evaluation.by_query.keys() or order not in evaluating.ORDERS:
        return notice_html("Evaluate first, then pick a question.")
    pairs = evaluating.pair_up(evaluation, left or "", right or "", metric, order)
    if not 0 <= place < len(pairs):
        return notice_html("That question is not in the list any more. Pick another one.")
    pair = pairs[place]
    try:
        sides = {name: _passages(bench, evaluation, name, pair.query) for name in (left or "", right or "")}
    except UserError as error:
        return notice_html(str(error), "error")
    return evaluating.question_html(pair, sides, metric)


def _passages(bench: Workbench, evaluation: Judgement, retriever: str, query: Query) -> list[Passage]:
    """The first passages as the corpus has them now; those deleted since are left out."""
    wanted = list(evaluation.kept[retriever][query.id])
    found = {passage.id: passage for passage in Corpus.open(bench.paths, evaluation.corpus).get_passages(wanted)}
    return [found[each] for each in wanted if each in found]


MAX_ANSWERS = 200


AnswersView = namedtuple("AnswersView", "progress answers ask stop")
"""How far it is, the figures with each answer, and the buttons."""


def judge_answers(
    bench: Workbench,
    corpus: str | None,
    source: str | None,
    file: str | None,
    encoder: str | None,
    limit: float | None,
    flag: StopFlag,
) -> Iterator[AnswersView]:
    """The LLM's answers to at most `limit` questions, judged as they come; what has come stays when it is stopped."""
    flag.is_set = False
    graded: list[evaluating.Graded] = []
    try:
        corpus = picked_corpus(bench.paths, corpus)
        questions = evaluating.choose_answerable(_read(bench, source, file), max(1, min(int(limit or 1), MAX_ANSWERS)))
        yield AnswersView(notice_html("Starting the LLM …", "busy"), "", *busy())
        for query in questions:
            told = progress_html("Asking the LLM", len(graded), len(questions))
            yield AnswersView(told, answers_html(graded), *busy())
            found = bench.retrievers.retrieve(corpus, encoder, query.text, N_READ)
            (answer,) = whole_answers(bench, query.text, [found], flag.read)
            if flag.is_set:
                break
            if answer.state == "failed":
                raise InputError(answer.notice)
            graded.append(evaluating.grade(query, answer))
    except UserError as error:
        yield AnswersView(notice_html(str(error), "error"), answers_html(graded), *idle())
        return
    done = notice_html("Stopped. What had come until then is kept.") if flag.is_set else ""
    yield AnswersView(done, answers_html(graded), *idle())


def answers_html(graded: Sequence[evaluating.Graded]) -> str:
    """The means, and each answer beside what was expected."""
    if not graded:
        return ""
    heads = ("Question", "Expected", "Answer", "Exact", "F1")
    return _summary(graded) + table_html("Answers", heads, map(_row, graded))


def _summary(graded: Sequence[evaluating.Graded]) -> str:
    n_answerable = sum(each.is_answerable for each in graded)
    parts = [
        f"{what} <b>{'–' if share is None else f'{share:.0%}'}</b>"
        for what, share in evaluating.summarise(graded).items()
    ]
    counts = f"{n_answerable} answerable, {len(graded) - n_answerable} unanswerable questions"
    return f'<p class="aside">{counts}: {" · ".join(parts)}. Sentences rarely match a short answer exactly.</p>'


def _row(each: evaluating.Graded) -> Sequence[str]:
    expected = escape(" · ".join(each.expected)) or "<i>a refusal</i>"
    given = "<i>refused</i>" if each.has_refused else escape(each.given[:600])
    exact = "–" if each.exact is None else ("yes" if each.exact else "no")
    f1 = "–" if each.f1 is None else f"{each.f1:.2f}"
    return *(f'<div dir="auto">{text}</div>' for text in (escape(each.question), expected, given)), exact, f1
