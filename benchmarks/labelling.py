"""How busy the labelling keeps an endpoint: the share of its places that work while a teacher's orders are asked for.

    make bench TABLE=labelling

A scripted endpoint in a process of its own takes a set time for each reply, so all that is missing to 100 % is ours:
prompts, parsing, files, and the client.
"""

from __future__ import annotations

import multiprocessing
import random
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.machine import provenance
from distill.llm.calls import Asker
from distill.llm.connection import LLMConfig, connect_llm
from distill.llm.reply_cache import ReplyCache
from distill.records import CandidateList, Retrieved
from distill.teacher.ranking import rank_candidates
from indexes.paths import DataPaths

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from scripted_endpoint import ScriptedEndpoint

_N_RANKED = 10
_N_WORDS = 120  # of a passage
_ROUNDS = 20  # replies that each place gives
_CASES = ((1.0, 8), (0.5, 8), (0.2, 8), (1.0, 32))  # seconds a reply, requests at once


def main() -> None:
    """Prints how much of each endpoint's time was used."""
    table = Table("a reply takes, s", "at once", "orders", "orders a second", "busy", "our cpu ms an order")
    for seconds, at_once in _CASES:
        wall, cpu, n = _label(seconds, at_once)
        busy = n * seconds / (at_once * wall)
        table.add_row(f"{seconds:.1f}", f"{at_once}", f"{n}", f"{n / wall:.1f}", f"{busy:.1%}", f"{1000 * cpu / n:.1f}")
    Console().print(table)
    print(provenance())


def _label(seconds: float, at_once: int) -> tuple[float, float, int]:
    """(wall seconds, processor seconds, orders) of asking for all orders."""
    records, texts = _lists(at_once * _ROUNDS)
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs, seconds), daemon=True)
    server.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            paths = DataPaths(Path(folder))
            config = LLMConfig(base_url=ours.recv(), api_key="sk-none", model="scripted")
            asker = Asker(connect_llm(config, paths), concurrency=at_once, cache=ReplyCache(paths.llm_cache, print))
            rank_candidates(records[:at_once], texts, asker, Path(folder) / "warm", seed=0, on_progress=_quiet)
            start, cpu = time.perf_counter(), time.process_time()
            rank_candidates(records, texts, asker, Path(folder) / "orders", seed=1, on_progress=_quiet)
            return time.perf_counter() - start, time.process_time() - cpu, len(records)
    finally:
        server.kill()


def _serve(pipe: Connection, seconds: float) -> None:
    def reply(messages: list[dict[str, Any]]) -> str:
        time.sleep(seconds)
        return " > ".join(f"[{place}]" for place in range(1, _N_RANKED + 1))

    with ScriptedEndpoint(reply) as endpoint:
        pipe.send(endpoint.base_url)
        while True:
            time.sleep(60)


def _lists(n: int) -> tuple[list[CandidateList], dict[str, str]]:
    """`n` questions with candidates of their own, and the candidates' texts."""
    draw = random.Random(0)  # noqa: S311
    words = ["".join(draw.choices("aeioubcdfglmnprst", k=draw.randint(2, 9))) for _ in range(5000)]
    texts = {f"p{i}": " ".join(draw.choices(words, k=_N_WORDS)) for i in range(n * _N_RANKED)}
    records = [
        CandidateList(
            id=f"q{i}",
            question=" ".join(draw.choices(words, k=12)),
            candidates=tuple(Retrieved(passage=f"p{i * _N_RANKED + place}") for place in range(_N_RANKED)),
        )
        for i in range(n)
    ]
    return records, texts


def _quiet(done: int, total: int) -> None:
    """Says nothing: a terminal's time is not the labelling's."""


if __name__ == "__main__":
    main()
