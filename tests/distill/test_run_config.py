"""All settings of a run can be given in a file; what is wrong with one is said by the name of the setting."""

from __future__ import annotations

import json
from dataclasses import MISSING, asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from distill.__main__ import app
from distill.json_files import write_json
from distill.run_config import Asking, RunConfig, read_settings, settings_text
from indexes.errors import InputError

PLAIN = RunConfig(name="first", corpus="handbook")
# A value other than the default for every setting of a run.
OTHERS: dict[str, Any] = {
    "name": "-n",
    "corpus": "field notes",
    "base": "keywords",
    "questions": "/q.jsonl",
    "log": "/asked.jsonl",
    "n_written": 50,
    "like": "/like.txt",
    "styles": ("claim", "question"),
    "limit": 7,
    "retrieval": "dense",
    "n_candidates": 6,
    "rounds": 2,
    "teacher": 'a model, wisé "and" old',
    "control": False,
    "rankings": "/orders.jsonl",
    "votes": "/votes.jsonl",
    "mode": "listwise-3",
    "insist": True,
    "positives": "first",
    "recipe": "paper",
    "ranker_base": "/cross",
    "trains_ranker": False,
    "train": "query",
    "passage_weights": "none",
    "seed": 5,
}
ASKING = Asking(concurrency=3, budget="2.50 usd", reply_tokens=4000, report_to="tensorboard")


def file_of(folder: Path, text: str, name: str = "settings.json") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def toml_of(values: dict[str, Any]) -> str:
    """`values` as TOML, whose texts, numbers, truths and lists are written as JSON's."""
    return "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in values.items())


@pytest.mark.parametrize("ending", ["json", "toml"])
def test_every_setting_of_a_run_and_of_its_asking_can_be_given_in_a_file(tmp_path: Path, ending: str) -> None:
    values = OTHERS | asdict(ASKING)
    text = json.dumps(values) if ending == "json" else toml_of(values)
    config, asking = read_settings(file_of(tmp_path, text, f"settings.{ending}"), {})
    assert (config, asking) == (RunConfig(**OTHERS), ASKING)


@pytest.mark.parametrize("setting", [field.name for field in fields(RunConfig)])
def test_a_setting_that_was_written_is_read_back_as_it_was(tmp_path: Path, setting: str) -> None:
    """The page writes the file, and the command reads it: whatever is lost between them is another run."""
    config = replace(PLAIN, **{setting: OTHERS[setting]})
    assert getattr(config, setting) != next(f.default for f in fields(RunConfig) if f.name == setting)
    assert read_settings(file_of(tmp_path, settings_text(config)), {}) == (config, Asking())


def test_what_is_not_said_stays_unwritten_so_that_a_later_default_counts() -> None:
    assert json.loads(settings_text(PLAIN)) == {"name": "first", "corpus": "handbook"}
    assert {f.name for f in fields(RunConfig) if f.default is MISSING} == {"name", "corpus"}


def test_options_come_before_the_file_and_those_not_given_leave_it_alone(tmp_path: Path) -> None:
    file = file_of(tmp_path, '{"corpus": "c", "name": "n", "train": "query", "rounds": 2, "control": false}')
    given = {"name": "other", "train": None, "rounds": 1, "control": True, "budget": "5 usd"}
    config, asking = read_settings(file, given)
    assert config == RunConfig(corpus="c", name="other", train="query", rounds=1)
    assert asking.budget == "5 usd"


def test_a_path_in_a_file_begins_where_the_file_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    (tmp_path / "in").mkdir()
    relative = {name: f"../{name}.x" for name in ("questions", "log", "like", "rankings", "votes")}
    file = file_of(tmp_path / "in", json.dumps({"corpus": "c", "name": "n"} | relative))
    config, asking = read_settings(file, {"votes": "/given/votes.jsonl"})
    found = asdict(config) | asdict(asking)
    expected = {name: str(tmp_path.resolve() / f"{name}.x") for name in relative} | {"votes": "/given/votes.jsonl"}
    assert {name: found[name] for name in relative} == expected


@pytest.mark.parametrize("name", ["method", "objective", "n-candidates", "Corpus"])
def test_a_setting_that_there_is_none_of_is_refused_with_those_there_are(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError) as raised:
        read_settings(file_of(tmp_path, json.dumps({"corpus": "c", "name": "n", name: 1})), {})
    assert f"settings.json: there is no setting '{name}'. There are: base, budget," in str(raised.value)
    assert all(each.name in str(raised.value) for kind in (RunConfig, Asking) for each in fields(kind))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("train", "full", "'both' or 'query'"),
        ("recipe", "papers", "'auto' or 'paper'"),
        ("retrieval", "all", "'auto'"),
        ("styles", "claim", "valid tuple"),
        ("styles", ["claims"], "'question'"),
        ("n_candidates", "many", "valid integer"),
        ("n_candidates", 1, "greater than or equal to 2"),
        ("n_candidates", 101, "less than or equal to 100"),
        ("rounds", 0, "greater than or equal to 1"),
        ("limit", -1, "greater than or equal to 0"),
        ("control", "perhaps", "valid boolean"),
        ("questions", ["q.jsonl"], "valid string"),
        ("teacher", 5, "valid string"),
        ("concurrency", 1000, "less than or equal to 256"),
        ("reply_tokens", 3, "greater than or equal to 50"),
        ("seed", 1.5, "valid integer"),
    ],
)
def test_a_value_that_will_not_do_is_named_with_what_is_expected(
    tmp_path: Path, name: str, value: object, expected: str
) -> None:
    file = file_of(tmp_path, json.dumps({"corpus": "c", "name": "n"} | {name: value}))
    with pytest.raises(InputError) as raised:
        read_settings(file, {})
    came = value[0] if isinstance(value, list) and name == "styles" else value
    assert f"settings.json: {name} = {came!r} will not do: " in str(raised.value)
    assert expected in str(raised.value)
    with pytest.raises(InputError, match=rf"^The command: {name} = "):
        read_settings(file, {name: value})


@pytest.mark.parametrize("name", ["corpus", "name"])
@pytest.mark.parametrize("kept", [{}, {"corpus": ""}, {"name": ""}])
def test_a_corpus_and_a_name_are_asked_for(tmp_path: Path, name: str, kept: dict[str, str]) -> None:
    values = {"corpus": "c", "name": "n"} | kept
    values[name] = ""
    missing = "corpus" if not values["corpus"] else "name"
    with pytest.raises(InputError, match=f"settings.json: '{missing}' is missing"):
        read_settings(file_of(tmp_path, json.dumps(values)), {})
    with pytest.raises(InputError, match=f"The command: '{name}' is missing"):
        read_settings(None, {key: value for key, value in {"corpus": "c", "name": "n"}.items() if key != name})


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("s.json", "corpus = 'c'", "is not JSON (Expecting value"),
        ("s.toml", '{"corpus": "c"}', "is not TOML ("),
        ("s.TOML", "corpus", "is not TOML ("),
        ("s.json", "", "is not JSON"),
        ("s.json", "[" * 99_999, "is not JSON"),
        ("s.json", '["corpus"]', "holds no settings by name"),
        ("s.json", "3", "holds no settings by name"),
    ],
)
def test_a_file_of_another_form_is_said_with_the_form_expected(
    tmp_path: Path, name: str, text: str, sentence: str
) -> None:
    file = file_of(tmp_path, text, name)
    with pytest.raises(InputError) as raised:
        read_settings(file, {})
    assert str(raised.value).startswith(str(file)) and sentence in str(raised.value)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_settings(tmp_path / "none.json", {})
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read_settings(tmp_path, {})
    (tmp_path / "s.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="is not JSON"):
        read_settings(tmp_path / "s.json", {})


def test_what_a_run_noted_of_itself_can_be_given_to_go_on_with_it(tmp_path: Path) -> None:
    config = RunConfig(**OTHERS)
    write_json(tmp_path / "config.json", asdict(config) | {"content": "c0ffee", "fingerprint": "f00d"})
    assert read_settings(tmp_path / "config.json", {"budget": "1 usd"}) == (config, Asking(budget="1 usd"))


def test_the_command_has_fewer_than_twenty_options_and_the_file_takes_the_rest() -> None:
    parameters = typer.main.get_command(app).commands["run"].params  # type: ignore[attr-defined]
    options = [p for p in parameters if p.param_type_name == "option" and not p.hidden]
    assert len(options) < 20
    helped = CliRunner().invoke(app, ["run", "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output
    assert all(f"--{p.name.replace('_', '-')}" in helped for p in options if p.name != "as_json")


def test_the_readme_names_every_setting_with_its_default() -> None:
    """What only the file takes is found nowhere else."""
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
    table = readme.partition("| setting | default | |")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.split(" | ")] for line in table.splitlines() if line.startswith("| `")]
    named = {name.strip(" |`"): default for names, default, *_ in rows for name in names.split(",")}
    known = {field.name: field.default for kind in (RunConfig, Asking) for field in fields(kind)}
    assert sorted(named) == sorted(known)
    for name in ("retrieval", "mode", "positives", "recipe", "train", "passage_weights", "report_to"):
        assert named[name] == f"`{known[name]}`" or named[name].startswith(f"`{known[name]}`,")
    for name in ("n_candidates", "concurrency", "rounds", "seed", "limit"):
        assert named[name] == f"`{known[name]}`"
