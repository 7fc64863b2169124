"""What the Compare tab shows, step by step, with a fake encoder and a scripted LLM."""

from __future__ import annotations

from scripted_endpoint import ScriptedEndpoint

from app.handlers import comparing, pickers
from app.handlers.buttons import StopFlag
from app.workbench import Workbench

QUESTION = "Why do honey bees dance?"


def is_enabled(update: object) -> bool | None:
    return update.get("interactive") if isinstance(update, dict) else None


def test_both_sides_find_and_answer(bench: Workbench, corpus: str, taught: str, endpoint: ScriptedEndpoint) -> None:
    views = list(comparing.compare(bench, QUESTION, corpus, "keywords", taught, True, False, StopFlag()))
    html = {field: "".join(str(getattr(view, field)) for view in views) for field in comparing.CompareView._fields}
    assert html["passages"].count('class="source">bees.txt') == 2
    assert 'href="#left-passage-1"' in html["left_answer"]
    assert 'href="#right-passage-1"' in html["right_answer"]
    assert "4 of 4 passages were found by both" in html["summary"]
    assert "Distilled: taught" in html["summary"]
    assert len(endpoint.requests) == 2
    assert is_enabled(views[-1].compare)


def test_without_answers_no_llm_is_asked(
    bench: Workbench, corpus: str, taught: str, endpoint: ScriptedEndpoint
) -> None:
    views = list(comparing.compare(bench, QUESTION, corpus, "keywords", taught, False, False, StopFlag()))
    assert "bees.txt" in str(views)
    assert not endpoint.requests


def test_two_equal_sides_are_no_comparison(bench: Workbench, corpus: str) -> None:
    (view,) = comparing.compare(bench, QUESTION, corpus, "keywords", "keywords", True, False, StopFlag())
    assert "two different ones" in view.summary


def test_one_retriever_is_offered_with_the_way_to_a_second(bench: Workbench, corpus: str) -> None:
    choices = pickers.list_compare_choices(bench, corpus, None, None)
    assert "python -m distill run nature" in choices.teach["value"]
    assert (choices.left["value"], choices.right["value"]) == ("keywords", "lexical"), "the words are there already"


def test_two_retrievers_are_offered_side_by_side(bench: Workbench, corpus: str, taught: str) -> None:
    choices = pickers.list_compare_choices(bench, None, None, None)
    assert (choices.left["value"], choices.right["value"]) == ("keywords", taught)
    assert choices.left["choices"] == [
        ("Baseline", "keywords"),
        ("Distilled: taught", "taught"),
        ("Lexical", "lexical"),
        ("Fused", "fused"),
    ]
    assert choices.body["visible"] is True
