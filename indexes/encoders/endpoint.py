"""An `Encoder` behind an OpenAI-compatible embedding endpoint: `openai:MODEL`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from indexes.errors import EndpointError
from indexes.types import Tokenizer, Vectors

if TYPE_CHECKING:
    from openai import APIError, OpenAI


PREFIX = "openai:"
_MAX_TEXTS = 64  # of one request; endpoints allow 2,048 or less, and some bound the tokens of all together
_MAX_RETRIES = 5
_TIMEOUT_S = 60.0
_MAX_TOKENS = 512  # more than most such models are read with, and as long as anyone wants a passage
_PROBE = "dimension"


def load_endpoint_encoder(name: str) -> EndpointEncoder:
    """The encoder `openai:MODEL` at OPENAI_BASE_URL (OpenAI's own by default) with the key in OPENAI_API_KEY."""
    import openai

    try:
        client = openai.OpenAI(max_retries=_MAX_RETRIES, timeout=_TIMEOUT_S)  # the library reads both variables
    except openai.OpenAIError:
        raise EndpointError(
            f"Encoder '{name}' needs a key, but OPENAI_API_KEY is not set. Set it (to any word where the endpoint asks "
            "for none), and OPENAI_BASE_URL unless the endpoint is OpenAI's."
        ) from None
    return EndpointEncoder(name.removeprefix(PREFIX), client)


class EndpointEncoder:
    """An `Encoder` whose vectors an endpoint gives; questions and passages are embedded alike.

    Overload and lost connections are tried again by the client, as the endpoint's Retry-After says.
    """

    def __init__(self, model: str, client: OpenAI) -> None:
        self._model = model
        self._client = client
        self._dimension = 0
        self._dimension = self._embed([_PROBE]).shape[1]

    @property
    def name(self) -> str:
        return f"{PREFIX}{self._model}"

    @property
    def fingerprint(self) -> str:
        """16 hex digits of endpoint, model and dimension: weights that a provider swaps under a name go unnoticed."""
        url = self._client.base_url.copy_with(username=None, password=None, query=None)
        parts = "\x1f".join((str(url), self._model, str(self._dimension)))
        return hashlib.blake2b(parts.encode(), digest_size=8).hexdigest()

    @property
    def dimension(self) -> int:
        return self._dimension

    @property
    def max_tokens(self) -> int:
        return _MAX_TOKENS

    @property
    def tokenizer(self) -> Tokenizer:
        return _RoughTokenizer()

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of questions, shape (B, D)."""
        return self.encode_passages(texts)

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of passages, shape (N, D)."""
        batches = [self._embed(texts[first : first + _MAX_TEXTS]) for first in range(0, len(texts), _MAX_TEXTS)]
        return np.concatenate(batches) if batches else np.zeros((0, self._dimension), dtype=np.float32)

    def _embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of `texts`; a batch that is too large for the endpoint is halved."""
        import openai

        inputs = [text if text.strip() else "." for text in texts]  # endpoints refuse an empty text
        try:
            reply = self._client.embeddings.create(model=self._model, input=inputs, encoding_format="float")
        except openai.APIStatusError as error:
            if error.status_code not in (400, 413, 422) or len(texts) == 1:
                self._explain(error)
            middle = len(texts) // 2
            return np.concatenate([self._embed(texts[:middle]), self._embed(texts[middle:])])
        except openai.APIError as error:
            self._explain(error)
        rows = [item.embedding for item in sorted(reply.data or [], key=lambda item: item.index)]
        return self._checked(rows, len(texts))

    def _checked(self, rows: Sequence[Sequence[float]], n_texts: int) -> Vectors:
        lengths = {len(row) for row in rows}
        wanted = {self._dimension} if self._dimension else lengths
        if len(rows) != n_texts or lengths != wanted or not all(lengths):
            raise EndpointError(
                f"{n_texts} vector(s) of {self._dimension or 'equal'} dimensions were expected from '{self.name}', but "
                f"{len(rows)} came, of {sorted(lengths) or 'no'} dimensions. Its model has changed, or it is no "
                "embedding model; check OPENAI_BASE_URL and the name."
            )
        vectors: Vectors = np.asarray(rows, dtype=np.float32)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not np.all(np.isfinite(norms) & (norms > 0)):
            raise EndpointError(f"Encoder '{self.name}' gave a vector without direction (zeros, or no numbers).")
        unit: Vectors = vectors / norms
        return unit

    def _explain(self, error: APIError) -> NoReturn:
        """Raises what happened as a sentence; the endpoint's own words may repeat the key, so they are not shown."""
        import openai

        status = f"status {error.status_code}" if isinstance(error, openai.APIStatusError) else "no answer"
        remedies = {401: "Check OPENAI_API_KEY.", 403: "Check OPENAI_API_KEY.", 404: "Check the model's name."}
        code = getattr(error, "status_code", 0)
        remedy = remedies.get(code, "Check OPENAI_BASE_URL, or try again later; what is embedded stays.")
        host = self._client.base_url.host
        raise EndpointError(f"The embedding endpoint at {host} gave {status} for '{self._model}'. {remedy}") from None


class _RoughTokenizer:
    """Pieces of at most four letters, as a tokenizer has about one token for each: the endpoint's own is unknown."""

    def spans(self, text: str) -> Sequence[tuple[int, int]]:
        """Character span (start, end) of each piece of `text`."""
        return [match.span() for match in re.finditer(r"\w{1,4}|[^\w\s]", text)]
