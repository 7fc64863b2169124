"""A run's report from its metrics, as Markdown or on a terminal; names from outside never become markup in either."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from distill.json_files import parsed
from distill.records import Assessment, RankerReport, RetrieverReport, Spend, Trust
from distill.run_config import WITHOUT_LLM, RunConfig
from distill.verdict.verdict import Rows, Verdict
from indexes.errors import counted
from indexes.mixes import Mix
from indexes.paths import UNFIT
from indexes.retrievers import Retriever

if TYPE_CHECKING:
    from rich.console import Console


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
_ASSESSED = (
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Teacher:
    """Whose orders teach, what they are worth, and what was found out about that.

    `trust` is "use", "weigh" or "refuse", "" where nobody was asked; `top1` how often its first is right.
    """

    name: str = ""
    trust: Trust = ""
    weight: float = 1.0
    top1: float | None = None
    top1_weight: float = 0.0
    assessment: Assessment | None = None
    sentence: str = ""  # on orders from a file
    statuses: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """What a finished run measured and decided (`metrics.json`); `retrievers` has each metric by the row's name.

    `held_out` says what judged, `intervals` the 95 % interval of each row's mean, and `config` the settings as they
    stood, what the run began with among them.
    """

    config: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    commit: str = ""
    questions: int | None = None
    held_out: str = ""
    retrievers: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    comparisons: tuple[str, ...] = ()
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    rows: Rows = field(default_factory=Rows)
    mixes: Mapping[str, Mix] = field(default_factory=dict)
    verdict: Verdict | None = None
    teacher: Teacher = field(default_factory=Teacher)
    spend: Spend = field(default_factory=Spend)
    evidence: Mapping[str, Any] = field(default_factory=dict)
    ranker: RankerReport = field(default_factory=RankerReport)
    retriever: RetrieverReport = field(default_factory=RetrieverReport)
    control: RetrieverReport = field(default_factory=RetrieverReport)

    @property
    def settings(self) -> RunConfig:
        """What the run was told."""
        return parsed(RunConfig, {"name": "", "corpus": "", **self.config})


def sections_of(metrics: Metrics) -> list[Section]:
    """The sections that `metrics` has something for, the verdict first."""
    made = (_verdict, _retrievers, _teacher, _ranker, _retriever, _spend, _settings)
    sections = (make(metrics) for make in made)
    return [section for section in sections if section.sentences or section.grid or section.remarks]


def _verdict(metrics: Metrics) -> Section:
    if not metrics.verdict:
        return Section(title="Verdict")
    advice = (f"{each.sentence} ({each.option})" if each.option else each.sentence for each in metrics.verdict.advice)
    return Section(title="Verdict", sentences=(metrics.verdict.sentence,), remarks=tuple(advice))


def _retrievers(metrics: Metrics) -> Section:
    title = "Retrievers"
    if not metrics.retrievers:
        sentences = ("No held-out question could be judged.",) if metrics.questions == 0 else ()
        return Section(title=title, sentences=sentences)
    measured = dict.fromkeys(metric for values in metrics.retrievers.values() for metric in values)
    names = [metric for metric in _METRICS if metric in measured] or list(measured)
    roles = _roles(metrics.rows)
    rows = tuple(
        (name, *([roles.get(name, "")] if roles else []), *(_number(values.get(metric)) for metric in names))
        for name, values in metrics.retrievers.items()
    )
    judges = "" if metrics.questions is None else counted(metrics.questions, "held-out question")
    about = ", ".join(_texts([judges, metrics.held_out]))
    mixes = (f"In the fused search of {name} {mix.sentence}" for name, mix in metrics.mixes.items())
    return Section(
        title=title,
        sentences=tuple(f"{each}." for each in (about, *mixes) if each),
        grid=Grid(headings=("retriever", *(["what it is"] if roles else []), *names), rows=rows),
        remarks=metrics.comparisons,
    )


def _roles(rows: Rows) -> dict[str, str]:
    """What each row is, by name."""
    return {
        name: words + extra
        for row, words in _ROLES.items()
        if (encoder := getattr(rows, row))
        for name, extra in (
            (encoder, ""),
            (Retriever(encoder=encoder, kind="fused").key, ", with keyword search"),
            (Retriever(encoder=encoder, kind="fused", is_reranked=True).key, ", with keyword search, re-ranked"),
        )
    }


def _teacher(metrics: Metrics) -> Section:
    teacher, settings = metrics.teacher, metrics.settings
    who = f"The teacher is {teacher.name}." if teacher.name else ""
    said = [f"{teacher.statuses[key]:.1%} {words}" for key, words in _STATUSES.items() if key in teacher.statuses]
    sentences = [
        "No LLM was asked for orders: the ranker's scores teach." if settings.teacher == WITHOUT_LLM else who,
        teacher.sentence,
        f"Its replies: {', '.join(said)}." if said else "",
        "People's votes count too." if settings.votes else "",
        "Passages known to answer come first." if settings.positives == "first" else "",
    ]
    found = teacher.assessment
    if not found:
        return Section(title="Teacher", sentences=_texts(sentences))
    row = (
        found.mode,
        _number(found.kappa),
        _share(found.probe_first),
        _number(found.self_agreement),
        _number(found.agreement_with_start),
        _share(found.malformed),
        _number(found.calls, 1),
        " ".join(f"{share:.0%}" for share in found.best_shown_at) or "–",
        ": ".join(_texts([found.trust, found.verdict_kind])) or "–",
    )
    return Section(
        title="Teacher",
        sentences=_texts(sentences),
        grid=Grid(headings=_ASSESSED, rows=(row,)),
        remarks=_texts([_COLUMNS, found.sentence]),
    )


def _ranker(metrics: Metrics) -> Section:
    ranker = metrics.ranker
    found = {words: getattr(ranker, name) for name, words in _AGREEMENTS.items()} if ranker.n_held_out else {}
    said = [f"{_number(value)} {words}" for words, value in found.items() if value is not None]
    sentences = []
    if ranker.kind:
        loss = f", taught by {_LOSSES[ranker.loss]}" if said and ranker.loss in _LOSSES else ""
        untaught = "" if said else "; no order has taught it, and it scored as it began"
        sentences.append(f"The ranker is of the kind {ranker.kind}{loss}{untaught}.")
    if said:
        sentences.append(
            "How high it puts what the teacher put first (mean reciprocal place, "
            f"{counted(ranker.n_held_out, 'order')} it never saw): {', '.join(said)}; the {ranker.kept} one was used."
        )
    sentences += _texts([metrics.evidence.get("sentence")])
    return Section(title="Ranker", sentences=tuple(sentences), remarks=ranker.notes)


def _retriever(metrics: Metrics) -> Section:
    retriever = metrics.retriever
    sentence = ""
    if retriever.n_train:
        moved = "both sides" if retriever.train == "both" else "the side of the questions"
        sentence = (
            f"Trained by the recipe {metrics.settings.recipe}, {moved}, on {counted(retriever.n_train, 'list')}. Its "
            f"divergence from its targets went from {_number(retriever.loss_at_first)} to "
            f"{_number(retriever.loss_at_last)} in training."
        )
    return Section(title="Retriever", sentences=_texts([sentence]), remarks=retriever.notes)


def _spend(metrics: Metrics) -> Section:
    spend = metrics.spend
    cost = "the price is not known" if spend.cost_usd is None else f"{spend.cost_usd:.2f} USD"
    said = (
        f"{spend.calls:,} calls, {spend.cached:,} replies from the cache, {spend.prompt_tokens:,} prompt tokens, "
        f"{spend.reply_tokens:,} reply tokens, {cost}."
    )
    return Section(title="Spent on the LLM", sentences=(said,) if spend.calls or spend.cached else ())


def _settings(metrics: Metrics) -> Section:
    rows = [(key, "–" if value in ("", None) else str(value)) for key, value in metrics.config.items()]
    rows += [(f"{package} (version)", number) for package, number in metrics.versions.items()]
    rows += [("commit", metrics.commit)] if metrics.commit else []
    return Section(title="Settings", grid=Grid(headings=("setting", "value"), rows=tuple(rows)) if rows else None)


def _texts(values: Iterable[object] | None) -> tuple[str, ...]:
    return tuple(str(value) for value in values or () if value)


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


_MARKUP = re.compile(r"([\\`*_\[\]<>|~#&$]|(?<=:)//|(?<=www)\.|(?<!\w)@)")
_LINE_START = re.compile(r"^(?:(\d+)(?=[.)](?:\s|$))|(?=[-+=]))")  # of a list, a rule or an underline


def report_markdown(metrics: Metrics) -> str:
    """The report of a run as Markdown (CommonMark with tables); parts that `metrics` has nothing for are left out."""
    name = metrics.settings.name
    blocks = [f"# Report of run {as_markdown(name)}" if name else "# Report"]
    for section in sections_of(metrics):
        blocks.append(f"## {section.title}")
        blocks += [as_markdown(sentence) for sentence in section.sentences]
        if section.grid:
            blocks.append("\n".join(_table_lines(section.grid)))
        if section.remarks:
            blocks.append("\n".join(f"- {as_markdown(remark)}" for remark in section.remarks))
    return "\n\n".join(blocks) + "\n"


def print_report(metrics: Metrics, console: Console) -> None:
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
    return f"| {' | '.join(cell if escaped else as_markdown(cell) for cell in cells)} |"


def as_markdown(text: str) -> str:
    """`text` on one line, such that Markdown shows it as it is: no tag, link, image, heading, list or cell of its own.

    Bare addresses and @names are broken too, as some readers of Markdown make links of them.
    """
    return _LINE_START.sub(r"\1\\", _MARKUP.sub(r"\\\1", _fit(text)))


def _fit(text: str) -> str:
    """`text` on one line, without characters that would act on a terminal or that no file can hold."""
    return " ".join(UNFIT.sub(" ", text).split())
