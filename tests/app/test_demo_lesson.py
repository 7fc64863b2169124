"""The demonstration's lesson: offered where it can be had, begun with what this Python knows, and honest in the end."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from typing import Any

import pytest
from finished_runs import write

from app.demo import DEMO_CORPUS
from app.demo_lesson import RUN, compare_found, state_of, teach
from app.handlers.ask import ENDED, show_lesson, teach_demo
from app.jobs.jobs import Jobs
from app.workbench import Workbench
from distill.run_config import FROM_FILE, read_settings
from indexes.errors import InputError
from indexes.filters import EVERYTHING, PassageFilter
from indexes.ingest import add_files
from indexes.paths import DataPaths
from indexes.types import Candidate, Passage, Query


def packaged(name: str) -> list[dict[str, Any]]:
    content = (resources.files("app") / "demo_data" / name).read_bytes()
    return [json.loads(line) for line in gzip.decompress(content).decode("utf-8").splitlines()]


class Starting(Jobs):
    """Jobs that keep what they are to start, and start nothing."""

    files: Any = None

    def start(self, job: Any, secrets: Any, files: Any) -> None:
        if self.files:
            raise InputError("'another' is being taught. Wait until it is done.")
        self.files = files


@pytest.fixture
def demo(bench: Workbench, tmp_path: Any) -> Workbench:
    """A workbench with a demonstration corpus of two entries, as another Python may have left all others out."""
    entries = [{"id": name, "title": name, "text": f"What {name} does."} for name in ("heapq.merge", "copy.deepcopy")]
    file = tmp_path / "docs.jsonl"
    file.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    for _ in add_files(bench.paths, DEMO_CORPUS, [file], bench.retrievers.encoder("keywords")):
        pass
    return replace(bench, jobs=Starting(bench.paths))


def test_no_question_that_judges_has_an_order_that_teaches() -> None:
    splits = {question["id"]: question["split"] for question in packaged("questions.jsonl.gz")}
    orders = packaged("llm_rankings.jsonl.gz")
    assert {splits[order["id"]] for order in orders} == {"train"}
    assert len(orders) == sum(split == "train" for split in splits.values())
    assert all(sorted(order["ranking"]) == sorted(order["shown"]) for order in orders)


def test_it_is_offered_on_the_demonstration_once_that_is_indexed(demo: Workbench, corpus: str) -> None:
    assert state_of(demo, DEMO_CORPUS) == "offered"
    assert state_of(replace(demo, encoder="another"), DEMO_CORPUS) == "none"
    assert state_of(demo, corpus) == state_of(demo, None) == "none"
    assert not show_lesson(demo, corpus).teach["visible"]
    shown = show_lesson(demo, DEMO_CORPUS)
    assert shown.teach["visible"] and "asks no LLM" in shown.teach["value"]
    assert not shown.timer["active"]


def test_it_teaches_by_the_questions_that_this_python_can_answer(demo: Workbench) -> None:
    teach(demo)
    assert isinstance(demo.jobs, Starting)
    given = [json.loads(line) for line in gzip.decompress(demo.jobs.files["questions.jsonl.gz"]).splitlines()]
    assert 0 < len(given) < 20
    assert all({"heapq.merge", "copy.deepcopy"} & {*question["positives"]} for question in given)
    file = demo.paths.root / "settings.json"
    file.write_bytes(demo.jobs.files["settings.json"])
    config, _ = read_settings(file, {})
    assert (config.name, config.corpus, config.trains_ranker, config.control) == (RUN, DEMO_CORPUS, False, True)
    assert config.rankings.endswith("llm_rankings.jsonl.gz")
    assert config.teacher in ("", FROM_FILE)


def test_while_another_retriever_is_taught_it_says_so(demo: Workbench) -> None:
    teach(demo)
    assert "'another' is being taught" in str(teach_demo(demo, DEMO_CORPUS).text["value"]).replace("&#x27;", "'")


def test_a_lesson_that_stopped_can_go_on(demo: Workbench) -> None:
    write(demo.paths.run(RUN) / "config.json", {"name": RUN})
    shown = show_lesson(demo, DEMO_CORPUS)
    assert shown.state == "stopped"
    assert shown.teach["visible"] and shown.teach["value"] == "Go on with it"


class Fixed:
    """A search that finds the same documents for each question, whatever it asks."""

    def __init__(self, **found: str) -> None:
        self._found = found

    def search_many(self, questions: Sequence[str], k: int, where: PassageFilter = EVERYTHING) -> list[list[Candidate]]:
        return [
            [
                Candidate(passage=Passage(id=f"{d}-0", document_id=d, source="s", text="t"), score=1.0)
                for d in self._found[question]
            ]
            for question in questions
        ]


def test_what_was_gained_and_what_was_lost_are_counted_alike() -> None:
    queries = [Query(id=name, text=name, positives=("x",)) for name in ("risen", "fallen", "kept", "never")]
    baseline = Fixed(risen="abcdefx", fallen="x", kept="ax", never="abc")
    taught = Fixed(risen="x", fallen="abcdefx", kept="xa", never="abc")
    said, gained = compare_found(queries, baseline, taught)
    assert gained == ("risen",)
    assert said.startswith("Of 4 questions") and "passages for 2, the taught retriever for 2:" in said
    assert "finds 1 that the baseline misses, and misses 1 that the baseline finds" in said


def test_its_end_shows_the_verdict_and_questions_to_click(demo: Workbench) -> None:
    finish(demo.paths)
    for _ in add_files_of(demo):
        pass
    shown = show_lesson(demo, DEMO_CORPUS)
    assert shown.state == "done"
    assert "&lt;b&gt;no gain&lt;/b&gt;" in shown.text["value"]
    assert "Of 1 questions that took no part" in shown.text["value"]
    assert not shown.teach["visible"] and not shown.timer["active"]
    assert show_lesson(demo, DEMO_CORPUS, "going on").state == ENDED, "who waited for it is shown what it came to"


def finish(paths: DataPaths) -> None:
    write(paths.run(RUN) / "config.json", {"name": RUN, "corpus": DEMO_CORPUS})
    write(paths.run(RUN) / "metrics.json", {"verdict": {"sentence": "<b>no gain</b>", "encoder": ""}})
    question = {"id": "1", "question": "What merges?", "positives": ["heapq.merge"], "split": "dev"}
    (paths.run(RUN) / "questions.jsonl").write_text(json.dumps(question) + "\n", encoding="utf-8")
    paths.encoder(RUN).mkdir(parents=True)


def add_files_of(demo: Workbench) -> Any:
    from indexes.corpus import Corpus
    from indexes.ingest import update_index

    return update_index(demo.paths, Corpus.open(demo.paths, DEMO_CORPUS), demo.retrievers.encoder(RUN))
