"""A report says what a run measured and leaves out what it did not, and no name in it becomes markup or a command."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from distill.json_files import parsed
from distill.retriever.publishing import Card, card_text
from distill.verdict.report import Metrics, print_report
from distill.verdict.report import report_markdown as markdown_of

HOSTILE = [
    "a|b",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1)) ![x](http://evil/x.png)",
    "# title",
    "- item",
    "1. item",
    "```\ncode",
    "two\n\n# lines",
    "&lt;b&gt; \\| \\",
    "[bold red]red[/] [/] [link=http://evil]x[/link]",
    "\x1b[2J\x1b]0;owned\x07 \u202egnirts",
    "half \ud800 pair",
]


def all_metrics(name: str = "mine") -> dict[str, Any]:
    """Metrics as a whole run writes them, with `name` wherever a name, a note or a reply may stand."""
    values = {"hit_rate@1": 0.5, "ndcg@10": 0.64}
    return {
        "config": {"name": name, "corpus": name, "seed": 13, "like": ""},
        "versions": {"torch": "2.13"},
        "commit": name,
        "questions": 200,
        "held_out": name,
        "retrievers": {"base": values, f"fused({name})": values | {"ndcg@10": 0.71}},
        "comparisons": [f"{name} against base: ndcg@10 0.560 → 0.640"],
        "rows": {"base": "base", "taught": name},
        "verdict": {
            "promoted": True,
            "sentence": f"{name} is promoted.",
            "advice": [{"sentence": name, "option": name}, {"sentence": name}],
        },
        "teacher": {
            "name": name,
            "statuses": {"ok": 0.9, "repaired": 0.06, "partial": 0.03, "refused": 0.01, "malformed": 0.1},
            "assessment": {
                "mode": name,
                "kappa": 0.45,
                "probe_first": 0.9,
                "self_agreement": 0.41,
                "best_shown_at": [0.05, 0.05, 0.9],
                "agreement_with_start": 0.12,
                "malformed": 0.1,
                "calls": 1.0,
                "trust": "refuse",
                "verdict_kind": "placed",
                "sentence": name,
            },
        },
        "spend": {"calls": 1200, "cached": 3, "prompt_tokens": 90, "reply_tokens": 7, "cost_usd": 0.254},
        "evidence": {"sentence": f"{name} weighed them."},
        "ranker": {
            "kind": "late-interaction",
            "loss": "p_list_mle",
            "n_held_out": 60,
            "agreement_retrieval": 0.35,
            "agreement_untrained": 0.3,
            "agreement_fitted": 0.4,
            "agreement_trained": 0.45,
            "kept": "fitted",
            "notes": [name],
        },
        "retriever": {
            "train": "query",
            "n_train": 1000,
            "loss_at_first": 0.9,
            "loss_at_last": 0.4,
            "notes": [name],
        },
    }


def report_markdown(metrics: dict[str, Any]) -> str:
    return markdown_of(parsed(Metrics, metrics))


def printed(metrics: dict[str, Any], width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False, force_terminal=True, color_system="truecolor")
    with console.capture() as captured:
        print_report(parsed(Metrics, metrics), console)
    return captured.get()


def markdown_tokens(text: str) -> list[str]:
    """The kind of each Markdown element in `text`, line breaks of paragraphs and all."""
    parser = MarkdownIt("commonmark").enable("table")
    return [t.type for token in parser.parse(text) for t in (token, *(token.children or ())) if t.type != "text"]


@pytest.mark.parametrize(
    ("recipe", "train", "said"),
    [
        ("auto", "query", "Trained by the recipe auto, the side of the questions, on 1,000 lists."),
        ("paper", "both", "Trained by the recipe paper, both sides, on 1,000 lists."),
    ],
)
def test_what_was_trained_is_said_with_its_recipe(recipe: str, train: str, said: str) -> None:
    metrics = all_metrics() | {"config": {"recipe": recipe}}
    metrics["retriever"]["train"] = train
    assert said in report_markdown(metrics)


def test_a_ranker_that_no_order_has_taught_is_said_to_be_as_it_began() -> None:
    metrics = all_metrics() | {"ranker": {"kind": "late-interaction", "kept": "untrained"}}
    assert "late-interaction; no order has taught it, and it scored as it began." in report_markdown(metrics)
    assert "no order has taught it" not in report_markdown(all_metrics())
    metrics["ranker"] = all_metrics()["ranker"] | {"n_held_out": 0}
    assert "no order has taught it" in report_markdown(metrics)
    assert "what the teacher put first" not in report_markdown(metrics), "with none that it could be measured on"


def test_what_taught_without_an_llm_is_said() -> None:
    config = {"teacher": "none", "control": True, "votes": "votes.jsonl", "positives": "first"}
    text = report_markdown(all_metrics() | {"config": config, "teacher": {"name": "none (ranker)"}})
    assert "No LLM was asked for orders: the ranker's scores teach." in text
    assert "People's votes count too." in text and "Passages known to answer come first." in text
    assert "People's votes" not in report_markdown(all_metrics())


def test_one_of_a_kind_is_counted_as_one() -> None:
    metrics = all_metrics() | {"questions": 1}
    metrics["retriever"]["n_train"] = 1
    metrics["ranker"]["n_held_out"] = 1
    text = report_markdown(metrics)
    assert "1 held-out question," in text and "on 1 list." in text and "1 order it never saw" in text


def test_the_report_says_each_part_in_its_own_words() -> None:
    text = report_markdown(all_metrics())
    for words in (
        "# Report of run mine",
        "mine is promoted.",
        "200 held-out questions, mine.",
        "| fused(mine) | taught by orders, with keyword search | 0.710 | 0.500 |",
        "- mine (mine)",
        "90.0% as asked, 6.0% repaired, 3.0% partial, 1.0% without an order, 10.0% not in the form asked for.",
        "| mine | 0.450 | 90% | 0.410 | 0.120 | 10% | 1.0 | 5% 5% 90% | refuse: placed |",
        "late-interaction, taught by position-aware ListMLE.",
        "(mean reciprocal place, 60 orders it never saw): 0.350 in the order that retrieval gave, 0.300 untrained, "
        "0.400 with its weights fitted, 0.450 trained; the fitted one was used.",
        "mine weighed them.",
        "Its divergence from its targets went from 0.900 to 0.400 in training.",
        "1,200 calls, 3 replies from the cache, 90 prompt tokens, 7 reply tokens, 0.25 USD.",
        "| seed | 13 |",
    ):
        assert words in text


@pytest.mark.parametrize("part", sorted(all_metrics()))
def test_a_part_that_was_not_measured_is_left_out(part: str) -> None:
    rest = {key: value for key, value in all_metrics().items() if key != part}
    assert len(report_markdown(rest)) < len(report_markdown(all_metrics()))
    assert printed(rest)
    emptied = rest | {part: type(all_metrics()[part])()}
    assert report_markdown(emptied).count("\n## ") <= report_markdown(all_metrics()).count("\n## ")


def test_of_nothing_there_is_only_the_title() -> None:
    assert report_markdown({}) == "# Report\n"
    assert printed({}) == ""


def test_what_the_ranker_was_not_measured_on_is_not_shown() -> None:
    """So few orders that none was held out: figures of 0 would pass for a ranker that is useless."""
    figures = {f"agreement_{of}": 0.0 for of in ("retrieval", "untrained", "fitted", "trained")}
    ranker = {"kind": "late-interaction", "loss": "list_mle", "n_train": 3, "n_held_out": 0, "kept": "trained"}
    assert "put first" not in report_markdown({"ranker": figures | ranker})


def test_a_narrow_terminal_cuts_no_name_and_no_figure() -> None:
    values = {f"{name}@{k}": 0.123 for name in ("hit_rate", "recall") for k in (1, 5, 10, 20)}
    names = ("all-MiniLM-L6-v2", "fused(all-MiniLM-L6-v2)")
    shown = printed({"retrievers": dict.fromkeys(names, values | {"mrr@10": 0.123, "ndcg@10": 0.123})}, width=70)
    assert "…" not in shown
    assert shown.count("0.123") == 12


def test_an_unknown_price_is_not_shown_as_free() -> None:
    assert "price is not known" in report_markdown({"spend": {"calls": 2, "cost_usd": None}})


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_becomes_markup_in_a_report_or_a_model_card(name: str) -> None:
    tokens = markdown_tokens(report_markdown(all_metrics(name)))
    assert tokens == markdown_tokens(report_markdown(all_metrics("plain")))
    report_markdown(all_metrics(name)).encode("utf-8")
    assert markdown_tokens(card_of(name)) == markdown_tokens(card_of("plain"))


def card_of(name: str) -> str:
    """A model card with `name` wherever a name may stand."""
    around: dict[str, object] = {name: name}
    return card_text(
        Card(name=name, base=name, corpus=name, teacher=name, questions=name, settings=around, figures=around)
    )


@settings(max_examples=25)
@given(st.text(alphabet=st.sampled_from("ab1 .-+=#*_`~<>|[]()!&;:/@\\\n\t\r\x0b\x85\u2028$\"'"), max_size=12))
def test_no_text_at_all_changes_the_elements_of_the_report(name: str) -> None:
    name = f"{name}x"
    assert markdown_tokens(report_markdown(all_metrics(name))) == markdown_tokens(report_markdown(all_metrics("x")))


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_acts_on_the_terminal(name: str) -> None:
    shown = printed(all_metrics(name))
    codes = re.compile("\x1b(?:\\[[0-9;]*m)?")
    assert set(codes.findall(shown)) == {"\x1b[1m", "\x1b[0m"}, "only our own bold headings"
    assert "\x07" not in shown and "\u202e" not in shown
    if name.startswith("[bold red]"):
        assert name in shown
