"""A taught encoder for other programs: two folders of one side each, and the recipes of its model card."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.retriever.training import encoder_of
from indexes.encoders.finding import Side, find_encoder, load_model, prompt_of, tokenizer_of, why_unfit
from indexes.encoders.onnx import SAMPLES, ensure_graph
from indexes.encoders.torch import modules_of
from indexes.errors import InputError, NotFoundError, WeightsError
from indexes.paths import DataPaths, replacing

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import nn


TEXTS = (
    'A passage is embedded as its title, a line break and its text, `f"{title}\\n{text}"`, or as its text alone where '
    "it has no title; a question as it is asked."
)
_TWO_SIDES = (
    "Questions and passages have encoders of their own in it: `encode_query` is that of questions, `encode_document` "
    "that of passages. Plain `encode`, which the wrappers of LangChain and Chroma call, cannot know which one is meant "
    "and raises an error, so name the side as below."
)
_RECIPES = """\
```python
from sentence_transformers import SentenceTransformer  # 6.2 or newer

model = SentenceTransformer("path or name of this model")
questions = model.encode_query(["a question"], normalize_embeddings=True)
passages = model.encode_document(["a title\\na passage"], normalize_embeddings=True)
scores = questions @ passages.T
```

LangChain:

```python
from langchain_huggingface import HuggingFaceEmbeddings

embeddings = HuggingFaceEmbeddings(
    model_name="path or name of this model",
    encode_kwargs={"task": "document", "prompt_name": "document", "normalize_embeddings": True},
    query_encode_kwargs={"task": "query", "prompt_name": "query", "normalize_embeddings": True},
)
```

Chroma, whose own embedding function knows one side only, so it is given the vectors of the first example:

```python
import chromadb

collection = chromadb.PersistentClient("path of a folder").create_collection(
    "passages", embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
)
collection.add(ids=["1"], documents=["a title\\na passage"], embeddings=passages)
found = collection.query(query_embeddings=questions, n_results=1)
```

For text-embeddings-inference, older sentence-transformers or onnxruntime, `python -m distill export NAME DIR` writes
each side to a folder of its own."""
_ONE_SIDE = """\
```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("path or name of this model")
vectors = model.encode(["{example}"], normalize_embeddings=True)
```"""
_ANYWHERE = (
    "The folder has the layout that sentence-transformers has always had, with a transformer and its pooling: "
    "text-embeddings-inference (`text-embeddings-router --model-id DIR{prompt}`) and older sentence-transformers read "
    "it too."
)
_NOWHERE_ELSE = (
    "Only sentence-transformers 6.2 or newer reads this folder: a transformer and its pooling alone, which is all that "
    "text-embeddings-inference and older versions know, would give other vectors. Its modules: {modules}."
)
_GRAPH = """\
The same vectors by onnxruntime, without torch, from the folder `{folder}` beside this one:

```python
import numpy as np
from onnxruntime import InferenceSession
from tokenizers import Tokenizer

session = InferenceSession("{folder}/model.onnx")
tokenizer = Tokenizer.from_file("{folder}/tokenizer.json")
tokenizer.enable_padding()
encodings = tokenizer.encode_batch([{prompt}"{example}"])
of = {{"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}}
inputs = {{each.name: np.array([getattr(one, of[each.name]) for one in encodings]) for each in session.get_inputs()}}
vectors = session.run(None, inputs)[0]
```"""
_SIDES: Mapping[str, tuple[str, str]] = {
    "query": ("questions", "a question"),
    "passage": ("passages", "a title\\na passage"),
}


def usage(*, two_sided: bool, keeps_passages: bool) -> str:
    """How a taught encoder is used, in Markdown."""
    index = (
        "The passages' vectors are those of the base: what it has embedded stays valid."
        if keeps_passages
        else "The index has to be made with this encoder; vectors of passages by its base do not fit."
    )
    return "\n\n".join([*([_TWO_SIDES] if two_sided else []), f"{TEXTS} {index}", _RECIPES])


def side_usage(folder: str, *, prompt: str, modules: str, has_graph: bool) -> str:
    """How an exported side is used, in Markdown; `folder` is "query" or "passage", `prompt` stands before its texts.

    `modules` are its modules if the classic layout cannot hold them, "" where it does.
    """
    whose, example = _SIDES[folder]
    told = " --default-prompt-name query" if prompt else ""
    parts = [
        f"This folder embeds {whose} alone; the other side is a folder of its own. {TEXTS}",
        _ONE_SIDE.format(example=example),
        _NOWHERE_ELSE.format(modules=modules) if modules else _ANYWHERE.format(prompt=told),
    ]
    if has_graph:
        before = f"{prompt!r} + " if prompt else ""
        parts.append(_GRAPH.format(folder=f"{folder}-onnx", example=example, prompt=before))
    return "\n\n".join(parts)


FOLDERS: Mapping[Side, str] = {"query": "query", "document": "passage"}
_POOLING_MODES = {  # names of old, of which text-embeddings-inference expects the first four
    "cls": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "max": "pooling_mode_max_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}
_MOST_DIFFERENCE = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedSide:
    """A side's folder; `modules` are its modules if the classic layout cannot hold them, "" where it does."""

    side: Side
    folder: Path
    modules: str = ""


def export_encoder(paths: DataPaths, name: str, folder: Path, *, onnx: bool = False) -> list[ExportedSide]:
    """The sides of the encoder `name`, written to `folder`/query and /passage, and as graphs to `folder`/query-onnx
    and /passage-onnx where `onnx`; all of it appears, or nothing.

    Raises `NotFoundError` if there is no such encoder here, `InputError` if `folder` holds anything already.
    """
    source = _folder_of(paths, name)
    folder = folder.expanduser().resolve()
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"A new or an empty folder was expected, but {folder} is in use. Name another one.")
    model = load_model(name, paths)
    if onnx and (unfit := next((why for side in FOLDERS if (why := why_unfit(model, side))), "")):
        raise InputError(f"'{name}' cannot be written as ONNX: {unfit}. Leave --onnx out.")
    with replacing(folder) as partial:
        partial.mkdir()
        modules = {side: _write_side(model, side, partial, source, onnx=onnx) for side in FOLDERS}
    return [ExportedSide(side=side, folder=folder / FOLDERS[side], modules=modules[side]) for side in FOLDERS]


def _folder_of(paths: DataPaths, name: str) -> Path:
    source = find_encoder(name, paths)
    if source is None:
        known = ", ".join(f"'{each.name}'" for each in sorted(paths.encoders.glob("[!.]*")) if each.is_dir())
        raise NotFoundError(f"There is no encoder '{name}' here (there are: {known or 'none yet'}). Train it first.")
    return source


def _write_side(model: SentenceTransformer, side: Side, into: Path, source: Path, *, onnx: bool) -> str:
    """Writes `side` under `into`; its modules if the classic layout cannot hold them, "" where it does."""
    folder = into / FOLDERS[side]
    alone = _one_side(model, side)
    modules = list(alone.children())
    beyond = "" if _is_classic(modules, prompt_of(model, side)) else ", ".join(type(each).__name__ for each in modules)
    if beyond:
        # In folders of their own, so that no program takes the transformer for the whole.
        alone = encoder_of([_only_route(modules, side)], like=alone)
    alone.save_pretrained(str(folder), create_model_card=False)
    if not beyond:
        _use_classic_names(folder, modules)
        # MiniLM's own cuts at 128 tokens and pads to them, for whoever does not say otherwise.
        tokenizer_of(model, side).save(str(folder / "tokenizer.json"))
    _read_back(folder, model, side)
    if onnx:
        _write_graph(model, side, into)
    text = side_usage(FOLDERS[side], prompt=prompt_of(model, side), modules=beyond, has_graph=onnx)
    (folder / "README.md").write_text(_card_with(source / "README.md", text), encoding="utf-8")
    return beyond


def _one_side(model: SentenceTransformer, side: Side) -> SentenceTransformer:
    """`side` of `model`, whose prompt stands before every text whatever it is called."""
    alone = encoder_of(modules_of(model, side), like=model)
    prompt = prompt_of(model, side)
    alone.prompts.clear()
    alone.prompts.update({"query": prompt, "document": prompt})
    alone.default_prompt_name = "query" if prompt else None
    return alone


def _only_route(modules: list[nn.Module], side: Side) -> nn.Module:
    from sentence_transformers.base.modules import Router

    router: Any = Router
    return router({side: modules}, default_route=side)  # type: ignore[no-any-return]


def _is_classic(modules: Sequence[Any], prompt: str) -> bool:
    """Whether `modules` are what every program does: a transformer, its pooling, and a normalisation at most."""
    from sentence_transformers.base.modules import Normalize
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    if [type(each) for each in modules] not in ([Transformer, Pooling], [Transformer, Pooling, Normalize]):
        return False
    transformer, pooling, *last = modules
    plain = {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}
    return (
        transformer.modality_config == plain
        and bool(transformer.max_seq_length)
        and getattr(transformer.tokenizer, "backend_tokenizer", None) is not None
        and pooling.pooling_mode in _POOLING_MODES
        and (pooling.include_prompt or not prompt)
        and all(each.module_input_name == "sentence_embedding" for each in last)
    )


def _use_classic_names(folder: Path, modules: Sequence[Any]) -> None:
    """Names modules, pooling, length and tokenizer in `folder` as sentence-transformers did before version 5.4."""
    transformer, pooling = modules[0], modules[1]
    listed = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    for each in listed:
        each["type"] = f"sentence_transformers.models.{each['type'].rpartition('.')[2]}"
    _write_json(folder / "modules.json", listed)
    modes = {old: mode == pooling.pooling_mode for mode, old in _POOLING_MODES.items()}
    dimension = {"word_embedding_dimension": pooling.embedding_dimension}
    _write_json(folder / "1_Pooling" / "config.json", dimension | modes)
    length = {"max_seq_length": int(transformer.max_seq_length), "do_lower_case": bool(transformer.do_lower_case)}
    _write_json(folder / "sentence_bert_config.json", length)
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    if settings.get("tokenizer_class") == "TokenizersBackend":  # the name of it since transformers 5
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    _write_json(folder / "tokenizer_config.json", settings)


def _write_json(file: Path, value: object) -> None:
    file.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _read_back(folder: Path, model: SentenceTransformer, side: Side) -> None:
    """Raises `WeightsError` if plain `encode` of what was written is not `side` of `model`."""
    import numpy as np
    from sentence_transformers import SentenceTransformer

    options: dict[str, Any] = {"normalize_embeddings": True, "show_progress_bar": False}
    encode = model.encode_query if side == "query" else model.encode_document
    written = SentenceTransformer(str(folder), device=str(model.device))
    difference = float(np.abs(encode(list(SAMPLES), **options) - written.encode(list(SAMPLES), **options)).max())
    if not difference <= _MOST_DIFFERENCE:
        raise WeightsError(
            f"The {FOLDERS[side]} side cannot be exported: read back, its vectors differ from the original's by "
            f"{difference:.1e}, more than {_MOST_DIFFERENCE:.0e}. Use the encoder as it is."
        )


def _write_graph(model: SentenceTransformer, side: Side, into: Path) -> None:
    """Writes tokens → unit vector as `into`/query-onnx or /passage-onnx: model.onnx, tokenizer.json, its report."""
    work = into / "graph"
    report = ensure_graph(work, "fp32", side, lambda: model)
    if report.refused:
        raise InputError(f"The {FOLDERS[side]} side cannot be written as ONNX: {report.refused}. Leave --onnx out.")
    (work / "fp32").rename(into / f"{FOLDERS[side]}-onnx")
    shutil.rmtree(work)


def _card_with(card: Path, usage: str) -> str:
    """The text of the model card `card` with `usage` in place of its own section on use."""
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    head, found, rest = text.partition("## Use\n")
    after = re.search(r"^## ", rest, flags=re.MULTILINE)
    tail = rest[after.start() :] if found and after else ""
    return f"{head.rstrip()}\n\n## Use\n\n{usage}\n\n{tail}".strip() + "\n"
