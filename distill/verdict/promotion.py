"""What follows from a verdict: the encoder that a corpus is searched with now, the way back, and what to do next."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from indexes.corpus import Corpus
from indexes.errors import InputError, NotFoundError
from indexes.manifest import record_promotion, withdraw_promotions
from indexes.paths import DataPaths
from indexes.types import PromotionInfo

# Why a run's own retriever is not promoted: nothing judged it; few did; it is no better than its rival; it may be so by
# chance; the questions were looked at too often; it may harm the fused search; what is promoted finds as much.
Reason = Literal["", "unjudged", "few", "worse", "chance", "looks", "fused", "standing"]

_POWER = 0.8  # of n = ((z(1 - α/2) + z(power)) s / d)² pairs (Sakai, SIGIR 2016)
_HOPELESS = 20_000  # questions; nobody has so many judged


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """A sentence for everyone, and the `option` or command that does it for who types commands, "" without one."""

    sentence: str
    option: str = ""


_ON_REASON: dict[Reason, Advice] = {
    "worse": Advice(
        sentence="More held-out questions would not change this. Train on more questions, or put the passage known to "
        "answer a question first in the order.",
        option='--config FILE with "positives": "first"',
    ),
    "looks": Advice(sentence="Judge it on other questions: these were looked at before."),
    "fused": Advice(sentence="Without keyword search it is the better one, and can be picked."),
    "standing": Advice(sentence="What answers now has to be beaten too: train on more questions."),
    "unjudged": Advice(
        sentence='Give at least 50 held-out questions with "positives" (ids of the documents that answer them) and a '
        '"split" other than "train", or have the LLM write questions, which come with their source passage.',
        option="--questions FILE or --write-questions N",
    ),
}
_ON_TRIAL = Advice(
    sentence="Confirm it: vote on the Compare tab, or judge with questions that people asked and of which it is known "
    "what answers them. The LLM wrote those that judged, and people may ask others.",
    option="--questions FILE",
)
_LIKE = Advice(
    sentence="Show the writer 3 to 20 real questions: what is in the askers' own style teaches more.",
    option="--like FILE",
)
_CEILING = Advice(
    sentence="Even the ranker over the fused candidates is not surely better than the baseline: deeper candidates, "
    "another ranker or a stronger teacher may raise what can be learned."
)
_CONTROL_HARMS = Advice(
    sentence="What can be learned here without an LLM does harm: do not teach this corpus for free."
)
_REFUSED = Advice(
    sentence="The teacher's orders are not to be trusted (see Teacher): use a stronger LLM, or ask in another way.",
    option='--config FILE with another "mode"',
)
_WEIGHED = Advice(sentence="The teacher's orders count only in part (see Teacher): a stronger one may teach more.")


def advice_on(
    reason: Reason,
    *,
    differences: Sequence[float] = (),
    alpha: float = 0.05,
    ceiling_near: bool = False,
    control_harms: bool = False,
    trust: str = "",
    on_trial: bool = False,
    promote: str = "",
) -> tuple[Advice, ...]:
    """What helps after a verdict: `reason` says why the run's own retriever is not promoted, "" where it is.

    `differences` are those to the retriever that it has to beat, by question; `promote` is the command that promotes
    it all the same.
    """
    chance = reason == "chance"
    found = [
        _more_questions(differences, alpha) if chance else _ON_REASON.get(reason),
        _CEILING if ceiling_near and reason in ("worse", "chance") else None,
        _CONTROL_HARMS if control_harms else None,
        _REFUSED if trust == "refuse" else _WEIGHED if trust == "weigh" and reason else None,
        _ON_TRIAL if on_trial else None,
        _LIKE if on_trial and reason else None,
        Advice(sentence="It can be picked all the same, and promoted by hand.", option=promote) if promote else None,
    ]
    return tuple(each for each in found if each)


def _more_questions(differences: Sequence[float], alpha: float) -> Advice:
    n, mean = questions_needed(differences, alpha), float(np.mean(differences))
    if n > _HOPELESS:
        return Advice(
            sentence=f"The difference seen ({mean:+.4f}) is so small that more than {_HOPELESS:,} judged questions "
            "would be needed to show it: train on more questions."
        )
    return Advice(
        sentence=f"If the difference seen ({mean:+.3f}) is real, about {n:,} held-out questions would show it in 4 of "
        f"5 tries; these were {len(differences):,}. Training on more questions may make it larger."
    )


def questions_needed(differences: Sequence[float], alpha: float = 0.05) -> int:
    """How many held-out questions would show the mean of `differences` at the level `alpha` in 4 of 5 tries, more than
    there were. Raises `ValueError` where it is 0: no number would.
    """
    from scipy.stats import norm

    mean = float(np.mean(differences))
    if mean == 0:
        raise ValueError("equal means have no number of questions that would tell them apart")
    deviation = float(np.std(differences, ddof=1)) if len(differences) > 1 else 0.0
    z = float(norm.ppf(1 - alpha / 2) + norm.ppf(_POWER))
    return max(math.ceil((z * deviation / mean) ** 2), len(differences) + 1)


def promoted(paths: DataPaths, corpus: str) -> str | None:
    """The promoted encoder of `corpus`, None where the baseline is to be used.

    That is the last one promoted whose index is still there: if it is gone, the one before counts.
    """
    found = Corpus.open(paths, corpus).promoted()
    return found.encoder if found else None


def promote(paths: DataPaths, corpus: str, encoder: str, run: str) -> None:
    """Makes `encoder`, taught by `run`, the one that `corpus` is searched with; nothing changes where it is already.

    Raises `NotFoundError` if the corpus has no index by it, `InputError` if the index lacks passages.
    """
    opened = Corpus.open(paths, corpus)
    _check_index(opened, encoder)
    standing = opened.promoted()
    if standing is None or standing.encoder != encoder:
        record_promotion(opened.folder, encoder, run)


def rollback(paths: DataPaths, corpus: str) -> str | None:
    """The encoder that counts again now that the promoted one is withdrawn, None for the baseline.

    Raises `InputError` if no encoder is promoted.
    """
    opened = Corpus.open(paths, corpus)
    before = opened.promoted()
    if before is None:
        raise InputError(
            f"Corpus '{opened.name}' has no promoted encoder, so there is none to roll back: the baseline is in use."
        )
    after: PromotionInfo | None = before
    while after and after.encoder == before.encoder:  # it may have been promoted twice, with others between
        withdraw_promotions(opened.folder, after.number)
        after = opened.promoted()
    return after.encoder if after else None


def _check_index(corpus: Corpus, encoder: str) -> None:
    info = next((each for each in corpus.indexes() if each.encoder == encoder), None)
    build = f"python -m indexes add '{corpus.name}' --encoder '{encoder}'"
    if info is None:
        raise NotFoundError(
            f"Encoder '{encoder}' cannot be promoted: corpus '{corpus.name}' has no complete index by it. Build it "
            f"with: {build}"
        )
    n_passages = corpus.info().n_passages
    if info.n_passages < n_passages:
        raise InputError(
            f"Encoder '{encoder}' cannot be promoted: its index of corpus '{corpus.name}' has {info.n_passages:,} of "
            f"{n_passages:,} passages. Complete it with: {build}"
        )
