"""What a corpus of any size costs in memory, disk, hours and money: computed from measured figures, not measured.

python -m benchmarks.capacity [--passages 10000000 100000000] [--passages-per-second 143 ...]: every input has a switch.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

_GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What is measured, or assumed, of one passage, one worker and one machine."""

    dimension: int = 384
    neighbours: int = 32  # of a passage in the graph; the lowest level has twice as many, of 4 bytes each
    id_bytes: int = 520  # of a passage's ids in memory beside the graph: measured at 1,000,000
    store_bytes: int = 624  # of a passage in Chroma's SQLite file: measured, 14,133 passages
    manifest_bytes: int = 1695  # of a passage and its vector in the manifest: measured, 14,133 passages
    lexical_bytes: int = 271  # of a passage in the lexical index: measured, 12,987 passages
    passages_per_s: float = 143.0  # one machine of 2 cores, int8, passages of 109 tokens: measured
    cpu_usd_per_hour: float = 0.10  # of such a machine, assumed
    memory_usd_per_gib_hour: float = 0.005  # of the machine that searches, assumed


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one set-up costs for one size."""

    memory_gib: float
    disk_gib: float
    hours: float
    embed_usd: float
    month_usd: float


def cost(n: int, inputs: Inputs, n_workers: int) -> Cost:
    """The cost of `n` passages embedded by `n_workers` machines.

    Memory is what the graph and its ids take: a vector of 4 bytes a dimension and 2 · neighbours links of 4 bytes for
    each passage (1,792 bytes; 1,788 were measured on disk). Hours are for encoding alone.
    """
    graph = n * (4 * inputs.dimension + 2 * 4 * inputs.neighbours)
    disk = graph + n * (inputs.store_bytes + inputs.manifest_bytes + inputs.lexical_bytes)
    hours = n / inputs.passages_per_s / n_workers / 3600
    memory = graph + n * inputs.id_bytes
    return Cost(
        memory_gib=memory / _GIB,
        disk_gib=disk / _GIB,
        hours=hours,
        embed_usd=hours * n_workers * inputs.cpu_usd_per_hour,
        month_usd=memory / _GIB * inputs.memory_usd_per_gib_hour * 730,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--passages", type=int, nargs="*", default=[10_000_000, 100_000_000])
    parser.add_argument("--workers", type=int, default=64, help="machines of the Ray cluster")
    defaults = Inputs()
    for field in Inputs.__dataclass_fields__:
        value = getattr(defaults, field)
        parser.add_argument(f"--{field.replace('_', '-')}", type=type(value), default=value)
    arguments = parser.parse_args()
    inputs = Inputs(**{field: getattr(arguments, field) for field in Inputs.__dataclass_fields__})
    set_ups = {"embedded": 1, "Chroma server": 1, f"Ray ({arguments.workers} machines) + server": arguments.workers}
    print("| passages | set-up | memory, GiB | disk, GiB | hours to embed | embedding, USD | memory a month, USD |")
    print("|---|---|---|---|---|---|---|")
    for n in arguments.passages:
        for name, n_workers in set_ups.items():
            c = cost(n, inputs, n_workers)
            print(
                f"| {n:,} | {name} | {c.memory_gib:,.0f} | {c.disk_gib:,.0f} | {c.hours:,.1f} | {c.embed_usd:,.0f} "
                f"| {c.month_usd:,.0f} |"
            )
    print(f"Computed, not measured, from {inputs}")


if __name__ == "__main__":
    main()
