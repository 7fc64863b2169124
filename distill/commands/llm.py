"""The LLM of a command: named by the environment, connected when it is needed, within the budget."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from distill.llm.connection import LLMConfig
from indexes.errors import InputError, LLMUnavailableError
from indexes.paths import DataPaths

if TYPE_CHECKING:
    from distill.llm.asking import Asker
    from distill.llm.spending import Meter


def llm_config() -> LLMConfig:
    """The LLM that the environment names."""
    return LLMConfig(
        base_url=os.environ.get("OPENAI_BASE_URL") or None,
        api_key=os.environ.get("OPENAI_API_KEY") or None,
        model=os.environ.get("LLM_MODEL") or None,
        local_llm=os.environ.get("LOCAL_LLM") or "qwen-1.5b",
    )


def make_meter(llm: LLMConfig, paths: DataPaths, budget: str, reply_tokens: int) -> Meter:
    """What counts and bounds the spending; `budget` as a person writes it."""
    from distill.estimating import price_of
    from distill.llm.spending import Meter, parse_budget

    return Meter(budget=parse_budget(budget), price=price_of(llm, paths), max_reply_tokens=reply_tokens)


def connector(
    llm: LLMConfig,
    paths: DataPaths,
    say: Callable[[str], None],
    concurrency: int,
    meter: Meter,
    reply_tokens: int,
    batch_file: Path | None,
) -> Callable[[float], Asker]:
    """What connects the LLM at a temperature; with `batch_file`, requests are written there and nothing is sent."""

    def connect(temperature: float) -> Asker:
        from distill.llm.asking import Asker
        from distill.llm.batch_files import no_provider
        from distill.llm.connection import PATIENT_RETRIES, check_llm, connect_llm
        from distill.llm.postponing import Postponement
        from distill.llm.reply_cache import ReplyCache

        if batch_file and llm.is_embedded:
            raise no_provider()  # before a model is fetched and started for nothing
        try:
            model = connect_llm(
                llm,
                paths,
                on_status=say,
                temperature=temperature,
                max_tokens=reply_tokens,
                max_retries=PATIENT_RETRIES,
            )
        except LLMUnavailableError as error:
            if not batch_file:
                raise
            raise InputError(
                f"The requests of a batch name their model, and the endpoint could not be asked for one ({error}). Set "
                "LLM_MODEL to it; then no connection is needed."
            ) from error
        if not batch_file:
            check_llm(model)
        cache = ReplyCache(paths.llm_cache, say)
        n_at_once = concurrency or (1 if llm.is_embedded else 8)
        later = Postponement(model, batch_file, cache) if batch_file else None
        return Asker(model, concurrency=n_at_once, cache=cache, meter=meter, postponement=later)

    return connect
