"""The form of the Teach tab as it was filled in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Teacher = Literal["page", "endpoint", "embedded", "none"]
LEAST_WRITTEN, MOST_WRITTEN = 10, 5000
LEAST_CANDIDATES, MOST_CANDIDATES = 2, 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What is to be taught and how: `upload` is a file of questions, without one `n_written` are to be written in the
    manner of `like` (one a line, may be empty). `votes` and `asked` take what people said and asked here as well. The
    last three are for the teacher "endpoint".
    """

    corpus: str
    name: str = ""
    upload: str = ""
    n_written: int = 200
    like: str = ""
    teacher: Teacher = "page"
    n_candidates: int = 10
    budget: str = ""
    train: Literal["both", "query"] = "both"
    votes: bool = False
    asked: bool = False
    base_url: str = ""
    model: str = ""
    key: str = field(default="", repr=False)
