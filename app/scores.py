"""What the votes on retrievers add up to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from app.votes import Vote
from distill.questions.filters import key_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Votes on two retrievers: how often each was better, and the share of the second with its 95 % interval."""

    first: int = 0
    second: int = 0
    ties: int = 0
    both_bad: int = 0
    low: float = 0.0
    high: float = 1.0

    @property
    def decided(self) -> int:
        return self.first + self.second

    @property
    def n(self) -> int:
        return self.decided + self.ties + self.both_bad

    @property
    def share(self) -> float:
        return self.second / self.decided if self.decided else 0.5


def count_votes(votes: Iterable[Vote], corpus: str, first: str, second: str) -> Score:
    """How the votes on the retrievers `first` and `second` of `corpus` stand; Wilson's interval on the decided ones.

    Among more than two, the best is better than each other one, and nothing is said of the others among themselves;
    where none was the best, that is a tie. Each visitor counts once for a question: what was said last.
    """
    from scipy.stats import binomtest

    about = _last_word(vote for vote in votes if vote.corpus == corpus and _compares(vote, first, second))
    winners = [vote.winner.retriever for vote in about if vote.winner]
    n_first, n_second = winners.count(first), winners.count(second)
    low, high = 0.0, 1.0
    if winners:
        interval = binomtest(n_second, len(winners)).proportion_ci(0.95, method="wilson")
        low, high = float(interval.low), float(interval.high)
    return Score(
        first=n_first,
        second=n_second,
        ties=sum(vote.verdict in ("tie", "none") for vote in about),
        both_bad=sum(vote.verdict == "both bad" for vote in about),
        low=low,
        high=high,
    )


def _compares(vote: Vote, first: str, second: str) -> bool:
    """Whether `vote` says anything of this pair: both were shown, and neither lost to a third."""
    pair, shown = {first, second}, {side.retriever for side in vote.sides}
    return pair <= shown and (vote.winner is None or vote.winner.retriever in pair)


def _last_word(votes: Iterable[Vote]) -> list[Vote]:
    """The last of `votes` of each visitor on each question."""
    return list({(vote.visitor, key_of(vote.question)): vote for vote in votes}.values())
