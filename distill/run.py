"""One run: its settings, also as a JSON or TOML file, its folder, and what its stages share."""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import MISSING, asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from distill.candidates import Retrieval
from distill.json_files import read_json, write_json
from distill.llm.calls import Asker
from distill.prompts import Style
from distill.ranker.ranker import TokenVectors
from distill.retriever.lists import Train
from indexes.corpus import Corpus
from indexes.encoders.finding import DEFAULT_ENCODER
from indexes.encoders.loading import load_encoder
from indexes.encoders.precision import unmarked
from indexes.encoders.wrappers import RememberingEncoder
from indexes.errors import InputError
from indexes.ingest import index_corpus
from indexes.lexical import LexicalIndex
from indexes.passage_index import PassageIndex
from indexes.paths import DataPaths

Stage = Literal[
    "questions", "candidates", "teacher", "rankings", "ranker", "scores", "retriever", "control", "index", "verdict"
]
STAGES: tuple[Stage, ...] = (
    "questions",
    "candidates",
    "teacher",
    "rankings",
    "ranker",
    "scores",
    "retriever",
    "control",
    "index",
    "verdict",
)

PassageWeights = Literal["none", "idf"]
Recipe = Literal["auto", "paper"]
GIVEN = "given.json"  # digests of the files that a run was given and keeps a copy of
WITHOUT_LLM = "none"  # the teacher's name in a run that asks no LLM
FROM_FILE = "file"  # and in one whose orders come from a file
_WRITING_TEMPERATURE = 0.7

# What changed where no setting did.
_OTHER = {
    "content": "the corpus has other passages now",
    "fingerprint": "the base encoder has other weights now",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """What a run is: it goes on only with the same settings.

    `teacher` is the LLM's name, `WITHOUT_LLM`, or `FROM_FILE` where `rankings` names a file of orders that were made
    elsewhere; `votes` names one of people's orders, which count beside the teacher's, or alone where it gives none.
    After each of the `rounds` but the last the taught retriever finds again, and the LLM puts in order what it has not
    seen. With `control`, what learns without any order is trained beside what learns orders, to know what they add.
    `recipe` "paper" trains the ranker by ListMLE on the orders alone and the retriever by KL divergence on its scores
    alone; "auto" begins with the untrained ranker, and has the evidence model weigh it against the orders. With
    `train` "query" passages keep an encoder of their own, in whose vectors their rare words count more
    (`passage_weights` "idf"), or the base's vectors ("none"). `ranker_base` is a cross-encoder to begin stage 1 with.
    """

    name: str
    corpus: str
    base: str = ""
    questions: str = ""
    log: str = ""
    n_written: int = 0
    like: str = ""
    styles: tuple[Style, ...] = ()
    pair_share: float = 0.25
    topic_share: float = 2 / 3
    limit: int = 0
    retrieval: Literal["auto", Retrieval] = "auto"
    n_candidates: int = 10
    n_scored: int = 50
    rounds: int = 1
    teacher: str = ""
    control: bool = True
    rankings: str = ""
    votes: str = ""
    mode: str = "listwise"
    insist: bool = False
    positives: Literal["none", "first"] = "none"
    recipe: Recipe = "auto"
    ranker_base: str = ""
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
    def free_name(self) -> str:
        """The encoder that is taught without any order beside the run's own, "" where there is to be none: a run that
        asks nobody is free itself.
        """
        has_orders = self.teacher != WITHOUT_LLM or self.votes or self.positives != "none"
        return f"{self.name}-free" if self.control and has_orders else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Where a run is: `done` of `total` steps of a stage, or a remark."""

    stage: Stage
    done: int = 0
    total: int = 0
    remark: str = ""


Report = Callable[[Event], None]
Connect = Callable[[float], Asker]  # temperature → the LLM; all that one command connects share a meter


class Distillation:
    """One run: its folder, its config, and what its stages share."""

    def __init__(
        self,
        paths: DataPaths,
        config: RunConfig,
        connect: Connect,
        report: Report,
        report_to: str = "none",
        token_vectors: TokenVectors | None = None,
    ) -> None:
        self.paths = paths
        self.config = config
        self.report_to = report_to
        self.token_vectors = token_vectors or TokenVectors()
        self.folder = paths.run(config.name)
        self.encoder_folder = paths.encoder(config.name)
        self._connect = connect
        self._report = report
        self.corpus = Corpus.open(paths, config.corpus)
        self.encoder = load_encoder(config.base, paths)
        claim_folder(self)
        self._spent_before = self.spent()

    @cached_property
    def asker(self) -> Asker:
        """The LLM as the teacher, connected when it is first needed."""
        return self._connect(0.0)

    @cached_property
    def writer(self) -> Asker:
        """The LLM as the writer of questions, which are to differ."""
        return self._connect(_WRITING_TEMPERATURE)

    @cached_property
    def index(self) -> PassageIndex:
        """The baseline's index, brought up to date first."""
        for done, total in index_corpus(self.paths, self.corpus, self.encoder):
            self.say("candidates", done, total, "" if total == 0 else "indexing the corpus with the base encoder")
        return PassageIndex.open(self.paths, self.corpus.name, RememberingEncoder(self.encoder))

    @cached_property
    def lexical(self) -> LexicalIndex:
        """The BM25 twin."""
        return LexicalIndex.open(self.paths, self.corpus.name)

    @cached_property
    def texts(self) -> Mapping[str, str]:
        """The full text of each passage by id."""
        return {passage.id: passage.full_text for passage in self.corpus.passages()}

    def keep_spend(self) -> None:
        """Adds what this process has spent on the LLM to what the run had spent before it."""
        asker = self.__dict__.get("asker") or self.__dict__.get("writer")
        if asker is None:
            return
        before, now = self._spent_before, asker.meter.summary()
        total: dict[str, float | None] = {key: (before.get(key) or 0) + (value or 0) for key, value in now.items()}
        if now["cost_usd"] is None or (before and before["cost_usd"] is None):
            total["cost_usd"] = None
        write_json(self.file("spend.json"), total)

    def spent(self) -> dict[str, float | None]:
        """What the run has spent on the LLM, {} if it has asked none."""
        return read_json(self.file("spend.json"))

    def say(self, stage: Stage, done: int = 0, total: int = 0, remark: str = "") -> None:
        """Reports where the run is."""
        self._report(Event(stage=stage, done=done, total=total, remark=remark))

    @property
    def digest(self) -> str:
        """16 hex digits for what the run is: its settings, and what it began with."""
        return hashlib.blake2b(self.file("config.json").read_bytes(), digest_size=8).hexdigest()

    @property
    def teacher_refused(self) -> bool:
        """Whether the teacher's assessment said that its orders are not to be trusted."""
        return bool(read_json(self.file("teacher.json")).get("trust") == "refuse")

    def file(self, name: str) -> Path:
        """A file of the run."""
        return self.folder / name

    def at_round(self, number: int) -> Distillation:
        """This run as if that round were its last, with a folder inside the run's, where its encoder is too."""
        earlier = copy(self)
        earlier.config = replace(self.config, name=f"{self.config.name} (round {number})", rounds=number)
        earlier.folder = self.folder / f"round-{number}"
        earlier.encoder_folder = earlier.folder / "encoder"
        return earlier


@contextmanager
def only_process(run: Distillation) -> Iterator[None]:
    """Keeps a second process off the run's files; the lock goes with its process, so a killed one blocks nobody."""
    from filelock import FileLock, Timeout

    try:
        with FileLock(run.file("lock"), timeout=0):
            yield
    except Timeout as error:
        raise InputError(
            f"Run '{run.config.name}' is going on in another process. Wait for it, or choose another --name."
        ) from error


def claim_folder(run: Distillation) -> None:
    """Notes the run's settings in its folder, or refuses to go on with others than it was begun with."""
    settings = asdict(run.config) | {"content": run.corpus.content_hash()}
    settings["fingerprint"] = unmarked(run.encoder.fingerprint)
    settings["styles"] = list(run.config.styles)  # as JSON gives them back
    file = run.file("config.json")
    if file.is_file():
        known = read_json(file)
        if "recipe" not in known:
            raise InputError(
                f"Run '{run.config.name}' was begun by an earlier version, whose way to teach is gone. Choose another "
                "--name; what the LLM has replied is remembered."
            )
        defaults = {field.name: field.default for field in fields(RunConfig)}
        if is_copied(run.folder, settings["questions"]):
            settings["questions"] = known.get("questions")  # wherever it is now
        changed = [
            _OTHER.get(key, f"{key}: {known.get(key, defaults.get(key))!r} → {value!r}")
            for key, value in settings.items()
            if known.get(key, defaults.get(key)) != value
        ]
        if changed:
            raise InputError(
                f"Run '{run.config.name}' was begun with other settings ({'; '.join(changed)}). Give the same ones to "
                f"go on, choose another --name, or delete {run.folder} to begin anew."
            )
        return
    for name in filter(None, (run.config.name, run.config.free_name)):
        is_taken = name in (run.config.base, DEFAULT_ENCODER)  # it would stand in front of that one
        if is_taken or run.paths.encoder(name).exists():
            raise InputError(f"There is an encoder '{name}' already. Choose another --name.")
    run.folder.mkdir(parents=True, exist_ok=True)
    write_json(file, settings)


def is_copied(folder: Path, questions: str) -> bool:
    """Whether the file `questions` holds what the run in `folder` has a copy of."""
    known = read_json(folder / GIVEN).get("questions")
    return bool(questions and known and digest(questions) == known)


def digest(file: str) -> str | None:
    """A digest of what `file` holds; None where it cannot be read."""
    try:
        return hashlib.sha256(Path(file).read_bytes()).hexdigest()
    except OSError:
        return None


def read_config(folder: Path) -> RunConfig:
    """The settings that the run in `folder` was begun with; raises `InputError` where they cannot be known."""
    known = read_json(folder / "config.json")
    if known and "recipe" not in known:
        raise InputError(f"The run in {folder} was begun by an earlier version and cannot go on. Begin another one.")
    values = {field.name: known.get(field.name, field.default) for field in fields(RunConfig)}
    if any(value is MISSING for value in values.values()):
        raise InputError(f"{folder / 'config.json'} does not say how the run was begun. Begin another one.")
    return RunConfig(**(values | {"styles": tuple(values["styles"])}))


# Settings that name a file, from the folder of the settings.
_FILES = ("questions", "log", "like", "rankings", "votes", "progress")
_NOTED = ("content", "fingerprint")  # what a run notes beside its settings
_BOUNDS = {
    "n_written": (0, math.inf),
    "n_candidates": (2, 100),
    "n_scored": (2, 100),
    "limit": (0, math.inf),
    "rounds": (1, 5),
    "pair_share": (0, 1),
    "topic_share": (0, 1),
    "concurrency": (0, 256),
    "reply_tokens": (50, math.inf),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """How a run asks and whom it tells, which may change while it goes on.

    `concurrency` counts requests at a time (0: 8, embedded: 1), `budget` is "2.50 usd" or "200000 tokens",
    `reply_tokens` bounds a reply (an order of 20 passages takes 100; those that think aloud need thousands),
    `report_to` is a tracker, `progress` a file that always says where the run is.
    """

    concurrency: int = 0
    budget: str = ""
    reply_tokens: int = 400
    report_to: str = "none"
    progress: str = ""


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
        raise InputError(f"{_where(file)}: there is no setting '{strangers[0]}'. There are: {_listed(known | asking)}.")
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
    named = {key: values[key] for key in _FILES if isinstance(values.get(key), str) and values[key]}
    return values | {key: str((file.parent / value).resolve()) for key, value in named.items()}


def _checked(kind: Any, values: Mapping[str, Any], file: Path | None, typed: Collection[str]) -> Any:
    """`values` as a `kind`; those that were `typed` do not come from `file`."""
    from pydantic import TypeAdapter, ValidationError

    def refused(name: str, value: object, why: str) -> InputError:
        return InputError(f"{_where(None if name in typed else file)}: {name} = {value!r} will not do: {why}.")

    try:
        checked = TypeAdapter(kind).validate_python(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        said = first["msg"][0].lower() + first["msg"][1:]
        raise refused(str(first["loc"][0]) if first["loc"] else "?", first["input"], said) from None
    for name in _BOUNDS.keys() & values.keys():
        least, most = _BOUNDS[name]
        if not least <= getattr(checked, name) <= most:
            expected = f"at least {least}" if most == math.inf else f"from {least} to {most}"
            raise refused(name, values[name], f"{expected} is expected")
    return checked


def _where(file: Path | None) -> str:
    return str(file) if file else "The command"


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names))
