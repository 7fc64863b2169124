"""The name of everything under the data folder, in one place."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

from indexes.errors import InputError
from indexes.store_settings import StoreSettings

_PLAIN = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,38}[a-z0-9])?")


def slug(name: str) -> str:
    """A file-system and Chroma safe name of at most 40 characters for any name that a person gives.

    A plain lower-case ASCII name stays as it is; any other is shortened and gets a hash, so two names never meet.
    """
    if not name.strip():
        raise InputError("A name was expected, but it is empty. Give at least one letter or digit.")
    if _PLAIN.fullmatch(name) and ".." not in name:
        return name
    stem = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:28].strip("-")
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=5).hexdigest()
    return f"{stem}-{digest}" if stem else digest


@dataclass(frozen=True, slots=True)
class DataPaths:
    """Every path under `root` (`DATA_DIR`), and where the vectors are if not there too."""

    root: Path
    store: StoreSettings = field(default_factory=StoreSettings)

    @property
    def chroma(self) -> Path:
        return self.root / "chroma"

    @property
    def locks(self) -> Path:
        """Who is writing now, and how often the embedded store was written."""
        return self.root / "locks"

    @property
    def corpora(self) -> Path:
        return self.root / "corpora"

    @property
    def encoders(self) -> Path:
        return self.root / "encoders"

    @property
    def graphs(self) -> Path:
        """Encoders as ONNX graphs; they follow from the encoders and can be deleted at any time."""
        return self.root / "encoders-onnx"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def models(self) -> Path:
        """Weights of the embedded LLM."""
        return self.root / "models"

    @property
    def llm_cache(self) -> Path:
        return self.root / "llm-cache.sqlite"

    @property
    def votes(self) -> Path:
        return self.root / "votes.jsonl"

    @property
    def looks(self) -> Path:
        """Which held-out questions have judged which run: the ledger of looks, which outlives the runs."""
        return self.root / "looks.jsonl"

    def corpus(self, name: str) -> Path:
        return self.corpora / slug(name)

    def encoder(self, name: str) -> Path:
        return self.encoders / slug(name)

    def run(self, name: str) -> Path:
        return self.runs / slug(name)
