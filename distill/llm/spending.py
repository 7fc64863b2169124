"""What asking costs: tokens, money by a price table, and a budget that is never passed."""

from __future__ import annotations

import asyncio
import math
import re
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Literal

from langchain_core.messages import AIMessage, BaseMessage
from pydantic import TypeAdapter

from distill.json_files import parsed, read_json, write_json
from distill.records import Spend
from indexes.errors import BudgetSpentError, InputError, LLMError

_BYTES_A_TOKEN = 3.5  # of UTF-8: English has about 4, other scripts fewer characters but more bytes a character
_TOKENS_A_MESSAGE = 8  # roles and separators
_MILLION = 1_000_000
_VERSION = re.compile(r"-(20\d\d.*|latest)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """US dollars for a million tokens."""

    read: float
    written: float

    def of(self, prompt_tokens: float, reply_tokens: float) -> float:
        """US dollars for so many tokens."""
        return (self.read * prompt_tokens + self.written * reply_tokens) / _MILLION


FREE = Price(read=0.0, written=0.0)  # an embedded LLM


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The most that may be spent on a run, by all its commands together."""

    amount: float
    unit: Literal["usd", "tokens"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a run would ask for, before it asks: tokens, US dollars and seconds (None: not known)."""

    calls: int
    prompt_tokens: int
    reply_tokens: int
    cost: float | None = None
    seconds: float | None = None


def parse_budget(text: str) -> Budget | None:
    """The budget in "2.50 usd" or "200000 tokens", None for ""; an `InputError` says what was expected."""
    if not text.strip():
        return None
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(usd|\$|tokens?)\s*", text, flags=re.IGNORECASE)
    if not match:
        raise InputError(f"A budget like '2.50 usd' or '200000 tokens' was expected; got '{text}'.")
    amount = float(match[1])
    if not amount:
        raise InputError("A budget of 0 lets the LLM answer nothing. Give more, or teach without one: --teacher none.")
    return Budget(amount=amount, unit="tokens" if match[2].lower().startswith("token") else "usd")


def find_price(model: str, own: Path) -> Price | None:
    """The price of `model` in the file `own` if it is there, else in the packaged table; None if neither has it.

    An entry of `own` is for all models whose names begin with it, the longest deciding; a packaged one for its model
    and dated versions of it only, since kin with longer names (gpt-5-pro) can cost ten times as much.
    """
    name = model.rpartition("/")[2]
    if own.is_file():
        table = _read_prices(own)
        if fitting := [entry for entry in table if name.startswith(entry)]:
            return table[max(fitting, key=len)]
    return _read_prices(resources.files("distill.llm").joinpath("prices.toml")).get(_VERSION.sub("", name))


def _read_prices(file: Traversable) -> dict[str, Price]:
    try:
        return TypeAdapter(dict[str, Price]).validate_python(tomllib.loads(file.read_text(encoding="utf-8")))
    except ValueError as error:
        raise InputError(
            f"'{file}' is no price table. Expected for each model [name], or [\"name\"] where it has a dot, then "
            "read = 0.15 and written = 0.60 in US dollars for a million tokens."
        ) from error


class Meter:
    """Calls, tokens and money so far. A request that could pass the budget is refused before it is made.

    With `file` the count is a run's: it goes on where that stands, and is kept there whenever a request leaves, as if
    it cost the most that it can, and whenever a reply comes. So it is right when the process is killed, what was under
    way included.
    """

    def __init__(
        self,
        *,
        budget: Budget | None = None,
        price: Price | None = None,
        max_reply_tokens: int = 400,
        file: Path | None = None,
    ) -> None:
        if budget and budget.unit == "usd" and price is None:
            raise InputError(
                "A budget in money takes the model's price, which is not known. Put it into DATA_DIR/prices.toml, or "
                "give a budget in tokens."
            )
        self._budget = budget
        self._price = price
        self._max_reply_tokens = max_reply_tokens
        self._file = file
        self._underestimated = 1.0  # how many times more tokens a prompt had than was estimated, at most so far
        self._reserved = (0, 0)  # tokens read and written of what is in flight, at most
        self._n_open = 0
        known = parsed(Spend, read_json(file)) if file else Spend()
        self.calls, self.cached = known.calls, known.cached
        self.prompt_tokens, self.reply_tokens = known.prompt_tokens, known.reply_tokens

    def count_cached(self) -> None:
        """Counts a reply that was known."""
        self.cached += 1
        self._keep()

    @contextmanager
    def request(self, messages: Sequence[BaseMessage]) -> Iterator[Callable[[BaseMessage], None]]:
        """Around one request; inside, the function that is given takes the reply. `BudgetSpentError` if it may cost
        more than is left.
        """
        estimate = estimate_tokens(messages)
        prompt = math.ceil(estimate * self._underestimated)
        self._check(prompt)
        self._reserve(prompt, self._max_reply_tokens, 1)
        self._keep()

        def spent(message: BaseMessage) -> None:
            usage = message.usage_metadata if isinstance(message, AIMessage) else None
            self._count(
                usage["input_tokens"] if usage else prompt,
                usage["output_tokens"] if usage else estimate_tokens([message]),
            )
            if usage and estimate:
                self._underestimated = max(self._underestimated, usage["input_tokens"] / estimate)

        try:
            yield spent
        except (asyncio.CancelledError, LLMError) as error:
            if not isinstance(error, LLMError) or error.may_cost:  # it was sent, so it is paid for: at most so much
                self._count(prompt, self._max_reply_tokens)
            raise
        finally:
            self._reserve(-prompt, -self._max_reply_tokens, -1)
            self._keep()

    def set_aside(self, messages: Sequence[BaseMessage]) -> None:
        """Keeps so much of the budget for a request that is made elsewhere; `BudgetSpentError` if that is not left."""
        prompt = estimate_tokens(messages)
        self._check(prompt)
        self._reserve(prompt, self._max_reply_tokens, 0)

    def _count(self, prompt: int, reply: int) -> None:
        self.calls += 1
        self.prompt_tokens += prompt
        self.reply_tokens += reply

    def _reserve(self, prompt: int, reply: int, n: int) -> None:
        self._reserved = (self._reserved[0] + prompt, self._reserved[1] + reply)
        self._n_open += n

    def _keep(self) -> None:
        if self._file:
            write_json(self._file, asdict(self.summary()))

    def _check(self, prompt: int) -> None:
        if self._budget is None:
            return
        read = self.prompt_tokens + self._reserved[0] + prompt
        written = self.reply_tokens + self._reserved[1] + self._max_reply_tokens
        if self._cost(read, written) > self._budget.amount:
            raise self.used_up()

    def used_up(self) -> BudgetSpentError:
        """What to say when the next request could pass the budget, with what is counted by now."""
        given = f"{self._budget.amount:g} {self._budget.unit}" if self._budget else "nothing"
        return BudgetSpentError(
            f"The budget of {given} is used up: {self.prompt_tokens:,} tokens were read and {self.reply_tokens:,} "
            f"written in {self.calls:,} calls, and the next one could pass it. What came so far is kept; give the same "
            "command a larger --budget to go on."
        )

    def _cost(self, read: float, written: float) -> float:
        assert self._budget  # noqa: S101 - only asked with one
        return self._price.of(read, written) if self._budget.unit == "usd" and self._price else read + written

    def summary(self) -> Spend:
        """What was spent, and at most will be on what is in flight."""
        read, written = self.prompt_tokens, self.reply_tokens
        if self._n_open:
            read, written = read + self._reserved[0], written + self._reserved[1]
        return Spend(
            calls=self.calls + self._n_open,
            cached=self.cached,
            prompt_tokens=read,
            reply_tokens=written,
            cost_usd=round(self._price.of(read, written), 6) if self._price else None,
        )


def estimate_tokens(messages: Sequence[BaseMessage]) -> int:
    """About how many tokens `messages` have."""
    return round(sum(_n_bytes(message) / _BYTES_A_TOKEN + _TOKENS_A_MESSAGE for message in messages))


def _n_bytes(message: BaseMessage) -> int:
    return len(str(message.text).encode("utf-8", "surrogatepass"))
