"""Whose gain it is, and which retriever is to answer: by held-out questions, with an alpha that is spent."""

from __future__ import annotations

import hashlib
import json
import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from distill.verdict.promotion import Advice, Reason, advice_on
from indexes.errors import counted
from indexes.evaluation import FEW_QUERIES, Comparison, Judgement, compare_runs, mean_metrics
from indexes.retrievers import Retriever
from indexes.types import Query

ALPHA = 0.05


def alpha_of(look: int) -> float:
    """The level of the `look`-th look (from 1 on) at the same questions: 6α / (π²k²)."""
    return 6 * ALPHA / (math.pi * look) ** 2


def take_look(file: Path, run: str, held_out: Sequence[Query]) -> int:
    """The number of this look at `held_out`, which is noted in the ledger `file`; a run that asks again looks once.

    An earlier look counts if it was at half of these questions or more, whatever has become of its run since, and so
    does a line that is damaged: nobody knows what it was at. `run` names what is judged, whole: other settings, other
    run.
    """
    asked = {key_of(query) for query in held_out}
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
    earlier = [
        entry
        for entry in map(_entry, filter(str.strip, lines))
        if entry is None or 2 * len(entry[1] & asked) >= len(asked) > 0
    ]
    names = [entry[0] if entry else None for entry in earlier]
    if run in names:
        return names.index(run) + 1
    _note(file, {"run": run, "questions": sorted(asked)})
    return len(earlier) + 1


def key_of(query: Query) -> str:
    """8 hex digits for a question and what is known to answer it."""
    known = json.dumps([query.text, sorted(query.grades.items())], ensure_ascii=False)
    return hashlib.blake2b(known.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()


def _entry(line: str) -> tuple[str, set[str]] | None:
    """(run, questions) of a line of the ledger, None where it is damaged."""
    try:
        entry = json.loads(line)
        return str(entry["run"]), {str(key) for key in entry["questions"]}
    except (ValueError, KeyError, TypeError):
        return None


def _note(file: Path, entry: dict[str, object]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    torn = file.is_file() and not file.read_bytes().endswith(b"\n")  # by a kill; its line is kept, and counts
    with file.open("ab") as ledger:
        ledger.write(b"\n" * torn + json.dumps(entry).encode() + b"\n")


METRIC = "ndcg@10"
# Of orders: a first choice is among the base's own ten, so that by nDCG, to which the cut at ten matters more, whatever
# moves looks worse than it is (see benchmarks/order_verdict).
FIRST_CHOICE_METRIC = "mrr@10"
_SHOWN = {METRIC: "nDCG@10", FIRST_CHOICE_METRIC: "MRR@10"}
FUSED_LOSS = 0.01  # of nDCG@10: so much less of the fused search is borne, and shown to be no more; our choice

# Questions whose answers are known; those that the LLM wrote; first choices of orders that trained nothing; nothing.
JudgedBy = Literal["questions", "written questions", "orders", ""]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The retrievers of a judgement by name, "" for one that is not there; each but `standing` is also in it fused.

    Three of them are free: `base`; `weighted`, the base with a passage side whose rare words count more; `control`,
    taught without any order (of a run that has none it is what the run taught). `taught` has learned orders.
    `standing` is what answers until now, where that is none of these; `reranked` the ranker over the fused base.
    """

    base: str = ""
    weighted: str = ""
    control: str = ""
    taught: str = ""
    standing: str = ""
    reranked: str = ""

    @property
    def free(self) -> tuple[str, ...]:
        """What costs nothing, the simplest first."""
        return tuple(name for name in (self.base, self.weighted, self.control) if name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """`metric` of the base, of the best free retriever and of the taught one, and what of the gain is whose.

    `low` and `high` are the 95 % interval of `of_orders`, taught above the best free one, None of too few questions.
    """

    metric: str
    base: float
    best_free: str
    free: float
    taught: float
    needs_no_llm: float
    of_orders: float
    low: float | None
    high: float | None
    p_value: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Which encoder is promoted ("" for none), why in one sentence, and what to do next.

    `promoted` says that it is the run's own; `reason` why the run's own is not. `judged_by` says what judged, and
    `on_trial` that only questions by an LLM did. `alpha` is the level that p had to be below, at the `look`-th look.
    """

    encoder: str = ""
    promoted: bool = False
    on_trial: bool = False
    judged_by: JudgedBy = ""
    reason: Reason = ""
    sentence: str
    advice: tuple[Advice, ...] = ()
    n_questions: int = 0
    look: int = 1
    alpha: float = 0.0
    gain: Gain | None = None

    @property
    def is_open(self) -> bool:
        """Whether too few questions judged, or none."""
        return self.reason in ("few", "unjudged")


@dataclass(frozen=True, slots=True, kw_only=True)
class Objection:
    """Why a retriever is not promoted: a word for programs, and the end of a sentence."""

    reason: Reason
    why: str


# What stands before and behind the figures, by what judged.
_ON: dict[JudgedBy, tuple[str, str]] = {
    "questions": ("", ""),
    "written questions": ("", " that the LLM wrote"),
    "orders": (
        "No held-out question says which documents answer it. By the teacher's own word, what it puts first being the "
        "answer, ",
        " whose orders trained nothing",
    ),
}


def fused(name: str) -> str:
    """The row of the retriever `name` fused with keyword search."""
    return Retriever(encoder=name, kind="fused").key


def decide(
    judgement: Judgement,
    rows: Rows,
    *,
    corpus: str,
    whose: str,
    judged_by: JudgedBy = "questions",
    look: int = 1,
    trust: str = "",
) -> Verdict:
    """The verdict on `rows` of `judgement`, which has the metrics of each by question.

    What orders have taught is promoted if it is beyond doubt above the best of the free rows and of what stands, so
    that nobody pays for what is free; else the free control if it is beyond doubt above the base and above what
    stands. Beyond doubt: the 95 % bootstrap interval of the paired differences lies above 0, and p of the permutation
    test below what is left of 5 % at the `look`-th look at these questions. Fused with keyword search neither may lose
    more than `FUSED_LOSS` to the fused base, which the lower end of that interval has to show. With fewer than
    `FEW_QUERIES` questions nothing is decided.

    Where the LLM wrote the questions a promotion is on trial; where its own orders judge there is none. `whose` names
    the orders, such as "the LLM's orders"; `trust` is the assessment's word on the teacher.
    """
    own = rows.taught or rows.control
    found = _Found(judgement=judgement, metric=FIRST_CHOICE_METRIC if judged_by == "orders" else METRIC)
    if found.n_queries < FEW_QUERIES:
        return _too_few(found, rows, judged_by)
    alpha = alpha_of(look)
    objections = {name: _objection(found, rows, name, look) for name in (rows.taught, rows.control) if name}
    encoder = next((name for name, objection in objections.items() if objection is None), "")
    objection = objections[own]
    if judged_by == "orders":
        why = objection.why if objection else "nobody has said yet whether its word is right"
        encoder, objection = "", Objection(reason="unjudged", why=why)
    on_trial = judged_by == "written questions" and bool(encoder)
    by_hand = encoder != own and found.mean(own) > found.mean(rows.base)
    advice = advice_on(
        objection.reason if objection else "",
        differences=found.differences(_rival(found, rows, own), own),
        alpha=alpha,
        ceiling_near=bool(rows.reranked) and found.compare(rows.base, rows.reranked).low <= 0,
        control_harms=bool(rows.taught and rows.control) and found.compare(rows.base, rows.control).high < 0,
        trust=trust,
        on_trial=on_trial,
        promote=f"python -m distill promote {shlex.quote(corpus)} {shlex.quote(own)}" if by_hand else "",
    )
    gain = _gain(found, rows)
    said = _measured(found, rows, gain, whose, judged_by)
    return Verdict(
        encoder=encoder,
        promoted=encoder == own,
        on_trial=on_trial,
        judged_by=judged_by,
        reason=objection.reason if objection else "",
        sentence=f"{said}: {_decision(rows, encoder, objection, on_trial)}.",
        advice=advice,
        n_questions=found.n_queries,
        look=look,
        alpha=alpha,
        gain=gain,
    )


def undecided(rows: Rows, trust: str = "") -> Verdict:
    """The verdict where nothing judges."""
    return Verdict(
        reason="unjudged",
        sentence=f"No held-out question says which documents answer it, so nothing could be measured: {_stays(rows)}.",
        advice=advice_on("unjudged", trust=trust),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What was judged, by one metric; two rows are compared once."""

    judgement: Judgement
    metric: str
    known: dict[tuple[str, str], Comparison] = field(default_factory=dict)

    @property
    def n_queries(self) -> int:
        return len(self.judgement.queries)

    def mean(self, name: str) -> float:
        return mean_metrics(self.judgement.by_query[name])[self.metric]

    def compare(self, a: str, b: str) -> Comparison:
        if (a, b) not in self.known:
            self.known[a, b] = compare_runs(self.judgement.by_query[a], self.judgement.by_query[b], self.metric)
        return self.known[a, b]

    def differences(self, a: str, b: str) -> Sequence[float]:
        """By how much `b` is above `a`, by question."""
        one, other = self.judgement.by_query[a], self.judgement.by_query[b]
        return [other[query][self.metric] - one[query][self.metric] for query in one]


def _too_few(found: _Found, rows: Rows, judged_by: JudgedBy) -> Verdict:
    own = rows.taught or rows.control
    n = found.n_queries
    return Verdict(
        judged_by=judged_by,
        reason="few",
        sentence=(
            f"{counted(n, 'question')} {'is' if n == 1 else 'are'} too few to tell ({_SHOWN[found.metric]} "
            f"{found.mean(rows.base):.3f} before, {found.mean(own):.3f} after; it takes {FEW_QUERIES}): {_stays(rows)}."
        ),
        n_questions=n,
        gain=_gain(found, rows),
    )


def _objection(found: _Found, rows: Rows, name: str, look: int) -> Objection | None:
    """Why `name` is not to be promoted, None where it is."""
    rival = _rival(found, rows, name)
    return (
        _doubt(found.compare(rival, name), "" if rival == rows.base else rival, look)
        or _harm(found.compare(fused(rows.base), fused(name)))
        or _outdone(found, rows, name)
    )


def _rival(found: _Found, rows: Rows, name: str) -> str:
    """What `name` has to beat: the best of what is free or stands where it was paid for, else the base."""
    if name != rows.taught:
        return rows.base
    return max((*rows.free, *([rows.standing] if rows.standing else [])), key=lambda each: found.mean(each))


def _doubt(c: Comparison, rival: str, look: int) -> Objection | None:
    """Why it is not certain that a retriever is better than its `rival` ("" for the base)."""
    if c.difference <= 0:
        kept = f"'{rival}' finds as much or more ({c.mean_a:.3f})" if rival else "teaching has not made it better"
        return Objection(reason="worse", why=kept)
    alpha = alpha_of(look)
    if c.low > 0 and c.p_value < alpha:
        return None
    above = f" above '{rival}' ({c.mean_a:.3f})" if rival else ""
    if c.low > 0 and look > 1:
        seen = counted(look - 1, "time")
        why = f"these questions have judged {seen} before, so p < {alpha:.4f} is asked for, and it is {c.p_value:.4f}"
        return Objection(reason="looks", why=why)
    return Objection(reason="chance", why=f"what it gains{above} may be chance (p = {c.p_value:.3f})")


def _harm(c: Comparison) -> Objection | None:
    if c.low > -FUSED_LOSS:
        return None
    why = (
        f"fused with keyword search it may lose more than {FUSED_LOSS} ({_SHOWN[c.metric]} {c.mean_a:.3f} → "
        f"{c.mean_b:.3f}{_interval(c, ', {}')})"
    )
    return Objection(reason="fused", why=why)


def _outdone(found: _Found, rows: Rows, name: str) -> Objection | None:
    """That what is promoted already is as good or better."""
    if not rows.standing or found.mean(name) > found.mean(rows.standing):
        return None
    why = f"'{rows.standing}' finds as much or more ({found.mean(rows.standing):.3f})"
    return Objection(reason="standing", why=why)


def _decision(rows: Rows, encoder: str, objection: Objection | None, on_trial: bool) -> str:
    trial = ", on trial until real questions or votes confirm it" if on_trial else ""
    if objection is None:
        return f"the taught retriever is promoted{trial}"
    if encoder:
        return f"the free control '{encoder}' is promoted{trial}, and the taught one is not, as {objection.why}"
    return f"{_stays(rows)}, as {objection.why}"


def _stays(rows: Rows) -> str:
    return f"'{rows.standing}' stays promoted" if rows.standing else "the baseline stays"


def _measured(found: _Found, rows: Rows, gain: Gain, whose: str, judged_by: JudgedBy) -> str:
    """What was measured, and what of it is whose."""
    own = rows.taught or rows.control
    c = found.compare(rows.base, own)
    said = f"{_ON[judged_by][0]}{_change(c)} on {counted(c.n_queries, 'question')}{_ON[judged_by][1]}"
    if not rows.taught:
        weighted = ""
        if rows.weighted:
            part = found.mean(rows.weighted) - c.mean_a
            weighted = f"; {part:+.3f} of that is the weight of rare words alone"
        return f"{said}{_interval(c)}, without an LLM{weighted}"
    if len(rows.free) == 1:
        return f"{said}{_interval(c)}; what of that needs no LLM was not measured"
    orders = found.compare(gain.best_free, own)
    if c.difference > gain.needs_no_llm > 0:
        free = f"{gain.needs_no_llm:.3f} of that needs no LLM"
    elif gain.needs_no_llm > 0:
        free = f"without an LLM it rises to {gain.free:.3f}"
    else:
        free = "nothing is to be gained without an LLM"
    return f"{said}; {free}, {whose} account for {orders.difference:+.3f}{_interval(orders, ' ({low} to {high})')}"


def _gain(found: _Found, rows: Rows) -> Gain:
    own = rows.taught or rows.control
    best = max(rows.free, key=lambda name: found.mean(name)) if rows.taught else own
    base, free, taught = (found.mean(name) for name in (rows.base, best, own))
    enough = best != own and found.n_queries >= FEW_QUERIES
    c = found.compare(best, own) if enough else None
    return Gain(
        metric=found.metric,
        base=base,
        best_free=best,
        free=free,
        taught=taught,
        needs_no_llm=free - base,
        of_orders=taught - free,
        low=c.low if c else None,
        high=c.high if c else None,
        p_value=c.p_value if c else None,
    )


def _change(c: Comparison) -> str:
    metric = _SHOWN[c.metric]
    if c.difference == 0:
        return f"{metric} stayed at {c.mean_a:.3f}"
    digits = 3 if abs(c.difference) >= 0.001 else 5
    verb = "rose" if c.difference > 0 else "fell"
    return f"{metric} {verb} from {c.mean_a:.{digits}f} to {c.mean_b:.{digits}f}"


def _interval(c: Comparison, around: str = " (95 % interval {low} to {high})") -> str:
    return around.format(f"95 % interval {c.low:+.3f} to {c.high:+.3f}", low=f"{c.low:+.3f}", high=f"{c.high:+.3f}")
