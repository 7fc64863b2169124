"""A corpus of a dozen facts, and a scripted LLM that answers, writes questions and ranks: enough to teach on."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path

from scripted_endpoint import Message

FACTS = {
    "otter": "a river otter keeps a favourite stone in a pouch of skin under its arm",
    "basalt": "basalt columns form where thick lava cools slowly and shrinks into hexagons",
    "sourdough": "a sourdough starter lives on flour and water and must be fed each day",
    "violin": "the back plate of a violin is carved from maple and the front from spruce",
    "lighthouse": "a lighthouse lens bends light into a beam that is seen for thirty kilometres",
    "glacier": "a glacier moves because ice at its base melts under the weight above",
    "saffron": "saffron threads are the stigmas of a crocus and are picked by hand at dawn",
    "comet": "the tail of a comet always points away from the Sun whatever way it flies",
    "falcon": "a peregrine falcon folds its wings and dives at three hundred kilometres an hour",
    "papyrus": "papyrus sheets were made of strips of reed laid crosswise and pressed flat",
    "coral": "coral polyps live with algae that feed them and give the reef its colour",
    "compass": "a compass needle lines up with the field that the iron core of Earth makes",
}


def write_facts(folder: Path) -> list[Path]:
    """A file for each fact."""
    files = []
    for topic, fact in FACTS.items():
        files.append(folder / f"{topic}.md")
        sentence = f"{fact[0].upper()}{fact[1:]}. "
        files[-1].write_text(f"# The {topic}\n\n{sentence * 3}", encoding="utf-8")
    return files


def write_asked(folder: Path) -> Path:
    """A file of questions, one for each fact, with the file that answers it."""
    file = folder / "asked.jsonl"
    lines = (
        json.dumps({"question": f"What is worth knowing about the {topic}?", "positives": [f"{topic}.md"]})
        for topic in FACTS
    )
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


class Teacher:
    """`scripted_llm`, which ranks nothing before the gate is opened, not even a sample."""

    def __init__(self) -> None:
        self.gate = threading.Event()

    def __call__(self, messages: list[Message]) -> str:
        if "Rank them" in str(messages[-1]["content"]):
            self.gate.wait(600)
        return scripted_llm(messages)


def scripted_llm(messages: list[Message]) -> str:
    """Answers with a citation, writes a question about a passage's topic, and ranks by the words they share."""
    prompt = str(messages[-1]["content"])
    if "Rank them" in prompt:
        return _ranked(prompt)
    if "Answer, citing passages" in prompt:
        return "It keeps a favourite stone in a pouch of skin [1]."
    topic = next((topic for topic in FACTS if topic in prompt.lower()), "world")
    return f"What is worth knowing about the {topic} and its ways?"


def _ranked(prompt: str) -> str:
    question = set(re.findall(r"\w+", re.findall(r"\n\nQuestion: (.*?)\n\n", prompt, re.DOTALL)[0].lower()))
    passages = re.findall(r"\[(\d+)\] (.*?)(?=\n\n)", prompt, re.DOTALL)
    # Equal ones by their text, not by their place: an assessment finds out who looks at the place.
    ranked = sorted(passages, key=lambda p: (-len(question & set(re.findall(r"\w+", p[1].lower()))), p[1]))
    return " > ".join(f"[{number}]" for number, _ in ranked)
