"""What other programs may import, what that costs, and the example of the README."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sentence_transformers import CrossEncoder
from tiny_encoders import tiny_transformer

import distill
import indexes
from indexes.encoders.finding import DEFAULT_ENCODER
from indexes.encoders.loading import load_encoder
from indexes.ingest import add_files
from indexes.paths import DataPaths

ROOT = Path(__file__).resolve().parent.parent
SURFACE = {
    indexes: {
        "DataPaths",
        "EncoderEmbeddings",
        "IndexRetriever",
        "PassageFilter",
        "RerankCompressor",
        "load_cross_encoder",
        "load_encoder",
        "open_retriever",
    },
    distill: {"open_ranker_compressor", "open_taught_retriever"},
}


def test_the_surface_is_what_was_promised() -> None:
    for package, names in SURFACE.items():
        assert set(package.__all__) == names
        assert all(getattr(package, name).__name__ == name for name in names)
        with pytest.raises(AttributeError, match="no attribute 'anything'"):
            package.__getattr__("anything")


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        ("import indexes, distill, app", "torch transformers chromadb langchain_core numpy gradio"),
        ("from indexes import *; from distill import *", "torch transformers chromadb"),
    ],
)
def test_importing_it_waits_for_no_model_and_no_store(statement: str, heavy: str) -> None:
    """An import of seconds would be paid by every program that only lists what there is."""
    program = f"{statement}\nimport sys\nprint(*sorted(set({heavy!r}.split()) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_the_example_of_the_readme_runs(
    started_before: Callable[[Path], DataPaths], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = started_before(tmp_path / "data")
    (tmp_path / "leave.md").write_text("Everybody has thirty days of leave.", encoding="utf-8")
    list(add_files(paths, "handbook", [tmp_path / "leave.md"], load_encoder(DEFAULT_ENCODER, paths)))
    tiny_transformer(tmp_path)
    folder = tmp_path / "cross-encoder" / "ms-marco-MiniLM-L6-v2"  # before a hub's model of that name
    CrossEncoder(str(tmp_path / "bert"), num_labels=1, max_length=32).save_pretrained(str(folder))
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"## In Python\n\n```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    names: dict[str, list[object]] = {}
    exec(example, names)  # noqa: S102
    assert "thirty days" in str(names["found"])
