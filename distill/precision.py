"""Which number format pays on which device."""

from __future__ import annotations


def uses_bf16(device: str) -> bool:
    """Whether bfloat16 pays on `device`: on GPUs that have it, and on processors with instructions for it."""
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return device == "cpu" and bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())
