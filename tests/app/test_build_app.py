"""The page can be built, and every event gets as many values as it has outputs."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import partial
from typing import Any, get_args, get_origin, get_type_hints

import gradio as gr

from app.ui.page import STYLE_SHEET, build_app, build_theme
from app.workbench import Workbench

_FILLED_IN = (gr.Request, gr.Request | None, gr.EventData)  # by gradio


def test_every_event_returns_as_many_values_as_it_has_outputs(empty_page: gr.Blocks) -> None:
    events = [event for event in empty_page.fns.values() if event.fn]  # the others are the browser's own
    checked = [_n_values(event.fn) == len(event.outputs) for event in events if _n_values(event.fn)]
    assert all(checked)
    assert len(checked) >= 12


def test_every_event_takes_as_many_values_as_it_has_inputs(empty_page: gr.Blocks) -> None:
    events = [event for event in empty_page.fns.values() if event.fn]
    counted = [event for event in events if _given(event.fn) != ["values"]]
    assert len(events) - len(counted) == 2, "the form's, whose inputs are the fields of `Form` in their order"
    for event in counted:
        assert len(_given(event.fn)) == len(event.inputs), event.fn


def test_nothing_of_the_page_is_counted_or_kept_elsewhere(empty_page: gr.Blocks) -> None:
    assert empty_page.analytics_enabled is False
    assert empty_page.delete_cache == (3600, 86400)


def test_several_visitors_can_ask_at_once(empty_page: gr.Blocks) -> None:
    limits = {event.api_name: event.concurrency_limit for event in empty_page.fns.values()}
    assert limits["ask"] > 1
    assert limits["compare"] > 1


def test_only_asking_and_comparing_are_public(empty_page: gr.Blocks) -> None:
    public = {event.api_name for event in empty_page.fns.values() if event.api_visibility == "public"}
    assert public == {"ask", "compare"}


def test_two_pages_share_nothing(empty_page: gr.Blocks, bench: Workbench) -> None:
    other = build_app(bench)
    assert other is not empty_page
    assert not set(map(id, empty_page.blocks.values())) & set(map(id, other.blocks.values()))


def test_the_theme_loads_nothing_from_elsewhere() -> None:
    css = build_theme()._get_theme_css() + STYLE_SHEET.read_text(encoding="utf-8")
    assert set(re.findall(r"https?://[^'\")]*", css)) <= {"http://www.w3.org/2000/svg"}  # a name, not an address
    assert "@import" not in css


def test_no_rule_changes_a_part_of_what_it_has_set_from_a_variable() -> None:
    """gradio writes the style sheet anew, rule by rule, and then such a border, and with it a spinner, is gone."""
    sides = {"top", "right", "bottom", "left", "color", "width", "style"}
    for body in re.findall(r"{([^{}]*)}", STYLE_SHEET.read_text(encoding="utf-8")):
        pairs = [part.strip().split(":", 1) for part in body.split(";") if ":" in part]
        for place, (name, value) in enumerate(pairs):
            if name == "border" and "var(" in value:
                changed = {later for later, _ in pairs[place + 1 :] if later.startswith("border-")}
                assert not {each for each in changed if each.split("-")[1] in sides}, body


def _inner(fn: Callable[..., Any]) -> Callable[..., Any] | None:
    """The handler that `with_link` or `with_name` has wrapped, None for any other."""
    wraps = getattr(fn, "__qualname__", "").split(".")[0] in ("with_link", "with_name")
    return inspect.getclosurevars(fn).nonlocals["handler"] if wraps else None


def _given(fn: Callable[..., Any]) -> list[str]:
    """The parameters of a handler that the page fills from components; gradio fills in the others by their type."""
    if inner := _inner(fn):
        return [name for name in _given(inner) if name not in ("link", "who")]
    hints = get_type_hints(fn.func if isinstance(fn, partial) else fn)
    known = inspect.signature(fn).parameters.values()
    return [each.name for each in known if hints.get(each.name) not in _FILLED_IN and each.kind != each.KEYWORD_ONLY]


def _n_values(fn: Callable[..., Any]) -> int:
    """How many values a handler returns by its annotation: the fields of its NamedTuple; 0 where it has none."""
    fn = _inner(fn) or fn
    plain = fn.func if isinstance(fn, partial) else fn
    hint = get_type_hints(plain, include_extras=False).get("return") if plain.__name__ != "<lambda>" else None
    inner = next((each for each in (hint, *get_args(hint)) if hasattr(each, "_fields")), None)
    if get_origin(hint) is tuple:
        return len(get_args(hint))
    return len(inner._fields) if inner else int(hint is not None)
