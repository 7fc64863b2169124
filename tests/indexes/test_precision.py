"""An encoder computes in the format that was asked for, near enough to its original, and an index never mixes two."""

import copy
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import KeywordEncoder
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from tiny_encoders import WORDS, tiny_static, tiny_transformer

from indexes.corpus import Corpus
from indexes.encoders.loading import load_encoder, load_trainable
from indexes.encoders.onnx import GRAPH, GraphReport, OnnxEncoder, ensure_graph
from indexes.encoders.torch import (
    SentenceTransformerEncoder,
    Wish,
    as_indexed,
    comparable,
    fitting_batches,
    mark,
    precision_of,
)
from indexes.ingest import add_files, update_index
from indexes.passage_index import PassageIndex
from indexes.paths import DataPaths

pytestmark = pytest.mark.slow

TEXTS = [" ".join(WORDS[start : start + length]) for start in range(8) for length in (1, 3, 9)] + ["", "unknown " * 90]


def files(folder: Path, n_files: int = 4) -> list[Path]:
    written = [folder / f"{number}.txt" for number in range(n_files)]
    for number, file in enumerate(written):
        file.write_text(f"{WORDS[number]} {WORDS[number + 1]} question about {WORDS[number + 2]}", encoding="utf-8")
    return written


def graph_files(paths: DataPaths) -> dict[Path, int]:
    return {file: file.stat().st_mtime_ns for file in paths.graphs.rglob(GRAPH)}


def embedded(paths: DataPaths, corpus: str, encoder: object) -> int:
    """How many passages an update embeds."""
    *_, last = update_index(paths, Corpus.open(paths, corpus), encoder)  # type: ignore[arg-type]
    return last[1]


def test_fp32_gives_the_vectors_of_the_original_whatever_shares_the_batch(tiny: DataPaths) -> None:
    encoder, original = load_encoder("tiny", tiny, "fp32"), load_trainable("tiny", tiny)
    assert isinstance(encoder, OnnxEncoder)
    assert encoder.encode_passages(TEXTS) == pytest.approx(original.encode_passages(TEXTS), abs=1e-5)
    assert encoder.encode_queries(TEXTS) == pytest.approx(original.encode_queries(TEXTS), abs=1e-5)
    assert encoder.encode_passages([]).shape == (0, 16)
    assert (encoder.fingerprint, encoder.dimension) == (original.fingerprint, original.dimension)
    assert (encoder.max_tokens, encoder.tokenizer.spans("cats purr")) == (32, original.tokenizer.spans("cats purr"))


def test_int8_is_near_the_original_and_a_passages_vector_does_not_depend_on_its_neighbours(tiny: DataPaths) -> None:
    """Otherwise an interrupted update, or one with other workers, would leave another index behind."""
    encoder, original = load_encoder("tiny", tiny, "int8"), load_trainable("tiny", tiny)
    vectors = encoder.encode_passages(TEXTS)
    assert encoder.fingerprint == f"{original.fingerprint}+int8"
    assert (vectors * original.encode_passages(TEXTS)).sum(axis=1).min() > 0.95
    alone = np.concatenate([encoder.encode_passages([text]) for text in TEXTS])
    assert np.array_equal(vectors, alone)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_both_sides_of_a_two_sided_encoder_are_converted_and_the_passages_graph_is_the_bases(
    tiny: DataPaths, precision: Wish
) -> None:
    base = load_encoder("tiny", tiny, precision)
    model = load_trainable("tiny", tiny).model
    questions = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in questions.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    router = Router.for_query_document(list(questions.children()), list(model.children()))
    two = SentenceTransformer(modules=[router], prompts={"query": "question about ", "document": ""}, device="cpu")
    two.save_pretrained(str(tiny.encoder("two")), create_model_card=False)
    n_before = len(graph_files(tiny))
    taught, original = load_encoder("two", tiny, precision), load_trainable("two", tiny)
    assert isinstance(taught, OnnxEncoder)
    cosines = (taught.encode_queries(TEXTS) * original.encode_queries(TEXTS)).sum(axis=1)
    assert cosines.min() > (0.999999 if precision == "fp32" else 0.95)
    assert (taught.encode_queries(TEXTS) * base.encode_queries(TEXTS)).sum(axis=1).min() < 0.9
    assert len(graph_files(tiny)) > n_before
    assert taught.encode_passages(TEXTS) == pytest.approx(base.encode_passages(TEXTS), abs=1e-5)


PROMPTS = {
    "e5": ({"query": "what is ", "passage": "the "}, None, "what is ", "the "),
    "new e5": ({"query": "what is ", "document": "the "}, None, "what is ", "the "),
    "bge": ({"query": "question about "}, None, "question about ", ""),
    "saved again": ({"query": "what is ", "document": "", "passage": "the "}, None, "what is ", "the "),
    "corpus": ({"query": "what is ", "corpus": "the "}, None, "what is ", "the "),
    "one for both": ({"retrieval": "about "}, "retrieval", "about ", "about "),
    "a side's by default": ({"query": "what is "}, "query", "what is ", ""),
    "none": ({}, None, "", ""),
}


@pytest.mark.parametrize(("prompts", "default", "of_questions", "of_passages"), PROMPTS.values(), ids=PROMPTS.keys())
def test_the_prompts_of_an_encoders_config_stand_before_the_texts_by_graph_and_by_torch(
    tiny: DataPaths, prompts: dict[str, str], default: str | None, of_questions: str, of_passages: str
) -> None:
    """Encoders such as e5 were trained with them, and find much less without."""
    bare = load_trainable("tiny", tiny).model
    shutil.copytree(tiny.encoder("tiny"), tiny.encoder("prompted"))
    config = tiny.encoder("prompted") / "config_sentence_transformers.json"
    told = json.loads(config.read_text()) | {"prompts": prompts, "default_prompt_name": default}
    config.write_text(json.dumps(told), encoding="utf-8")
    graph, trainable = load_encoder("prompted", tiny, "fp32"), load_trainable("prompted", tiny)
    assert isinstance(graph, OnnxEncoder)
    assert graph.fingerprint == trainable.fingerprint
    for encoder in (graph, trainable):
        for encode, prompt in ((encoder.encode_queries, of_questions), (encoder.encode_passages, of_passages)):
            expected = bare.encode([prompt + text for text in TEXTS], prompt="", normalize_embeddings=True)
            assert encode(TEXTS) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "of_questions", "of_passages"),
    [
        ("multilingual-e5-small", "query: ", "passage: "),
        ("e5-base-v2", "query: ", "passage: "),
        ("no-e5-smaller", "", ""),
    ],
)
def test_encoders_whose_files_leave_their_prompts_out_are_known_by_name(
    tiny: DataPaths, name: str, of_questions: str, of_passages: str
) -> None:
    shutil.copytree(tiny.encoder("tiny"), tiny.encoder(name))
    prompts = load_trainable(name, tiny).model.prompts
    assert (prompts["query"], prompts["document"]) == (of_questions, of_passages)


def test_a_converted_encoder_opens_without_torch_and_is_not_converted_again(tiny: DataPaths) -> None:
    load_encoder("tiny", tiny)
    before = graph_files(tiny)
    program = (
        "import sys; from pathlib import Path; from indexes.paths import DataPaths\n"
        "from indexes.encoders.loading import load_encoder\n"
        f"encoder = load_encoder('tiny', DataPaths(Path({str(tiny.root)!r})))\n"
        "print(encoder.encode_queries(['cats']).shape, 'torch' in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert done.stdout == "(1, 16) False\n", done.stderr
    assert graph_files(tiny) == before


def test_an_encoder_that_is_taught_again_is_converted_again(tiny: DataPaths, tmp_path: Path) -> None:
    """A graph of the weights of yesterday would answer with yesterday's vectors."""
    old = load_encoder("tiny", tiny, "fp32")
    tiny_transformer(tmp_path, seed=1).save_pretrained(str(tiny.encoder("tiny")), create_model_card=False)
    new = load_encoder("tiny", tiny, "fp32")
    assert not comparable(new.fingerprint, old.fingerprint)
    expected = load_trainable("tiny", tiny).encode_queries(["cats"])
    assert new.encode_queries(["cats"]) == pytest.approx(expected, abs=1e-5)


def test_an_interrupted_conversion_is_done_again(tiny: DataPaths) -> None:
    load_encoder("tiny", tiny, "int8")
    for report in tiny.graphs.rglob("report.json"):
        report.unlink()
    folder = next(tiny.graphs.glob("*/lock")).parent
    (folder / "partial-left").mkdir()
    (folder / "partial-left" / GRAPH).write_bytes(b"half")
    encoder = load_encoder("tiny", tiny, "int8")
    assert precision_of(encoder.fingerprint) == "int8"
    assert not (folder / "partial-left").exists()
    assert sorted(each.name for each in folder.iterdir() if each.is_dir()) == ["fp32", "int8"]


def test_a_damaged_graph_is_made_anew(tiny: DataPaths) -> None:
    expected = load_encoder("tiny", tiny, "fp32").encode_queries(["cats"])
    for file in tiny.graphs.rglob(GRAPH):
        file.write_bytes(file.read_bytes()[:1000])
    assert np.array_equal(load_encoder("tiny", tiny, "fp32").encode_queries(["cats"]), expected)


class Moody(torch.nn.Module):
    """Turns vectors of short texts around, which a graph that was traced with a longer one does not know."""

    def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        if features["attention_mask"].shape[1] < 5:
            features["sentence_embedding"] = -features["sentence_embedding"]
        return features


def test_a_graph_that_drifts_from_its_original_is_refused_with_a_sentence_and_not_kept(tmp_path: Path) -> None:
    model = tiny_transformer(tmp_path)
    model.append(Moody())
    report = ensure_graph(tmp_path / "graph", "fp32", "document", lambda: model)
    assert "differ from the original's" in report.refused
    assert ensure_graph(tmp_path / "graph", "int8", "document", lambda: model).refused
    assert not list((tmp_path / "graph").rglob(GRAPH))

    def load_again() -> SentenceTransformer:
        raise AssertionError("What was refused is not tried at every start.")

    assert ensure_graph(tmp_path / "graph", "fp32", "document", load_again) == report


def test_an_encoder_whose_graph_was_refused_computes_by_torch_and_says_so(tiny: DataPaths) -> None:
    load_encoder("tiny", tiny, "fp32")
    for file in tiny.graphs.glob("*/fp32/report.json"):
        file.write_text('{"refused": "its vectors differ"}', encoding="utf-8")
    said: list[str] = []
    assert isinstance(load_encoder("tiny", tiny, "fp32", said.append), SentenceTransformerEncoder)
    assert said == ["Encoder 'tiny' computes by torch in fp32: its vectors differ."]


def test_a_static_encoder_computes_by_torch_says_so_and_finds_what_it_indexed(paths: DataPaths, tmp_path: Path) -> None:
    tiny_static().save_pretrained(str(paths.encoder("static")), create_model_card=False)
    said: list[str] = []
    encoder = load_encoder("static", paths, "auto", said.append)
    assert isinstance(encoder, SentenceTransformerEncoder)
    assert encoder.fingerprint == load_trainable("static", paths).fingerprint
    assert "StaticEmbedding" in said[0]
    list(add_files(paths, "words", files(tmp_path), encoder))
    index = PassageIndex.open(paths, "words", load_encoder("static", paths))
    passages = list(Corpus.open(paths, "words").passages())
    assert index.n_passages == len(passages) == 4
    best = [hits[0].passage for hits in index.search_many([passage.full_text for passage in passages], 1)]
    assert best == passages
    assert embedded(paths, "words", load_encoder("static", paths)) == 0


def test_where_nothing_can_be_written_the_encoder_works_without_a_conversion(tiny: DataPaths) -> None:
    shutil.rmtree(tiny.graphs)
    tiny.graphs.write_text("a file where the folder should be", encoding="utf-8")
    said: list[str] = []
    assert isinstance(load_encoder("tiny", tiny, "auto", said.append), SentenceTransformerEncoder)
    assert "cannot be kept" in said[0]


def test_bf16_has_unit_vectors_and_a_fingerprint_of_its_own(tiny: DataPaths) -> None:
    encoder, exact = load_encoder("tiny", tiny, "bf16"), load_trainable("tiny", tiny)
    vectors = encoder.encode_passages(TEXTS)
    assert encoder.fingerprint == f"{exact.fingerprint}+bf16"
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert (vectors * exact.encode_passages(TEXTS)).sum(axis=1).min() > 0.99


def test_the_choice_is_said_and_nothing_else(tiny: DataPaths, caplog: pytest.LogCaptureFixture) -> None:
    said: list[str] = []
    encoder = load_encoder("tiny", tiny, "auto", said.append)
    assert len(said) == 1
    assert caplog.records == []
    assert precision_of(encoder.fingerprint) in said[0]


def test_an_index_keeps_its_precision_until_another_one_is_asked_for(tiny: DataPaths, tmp_path: Path) -> None:
    """Passages in two formats in one index would be compared by vectors that do not belong together."""
    written = files(tmp_path)
    for precision in ("fp32", "int8"):
        list(add_files(tiny, "words", written[:3], load_encoder("tiny", tiny, precision)))
        (info,) = Corpus.open(tiny, "words").indexes()
        assert precision_of(info.fingerprint) == precision
        auto = load_encoder("tiny", tiny)
        assert embedded(tiny, "words", auto) == 0
        list(add_files(tiny, "words", written, auto))
        (info,) = Corpus.open(tiny, "words").indexes()
        assert (precision_of(info.fingerprint), info.n_passages) == (precision, 4)
        Corpus.open(tiny, "words").remove_source("3.txt")
    index = PassageIndex.open(tiny, "words", load_encoder("tiny", tiny, "int8"))
    expected = load_encoder("tiny", tiny, "int8").encode_passages([index.search("cats", 1)[0].passage.full_text])
    assert index.vectors([index.search("cats", 1)[0].passage.id]) == pytest.approx(expected, abs=1e-3)


def test_another_precision_is_another_collection_and_embeds_every_passage(tiny: DataPaths, tmp_path: Path) -> None:
    list(add_files(tiny, "words", files(tmp_path), load_encoder("tiny", tiny, "fp32")))
    assert embedded(tiny, "words", load_encoder("tiny", tiny, "int8")) == 4
    assert embedded(tiny, "words", load_encoder("tiny", tiny, "int8")) == 0
    assert embedded(tiny, "words", load_encoder("tiny", tiny, "fp32")) == 4


def test_a_question_in_one_precision_finds_passages_in_another(tiny: DataPaths, tmp_path: Path) -> None:
    list(add_files(tiny, "words", files(tmp_path), load_encoder("tiny", tiny, "int8")))
    exact = PassageIndex.open(tiny, "words", load_encoder("tiny", tiny, "fp32"))
    quick = PassageIndex.open(tiny, "words", load_encoder("tiny", tiny, "int8"))
    question = "cats dogs question about purr"
    assert exact.search(question, 1)[0].passage == quick.search(question, 1)[0].passage


def test_marks_of_precision_are_read_back() -> None:
    assert [mark("abc", "fp32"), mark("abc", "bf16"), mark("abc", "int8")] == ["abc", "abc+bf16", "abc+int8"]
    assert [precision_of(each) for each in ("abc", "abc+bf16", "abc+int8")] == ["fp32", "bf16", "int8"]
    assert comparable("abc", "abc+int8")
    assert not comparable("abc+int8", "abd+int8")


def test_an_encoder_with_one_format_is_taken_as_it_is() -> None:
    encoder = KeywordEncoder()
    assert as_indexed(encoder, [encoder.fingerprint]) is encoder


def test_a_batch_that_does_not_fit_is_halved_until_it_does() -> None:
    tried: list[int] = []

    def attempt(batch_size: int) -> str:
        tried.append(batch_size)
        if batch_size > 100:
            raise torch.cuda.OutOfMemoryError
        return "vectors"

    assert fitting_batches(attempt, 512) == ("vectors", 64)
    assert tried == [512, 256, 128, 64]


def test_a_text_that_never_fits_is_an_error() -> None:
    def attempt(batch_size: int) -> GraphReport:
        raise torch.cuda.OutOfMemoryError

    with pytest.raises(torch.cuda.OutOfMemoryError):
        fitting_batches(attempt, 4)
