"""An `Encoder` behind an OpenAI-compatible embedding endpoint: `openai:MODEL`."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from indexes.errors import EndpointError, counted
from indexes.paths import EmbeddingsEndpoint, slug
from indexes.types import Tokenizer, Vectors

if TYPE_CHECKING:
    import httpx2
    from openai import APIError, OpenAI


PREFIX = "openai:"
_MAX_TEXTS = 64  # of one request; endpoints allow 2,048 or less, and some bound the tokens of all together
_MAX_RETRIES = 5
_TIMEOUT_S = 60.0
_MAX_TOKENS = 512  # more than most such models are read with, and as long as anyone wants a passage
_PROBE = "dimension"
_SHORTEST = 80  # characters that are not halved again: whatever refuses them, it is not their length
_TOO_LONG = re.compile(
    r"too (long|large|many tokens)|context (length|size|window)|exceeds|maximum|longer than|max\w*.?(tokens|length)"
)
_NO_CREDIT = re.compile("quota|billing|credit")
_HEADERS = (
    *("host", "accept", "accept-encoding", "connection", "content-type", "content-length"),
    *("user-agent", "authorization"),
)
_DENSE = "\u0e00-\u109f\u1780-\u17ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uffdc\U00020000-\U0003ffff"
_PIECE = re.compile(rf"[{_DENSE}]|[0-9A-Za-z_\u00aa-\u024f]{{1,4}}|[^\W0-9A-Za-z_\u00aa-\u024f{_DENSE}]{{1,2}}|[^\w\s]")


def load_endpoint_encoder(name: str, at: EmbeddingsEndpoint) -> EndpointEncoder:
    """The encoder `openai:MODEL` at the endpoint `at`; without an address, at that of OPENAI_BASE_URL (OpenAI's own by
    default) with the key in OPENAI_API_KEY.
    """
    import openai

    slug(name)  # refuses characters that are not shown
    try:
        # The library reads both variables of the chat where they are left open, and sends that key to any address.
        client = openai.OpenAI(
            base_url=at.base_url or None,
            api_key=at.api_key or ("none" if at.base_url else None),
            max_retries=_MAX_RETRIES,
            timeout=_TIMEOUT_S,
            http_client=openai.DefaultHttpxClient(
                follow_redirects=False, event_hooks={"request": [_clean], "response": [_without_vain_retries]}
            ),
        )
    except openai.OpenAIError:
        raise EndpointError(
            f"Encoder '{name}' needs a key, but OPENAI_API_KEY is not set. Set it, or EMBEDDINGS_BASE_URL to another "
            "endpoint than OpenAI's, with its EMBEDDINGS_API_KEY if it asks for one."
        ) from None
    return EndpointEncoder(name.removeprefix(PREFIX), client, at.query_prefix, at.passage_prefix)


def _clean(request: httpx2.Request) -> None:
    """Takes off what the library finds in the environment and sends to whatever address it is given."""
    for name in {*request.headers}.difference(_HEADERS):
        del request.headers[name]


def _without_vain_retries(response: httpx2.Response) -> None:
    """Marks a response that is not to be asked for again: there is no credit for any, no room for the text, or a longer
    wait is asked for than the library ever waits.
    """
    vain = {429: _NO_CREDIT, 500: _TOO_LONG}.get(response.status_code)
    if _wait_s(response) > 60 or (vain and vain.search(response.read().decode(errors="replace").lower())):
        response.headers["x-should-retry"] = "false"


def _wait_s(response: httpx2.Response) -> int:
    text = response.headers.get("retry-after", "")
    return int(text) if text.isdecimal() else 0


class EndpointEncoder:
    """An `Encoder` whose vectors an endpoint gives, for texts with what its model wants before questions and passages.

    Overload and lost connections are tried again by the client, as the endpoint's Retry-After says.
    """

    def __init__(self, model: str, client: OpenAI, query_prefix: str = "", passage_prefix: str = "") -> None:
        self.name = f"{PREFIX}{model}"
        self.max_tokens = _MAX_TOKENS
        self.tokenizer: Tokenizer = _RoughTokenizer()
        self._model = model
        self._client = client
        self._query_prefix, self._passage_prefix = query_prefix, passage_prefix
        self.dimension = 0
        self.dimension = self._embed([_PROBE]).shape[1]

    @property
    def fingerprint(self) -> str:
        """16 hex digits of endpoint, model, dimension and prefixes: weights that a provider swaps go unnoticed."""
        url = self._client.base_url.copy_with(username=None, password=None, query=None)
        prefixes = (self._query_prefix, self._passage_prefix)
        parts = (str(url), self._model, str(self.dimension), *(prefixes if any(prefixes) else ()))
        return hashlib.blake2b("\x1f".join(parts).encode(), digest_size=8).hexdigest()

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        return self._encode(texts, self._query_prefix)

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        return self._encode(texts, self._passage_prefix)

    def _encode(self, texts: Sequence[str], prefix: str) -> Vectors:
        # Endpoints refuse an empty text.
        inputs = [prefix + text if text.strip() else prefix + "." for text in texts]
        batches = [self._embed(inputs[first : first + _MAX_TEXTS]) for first in range(0, len(inputs), _MAX_TEXTS)]
        return np.concatenate(batches) if batches else np.zeros((0, self.dimension), dtype=np.float32)

    def _embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of `texts`; what is too large for the endpoint is halved, a batch and a text."""
        import openai

        try:
            reply = self._client.embeddings.create(model=self._model, input=list(texts), encoding_format="float")
        except openai.APIStatusError as error:
            is_long = error.status_code == 413 or bool(_TOO_LONG.search(error.message.lower()))
            if error.status_code not in (400, 413, 422) and not (error.status_code == 500 and is_long):
                self._explain(error)
            if len(texts) > 1:
                middle = len(texts) // 2
                return np.concatenate([self._embed(texts[:middle]), self._embed(texts[middle:])])
            if not is_long or len(texts[0]) < _SHORTEST:
                self._explain(error, texts[0])
            return self._in_halves(texts[0])
        except openai.APIError as error:
            self._explain(error)
        rows = [item.embedding for item in sorted(reply.data or [], key=lambda item: item.index)]
        return self._checked(rows, len(texts))

    def _in_halves(self, text: str) -> Vectors:
        """The unit vector of `text`, shape (1, D): the mean of its halves', each weighted by its length."""
        middle = len(text) // 2
        middle = next((n for n in range(middle, middle + _SHORTEST // 4) if text[n].isspace()), middle)
        halves = [half for half in (text[:middle], text[middle:]) if half.strip()]
        vectors = np.concatenate([self._embed([half]) for half in halves])
        mean = np.average(vectors, axis=0, weights=[len(half) for half in halves])
        return self._checked([mean.tolist()], 1)

    def _checked(self, rows: Sequence[Sequence[float]], n_texts: int) -> Vectors:
        lengths = {len(row) for row in rows}
        wanted = {self.dimension} if self.dimension else lengths
        if len(rows) != n_texts or lengths != wanted or not all(lengths):
            raise EndpointError(
                f"'{self.name}' should send {counted(n_texts, 'vector')} of {self.dimension or 'equal'} dimensions, "
                f"but {len(rows)} came, of {sorted(lengths) or 'no'} dimensions. Its model has changed, or it is no "
                "embedding model; check OPENAI_BASE_URL and the name."
            )
        vectors: Vectors = np.asarray(rows, dtype=np.float32)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not np.all(np.isfinite(norms) & (norms > 0)):
            raise EndpointError(f"Encoder '{self.name}' gave a vector without direction (zeros, or no numbers).")
        unit: Vectors = vectors / norms
        return unit

    def _explain(self, error: APIError, text: str = "") -> NoReturn:
        """Raises what happened as a sentence; the endpoint's own words may repeat the key, so they are not shown."""
        import openai

        response = error.response if isinstance(error, openai.APIStatusError) else None
        code = response.status_code if response else 0
        later = "Check EMBEDDINGS_BASE_URL or OPENAI_BASE_URL, or try again later; what is embedded stays."
        key = "Check the key: EMBEDDINGS_API_KEY, or OPENAI_API_KEY where chat and embeddings have one address."
        remedy = {401: key, 403: key, 404: "Check the model's name."}.get(code, later)
        if response and (wait_s := _wait_s(response)) > 60:
            remedy = f"It asks to wait {math.ceil(wait_s / 60)} minutes; what is embedded stays."
        elif response and (code == 402 or (code == 429 and "x-should-retry" in response.headers)):
            remedy = "There is no credit left. Add some, or use another endpoint; what is embedded stays."
        status = f"status {code}" if response else "no answer"
        host = self._client.base_url.host
        about = f" and a text that begins '{' '.join(text.split())[:60]}'" if text else ""
        raise EndpointError(
            f"The embedding endpoint at {host} gave {status} for '{self._model}'{about}. {remedy}"
        ) from None


class _RoughTokenizer:
    """Pieces as long as tokens are on average, the endpoint's own tokenizer being unknown: four letters of Latin, two
    of most other scripts, one of those without blanks (Chinese, Japanese, Korean, Thai and their neighbours).
    """

    def spans(self, text: str) -> Sequence[tuple[int, int]]:
        """Character span (start, end) of each piece of `text`."""
        return [match.span() for match in _PIECE.finditer(text)]
