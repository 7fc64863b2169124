"""The records of a run: candidates, rankings, scores, targets, a line of JSON each; and what its stages did.

Fields of the latter have defaults, so that a file of another version is read as far as it goes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ReplyStatus = Literal["ok", "repaired", "partial", "refused"]  # from best to worst
Trust = Literal["", "use", "weigh", "refuse"]  # "": nobody was asked
Kind = Literal[
    "", "sound", "unsteady", "unproven", "placed", "reversed", "copying", "blind", "chance", "too few", "silent"
]
Kept = Literal["untrained", "fitted", "trained"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieved:
    """The id of a passage, its document's, and its scores by meaning and by words, whatever found it."""

    passage: str
    document: str = ""
    dense: float = 0.0
    lexical: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateList:
    """A question's candidates in the order of retrieval, of which the teacher is shown `n_shown` (None: all)."""

    id: str
    question: str
    candidates: tuple[Retrieved, ...]
    n_shown: int | None = None

    @property
    def passages(self) -> list[str]:
        """The candidates' ids, each once."""
        return list(dict.fromkeys(candidate.passage for candidate in self.candidates))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """The teacher's order of a question's candidates: `ranking` has only passages that it placed, of those `shown`.

    `weight` is how much it counts; `n_rounds` joined in it; `failed` is why nothing came.
    """

    id: str
    ranking: tuple[str, ...]
    shown: tuple[str, ...] = ()
    status: ReplyStatus = "ok"
    n_asked: int = 0
    reply: str = ""
    weight: float = 1.0
    n_rounds: int | None = None
    failed: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VotedOrder:
    """The passages of a question as a person has voted, best first."""

    question: str
    ranking: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreList:
    """A score of each of a question's passages: the ranker's logits, or as targets logarithms of probabilities."""

    id: str
    question: str
    passages: tuple[str, ...]
    scores: tuple[float, ...]
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """What a run has asked the LLM for, replies that were known apart; `cost_usd` is None where it is not known."""

    calls: int = 0
    cached: int = 0
    prompt_tokens: int = 0
    reply_tokens: int = 0
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """How a teacher does in one mode on a sample of questions, each asked twice with the passages shuffled.

    `best_agreement`: share of questions where both orders name the same best; `kappa`: what is in it beyond chance
    (Cohen's κ; chance is 1/n, as the passages are shuffled), `at_least` with 95 % confidence. `probe_first`: share of
    `n_probes` in which the planted answer came first. `self_agreement`: mean Kendall τ of the two orders.
    `best_shown_at`: share of each place of the prompt among the passages put first; `position_p` is its χ² test against
    equal shares and `position_bias` the strength (Cramér's V: 0 none, 1 always the same place). `agreement_with_start`:
    mean τ with the order of retrieval. `malformed`: share of orders that were not as asked for, `refused`: of those
    that held nothing. `calls`: requests for a question. `weight`: how much a list of this teacher counts that has no
    agreement of its own. `top1`: how often what it puts first is right where an answer is in the list, as far as this
    tells, and `top1_weight`: how many observations that is worth.
    """

    mode: str = ""
    n_questions: int = 0
    n_probes: int = 0
    kappa: float = 0.0
    at_least: float = 0.0
    best_agreement: float = 0.0
    probe_first: float | None = None
    self_agreement: float = 0.0
    best_shown_at: tuple[float, ...] = ()
    position_p: float = 0.0
    position_bias: float = 0.0
    agreement_with_start: float = 0.0
    malformed: float = 0.0
    refused: float = 0.0
    calls: float = 0.0
    trust: Trust = ""
    verdict_kind: Kind = ""
    weight: float = 0.0
    top1: float = 0.0
    top1_weight: float = 0.0
    sentence: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankerReport:
    """What training did. Agreement is `agreement.first_place` on orders that trained no model: of the order that
    retrieval gave, of the ranker as it began, with its head fitted to the teacher, and with its model trained too.

    `kept` says which of the last three the ranker is now. `n_left_out` orders said nothing or had the weight 0.
    """

    kind: str = ""
    loss: str = ""
    n_train: int = 0
    n_held_out: int = 0
    n_left_out: int = 0
    agreement_retrieval: float = 0.0
    agreement_untrained: float = 0.0
    agreement_fitted: float | None = None
    agreement_trained: float | None = None
    kept: Kept = "untrained"
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrieverReport:
    """What training did: which sides it moved, how many lists trained, the mean loss (KL divergence) of the first and
    of the last tenth of its steps, and sentences on what had to be done for it.
    """

    train: Literal["both", "query"] = "both"
    n_train: int = 0
    lists_in_a_step: int = 0
    n_steps: int = 0
    loss_at_first: float = 0.0
    loss_at_last: float = 0.0
    notes: tuple[str, ...] = ()
