"""A taught encoder leaves the house: each side is a folder that programs without sides read, with the same vectors."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from tiny_encoders import tiny_static, tiny_transformer
from transformers import AutoModel, AutoTokenizer

from distill.__main__ import app
from distill.retriever.exporting import export_encoder
from distill.retriever.publishing import Card, save_encoder
from distill.retriever.training import side, two_sided, weigh_rare_words
from indexes.commands import run_command_line
from indexes.errors import InputError, NotFoundError
from indexes.paths import DataPaths

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]
TEXTS = ["the cats purr", "mars", "what is the bread baked of", "the planet mars\nand the moons of mars " * 9]
CARD = Card(name="taught", base="tiny", corpus="words", teacher="none", questions="3", license="mit")


def two_sides(folder: Path, *, prompt: str = "", weighted: bool = False) -> SentenceTransformer:
    """A tiny encoder whose sides differ in every weight, its passages' words weighted if wanted."""
    passages: SentenceTransformer | None = tiny_transformer(folder)
    questions = tiny_transformer(folder / "questions", seed=1)
    assert passages is not None
    if prompt:
        passages.prompts.update({"query": prompt, "document": ""})
    like = passages
    if weighted:
        passages = weigh_rare_words(passages, TEXTS)
        assert passages is not None
    return two_sided(side(questions, "query"), side(passages, "document"), like=like)


@pytest.fixture(scope="module", params=["plain", "prompted", "weighted"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, DataPaths, Path]:
    work = tmp_path_factory.mktemp(request.param)
    paths = DataPaths(work / "data")
    prompt = "question about " if request.param == "prompted" else ""
    model = two_sides(work, prompt=prompt, weighted=request.param == "weighted")
    save_encoder(model, paths.encoder("taught"), CARD)
    export_encoder(paths, "taught", work / "out", onnx=True)
    return request.param, paths, work / "out"


def original(paths: DataPaths) -> dict[str, Any]:
    model = SentenceTransformer(str(paths.encoder("taught")), device="cpu")
    return {
        "query": model.encode_query(TEXTS, normalize_embeddings=True),
        "passage": model.encode_document(TEXTS, normalize_embeddings=True),
    }


def test_plain_encode_of_each_folder_is_that_side_of_the_original(exported: tuple[str, DataPaths, Path]) -> None:
    """LangChain's and Chroma's wrappers call nothing else."""
    _, paths, out = exported
    wanted = original(paths)
    assert np.abs(wanted["query"] - wanted["passage"]).max() > 0.1
    for name, vectors in wanted.items():
        found = SentenceTransformer(str(out / name), device="cpu").encode(TEXTS)
        np.testing.assert_allclose(found, vectors, atol=1e-5)


def test_a_transformer_and_its_mean_by_the_files_of_old_are_the_same_vectors(
    exported: tuple[str, DataPaths, Path],
) -> None:
    """As text-embeddings-inference and sentence-transformers before 5.4 read a folder."""
    kind, paths, out = exported
    wanted = original(paths)
    for name in ("query",) if kind == "weighted" else ("query", "passage"):
        folder = out / name
        types = [each["type"] for each in json.loads((folder / "modules.json").read_text())]
        assert types == [f"sentence_transformers.models.{each}" for each in ("Transformer", "Pooling", "Normalize")]
        pooling = json.loads((folder / "1_Pooling" / "config.json").read_text())
        modes = {mode: on for mode, on in pooling.items() if mode.startswith("pooling_mode_")}
        assert [mode for mode, on in modes.items() if on] == ["pooling_mode_mean_tokens"]
        assert {"pooling_mode_cls_token", "pooling_mode_max_tokens", "pooling_mode_mean_sqrt_len_tokens"} < set(modes)
        prompts = json.loads((folder / "config_sentence_transformers.json").read_text())["prompts"]
        length = json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"]
        tokens = AutoTokenizer.from_pretrained(folder)(
            [prompts["query"] + text for text in TEXTS],
            padding=True,
            truncation=True,
            max_length=length,
            return_tensors="pt",
        )
        with torch.no_grad():
            hidden = AutoModel.from_pretrained(folder).eval()(**tokens).last_hidden_state
        mask = tokens["attention_mask"].unsqueeze(-1)
        means = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)
        np.testing.assert_allclose(means.numpy(), wanted[name], atol=1e-5)
        assert json.loads((folder / "tokenizer_config.json").read_text())["tokenizer_class"] != "TokenizersBackend"
        cut = json.loads((folder / "tokenizer.json").read_text())
        assert (cut["truncation"]["max_length"], cut["padding"]) == (length, None)


def test_weighted_passages_are_never_taken_for_a_plain_mean(exported: tuple[str, DataPaths, Path]) -> None:
    """Programs that know no word weights would load the transformer, average, and say nothing."""
    kind, _, out = exported
    folder = out / "passage"
    assert (folder / "config.json").exists() == (kind != "weighted")
    assert ("WordWeights" in (folder / "README.md").read_text()) == (kind == "weighted")
    if kind == "weighted":
        with pytest.raises(ValueError, match="query"):
            SentenceTransformer(str(folder), device="cpu").encode_query(TEXTS)


def test_the_code_of_each_folders_card_gives_its_vectors(
    exported: tuple[str, DataPaths, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, paths, out = exported
    monkeypatch.chdir(out)
    model = SentenceTransformer(str(paths.encoder("taught")), device="cpu")
    for name, encode in (("query", model.encode_query), ("passage", model.encode_document)):
        card = (out / name / "README.md").read_text(encoding="utf-8")
        assert 'license: "mit"' in card and card.count("## Use") == 1 and "## Limits" in card
        blocks = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
        assert len(blocks) == 2  # sentence-transformers, onnxruntime
        for block in blocks:
            left: dict[str, Any] = {}
            exec(block.replace("path or name of this model", name), left)  # noqa: S102  # the card's own code
            text = "a question" if name == "query" else "a title\na passage"
            np.testing.assert_allclose(left["vectors"], encode([text], normalize_embeddings=True), atol=1e-5)


def test_an_encoder_without_a_transformer_is_exported_as_it_is(paths: DataPaths, tmp_path: Path) -> None:
    model = tiny_static()
    save_encoder(model, paths.encoder("static"), CARD)
    sides = export_encoder(paths, "static", tmp_path / "out")
    assert [each.modules for each in sides] == ["StaticEmbedding", "StaticEmbedding"]
    for each in sides:
        found = SentenceTransformer(str(each.folder), device="cpu").encode(TEXTS)
        np.testing.assert_allclose(found, model.encode(TEXTS), atol=1e-5)
    with pytest.raises(InputError, match=r"cannot be written as ONNX.*--onnx"):
        export_encoder(paths, "static", tmp_path / "graphs", onnx=True)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["data", "out"]


def test_an_unknown_encoder_and_a_folder_in_use_are_said(paths: DataPaths, tmp_path: Path) -> None:
    save_encoder(tiny_static(), paths.encoder("static"), CARD)
    with pytest.raises(NotFoundError, match=r"no encoder 'statik' here.*'static'"):
        export_encoder(paths, "statik", tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "letter.txt").write_text("mine")
    for taken in (tmp_path / "out", tmp_path / "out" / "letter.txt"):
        with pytest.raises(InputError, match="is in use"):
            export_encoder(paths, "static", taken)
    assert (tmp_path / "out" / "letter.txt").read_text() == "mine"


def test_the_command_says_who_reads_each_side(
    paths: DataPaths, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_encoder(two_sides(tmp_path / "model", weighted=True), paths.encoder("taught"), CARD)
    (tmp_path / "out").mkdir()  # empty, so it may be taken
    with pytest.raises(SystemExit) as ended:
        run_command_line(app, ["export", "taught", str(tmp_path / "out"), "--data-dir", str(paths.root)])
    questions, passages = capsys.readouterr().out.splitlines()
    assert ended.value.code == 0
    assert questions.startswith("questions:") and "text-embeddings-inference" in questions
    assert passages.startswith("passages:") and "only sentence-transformers" in passages and "WordWeights" in passages
