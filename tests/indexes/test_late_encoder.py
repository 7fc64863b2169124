"""An encoder is not loaded before something is to be embedded, and gives what it would have given at once."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fakes import KeywordEncoder
from tiny_encoders import WORDS, tiny_static, tiny_transformer

from indexes.corpus import Corpus
from indexes.encoders.loading import LateEncoder, load_encoder, load_late
from indexes.encoders.torch import Wish, precision_of
from indexes.errors import NotFoundError
from indexes.ingest import add_files
from indexes.passage_index import PassageIndex
from indexes.paths import DataPaths
from indexes.types import Encoder

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four files."""
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.txt").write_text(" ".join(WORDS[number : number + 3]), encoding="utf-8")
    return folder


def never(name: str, paths: DataPaths, precision: Wish, say: Callable[[str], None]) -> Encoder:
    raise AssertionError("Nothing was to be embedded.")


def fingerprint(paths: DataPaths) -> str:
    (info,) = Corpus.open(paths, "words").indexes()
    return info.fingerprint


@pytest.mark.parametrize("precision", ["fp32", "int8", "bf16"])
def test_an_unchanged_corpus_does_not_load_its_encoder(tiny: DataPaths, folder: Path, precision: Wish) -> None:
    """Most of the time of an add that has nothing to do would go there."""
    list(add_files(tiny, "words", [folder], load_encoder("tiny", tiny, precision)))
    load_encoder("tiny", tiny)  # writes the card, where bf16 alone has none
    for wish in (precision, "auto"):
        events = list(add_files(tiny, "words", [folder], load_late("tiny", tiny, wish, load=never)))
        assert [event.total for event in events if event.stage == "embedding"] == [0]
    list(add_files(tiny, "words", [folder / "0.txt"], load_late("tiny", tiny, load=never), sync=True))
    assert Corpus.open(tiny, "words").indexes()[0].n_passages == 1
    assert precision_of(fingerprint(tiny)) == precision


def test_a_static_encoder_is_not_loaded_either(paths: DataPaths, folder: Path) -> None:
    tiny_static().save_pretrained(str(paths.encoder("static")), create_model_card=False)
    list(add_files(paths, "words", [folder], load_late("static", paths)))
    events = list(add_files(paths, "words", [folder], load_late("static", paths, load=never)))
    assert events[-1].total == 0


@pytest.mark.parametrize("precision", ["auto", "fp32", "int8"])
def test_what_is_new_is_embedded_as_by_the_encoder_that_is_loaded_at_once(
    tiny: DataPaths, folder: Path, precision: Wish
) -> None:
    at_once = load_encoder("tiny", tiny, precision)
    late = load_late("tiny", tiny, precision)
    assert isinstance(late, LateEncoder)
    assert (late.name, late.dimension, late.max_tokens) == (at_once.name, at_once.dimension, at_once.max_tokens)
    assert late.fingerprint == at_once.fingerprint
    list(add_files(tiny, "words", [folder], late))
    (folder / "more.txt").write_text("mars planet", encoding="utf-8")
    list(add_files(tiny, "words", [folder], load_late("tiny", tiny, precision)))
    passages = list(Corpus.open(tiny, "words").passages())
    vectors = PassageIndex.open(tiny, "words", at_once).vectors([passage.id for passage in passages])
    assert len(passages) == 5
    assert fingerprint(tiny) == at_once.fingerprint
    assert vectors == pytest.approx(at_once.encode_passages([passage.full_text for passage in passages]), abs=1e-3)
    assert np.array_equal(late.encode_queries(["cats"]), at_once.encode_queries(["cats"]))


def test_it_takes_as_many_passages_at_once_as_the_encoder_that_is_loaded(tiny: DataPaths) -> None:
    """On a GPU these are thousands, in place of the hundreds that a processor is given."""
    load_encoder("tiny", tiny)  # writes the card
    wide = KeywordEncoder()
    assert load_late("tiny", tiny, "fp32", load=lambda *_, **__: wide).batch_size == 0  # type: ignore[attr-defined]
    wide.batch_size = 4096  # type: ignore[attr-defined]
    assert load_late("tiny", tiny, "fp32", load=lambda *_, **__: wide).batch_size == 4096  # type: ignore[attr-defined]


def test_an_encoder_that_was_taught_again_is_noticed(tiny: DataPaths, folder: Path, tmp_path: Path) -> None:
    """Its index would keep the vectors of before."""
    list(add_files(tiny, "words", [folder], load_late("tiny", tiny)))
    before = fingerprint(tiny)
    tiny_transformer(tmp_path, seed=1).save_pretrained(str(tiny.encoder("tiny")), create_model_card=False)
    events = list(add_files(tiny, "words", [folder], load_late("tiny", tiny)))
    assert events[-1].total == 4
    assert fingerprint(tiny).partition("+")[0] != before.partition("+")[0]


def test_another_precision_than_the_indexs_is_built_and_found_in_step_then(tiny: DataPaths, folder: Path) -> None:
    list(add_files(tiny, "words", [folder], load_late("tiny", tiny, "fp32")))
    assert list(add_files(tiny, "words", [folder], load_late("tiny", tiny, "int8")))[-1].total == 4
    assert precision_of(fingerprint(tiny)) == "int8"
    assert list(add_files(tiny, "words", [folder], load_late("tiny", tiny, "int8", load=never)))[-1].total == 0


def test_an_encoder_that_is_not_there_is_said_before_anything_is_read(paths: DataPaths) -> None:
    with pytest.raises(NotFoundError, match="There is no encoder 'nobody-has-this'"):
        load_late("nobody-has-this", paths)


def test_the_command_loads_neither_model_nor_store_for_an_unchanged_corpus(tiny: DataPaths, folder: Path) -> None:
    list(add_files(tiny, "words", [folder], load_encoder("tiny", tiny)))
    program = (
        f"import sys; sys.argv = ['indexes', 'add', 'words', {str(folder)!r}, '--encoder', 'tiny']; import runpy\n"
        "try: runpy.run_module('indexes', run_name='__main__')\n"
        "except SystemExit as end: assert not end.code\n"
        "print([each for each in ('torch', 'onnxruntime', 'tokenizers', 'chromadb') if each in sys.modules])"
    )
    root = str(Path(__file__).resolve().parents[2])
    environment = os.environ | {"PYTHONPATH": root, "DATA_DIR": str(tiny.root)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert done.stdout == "[]\n", done.stderr
    assert "unchanged" in done.stderr


def test_vectors_that_are_lost_behind_an_unchanged_corpus_are_made_again(tiny: DataPaths, folder: Path) -> None:
    """What was in step once is not believed to be so for ever."""
    list(add_files(tiny, "words", [folder], load_late("tiny", tiny)))
    corpus = Corpus.open(tiny, "words")
    (info,) = corpus.indexes()
    corpus.delete_vectors(info.fingerprint, corpus.passage_ids_by_length()[:2])
    assert list(add_files(tiny, "words", [folder], load_late("tiny", tiny)))[-1].total == 2
    assert list(add_files(tiny, "words", [folder], load_late("tiny", tiny, load=never)))[-1].total == 0


def test_an_index_whose_encoder_was_gone_is_brought_up_to_date_when_it_is_back(
    tiny: DataPaths, folder: Path, tmp_path: Path
) -> None:
    list(add_files(tiny, "words", [folder], load_late("tiny", tiny)))
    tiny.encoder("tiny").rename(tmp_path / "away")
    (folder / "more.txt").write_text("mars planet", encoding="utf-8")
    list(add_files(tiny, "words", [folder], KeywordEncoder()))
    (tmp_path / "away").rename(tiny.encoder("tiny"))
    list(add_files(tiny, "words", [folder], KeywordEncoder()))
    assert {info.n_passages for info in Corpus.open(tiny, "words").indexes()} == {5}
