"""A corpus whose passages end in what they are worth, and a teacher that ranks by it: every right order is known."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from scripted_endpoint import Message
from tiny_encoders import tiny_transformer

from distill.llm.calls import Asker
from distill.llm.connection import LLMConfig, connect_llm
from distill.llm.reply_cache import ReplyCache
from distill.run import Distillation, Event
from distill.run_config import RunConfig
from indexes.encoders.loading import load_encoder
from indexes.ingest import add_files
from indexes.paths import DataPaths

TOPICS = (
    "cats purr",
    "dogs bark",
    "bread is baked of flour",
    "the planet mars",
    "moons of the planet",
    "cats and dogs",
)
QUESTIONS = ("who purr", "what bark", "what is baked", "where is mars", "what of moons", "who bark and purr")
N_OF_A_TOPIC = 5


def write_worths(paths: DataPaths, folder: Path) -> Path:
    """Makes the corpus "worths" with an index by the encoder "tiny"; returns the file of questions about it."""
    tiny_transformer(folder).save_pretrained(str(paths.encoder("tiny")), create_model_card=False)
    texts = [f"{topic} is worth {n * len(TOPICS) + m}" for n in range(N_OF_A_TOPIC) for m, topic in enumerate(TOPICS)]
    corpus = folder / "worths.jsonl"
    corpus.write_text("".join(json.dumps({"id": f"d{n}", "text": text}) + "\n" for n, text in enumerate(texts)))
    for _ in add_files(paths, "worths", [corpus], load_encoder("tiny", paths)):
        pass
    questions = folder / "questions.jsonl"
    records = [{"id": f"q{n}", "question": text, "split": "train"} for n, text in enumerate(QUESTIONS)]
    questions.write_text("".join(json.dumps(record) + "\n" for record in records))
    return questions


def worth(passage: str) -> int:
    return int(passage.split()[-1])


def ranks_by_worth(messages: list[Message]) -> str:
    """The scripted LLM: the passage that is worth most comes first."""
    passages = re.findall(r"\[(\d+)\] (.*?)(?=\n\n)", str(messages[-1]["content"]), re.DOTALL)
    if not passages:
        return "OK"
    return " > ".join(f"[{number}]" for number, _ in sorted(passages, key=lambda each: -worth(each[1])))


def begun(
    paths: DataPaths,
    questions: Path,
    base_url: str,
    *,
    report: Callable[[Event], None] = lambda event: None,
    **settings: object,
) -> Distillation:
    """A run over the worths, whose LLM is at `base_url`; no reply is remembered beside its files."""
    return Distillation(paths, config_of(questions, **settings), connect_to(base_url, paths), report)


def config_of(questions: Path, **settings: object) -> RunConfig:
    values: dict[str, object] = {"name": "run", "teacher": "scripted", "n_candidates": 4, "passage_weights": "none"}
    # It knows no answer, so an assessment would not have it teach.
    values |= {"insist": True, "corpus": "worths", "base": "tiny", "questions": str(questions)}
    return RunConfig(**(values | settings))  # type: ignore[arg-type]


def connect_to(base_url: str, paths: DataPaths, cache: ReplyCache | None = None) -> Callable[[float], Asker]:
    llm = LLMConfig(base_url=base_url, api_key="sk-test", model="scripted")
    return lambda temperature: Asker(connect_llm(llm, paths, temperature=temperature), cache=cache)
