"""In which number format an encoder computes, what pays on which device, and how an index remembers it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Protocol, get_args, runtime_checkable

from indexes.types import Encoder

Precision = Literal["fp32", "bf16", "int8"]
Wish = Literal["auto", "fp32", "bf16", "int8"]
_MARK = "+"  # in no fingerprint's own digits


def mark(fingerprint: str, precision: Precision) -> str:
    """The fingerprint of the encoder with this one when it computes in `precision`."""
    return fingerprint if precision == "fp32" else f"{fingerprint}{_MARK}{precision}"


def unmarked(fingerprint: str) -> str:
    """The fingerprint without its precision: what encoders have in common that differ in the number format only."""
    return fingerprint.partition(_MARK)[0]


def comparable(one: str, other: str) -> bool:
    """Whether vectors with these fingerprints are of one encoder, so that a question may meet passages in another
    format."""
    return unmarked(one) == unmarked(other)


def precision_of(fingerprint: str) -> Precision:
    """The number format in which the vectors with this fingerprint were computed."""
    ending = fingerprint.partition(_MARK)[2]
    return next((each for each in get_args(Precision) if each == ending), "fp32")


@runtime_checkable
class Adjustable(Protocol):
    """An encoder that can compute in more than one format."""

    @property
    def origin(self) -> str:
        """The fingerprint of its vectors in fp32."""
        ...

    def fitting(self, precision: Precision) -> Encoder:
        """This encoder, computing in `precision` if nobody asked for another one."""
        ...


def as_indexed(encoder: Encoder, fingerprints: Iterable[str]) -> Encoder:
    """`encoder` in the format of the first of these indexes that it made, unless it was asked to compute in another."""
    for fingerprint in fingerprints:
        if isinstance(encoder, Adjustable) and unmarked(fingerprint) == encoder.origin:
            return encoder.fitting(precision_of(fingerprint))
    return encoder


def uses_bf16(device: str) -> bool:
    """Whether bfloat16 pays on `device`: on GPUs that have it, and on processors with instructions for it."""
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return device == "cpu" and bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())
