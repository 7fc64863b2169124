"""Encoders as ONNX graphs: converted once and checked against the original, then run without torch."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from filelock import FileLock

from indexes.encoders.finding import EncoderCard, Side, prompt_of, tokenizer_of
from indexes.encoders.torch import Adjustable, FastTokenizer, Precision, mark, modules_of
from indexes.paths import can_write, put_in_place
from indexes.processes import n_cores
from indexes.types import Encoder, Tokenizer, Vectors

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import nn


GRAPH = "model.onnx"
TOKENIZER = "tokenizer.json"


class Graph:
    """One side of an encoder.

    Only texts of the very same number of tokens share a batch, so nothing is padded. A graph in int8 takes one text at
    a time: it scales its numbers by the largest of a batch, and a text's vector must not depend on its neighbours.
    """

    def __init__(self, folder: Path, at_once: int = 1) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(folder / GRAPH), options, providers=["CPUExecutionProvider"])
        self._inputs = [each.name for each in self._session.get_inputs()]
        self.tokenizer: Any = Tokenizer.from_file(str(folder / TOKENIZER))
        self._at_once = at_once
        # As many texts at a time as there are cores is faster than one text on all of them.
        self._pool = ThreadPoolExecutor(n_cores(), thread_name_prefix="encoder")

    def encode(self, texts: Sequence[str], prompt: str = "") -> Vectors:
        """Unit vectors of one text or more, shape (N, D)."""
        encodings = self.tokenizer.encode_batch([prompt + text for text in texts] if prompt else list(texts))
        batches = self._batches([len(each) for each in encodings])
        inputs = [[encodings[place] for place in places] for places in batches]
        # A question does not wait for another thread to wake up.
        found = np.concatenate(list(self._pool.map(self._run, inputs) if len(inputs) > 1 else map(self._run, inputs)))
        vectors = np.empty_like(found)
        vectors[[place for places in batches for place in places]] = found
        return vectors

    def _batches(self, lengths: list[int]) -> list[list[int]]:
        """Places of texts with the same number of tokens, a few each, the longest first: no core waits for the last."""
        order = sorted(range(len(lengths)), key=lambda place: (-lengths[place], place))
        alike = (list(places) for _, places in groupby(order, key=lambda place: lengths[place]))
        return [places[n : n + self._at_once] for places in alike for n in range(0, len(places), self._at_once)]

    def _run(self, encodings: Sequence[Any]) -> Vectors:
        fields = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
        feed = {
            name: np.array([getattr(each, fields[name]) for each in encodings], dtype=np.int64) for name in self._inputs
        }
        return np.asarray(self._session.run(None, feed)[0], dtype=np.float32)


GraphPrecision = Literal["fp32", "int8"]
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_OPSET = 17
_MOST_DIFFERENCE = 1e-5  # fp32 has to be the original but for rounding
_LEAST_COSINE = 0.95  # of any sample in int8
_LEAST_MEAN_COSINE = 0.98  # MiniLM: 0.994; with one scale for a whole matrix 0.959, which costs what a reader notices
_N_ROUNDS = 3
_WORDS = "The person must keep records of each transaction for 6 years, as rule 4.2(b) of the guidance says."
SAMPLES = (
    "What is the capital of France?",
    "cats and dogs",
    "A",
    " ",
    "  UPPER case and   spaces \n and lines\t",
    "Über naïve Façade — 東京 и Москва 🙂",
    "def area(radius):\n    return 3.14159 * radius ** 2",
    "| year | income |\n|---|---|\n| 2024 | 1,234.50 |",
    "Photosynthesis converts light energy into chemical energy that is stored in glucose.",
    "An Authorised Person shall notify the Regulator in writing without delay.",
    "The mitochondrial genome of the patient carried a mutation at position 3243.",
    "Bread rises because yeast turns sugar into carbon dioxide.",
    _WORDS,
    " ".join([_WORDS] * 3),
    " ".join([_WORDS] * 8),
    " ".join([_WORDS] * 60),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphReport:
    """How a graph compares with its original on `SAMPLES`: least and mean cosine, largest difference, time of the
    processor for all of them. `refused` is a sentence if it drifts too far to be used."""

    least_cosine: float = 0.0
    mean_cosine: float = 0.0
    difference: float = 0.0
    cpu_s: float = 0.0
    refused: str = ""


def ensure_graph(
    folder: Path, precision: GraphPrecision, side: Side, load: Callable[[], SentenceTransformer]
) -> GraphReport:
    """The report on the graph in `folder`, which is made of the model that `load` gives if it is not there."""
    if report := known_report(folder, precision):
        return report
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        for left in folder.glob("partial-*"):  # of a conversion that was interrupted
            shutil.rmtree(left)
        return known_report(folder, precision) or _convert(folder, precision, side, load())


def known_report(folder: Path, precision: GraphPrecision) -> GraphReport | None:
    """The report on the graph in `folder`, None if it was not made yet."""
    try:
        return GraphReport(**json.loads((folder / precision / "report.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _convert(folder: Path, precision: GraphPrecision, side: Side, model: SentenceTransformer) -> GraphReport:
    shutil.rmtree(folder / precision, ignore_errors=True)  # one without a readable report
    partial = Path(mkdtemp(prefix="partial-", dir=folder))
    if precision == "int8":
        exact = known_report(folder, "fp32") or _convert(folder, "fp32", side, model)
        report = exact if exact.refused else _attempt(partial, lambda: _quantize(folder / "fp32", partial), side, model)
    else:
        report = _attempt(partial, lambda: _export(model, side, partial), side, model)
    report = report if report.refused else _judged(report, precision)
    if report.refused:
        (partial / GRAPH).unlink(missing_ok=True)
    (partial / "report.json").write_text(json.dumps(asdict(report)), encoding="utf-8")
    put_in_place(partial, folder / precision)
    return report


def _attempt(partial: Path, make: Callable[[], None], side: Side, model: SentenceTransformer) -> GraphReport:
    """The report on the graph that `make` writes; any failure of exporter or runtime refuses it, and torch goes on."""
    try:
        make()
        return _compare(Graph(partial), side, model)
    except OSError:
        raise  # a full disk says nothing about the encoder
    except Exception as error:  # an exporter fails in as many ways as there are architectures
        if not can_write(partial):  # nor does one of which another library has words of its own
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        line = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        return GraphReport(refused=f"it cannot be converted ({line})")


def _export(model: SentenceTransformer, side: Side, folder: Path) -> None:
    import torch

    modules: list[Any] = modules_of(model, side)
    features = modules[0].preprocess(["cats and dogs", "cats"])
    names = [name for name in _INPUTS if name in features]
    axes = {name: {0: "texts", 1: "tokens"} for name in names} | {"vectors": {0: "texts"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of each branch; the comparison afterwards is the judge
        torch.onnx.export(
            _as_function(modules, names),
            tuple(features[name].to(model.device) for name in names),
            str(folder / GRAPH),
            input_names=names,
            output_names=["vectors"],
            dynamic_axes=axes,
            opset_version=_OPSET,
            dynamo=False,  # its exporter needs packages of its own, and fixes the lengths of many architectures
        )
    tokenizer_of(model, side).save(str(folder / TOKENIZER))


def _as_function(modules: list[nn.Module], names: list[str]) -> nn.Module:
    """The modules as one of tensors: tokens in, unit vectors out, without dropout."""
    import torch

    class Side(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = torch.nn.ModuleList(modules)

        def forward(self, *tensors: Any) -> Any:
            features: dict[str, Any] = dict(zip(names, tensors, strict=True))
            for part in self.parts:
                features = part(features)
            return torch.nn.functional.normalize(features["sentence_embedding"], dim=-1)

    return Side().eval()


def _quantize(exact: Path, folder: Path) -> None:
    """Writes the graph with the weights of its products in int8, one scale for each column, and all else as it was."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(exact / GRAPH)
    onnx.helper.set_model_props(model, {"onnx.quant.pre_process": "onnxruntime.quant"})  # or the library advises it
    quantize_dynamic(
        model,
        folder / GRAPH,
        weight_type=QuantType.QInt8,
        per_channel=True,
        op_types_to_quantize=["MatMul", "Gemm"],
        extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
    )
    shutil.copyfile(exact / TOKENIZER, folder / TOKENIZER)


def _compare(graph: Graph, side: Side, model: SentenceTransformer) -> GraphReport:
    """How far `graph` is from `model`, and what the samples take of one processor whatever else runs on it."""
    options: dict[str, Any] = {"normalize_embeddings": True, "show_progress_bar": False, "batch_size": 1}
    prompt = prompt_of(model, side)
    encode = model.encode_query if side == "query" else model.encode_document
    expected = np.asarray(encode(list(SAMPLES), **options), dtype=np.float32)
    found = np.concatenate([graph.encode([text], prompt) for text in SAMPLES])
    times = []
    for _ in range(_N_ROUNDS):
        started = time.thread_time()
        for text in SAMPLES:
            graph.encode([text], prompt)
        times.append(time.thread_time() - started)
    cosines = (expected * found).sum(axis=1)
    return GraphReport(
        least_cosine=float(cosines.min()),
        mean_cosine=float(cosines.mean()),
        difference=float(np.abs(expected - found).max()),
        cpu_s=min(times),
    )


def _judged(report: GraphReport, precision: GraphPrecision) -> GraphReport:
    """The report with a refusal if the graph is too far from its original."""
    if precision == "fp32":
        drifts = not report.difference <= _MOST_DIFFERENCE
        said = f"its vectors differ from the original's by {report.difference:.1e}, more than {_MOST_DIFFERENCE:.0e}"
    else:
        drifts = not (report.least_cosine >= _LEAST_COSINE and report.mean_cosine >= _LEAST_MEAN_COSINE)
        said = (
            f"its vectors in int8 have a cosine to the original's of {report.mean_cosine:.3f} in the mean and "
            f"{report.least_cosine:.3f} at least, and {_LEAST_MEAN_COSINE} and {_LEAST_COSINE} are needed"
        )
    return replace(report, refused=said) if drifts else report


class OnnxEncoder(Adjustable):
    """The graphs of the passages' and of the questions' side, which are the same one for most encoders."""

    def __init__(
        self,
        name: str,
        card: EncoderCard,
        precision: GraphPrecision,
        graphs: dict[Side, Graph],
        refit: Callable[[Precision], Encoder] | None = None,
    ) -> None:
        self.name = name
        self.origin = card.fingerprint
        self.dimension = card.dimension
        self.max_tokens = card.max_tokens
        self.tokenizer: Tokenizer = FastTokenizer(graphs["document"].tokenizer)
        self.precision: Precision = precision
        self._card = card
        self._graphs = graphs
        self._refit = refit

    @property
    def query_fingerprint(self) -> str:
        """What the questions' vectors are known by."""
        return mark(self._card.query_fingerprint, self.precision)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        return self._encode("query", texts)

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        return self._encode("document", texts)

    def _encode(self, side: Side, texts: Sequence[str]) -> Vectors:
        if not texts:
            return np.zeros((0, self.dimension), dtype=np.float32)
        return self._graphs[side].encode(texts, self._card.prompts[side])
