"""What the assessment makes of simulated teachers of every kind, each assessed on many samples of questions.

    make bench TABLE=assessment

No LLM: the teachers are simulated behind the door of a real one (tests/simulated_teachers.py). Each sample is 20
questions with ten passages, whose best the simulated retrieval puts first in about two lists of five, and 20 plants.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from statistics import fmean

from rich.console import Console
from rich.table import Table

from benchmarks.machine import provenance

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from simulated_teachers import TEACHERS, Simulation

_TIMES = 200


def main() -> None:
    """Prints how often each teacher is used, weighed and refused, and for what it is taken."""
    table = Table("simulated teacher", "use", "weigh", "refuse", "taken for", "κ", "plants first", "weight", "top 1")
    for name, preference in TEACHERS.items():
        simulation = Simulation(preference)
        found = [simulation.assessed(seed) for seed in range(_TIMES)]
        trusts = Counter(each.trust for each in found)
        kinds = Counter(each.verdict_kind for each in found).most_common()
        table.add_row(
            name,
            *(str(trusts[trust]) for trust in ("use", "weigh", "refuse")),
            ", ".join(f"{kind} {n}" for kind, n in kinds),
            *(
                f"{fmean(values):.2f}"
                for values in zip(*((a.kappa, a.probe_first or 0, a.weight, a.top1) for a in found), strict=True)
            ),
        )
        Console(stderr=True).print(f"{name}: {dict(trusts)} {kinds}")
    Console(width=180).print(table)
    print(provenance())


if __name__ == "__main__":
    main()
