"""Money is spent only as far as it was allowed."""

import asyncio
from pathlib import Path

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from distill.llm.spending import Budget, Meter, Price, estimate_tokens, find_price, parse_budget
from distill.records import Spend
from indexes.errors import BudgetSpentError, InputError, LLMRefusedError

PROMPT = [HumanMessage("x" * 350)]  # about 108 tokens
REPLY = AIMessage("y", usage_metadata={"input_tokens": 100, "output_tokens": 50, "total_tokens": 150})


def spend(meter: Meter) -> None:
    with meter.request(PROMPT) as spent:
        spent(REPLY)


def test_a_budget_is_never_passed() -> None:
    meter = Meter(budget=Budget(amount=1000, unit="tokens"), max_reply_tokens=60)
    with pytest.raises(BudgetSpentError, match="larger --budget"):
        for _ in range(100):
            spend(meter)
    assert 800 < meter.prompt_tokens + meter.reply_tokens <= 1000


def test_what_is_in_flight_counts_as_spent() -> None:
    meter = Meter(budget=Budget(amount=300, unit="tokens"), max_reply_tokens=60)
    with meter.request(PROMPT), pytest.raises(BudgetSpentError), meter.request(PROMPT):
        pass
    spend(meter)


@pytest.mark.parametrize("read", [100, 250])
def test_a_tokenizer_that_makes_more_tokens_than_estimated_does_not_pass_the_budget(read: int) -> None:
    usage = {"input_tokens": read, "output_tokens": 50, "total_tokens": read + 50}
    meter = Meter(budget=Budget(amount=1000, unit="tokens"), max_reply_tokens=60)
    with pytest.raises(BudgetSpentError):
        for _ in range(100):
            with meter.request(PROMPT) as spent:
                spent(AIMessage("y", usage_metadata=usage))
    assert meter.prompt_tokens + meter.reply_tokens <= 1000


def test_without_counts_from_the_endpoint_scripts_of_many_bytes_have_more_tokens() -> None:
    assert estimate_tokens([HumanMessage("法律" * 50)]) > 2 * estimate_tokens([HumanMessage("ab" * 50)])


def test_a_request_that_is_cut_off_counts_as_paid_and_a_refused_one_as_nothing() -> None:
    meter = Meter(max_reply_tokens=60)
    with pytest.raises(asyncio.CancelledError), meter.request(PROMPT):
        raise asyncio.CancelledError
    assert (meter.calls, meter.prompt_tokens, meter.reply_tokens) == (1, estimate_tokens(PROMPT), 60)
    with pytest.raises(LLMRefusedError), meter.request(PROMPT):
        raise LLMRefusedError("wrong key")
    assert meter.calls == 1


def test_money_counts_by_the_price() -> None:
    meter = Meter(price=Price(read=1.0, written=2.0))
    spend(meter)
    assert meter.summary() == Spend(calls=1, prompt_tokens=100, reply_tokens=50, cost_usd=0.0002)


def test_an_unknown_price_is_no_price_of_zero() -> None:
    assert Meter().summary().cost_usd is None
    with pytest.raises(InputError, match=r"prices\.toml"):
        Meter(budget=Budget(amount=1, unit="usd"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("2.50 usd", Budget(amount=2.5, unit="usd")),
        ("3$", Budget(amount=3, unit="usd")),
        ("200000 Tokens", Budget(amount=200000, unit="tokens")),
    ],
)
def test_budgets_are_read(text: str, expected: Budget | None) -> None:
    assert parse_budget(text) == expected


@pytest.mark.parametrize(("text", "said"), [("0 usd", "--teacher none"), ("much", "2.50 usd"), ("-1 usd", "2.50 usd")])
def test_a_budget_that_is_none_is_refused(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_budget(text)


def test_the_longest_name_decides_and_the_users_table_comes_first(tmp_path: Path) -> None:
    own = tmp_path / "prices.toml"
    mini, whole = find_price("gpt-4o-mini-2024-07-18", own), find_price("openai/gpt-4o", own)
    assert mini and whole and mini.read < whole.read
    assert find_price("a-model-of-mine", own) is None
    own.write_text("[a-model]\nread = 1\nwritten = 3\n")
    assert find_price("a-model-of-mine", own) == Price(read=1.0, written=3.0)
    own.write_text("[a-model]\nread = 1\n")
    with pytest.raises(InputError, match="no price table"):
        find_price("a-model-of-mine", own)


@pytest.mark.parametrize("model", ["gpt-5", "gpt-5-2025-08-07", "openai/gpt-5", "claude-haiku-4-5-20251001"])
def test_a_dated_version_of_a_known_model_has_its_price(model: str, tmp_path: Path) -> None:
    assert find_price(model, tmp_path / "none") is not None


@pytest.mark.parametrize("model", ["gpt-5-pro", "o3-pro", "gpt-4o-audio-preview", "gpt-5.9", "", "qwen-1.5b"])
def test_kin_of_a_known_model_has_no_price_rather_than_a_wrong_one(model: str, tmp_path: Path) -> None:
    """gpt-5-pro costs twelve times what gpt-5 does: a budget in money would be passed without a word."""
    assert find_price(model, tmp_path / "none") is None
