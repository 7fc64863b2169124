"""Conversions of encoders that are gone do not stay for ever, and those in use are left alone."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes import KeywordEncoder
from tiny_encoders import tiny_transformer

from indexes.doctor import examine, repair
from indexes.encoders.finding import remove_unused_graphs
from indexes.encoders.loading import load_encoder
from indexes.ingest import add_files
from indexes.paths import DataPaths

pytestmark = pytest.mark.slow


def graphs(paths: DataPaths) -> set[str]:
    return {each.name for each in paths.graphs.iterdir() if each.name != "cards"}


def teach(paths: DataPaths, name: str, folder: Path, seed: int) -> None:
    tiny_transformer(folder, seed=seed).save_pretrained(str(paths.encoder(name)), create_model_card=False)
    load_encoder(name, paths)


@pytest.fixture
def two(paths: DataPaths, tmp_path: Path) -> DataPaths:
    """A data folder with a corpus and two encoders, and one elsewhere, all converted."""
    for seed, name in enumerate(("old", "new")):
        teach(paths, name, tmp_path, seed)
    tiny_transformer(tmp_path, seed=2)
    load_encoder(str(tmp_path / "model"), paths)
    (tmp_path / "cats.txt").write_text("Cats purr.")
    list(add_files(paths, "pets", [tmp_path / "cats.txt"], KeywordEncoder()))
    return paths


def delete_old(paths: DataPaths, folder: Path) -> None:
    shutil.rmtree(paths.encoder("old"))


def teach_old_again(paths: DataPaths, folder: Path) -> None:
    teach(paths, "old", folder / "again", 3)


@pytest.mark.parametrize(("change", "n_left"), [(delete_old, 2), (teach_old_again, 3)])
def test_the_doctor_names_and_removes_what_no_encoder_uses(
    two: DataPaths, tmp_path: Path, change: Callable[[DataPaths, Path], None], n_left: int
) -> None:
    before = graphs(two)
    assert len(before) == 3
    assert examine(two, "pets") == []
    change(two, tmp_path)
    (finding,) = examine(two, "pets")
    assert (finding.kind, finding.subject in before) == ("unused conversion", True)
    assert repair(two, "pets", lambda name, paths: KeywordEncoder())[1] == []
    assert finding.subject not in graphs(two)
    assert len(graphs(two)) == len(list((two.graphs / "cards").iterdir())) == n_left
    assert examine(two, "pets") == []


def test_what_is_in_use_is_not_converted_again_after_a_removal(two: DataPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    written = {file: file.stat().st_mtime_ns for file in two.graphs.rglob("*") if file.is_file()}
    remove_unused_graphs(two)
    monkeypatch.chdir(two.root.parent)  # a relative DATA_DIR names the same encoders
    here = DataPaths(Path(two.root.name))
    remove_unused_graphs(here)
    load_encoder("old", here)
    load_encoder("new", two)
    assert {file: file.stat().st_mtime_ns for file in two.graphs.rglob("*") if file.is_file()} == written


def test_a_model_card_may_change_without_the_encoder_being_loaded_anew(two: DataPaths) -> None:
    (two.encoder("new") / "README.md").write_text("# Figures")
    remove_unused_graphs(two)
    assert len(graphs(two)) == 3
