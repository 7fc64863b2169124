"""Low-rank adaptation (arXiv 2106.09685): small matrices beside the weights are trained, then merged into them.

It takes the package peft, which nothing else needs.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from indexes.errors import InputError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def add_adapter(model: SentenceTransformer, *, rank: int, seed: int) -> None:
    """Puts matrices of `rank` beside every linear layer of `model`'s transformer; they alone will be trained."""
    if find_spec("peft") is None:
        raise InputError("Training by LoRA takes the package peft, which is not installed: pip install peft")
    if not model.has_peft_compatible_model():
        raise InputError(
            "Training by LoRA takes an encoder with a transformer, and this one has none. Use --train full."
        )
    from peft import LoraConfig
    from transformers import set_seed

    set_seed(seed)  # half of the matrices begin at random
    model.add_adapter(LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear"))


def merge_adapter(model: SentenceTransformer) -> None:
    """Adds the trained matrices to the weights, so that `model` is a plain encoder again."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    transformer: Any = model.transformers_model
    for name, module in list(transformer.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge()
            parent, _, attribute = name.rpartition(".")
            setattr(transformer.get_submodule(parent), attribute, module.get_base_layer())
    transformer._hf_peft_config_loaded = False  # otherwise saving would look for the matrices
    del transformer.peft_config
    transformer.requires_grad_(True)
