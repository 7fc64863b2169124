"""What a model card says of use: which side is which, what a passage's text is, and code that works elsewhere."""

from __future__ import annotations

from collections.abc import Mapping

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
