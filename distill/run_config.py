"""What a run is: its settings, and the JSON or TOML file that they are read from and written to."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, TypeAdapter, ValidationError

from distill.candidates import Retrieval
from distill.prompts import Style
from indexes.errors import InputError

Stage = Literal[
    "questions", "candidates", "teacher", "rankings", "ranker", "scores", "retriever", "control", "index", "verdict"
]
STAGES: tuple[Stage, ...] = get_args(Stage)

Train = Literal["both", "query"]
PassageWeights = Literal["none", "idf"]
Recipe = Literal["auto", "paper"]
WITHOUT_LLM = "none"  # the teacher's name in a run that asks no LLM
FROM_FILE = "file"  # and in one whose orders come from a file


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """What a run is: it goes on only with the same settings.

    `teacher` is the LLM's name, `WITHOUT_LLM`, or `FROM_FILE` where `rankings` names a file of orders that were made
    elsewhere; `votes` names one of people's orders, which count beside the teacher's, or alone where it gives none.
    After each of the `rounds` but the last the taught retriever finds again, and the LLM puts in order what it has not
    seen. With `control`, what learns without any order is trained beside what learns orders, to know what they add.
    `recipe` "paper" trains the ranker by ListMLE on the orders alone and the retriever by KL divergence on its scores
    alone; "auto" has the evidence model weigh the orders against the ranker as it begins, and the trained one speak
    where there is no order. `ranker_base` is a cross-encoder to begin stage 1 with; without `trains_ranker`, or where
    `train` is "query", three weights of the ranker are fitted and no more. With "query" passages keep an encoder of
    their own, in whose vectors their rare words count more (`passage_weights` "idf"), or the base's vectors ("none").
    """

    name: str
    corpus: str
    base: str = ""
    questions: str = ""
    log: str = ""
    n_written: Annotated[int, Field(ge=0)] = 0
    like: str = ""
    styles: tuple[Style, ...] = ()
    limit: Annotated[int, Field(ge=0)] = 0
    retrieval: Literal["auto", Retrieval] = "auto"
    n_candidates: Annotated[int, Field(ge=2, le=100)] = 10
    rounds: Annotated[int, Field(ge=1, le=5)] = 1
    teacher: str = ""
    control: bool = True
    rankings: str = ""
    votes: str = ""
    mode: str = "listwise"
    insist: bool = False
    positives: Literal["none", "first"] = "none"
    recipe: Recipe = "auto"
    ranker_base: str = ""
    trains_ranker: bool = True
    train: Train = "both"
    passage_weights: PassageWeights = "idf"
    seed: int = 13

    @property
    def origin(self) -> str:
        """Where the questions came from, for people."""
        written = f"written by {self.teacher}"
        return ("given in a file" if self.questions else written) + (" and asked by live users" if self.log else "")

    @property
    def weighs_passages(self) -> bool:
        """Whether the rare words of a passage count more in its vector, beside a side of their own for questions."""
        return self.train == "query" and self.passage_weights == "idf" and self.recipe == "auto"

    @property
    def trains_whole_ranker(self) -> bool:
        """Whether stage 1 trains all weights: the questions' side alone learns no more from that (docs/log.md)."""
        return self.recipe == "paper" or (self.trains_ranker and self.train == "both")

    @property
    def free_name(self) -> str:
        """The encoder that is taught without any order beside the run's own, "" where there is to be none: a run that
        asks nobody is free itself.
        """
        has_orders = self.teacher != WITHOUT_LLM or self.votes or self.positives != "none"
        return f"{self.name}-free" if self.control and has_orders else ""


# Settings that name a file, from the folder of the settings.
FILES = ("questions", "log", "like", "rankings", "votes")
_NOTED = ("content", "fingerprint")  # what a run notes beside its settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """How a run asks and whom it tells, which may change while it goes on.

    `concurrency` counts requests at a time (0: 8, embedded: 1), `budget` is "2.50 usd" or "200000 tokens",
    `reply_tokens` bounds a reply (an order of 20 passages takes 100; those that think aloud need thousands),
    `report_to` is a tracker.
    """

    concurrency: Annotated[int, Field(ge=0, le=256)] = 0
    budget: str = ""
    reply_tokens: Annotated[int, Field(ge=50)] = 400
    report_to: str = "none"


def read_settings(file: Path | None, given: Mapping[str, Any]) -> tuple[RunConfig, Asking]:
    """The settings in `file`, those in `given` (None: not given) before them.

    Raises `InputError` for a file that cannot be read, a setting that there is none of, or a value that is none of it.
    """
    values = _read(file) if file else {}
    typed = {key: value for key, value in given.items() if value is not None}
    values |= typed
    asking = {field.name for field in fields(Asking)}
    known = {field.name for field in fields(RunConfig)}
    if strangers := sorted(values.keys() - known - asking - set(_NOTED)):
        raise InputError(
            f"{_where(file)}: there is no setting '{strangers[0]}'. There are: {', '.join(sorted(known | asking))}."
        )
    if missing := [name for name in ("corpus", "name") if not values.get(name)]:
        raise InputError(f"{_where(file)}: '{missing[0]}' is missing. Give it in the file or with the command.")
    return (
        _checked(RunConfig, {key: values[key] for key in known & values.keys()}, file, typed),
        _checked(Asking, {key: values[key] for key in asking & values.keys()}, file, typed),
    )


def settings_text(config: RunConfig) -> str:
    """What `read_settings` reads as `config`: everything that is not the default."""
    defaults = {field.name: field.default for field in fields(RunConfig)}
    changed = {key: value for key, value in asdict(config).items() if value != defaults[key]}
    return json.dumps(changed, ensure_ascii=False, indent=2) + "\n"


def _read(file: Path) -> dict[str, Any]:
    is_toml = file.suffix.lower() == ".toml"
    try:
        text = file.read_text(encoding="utf-8-sig")
        values = tomllib.loads(text) if is_toml else json.loads(text)
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}. Give the path of a file of settings.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{file} is not {'TOML' if is_toml else 'JSON'} ({error}). Expected are settings by name, as JSON, or as "
            "TOML in a file whose name ends in .toml."
        ) from error
    if not isinstance(values, dict):
        raise InputError(f'{file} holds no settings by name. Expected is {{"corpus": "handbook", "name": "first"}}.')
    named = {key: values[key] for key in FILES if isinstance(values.get(key), str) and values[key]}
    return values | {key: str((file.parent / value).resolve()) for key, value in named.items()}


def _checked(kind: Any, values: Mapping[str, Any], file: Path | None, typed: Collection[str]) -> Any:
    """`values` as a `kind`; those that were `typed` do not come from `file`."""
    try:
        return TypeAdapter(kind).validate_python(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        name, why = str(first["loc"][0]) if first["loc"] else "?", first["msg"][0].lower() + first["msg"][1:]
        where = _where(None if name in typed else file)
        raise InputError(f"{where}: {name} = {first['input']!r} will not do: {why}.") from None


def _where(file: Path | None) -> str:
    return str(file) if file else "The command"
