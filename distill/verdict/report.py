"""A run's report from its metrics, as Markdown or on a terminal; names from outside never become markup in either."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from indexes.mixes import Mix
from indexes.paths import UNFIT
from indexes.retrievers import Retriever

if TYPE_CHECKING:
    from rich.console import Console


_SUSPICIOUS_SHARE = 0.5  # passages are shuffled, so each place of the prompt should win about equally often
_STATUSES = {
    "ok": "as asked",
    "repaired": "repaired",
    "partial": "partial",
    "refused": "without an order",
    "malformed": "not in the form asked for",
}

_METRICS = ("ndcg@10", "mrr@10", "hit_rate@1", "hit_rate@10", "hit_rate@20", "recall@10")  # all are in metrics.json
_COLUMNS = (
    "κ: how often two orders of one question, the passages shuffled between them, put the same passage first, beyond "
    "chance; plants first: how often the passage known to answer came first among others drawn at random; self τ: "
    "Kendall τ of the two orders; τ with retrieval: with the order they were found in; calls: for one question."
)
_AGREEMENTS = {
    "agreement_retrieval": "in the order that retrieval gave",
    "agreement_untrained": "untrained",
    "agreement_fitted": "with its weights fitted",
    "agreement_trained": "trained",
}
_ROLES = {
    "base": "as it came",
    "weighted": "as it came, rare words of passages count more",
    "control": "taught, free",
    "taught": "taught by orders",
    "standing": "promoted before",
}
_LOSSES = {"list_mle": "ListMLE", "p_list_mle": "position-aware ListMLE"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A table: a row of headings, and rows as long."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One part of a report: sentences, then a table, then remarks."""

    title: str
    sentences: tuple[str, ...] = ()
    grid: Grid | None = None
    remarks: tuple[str, ...] = ()


def sections_of(metrics: Mapping[str, Any]) -> list[Section]:
    """The sections that `metrics` has something for, the verdict first."""
    made = (_verdict, _retrievers, _teacher, _ranker, _retriever, _spend, _settings)
    sections = (make(metrics) for make in made)
    return [section for section in sections if section.sentences or section.grid or section.remarks]


def _verdict(metrics: Mapping[str, Any]) -> Section:
    verdict = metrics.get("verdict") or {}
    if not isinstance(verdict, Mapping):  # runs from before anything was decided kept their comparisons here
        return Section(title="Verdict", remarks=_texts(verdict))
    advice = [_advice(each) for each in verdict.get("advice") or ()]
    return Section(title="Verdict", sentences=_texts([verdict.get("sentence")]), remarks=_texts(advice))


def _advice(advice: Any) -> str:
    """A piece of advice with what to type for it; older runs kept sentences alone."""
    if not isinstance(advice, Mapping):
        return str(advice)
    option = f" ({advice['option']})" if advice.get("option") else ""
    return f"{advice.get('sentence', '')}{option}"


def _retrievers(metrics: Mapping[str, Any]) -> Section:
    retrievers: Mapping[str, Mapping[str, float]] = metrics.get("retrievers") or {}
    title = "Retrievers"
    if not retrievers:
        known = metrics.get("questions") == 0
        return Section(title=title, sentences=("No held-out question could be judged.",) if known else ())
    measured = dict.fromkeys(metric for values in retrievers.values() for metric in values)
    names = [metric for metric in _METRICS if metric in measured] or list(measured)
    roles = _roles(metrics.get("rows") or {})
    rows = tuple(
        (name, *([roles.get(name, "")] if roles else []), *(_number(values.get(metric)) for metric in names))
        for name, values in retrievers.items()
    )
    about = [
        _plural(metrics["questions"], "held-out question") if "questions" in metrics else "",
        metrics.get("held_out"),
    ]
    sentence = ", ".join(_texts(about))
    return Section(
        title=title,
        sentences=tuple(f"{each}." for each in (sentence, *_mixes(metrics)) if each),
        grid=Grid(headings=("retriever", *(["what it is"] if roles else []), *names), rows=rows),
        remarks=_texts(metrics.get("comparisons")),
    )


def _roles(rows: Mapping[str, str]) -> dict[str, str]:
    """What each row is, by name."""
    return {
        name: words + extra
        for row, words in _ROLES.items()
        if rows.get(row)
        for name, extra in (
            (rows[row], ""),
            (Retriever(encoder=rows[row], kind="fused").key, ", with keyword search"),
            (Retriever(encoder=rows[row], kind="fused", is_reranked=True).key, ", with keyword search, re-ranked"),
        )
    }


def _mixes(metrics: Mapping[str, Any]) -> list[str]:
    """How much words count in each fused search."""
    mixes: Mapping[str, Mapping[str, Any]] = metrics.get("mixes") or {}
    return [f"In the fused search of {name} {Mix(**values).sentence}" for name, values in mixes.items()]


def _teacher(metrics: Mapping[str, Any]) -> Section:
    teacher = metrics.get("teacher") or {}
    assessments = teacher.get("assessments") or []
    config = metrics.get("config") or {}
    sentences = [
        _who(teacher.get("name"), config),
        _statuses(teacher),
        "People's votes count too." if config.get("votes") else "",
        "Passages known to answer come first." if config.get("positives") == "first" else "",
    ]
    rows = tuple(
        (
            str(a.get("mode", "–")),
            _number(a.get("kappa")),
            _share(a.get("probe_first")),
            _number(a.get("self_agreement")),
            _number(a.get("agreement_with_start")),
            _share(a.get("malformed")),
            _number(a.get("calls"), 1),
            " ".join(f"{share:.0%}" for share in _shares(a.get("best_shown_at"))) or "–",
            _trust(a),
        )
        for a in assessments
    )
    headings = (
        "mode",
        "κ",
        "plants first",
        "self τ",
        "τ with retrieval",
        "malformed",
        "calls",
        "best at place 1, 2, …",
        "trust",
    )
    return Section(
        title="Teacher",
        sentences=_texts(sentences),
        grid=Grid(headings=headings, rows=rows) if rows else None,
        remarks=_texts(
            [_COLUMNS, *(a.get("sentence") or _place_sentence(a.get("best_shown_at")) for a in assessments)]
            if assessments
            else [_place_sentence(teacher.get("best_shown_at"))]
        ),
    )


def _who(name: str | None, config: Mapping[str, Any]) -> str:
    if config.get("teacher") != "none":
        return f"The teacher is {name}." if name else ""
    return "No LLM was asked for orders: the ranker's scores teach."


def _statuses(teacher: Mapping[str, Any]) -> str:
    """How the replies were, as counts or as shares (which are never above 1 in sum)."""
    statuses: Mapping[str, float] = teacher.get("statuses") or {}
    said = [f"{_amount(statuses[key])} {words}" for key, words in _STATUSES.items() if key in statuses]
    return f"Its replies: {', '.join(said)}." if said else ""


def _place_sentence(shown: Any) -> str:
    """What it means if the passage shown at one place wins nearly always."""
    shares = _shares(shown)
    place = max(range(len(shares)), key=shares.__getitem__, default=0)
    if not shares or shares[place] <= _SUSPICIOUS_SHARE:
        return ""
    return (
        f"In {shares[place]:.0%} of its orders the passage shown at place {place + 1} of {len(shares)} came first: "
        "this LLM looks at the place more than at the text. Another one would teach more."
    )


def _shares(shown: Any) -> list[float]:
    """A histogram's counts or shares as shares; none of one that is empty."""
    total = sum(shown or ())
    return [value / total for value in shown] if total else []


def _ranker(metrics: Mapping[str, Any]) -> Section:
    ranker = metrics.get("ranker") or {}
    known = _AGREEMENTS.items() if ranker.get("n_held_out") else ()
    said = [f"{_number(ranker[key])} {words}" for key, words in known if ranker.get(key) is not None]
    sentences = []
    if ranker.get("kind"):
        loss = f", taught by {_LOSSES[ranker['loss']]}" if said and ranker.get("loss") in _LOSSES else ""
        untaught = "" if said else "; no order has taught it, and it scored as it began"
        sentences.append(f"The ranker is of the kind {ranker['kind']}{loss}{untaught}.")
    if said:
        sentences.append(
            f"How high it puts what the teacher put first (mean reciprocal place{_of_orders(ranker['n_held_out'])}): "
            f"{', '.join(said)}; the {ranker.get('kept', 'trained')} one was used."
        )
    sentences += _texts([(metrics.get("evidence") or {}).get("sentence")])
    return Section(title="Ranker", sentences=tuple(sentences), remarks=_texts(ranker.get("notes")))


def _of_orders(n: int | None) -> str:
    return f", {_plural(n, 'order')} it never saw" if n else ""


def _retriever(metrics: Mapping[str, Any]) -> Section:
    retriever, config = metrics.get("retriever") or {}, metrics.get("config") or {}
    sentences = []
    if "loss_at_last" in retriever:  # earlier versions had other recipes, and other figures
        moved = "both sides" if retriever.get("train") == "both" else "the side of the questions"
        sentences.append(
            f"Trained by the recipe {config.get('recipe', 'auto')}, {moved}, on "
            f"{_plural(retriever['n_train'], 'list')}. Its divergence from its targets went from "
            f"{_number(retriever.get('loss_at_first'))} to {_number(retriever.get('loss_at_last'))} in training."
        )
    return Section(title="Retriever", sentences=tuple(sentences), remarks=_texts(retriever.get("notes")))


def _spend(metrics: Mapping[str, Any]) -> Section:
    spend = metrics.get("spend") or {}
    counts = {
        "calls": "calls",
        "cached": "replies from the cache",
        "prompt_tokens": "prompt tokens",
        "reply_tokens": "reply tokens",
    }
    said = [f"{spend[key]:,} {words}" for key, words in counts.items() if spend.get(key) is not None]
    if "cost_usd" in spend:
        cost = spend["cost_usd"]
        said.append("the price is not known" if cost is None else f"{cost:.2f} USD")
    return Section(title="Spent on the LLM", sentences=(f"{', '.join(said)}.",) if said else ())


def _settings(metrics: Mapping[str, Any]) -> Section:
    config, versions = metrics.get("config") or {}, metrics.get("versions") or {}
    rows = [(str(key), "–" if value in ("", None) else str(value)) for key, value in config.items()]
    rows += [(f"{package} (version)", str(number)) for package, number in versions.items()]
    if metrics.get("commit"):
        rows.append(("commit", str(metrics["commit"])))
    return Section(title="Settings", grid=Grid(headings=("setting", "value"), rows=tuple(rows)) if rows else None)


def _trust(assessment: Mapping[str, Any]) -> str:
    """What is done with the teacher, and what kind of teacher it is where that is known."""
    return ": ".join(_texts([assessment.get("trust"), assessment.get("verdict_kind")])) or "–"


def _texts(values: Iterable[object] | None) -> tuple[str, ...]:
    return tuple(str(value) for value in values or () if value)


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _plural(n: int, word: str) -> str:
    return f"{n:,} {word}{'s' * (n != 1)}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def _amount(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.1%}"


_MARKUP = re.compile(r"([\\`*_\[\]<>|~#&$]|(?<=:)//|(?<=www)\.|(?<!\w)@)")
_LINE_START = re.compile(r"^(?:(\d+)(?=[.)](?:\s|$))|(?=[-+=]))")  # of a list, a rule or an underline


def report_markdown(metrics: Mapping[str, Any]) -> str:
    """The report of a run as Markdown (CommonMark with tables); parts that `metrics` has nothing for are left out."""
    name = (metrics.get("config") or {}).get("name")
    blocks = [f"# Report of run {_escape(str(name))}" if name else "# Report"]
    for section in sections_of(metrics):
        blocks.append(f"## {section.title}")
        blocks += [_escape(sentence) for sentence in section.sentences]
        if section.grid:
            blocks.append("\n".join(_table_lines(section.grid)))
        if section.remarks:
            blocks.append("\n".join(f"- {_escape(remark)}" for remark in section.remarks))
    return "\n\n".join(blocks) + "\n"


def print_report(metrics: Mapping[str, Any], console: Console) -> None:
    """Prints the report of a run, without its settings, which the run's folder holds."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    shown = [section for section in sections_of(metrics) if section.title != "Settings"]
    for place, section in enumerate(shown):
        console.print(Text(section.title if place == 0 else f"\n{section.title}", style="bold"))
        for sentence in section.sentences:
            console.print(Text(_fit(sentence)), soft_wrap=True)
        if section.grid:
            table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
            for heading in section.grid.headings:
                table.add_column(Text(_fit(heading)), overflow="fold")  # cut names may look the same
            for row in section.grid.rows:
                table.add_row(*(Text(_fit(cell)) for cell in row))
            console.print(table)
        for remark in section.remarks:
            console.print(Text(f"- {_fit(remark)}"), soft_wrap=True)


def _table_lines(grid: Grid) -> Iterator[str]:
    yield _row(grid.headings)
    yield _row(["---"] * len(grid.headings), escaped=True)
    yield from (_row(row) for row in grid.rows)


def _row(cells: Sequence[str], *, escaped: bool = False) -> str:
    return f"| {' | '.join(cell if escaped else _escape(cell) for cell in cells)} |"


def _escape(text: str) -> str:
    """`text` on one line, such that Markdown shows it as it is: no tag, link, image, heading, list or cell of its own.

    Bare addresses and @names are broken too, as some readers of Markdown make links of them.
    """
    return _LINE_START.sub(r"\1\\", _MARKUP.sub(r"\\\1", _fit(text)))


def _fit(text: str) -> str:
    """`text` on one line, without characters that would act on a terminal or that no file can hold."""
    return " ".join(UNFIT.sub(" ", text).split())
