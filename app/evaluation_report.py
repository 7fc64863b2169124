"""An evaluation → tables and pictures for the page, and files to take away: pure, but for the folder written to."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from app.evaluating import CURVE_CUTOFFS, Evaluation, Pair
from app.plots import Drawing, bars, colour_of, curves, intervals, to_file, to_svg
from app.rendering import details_html
from indexes.evaluation import Comparison, write_trec_qrels, write_trec_run
from indexes.paths import slug
from indexes.types import Passage

METRICS = ("hit_rate@1", "hit_rate@5", "hit_rate@10", "hit_rate@20", "recall@10", "mrr@10", "ndcg@10")
_FORMULA = re.compile(r"(^|[;,\t\r\n\x00-\x1f])(\s*)(?=[=+\-@＝＋－＠])")  # where a spreadsheet's cell may begin
_FEW, _SIGNIFICANCE = 30, 0.05


def figures_html(evaluation: Evaluation, comparisons: Mapping[str, Comparison], metric: str) -> str:
    """A row for each retriever: every metric, and in `metric` the difference to the baseline."""
    means = evaluation.means()
    best = {each: max(values[each] for values in means.values()) for each in METRICS}
    rows = []
    for place, (name, values) in enumerate(means.items()):
        cells = [_difference(comparisons.get(name), len(evaluation.questions))]
        cells += [_figure(values[each], values[each] == best[each] and len(means) > 1) for each in METRICS]
        mark = f'<i class="swatch" style="background: {colour_of(place)}"></i>'
        rows.append(f'<tr><th scope="row">{mark}{escape(name)}</th>{"".join(cells)}</tr>')
    heads = ["Retriever", f"{metric} against the baseline", *METRICS]
    head = "".join(f'<th scope="col">{escape(each)}</th>' for each in heads)
    return (
        f'<p class="aside">{_read_as(evaluation)}</p><div class="scroll"><table class="figures numbers" '
        f'aria-label="Figures of every retriever"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody>'
        "</table></div>"
    )


def _read_as(evaluation: Evaluation) -> str:
    n = len(evaluation.questions)
    few = " So few questions show only large differences." if n < 100 else ""
    return (
        f"{n:,} question{'s' * (n != 1)} over corpus '{escape(evaluation.corpus)}'. A hit is a relevant document among "
        "the first k. Under each difference stands its 95 % interval "
        "(paired by question; p by permutation): where it leaves out zero, chance alone hardly explains it. "
        f"With many retrievers, one may seem better by luck.{few}"
    )


def _figure(value: float, is_best: bool) -> str:
    return f"<td><b>{value:.3f}</b></td>" if is_best else f"<td>{value:.3f}</td>"


def _difference(c: Comparison | None, n: int) -> str:
    if c is None:
        return "<td>the baseline</td>"
    kind, word = ("same", "no clear difference" if n >= _FEW else "too few to tell")
    if n >= _FEW and (c.low > 0 or c.high < 0) and c.p_value < _SIGNIFICANCE:
        kind, word = ("up", "better") if c.difference > 0 else ("down", "worse")
    interval = f"<small>{c.low:+.3f} to {c.high:+.3f}, p = {c.p_value:.4f}</small>"
    return f'<td>{c.difference:+.3f} <span class="move {kind}">{word}</span><br>{interval}</td>'


def draw(evaluation: Evaluation, comparisons: Mapping[str, Comparison], metric: str) -> list[Drawing]:
    """The pictures: curves, bars, and intervals where there is something to compare."""
    means = evaluation.means()
    drawings = [
        curves("hit_rate", CURVE_CUTOFFS, means, "Hit rate@k: questions with a relevant document in the first k"),
        bars(("ndcg@10", "mrr@10", "recall@10"), means, "nDCG, MRR and recall, first 10"),
    ]
    if comparisons:
        drawings.append(intervals(comparisons, f"{metric}: difference to the baseline, 95 % interval"))
    return drawings


def charts_html(drawings: Sequence[Drawing]) -> str:
    """The pictures side by side where there is room."""
    return f'<div class="charts">{"".join(f"<figure>{to_svg(each)}</figure>" for each in drawings)}</div>'


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


def write_files(folder: Path, evaluation: Evaluation, drawings: Sequence[Drawing]) -> dict[str, Path]:
    """ "csv", "trec" and "svg" → the file written into `folder`."""
    stem = f"evaluation-{slug(evaluation.corpus)}"
    files = {"csv": folder / f"{stem}.csv", "trec": folder / f"{stem}-trec.zip", "svg": folder / f"{stem}.svg"}
    files["csv"].write_text(to_csv(evaluation), encoding="utf-8", newline="")
    _write_trec(files["trec"], folder / "trec", evaluation)
    files["svg"].write_text(to_file(drawings), encoding="utf-8")
    return files


def to_csv(evaluation: Evaluation) -> str:
    """A row for each retriever and question, after a row of means whose question is "all", as trec_eval has it."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    metrics = list(next(iter(evaluation.means().values())))
    writer.writerow(["retriever", "question_id", "question", *metrics])
    for name, values in evaluation.means().items():
        writer.writerow([plain_cell(name), "all", "", *(f"{values[each]:.6f}" for each in metrics)])
    for name, by_query in evaluation.by_query.items():
        for query in evaluation.questions:
            values = by_query[query.id]
            row = [plain_cell(name), plain_cell(query.id), plain_cell(query.text)]
            writer.writerow([*row, *(f"{values[each]:.6f}" for each in metrics)])
    return buffer.getvalue()


def plain_cell(text: str) -> str:
    """`text` so that a spreadsheet does not take it for a formula."""
    return _FORMULA.sub(r"\1\2'", text)


def _write_trec(file: Path, folder: Path, evaluation: Evaluation) -> None:
    for name, run in evaluation.runs.items():
        write_trec_run(folder / f"{slug(name)}.run", run, name)
    write_trec_qrels(folder / "qrels.txt", evaluation.qrels)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for each in sorted(folder.iterdir()):
            archive.write(each, each.name)
