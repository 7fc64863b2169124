"""A run that is killed once in every stage ends as one that was left alone, and pays the LLM nothing twice."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import small_run
from scripted_endpoint import ScriptedEndpoint
from small_lesson import scripted_llm, write_facts

from distill.json_files import read_records
from distill.records import ScoreList
from distill.run_config import STAGES
from indexes.doctor import examine
from indexes.encoders.loading import load_encoder
from indexes.ingest import add_files
from indexes.paths import DataPaths

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


def run(*arguments: Any) -> int | None:
    """The exit code of `small_run.teach` in a process of its own, -9 where it was killed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["sentence_transformers", "datasets", "accelerate", "chromadb"])
    process = context.Process(target=small_run.teach, args=arguments)
    process.start()
    process.join(300)
    process.kill()
    return process.exitcode


def left_by(paths: DataPaths, name: str) -> dict[str, str]:
    """The files of the stages that ask the LLM, which a kill may not change."""
    files = ("questions.jsonl", "candidates.jsonl", "teacher.json", "rankings.jsonl")
    return {file: (paths.run(name) / file).read_text(encoding="utf-8") for file in files}


def scores_of(paths: DataPaths, name: str) -> list[float]:
    return [score for record in read_records(paths.run(name) / "scores.jsonl", ScoreList) for score in record.scores]


def test_a_run_killed_in_every_stage_ends_as_one_left_alone(
    tmp_path: Path, started_before: Callable[[Path], DataPaths]
) -> None:
    paths = started_before(tmp_path / "data")
    files = sorted(write_facts(tmp_path))
    for _ in add_files(paths, "facts", files, load_encoder("all-MiniLM-L6-v2", paths)):
        pass
    with ScriptedEndpoint(scripted_llm) as endpoint:
        for stage in STAGES:
            # The first report comes before the stage has done anything. Of so few questions all are in the sample that
            # the teacher is asked about in the stage before, so that nothing is left to rank.
            nth = 1 if stage in ("rankings", "ranker") else 2
            assert run(paths, endpoint.base_url, "killed", stage, nth) == -9, (
                f"it was to be killed in the stage {stage}"
            )
        assert run(paths, endpoint.base_url, "killed") == 0
        asked = [request.text for request in endpoint.requests if "Reply with OK" not in request.text]
        assert len(asked) - len(set(asked)) <= len(STAGES), "only what was under way at a kill may be asked again"
        assert run(paths, endpoint.base_url, "alone") == 0
    assert left_by(paths, "killed") == left_by(paths, "alone")
    # Batches are of other passages after a kill, and bfloat16 rounds as they are padded.
    assert scores_of(paths, "killed") == pytest.approx(scores_of(paths, "alone"), abs=0.05)
    vectors = [load_encoder(name, paths, "fp32").encode_queries(["otter"])[0] for name in ("killed", "alone")]
    assert float(vectors[0] @ vectors[1]) > 0.999
    assert all((paths.run(name) / "metrics.json").is_file() for name in ("killed", "alone"))
    assert examine(paths, "facts") == []
