"""A page that several people use at once: nobody meets an error, and memory and descriptors stay as they are.

`make bench TABLE=load` is the same for half an hour, with twenty people and lessons.
"""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest
from scripted_endpoint import ScriptedEndpoint
from small_lesson import write_facts

from benchmarks.load import Load, reply, soak
from indexes.encoders.loading import load_encoder
from indexes.ingest import add_files
from indexes.paths import DataPaths, EmbeddingsEndpoint

ENCODER = "openai:scripted"  # its vectors come from the scripted endpoint, so that the page loads no model
MOST_GROWTH_MIB, MOST_DESCRIPTORS = 100, 30


@pytest.mark.slow
def test_use_by_several_at_once_meets_no_error_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with ScriptedEndpoint(reply) as endpoint:
        paths = DataPaths(tmp_path / "data", embeddings=EmbeddingsEndpoint(base_url=endpoint.base_url))
        for _ in add_files(paths, "facts", write_facts(tmp_path), load_encoder(ENCODER, paths)):
            pass
        setting = {"OPENAI_BASE_URL": endpoint.base_url, "LLM_MODEL": "scripted", "ENCODER": ENCODER}
        load = Load(n_visitors=4, reads_s=0.5, upload_s=2, duration_s=10, n_least=5, teaches=False)
        seen = soak(paths, "facts", setting, load)
    assert seen.errors == []
    assert len(seen.searches) >= len(seen.waits)
    for values, most in ((seen.resident, MOST_GROWTH_MIB), (seen.descriptors, MOST_DESCRIPTORS)):
        first, last = seen.thirds(values, statistics.median)
        assert last - first < most
