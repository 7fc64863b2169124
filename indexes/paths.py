"""The name of everything under the data folder, how files get there whole, and the addresses of stores and encoders."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from indexes.errors import InputError, StoreError

CLOUD_HOST = "api.trychroma.com"
VARIABLES = ("CHROMA_URL", "CHROMA_TENANT", "CHROMA_DATABASE", "CHROMA_TOKEN")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings:
    """A Chroma server by its address; without one the store is embedded, under the data folder."""

    url: str = ""
    tenant: str = ""
    database: str = ""
    token: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if not self.url:
            if self.tenant or self.database or self.token:
                raise InputError(
                    "CHROMA_TENANT, CHROMA_DATABASE or CHROMA_TOKEN is set, but CHROMA_URL is not. Set it to the "
                    f"address of the server (https://{CLOUD_HOST} for Chroma Cloud), or unset them."
                )
            return
        if not is_server(self.url):
            # Never repeated: an address that went wrong is where a password may stand.
            raise InputError(
                "CHROMA_URL should be an address like http://host:8000 or https://host/path, without a user, a "
                "password or a query; a token goes into CHROMA_TOKEN. Set it again, or unset it."
            )
        if not self.token.isascii() or any(character.isspace() for character in self.token):
            raise InputError("CHROMA_TOKEN has a blank or a character that no token has. Copy it again.")
        if self.is_cloud and not (self.tenant and self.database and self.token):
            raise InputError("Chroma Cloud needs CHROMA_TENANT, CHROMA_DATABASE and CHROMA_TOKEN. Set all three.")

    @property
    def is_embedded(self) -> bool:
        return not self.url

    @property
    def is_cloud(self) -> bool:
        return urlsplit(self.url).hostname == CLOUD_HOST


def is_server(url: str) -> bool:
    """Whether this is the address of a server, with a path if need be, and nothing else."""
    try:
        parts = urlsplit(url)
        is_whole = url.startswith(("http://", "https://")) and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return is_whole and not (parts.username or parts.password or parts.query or parts.fragment)


def read_store(environment: Mapping[str, str]) -> StoreSettings:
    """The store that these variables name; a variable that is empty counts as unset."""
    url, tenant, database, token = (environment.get(name, "").strip() for name in VARIABLES)
    return StoreSettings(url=url, tenant=tenant, database=database, token=token)


OPENAI_URL = "https://api.openai.com/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingsEndpoint:
    """Where encoders called `openai:MODEL` embed, and what they put before each text; no address: none is known."""

    base_url: str = ""
    api_key: str = field(default="", repr=False)
    query_prefix: str = ""
    passage_prefix: str = ""

    def __post_init__(self) -> None:
        if self.base_url and not re.fullmatch(r"https?://[^\s/]\S*", self.base_url):
            raise InputError(
                "EMBEDDINGS_BASE_URL should be an address like https://host/v1. Set it again, or unset it."
            )
        if not re.fullmatch(r"[!-~]*", self.api_key):
            raise InputError("The key of the embeddings has a blank or a character that no key has. Copy it again.")

    @property
    def environment(self) -> dict[str, str]:
        """What says this to a child, whose chat may be elsewhere."""
        return {"EMBEDDINGS_BASE_URL": self.base_url, "EMBEDDINGS_API_KEY": self.api_key} if self.base_url else {}


def read_embeddings(environment: Mapping[str, str]) -> EmbeddingsEndpoint:
    """The endpoint that these variables name: that of the chat where they name no other.

    The key of the chat goes to the address of the chat alone.
    """
    names = ("OPENAI_BASE_URL", "OPENAI_API_KEY", "EMBEDDINGS_BASE_URL", "EMBEDDINGS_API_KEY")
    chat_url, chat_key, own_url, own_key = (environment.get(name, "").strip() for name in names)
    chat_url = chat_url or (OPENAI_URL if chat_key or own_key else "")
    is_one = not own_url or own_url.rstrip("/") == chat_url.rstrip("/")
    return EmbeddingsEndpoint(
        base_url=own_url or chat_url,
        api_key=own_key or (chat_key if is_one else ""),
        query_prefix=environment.get("EMBEDDINGS_QUERY_PREFIX", ""),
        passage_prefix=environment.get("EMBEDDINGS_PASSAGE_PREFIX", ""),
    )


# What no name has: control characters, and those that turn the direction of writing and so show another name.
UNFIT = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\u202a-\\u202e\\u2066-\\u2069\\ud800-\\udfff]")
_PLAIN = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,38}[a-z0-9])?")


def slug(name: str) -> str:
    """A file-system and Chroma safe name of at most 40 characters for any name that a person gives.

    A plain lower-case ASCII name stays as it is; any other is shortened and gets a hash, so two names never meet.
    """
    if not name.strip():
        raise InputError("A name was expected, but it is empty. Give at least one letter or digit.")
    if UNFIT.search(name):
        raise InputError(f"The name {name!a} has characters that are not shown, or turn others. Leave them out.")
    if _PLAIN.fullmatch(name) and ".." not in name:
        return name
    stem = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:28].strip("-")
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=5).hexdigest()
    return f"{stem}-{digest}" if stem else digest


@dataclass(frozen=True, slots=True)
class DataPaths:
    """Every path under `root` (`DATA_DIR`), where the vectors are if not there too, the endpoint that embeds, and
    whether web pages of private networks are read.
    """

    root: Path
    store: StoreSettings = field(default_factory=StoreSettings)
    embeddings: EmbeddingsEndpoint = field(default_factory=EmbeddingsEndpoint)
    may_fetch_private: bool = False

    @property
    def chroma(self) -> Path:
        return self.root / "chroma"

    @property
    def locks(self) -> Path:
        """Who is writing now."""
        return self.root / "locks"

    @property
    def uploads(self) -> Path:
        """Files that people have handed in on the page, until they are in their corpora."""
        return self.root / "uploads"

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


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Where to write the file or folder that takes the place of `target` in one step, and outlives a loss of power.

    A folder is to take no other's place. `StoreError` where it cannot be written; then nothing is left of it.
    """
    partial = target.with_name(f".{target.name}.partial")
    try:
        _remove(partial)  # of a process that was killed
        target.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        put_in_place(partial, target)
    except OSError as error:
        raise StoreError(
            f"{target} cannot be written: {error.strerror or error}. Free some space, or mend the rights of its "
            "folder, and do this again; what was there is kept."
        ) from error
    finally:
        _remove(partial)


def write_file(file: Path, content: str | bytes) -> None:
    """Writes `content` to `file`, which holds all of it or what it held before, also after a loss of power."""
    with replacing(file) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def put_in_place(written: Path, target: Path) -> None:
    """Renames what was `written`, a file or a folder, to `target`, once all of it is on the disk for good."""
    for path in (*written.rglob("*"), written):
        _sync(path)
    written.replace(target)
    _sync(target.parent)


def _sync(path: Path) -> None:
    """Has `path` written out: what a file holds, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


_ROOM = 2**20  # bytes without which SQLite and Chroma cannot even open what is there


def can_write(folder: Path) -> bool:
    """Whether there are the rights and the room to write in `folder`."""
    return os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > _ROOM


@cache
def scratch() -> Path:
    """A folder elsewhere for what reading has to write where the data folder cannot be written; it goes with us."""
    folder = TemporaryDirectory(prefix="read-only-data-")
    weakref.finalize(scratch, folder.cleanup)
    return Path(folder.name)
