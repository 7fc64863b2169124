"""What the handlers of the Teach tab share."""

from __future__ import annotations

from dataclasses import dataclass

from app.teaching.jobs import Jobs
from app.workbench import Workbench


@dataclass(frozen=True, slots=True, kw_only=True)
class Classroom:
    """The workbench and its teaching slot."""

    bench: Workbench
    jobs: Jobs
