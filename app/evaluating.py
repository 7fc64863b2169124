"""Every retriever of a corpus over the same judged questions, how good the answers from them are, and that as tables,
pictures and files to take away.
"""

from __future__ import annotations

import csv
import io
import random
import re
import string
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from app.answering import Answer, without_citations
from app.plots import Drawing, bars, colour_of, curves, intervals, to_file, to_svg
from app.rendering import details_html, table_html
from distill.run_folder import run_folders
from indexes.corpus import Corpus
from indexes.errors import InputError, counted
from indexes.evaluation import FEW_QUERIES, Comparison, Judgement, make_qrels, unknown_positives, write_trec
from indexes.paths import DataPaths, slug
from indexes.queries import read_queries
from indexes.types import Passage, Query

CURVE_CUTOFFS = (1, 2, 3, 5, 10, 15, 20)
_SAMPLE_SEED = 0


def choose_questions(
    paths: DataPaths, corpus: str, queries: Sequence[Query], limit: int
) -> tuple[tuple[Query, ...], str]:
    """At most `limit` of the judged `queries`, drawn with a fixed seed, in order; and which positives are not there.

    Raises `InputError` if no question is judged, or the judgements are about documents of another corpus.
    """
    qrels = make_qrels(queries)
    said = unknown_positives(queries, Corpus.open(paths, corpus).document_ids())
    judged = [query for query in queries if query.id in qrels]
    n_drawn = min(limit, len(judged))
    places = sorted(random.Random(_SAMPLE_SEED).sample(range(len(judged)), n_drawn))  # noqa: S311 - no secret
    return tuple(judged[place] for place in places), said


# --- one question after another --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One question under two retrievers, in one metric."""

    query: Query
    left: float
    right: float

    @property
    def gain(self) -> float:
        return self.right - self.left


ORDERS = ("largest gains first", "largest losses first", "as asked")


def pair_up(evaluation: Judgement, left: str, right: str, metric: str, order: str) -> list[Pair]:
    """Every question under both retrievers, in one of `ORDERS`; equal ones as they were asked."""
    a, b = evaluation.by_query[left], evaluation.by_query[right]
    pairs = [Pair(query=each, left=a[each.id][metric], right=b[each.id][metric]) for each in evaluation.queries]
    if order == ORDERS[0]:
        return sorted(pairs, key=lambda pair: -pair.gain)
    return sorted(pairs, key=lambda pair: pair.gain) if order == ORDERS[1] else pairs


EXAMPLE = (
    '{"id": "q1", "question": "How many days of leave do I have?", "positives": ["handbook.md"], "answers": ["30"]}\n'
    '{"id": "q2", "question": "Who signs travel requests?", "positives": ["travel.pdf", "forms.docx"]}'
)


def judged_runs(paths: DataPaths, corpus: str) -> list[str]:
    """The runs of teaching on `corpus` that hold judged questions out, by the names of their folders."""
    return [folder.path.name for folder, _ in run_folders(paths, corpus) if folder.held_out]


def read_held_out(paths: DataPaths, run: str) -> list[Query]:
    """The judged questions that `run` has not trained on; raises `InputError` if there are none."""
    known = {folder.path.name: folder for folder, _ in run_folders(paths)}
    if run in known and (queries := known[run].held_out):
        return queries
    raise InputError(f"Run '{run}' has no judged questions held out any more. Pick another one, or upload a file.")


def read_upload(file: str | None) -> list[Query]:
    """The questions of an uploaded file, except those of its split 'train' if it has others too."""
    if not file:
        raise InputError("Drop a file of judged questions first, or pick the held-out questions of a run.")
    if not file.lower().endswith((".jsonl", ".jsonl.gz")):
        raise InputError(f"'{Path(file).name}' should end in .jsonl or .jsonl.gz: one question a line, as shown below.")
    queries = uploaded_questions(Path(file))
    return [query for query in queries if query.split != "train"] or queries


def uploaded_questions(file: Path) -> list[Query]:
    """The questions of an uploaded file, whose place on the server no message names."""
    try:
        return read_queries(file)
    except InputError as error:
        raise InputError(str(error).replace(str(file), file.name)) from None


_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True, slots=True, kw_only=True)
class Graded:
    """One answer against what is known; the figures of an unanswerable question are None."""

    question: str
    given: str
    expected: tuple[str, ...]
    has_refused: bool
    exact: float | None = None
    f1: float | None = None
    contains: float | None = None

    @property
    def is_answerable(self) -> bool:
        return bool(self.expected)


def choose_answerable(queries: Sequence[Query], limit: int) -> list[Query]:
    """The first `limit` questions with known answers, and among them those that nothing answers.

    Where some questions of a file have answers, one that has neither an answer nor a relevant document is meant to be
    refused. Raises `InputError` if no answer is known.
    """
    if not any(query.answers for query in queries):
        raise InputError(
            'To judge answers, questions need "answers" (texts that count as right), but none of the '
            f"{len(queries)} questions has any. The retrievers can be judged without."
        )
    return [query for query in queries if query.answers or not query.grades][:limit]


def grade(query: Query, answer: Answer) -> Graded:
    """`answer` against the known answers of `query`: the best match counts."""
    given = " ".join(without_citations(answer.text).split())
    refused = answer.says_nothing
    if not query.answers:
        return Graded(question=query.text, given=given, expected=(), has_refused=refused)
    tokens = normal_words(given)
    known = [normal_words(each) for each in query.answers]
    return Graded(
        question=query.text,
        given=given,
        expected=query.answers,
        has_refused=refused,
        exact=float(not refused and tokens in known),
        f1=0.0 if refused else max(f1(tokens, each) for each in known),
        contains=float(not refused and any(_holds(tokens, each) for each in known)),
    )


def normal_words(text: str) -> list[str]:
    """The words of `text` as they are compared."""
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def f1(given: Sequence[str], expected: Sequence[str]) -> float:
    """The harmonic mean of precision and recall of words; 1 where both have none."""
    if not given or not expected:
        return float(list(given) == list(expected))
    shared = sum((Counter(given) & Counter(expected)).values())
    return 2 * shared / (len(given) + len(expected))


def summarise(graded: Sequence[Graded]) -> dict[str, float | None]:
    """What is told of `graded` → its mean; None where there was no such question."""
    known = [each for each in graded if each.is_answerable]
    return {
        "exact match": _mean([each.exact for each in known]),
        "F1": _mean([each.f1 for each in known]),
        "answer contained": _mean([each.contains for each in known]),
        "refused though there is an answer": _mean([each.has_refused for each in known]),
        "refused where there is none": _mean([each.has_refused for each in graded if not each.is_answerable]),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _holds(given: Sequence[str], expected: Sequence[str]) -> bool:
    n = len(expected)
    return n > 0 and any(list(given[i : i + n]) == list(expected) for i in range(len(given) - n + 1))


# --- shown -----------------------------------------------------------------------------------------------------

METRICS = ("hit_rate@1", "hit_rate@5", "hit_rate@10", "hit_rate@20", "recall@10", "mrr@10", "ndcg@10")
_FORMULA = re.compile(r"(^|[;,\t\r\n\x00-\x1f])(\s*)(?=[=+\-@＝＋－＠])")  # where a spreadsheet's cell may begin
_SIGNIFICANCE = 0.05


def figures_html(evaluation: Judgement, comparisons: Mapping[str, Comparison], metric: str) -> str:
    """A row for each retriever: every metric, and in `metric` the difference to the baseline."""
    means = evaluation.metrics
    best = {each: max(values[each] for values in means.values()) for each in METRICS}
    rows = []
    for place, (name, values) in enumerate(means.items()):
        cells = [f"{values[each]:.3f}" for each in METRICS]
        shown = [
            f"<b>{c}</b>" if values[m] == best[m] and len(means) > 1 else c for c, m in zip(cells, METRICS, strict=True)
        ]
        mark = f'<i class="swatch" style="background: {colour_of(place)}"></i>'
        rows.append([mark + escape(name), _difference(comparisons.get(name), len(evaluation.queries)), *shown])
    heads = ["Retriever", f"{metric} against the baseline", *METRICS]
    table = table_html("Figures of every retriever", heads, rows, kind="numbers", has_row_heads=True)
    return f'<p class="aside">{_read_as(evaluation)}</p>{table}'


def _read_as(evaluation: Judgement) -> str:
    n = len(evaluation.queries)
    few = " So few questions show only large differences." if n < 100 else ""
    return (
        f"{counted(n, 'question')} over corpus '{escape(evaluation.corpus)}'. A hit is a relevant document among "
        "the first k. Under each difference stands its 95 % interval "
        "(paired by question; p by permutation): where it leaves out zero, chance alone hardly explains it. "
        f"With many retrievers, one may seem better by luck.{few}"
    )


def _difference(c: Comparison | None, n: int) -> str:
    if c is None:
        return "the baseline"
    kind, word = ("same", "no clear difference" if n >= FEW_QUERIES else "too few to tell")
    if n >= FEW_QUERIES and (c.low > 0 or c.high < 0) and c.p_value < _SIGNIFICANCE:
        kind, word = ("up", "better") if c.difference > 0 else ("down", "worse")
    interval = f"<small>{c.low:+.3f} to {c.high:+.3f}, p = {c.p_value:.4f}</small>"
    return f'{c.difference:+.3f} <span class="move {kind}">{word}</span><br>{interval}'


def draw(evaluation: Judgement, comparisons: Mapping[str, Comparison], metric: str) -> list[Drawing]:
    """The pictures: curves, bars, and intervals where there is something to compare."""
    means = evaluation.metrics
    drawings = [
        curves("hit_rate", CURVE_CUTOFFS, means, "Hit rate@k: questions with a relevant document in the first k"),
        bars(("ndcg@10", "mrr@10", "recall@10"), means, "nDCG, MRR and recall, first 10"),
    ]
    if comparisons:
        drawings.append(intervals(comparisons, f"{metric}: difference to the baseline, 95 % interval"))
    return drawings


def charts_html(drawings: Sequence[Drawing]) -> str:
    """The pictures side by side where there is room."""
    figures = [f'<figure tabindex="0">{to_svg(each)}</figure>' for each in drawings]  # a narrow page scrolls them
    return f'<div class="charts">{"".join(figures)}</div>'


# --- one question ----------------------------------------------------------------------------------------------


def question_html(pair: Pair, sides: Mapping[str, Sequence[Passage]], metric: str) -> str:
    """One question with the passages that each of two retrievers found first, the relevant ones marked."""
    grades = pair.query.grades
    values = (pair.left, pair.right)
    columns = "".join(
        f'<section aria-label="{escape(name)}"><h3>{escape(name)} <span>{metric} {value:.3f}</span></h3>'
        f"<ol>{''.join(_passage(each, n, grades) for n, each in enumerate(passages, start=1))}</ol></section>"
        for (name, passages), value in zip(sides.items(), values, strict=True)
    )
    relevant = ", ".join(f"<code>{escape(each)}</code>" for each in list(grades)[:20])
    answers = f"<p>Answer: {escape(' · '.join(pair.query.answers))}</p>" if pair.query.answers else ""
    return (
        f'<article class="drill"><h3 dir="auto">{escape(pair.query.text)}</h3>{answers}'
        f'<p class="aside">Relevant: {relevant}</p><div class="two">{columns}</div></article>'
    )


def _passage(passage: Passage, number: int, grades: Mapping[str, int]) -> str:
    is_relevant = grades.get(passage.document_id, 0) > 0
    tag = '<span class="move up">relevant</span>' if is_relevant else ""
    kind = "passage relevant" if is_relevant else "passage"
    return f"<li>{details_html(passage, number, passage.text[:220], kind=kind, marks=tag)}</li>"


# --- files to take away ----------------------------------------------------------------------------------------


def write_files(folder: Path, evaluation: Judgement, drawings: Sequence[Drawing]) -> dict[str, Path]:
    """ "csv", "trec" and "svg" → the file written into `folder`."""
    stem = f"evaluation-{slug(evaluation.corpus)}"
    files = {"csv": folder / f"{stem}.csv", "trec": folder / f"{stem}-trec.zip", "svg": folder / f"{stem}.svg"}
    files["csv"].write_text(to_csv(evaluation), encoding="utf-8", newline="")
    write_trec(folder / "trec", evaluation)
    with zipfile.ZipFile(files["trec"], "w", zipfile.ZIP_DEFLATED) as archive:
        for each in sorted((folder / "trec").iterdir()):
            archive.write(each, each.name)
    files["svg"].write_text(to_file(drawings), encoding="utf-8")
    return files


def to_csv(evaluation: Judgement) -> str:
    """A row for each retriever and question, after a row of means whose question is "all", as trec_eval has it."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    means = evaluation.metrics
    metrics = list(next(iter(means.values())))
    writer.writerow(["retriever", "question_id", "question", *metrics])
    for name, values in means.items():
        writer.writerow([plain_cell(name), "all", "", *(f"{values[each]:.6f}" for each in metrics)])
    for name, by_query in evaluation.by_query.items():
        for query in evaluation.queries:
            values = by_query[query.id]
            row = [plain_cell(name), plain_cell(query.id), plain_cell(query.text)]
            writer.writerow([*row, *(f"{values[each]:.6f}" for each in metrics)])
    return buffer.getvalue()


def plain_cell(text: str) -> str:
    """`text` so that a spreadsheet does not take it for a formula."""
    return _FORMULA.sub(r"\1\2'", text)
