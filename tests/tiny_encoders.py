"""Encoders of random weights that are made in milliseconds, and a part of the real one; all are loaded like any."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, StaticEmbedding, Transformer
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch.nn import ModuleList
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from indexes.encoders.finding import DEFAULT_ENCODER, find_encoder
from indexes.paths import DataPaths

WORDS = (
    *("cats", "dogs", "purr", "bark", "bread", "baked", "flour", "mars", "planet", "moons"),
    *("what", "who", "where", "is", "the", "of", "and", "question", "about"),
)


def tiny_transformer(
    folder: Path, *, seed: int = 0, dropout: float = 0.1, words: Sequence[str] = WORDS
) -> SentenceTransformer:
    """A BERT of one layer and 16 dimensions over `words`, with pooling and normalisation; written to `folder`."""
    torch.manual_seed(seed)
    vocabulary = {
        word: number for number, word in enumerate(dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words]))
    }
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    fast.model_max_length = 32
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    bert = folder / "bert"
    BertModel(config).save_pretrained(bert)
    fast.save_pretrained(bert)
    modules = [Transformer(str(bert), max_seq_length=32), Pooling(16), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(folder / "model"), create_model_card=False)
    return SentenceTransformer(str(folder / "model"), device="cpu")


def tiny_static(seed: int = 0) -> SentenceTransformer:
    """A bag of static embeddings over `WORDS`, 16 dimensions."""
    torch.manual_seed(seed)
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(["[UNK]", *WORDS])}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=16)], device="cpu")


class RunsWhenUnpickled:
    """What leaves the file `mark` where it is unpickled as Python does."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> object:
        return os.mkdir, (str(self.mark),)


def with_foreign_code(folder: Path, kind: str, mark: Path) -> Path:
    """The model in `folder` as somebody could hand it on who wants it to run code, which would leave `mark`."""
    code = f"import os\nos.mkdir({str(mark)!r})\nclass Mine: pass\n"
    (folder / "foreign.py").write_text(code)
    if kind == "pickle":
        (folder / "model.safetensors").unlink()
        torch.save({"weight": RunsWhenUnpickled(mark)}, folder / "pytorch_model.bin")
    elif kind == "module":
        modules = json.loads((folder / "modules.json").read_text())
        modules[1]["type"] = "foreign.Mine"
        (folder / "modules.json").write_text(json.dumps(modules))
    else:
        config = json.loads((folder / "config.json").read_text()) | {"model_type": "foreign"}
        config["auto_map"] = {"AutoModel": "foreign.Mine", "AutoConfig": "foreign.Mine"}
        (folder / "config.json").write_text(json.dumps(config))
        trusting = {"model_args": {"trust_remote_code": True}, "config_args": {"trust_remote_code": True}}
        (folder / "sentence_bert_config.json").write_text(json.dumps(trusting))
    return folder


def cut_encoder(paths: DataPaths) -> str:
    """The name of an encoder in the data folder that is the default one without the middle four of its six layers: it
    still knows what is about what, and is taught and converted in a fraction of the time.
    """
    model = SentenceTransformer(str(find_encoder(DEFAULT_ENCODER, paths)), device="cpu")
    bert = model[0].auto_model
    bert.encoder.layer = ModuleList([bert.encoder.layer[0], bert.encoder.layer[-1]])
    bert.config.num_hidden_layers = 2
    model.save_pretrained(str(paths.encoder("cut")), create_model_card=False)
    return "cut"
