"""Questions for a corpus: read, asked by live users or written; which are of no use, and which passages come first."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import regex

from distill.llm.reply_cache import without_thinking
from distill.prompts import Style
from indexes.errors import InputError
from indexes.queries import parse_query, read_lines
from indexes.types import Passage, Query, Vectors

_MIN_WORDS = 25  # shorter ones are headings and fragments


def passages_to_ask_about(passages: Sequence[Passage], *, seed: int) -> list[Passage]:
    """The passages that are long enough (all where none is), by lot: one of each document, then all others."""
    usable = [passage for passage in passages if n_words(passage.text) >= _MIN_WORDS] or list(passages)
    drawn = random.Random(seed).sample(usable, len(usable))  # noqa: S311
    first = {passage.document_id: passage for passage in reversed(drawn)}
    return sorted(drawn, key=lambda passage: first[passage.document_id] is not passage)


_SPACELESS = regex.compile(r"[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Hiragana}\p{Katakana}\p{Han}ー]")


def n_words(text: str) -> float:
    """How many words `text` has, two letters of a script that is written without spaces counting as one."""
    n_spaceless = len(_SPACELESS.findall(text))
    spaced = re.sub("[。、，！？]", " ", _SPACELESS.sub(" ", text)) if n_spaceless else text
    return n_spaceless / 2 + len(spaced.split())


SAME_QUESTION = 0.95  # cosine of two question vectors; our choice: rewordings lie above, other questions below
_LENGTHS: dict[Style, tuple[float, float]] = {"question": (5, 80), "keywords": (2, 12), "claim": (5, 80)}
_LABEL = re.compile(r"^\W*(?:question|query|q|claim|keywords?|keyword search)\s*\d*\s*[:.)]\W*", re.IGNORECASE)
_NUMBER = re.compile(r"^\s*(?:\(?\d{1,2}[.)\]:、．]|[-*•‣])\s+")
_PREFACE = re.compile(r"^[^?？؟]{0,160}[:：]\s*$")
_NOTE = re.compile(r"^\W*(?:note|explanation|answer)\s*:", re.IGNORECASE)
_REFERENCE = re.compile(
    r"(?<!\d)(?:\d+(?:\.\d+)+|\d+\s?\(\w{1,4}\))|§\s*\d|\b(?:section|article|rule|chapter|paragraph)\s+\d", re.I
)
# Words for the thing in front of the writer, in the languages of most users. What is not listed here is still caught
# by the round trip, for such a question does not find its passage again.
_POINTS_AT_PASSAGE = re.compile(
    r"\b(?:this|these|above|following|given|provided|mentioned|first|second|two|both)\s+"
    r"(?:passages?|texts?|excerpts?|paragraphs?|snippets?|documents?|sections?)\b"
    r"|\bthe\s+(?:given\s+|provided\s+)?(?:passages?(?!\s+of)|text|excerpt|paragraph|snippet)\b|\b(?:passage|document)\s+\d"
    r"|\b(?:dies\w*|obig\w*|folgend\w*|genannt\w*)\s+(?:Text\w*|Abschnitt\w*|Passage|Auszug\w*|Dokument\w*)\b"
    r"|\b(?:im|dem|laut)\s+(?:Text|Textabschnitt|Auszug)\b"
    r"|\b(?:ce|cet|cette)\s+(?:texte|passage|extrait|paragraphe|document)\b|\b(?:le|du)\s+texte\b|\bl['’]extrait\b"
    r"|\b(?:este|esta|el|del)\s+(?:texto|pasaje|fragmento|extracto|párrafo|trecho|excerto|parágrafo)\b"
    r"|\b(?:no|do)\s+(?:texto|trecho|excerto)\b"
    r"|\b(?:questo|nel|del|dal)\s+(?:testo|brano|passo|paragrafo)\b"
    r"|\b(?:deze|dit)\s+(?:tekst|passage|alinea|fragment|document)\b|\bde\s+tekst\b"
    r"|\b(?:этом|данном|приведённом|приведенном)\s+(?:тексте|отрывке|документе|абзаце)\b"
    r"|(?:هذا|هذه)\s+(?:النص|الفقرة|المقطع|الوثيقة)"
    r"|(?:这|這|该|該|上述|以下|本)(?:段|篇|个|個)?(?:文字|文本|文章|段落|文档|文檔|材料)|文中"
    r"|(?:この|本|上記の|以下の)(?:文章|文|段落|一節|テキスト|文書)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What a question of some style may look like: its words, and whether it may cite numbered rules."""

    fewest_words: float
    most_words: float
    may_cite: bool


def form_of(style: Style, like: Sequence[str]) -> Form:
    """The form of the real questions `like`; of `style` in general where there are none.

    Half as long as the shortest and half as long again as the longest is still like them. Rule and section numbers
    mean nothing to somebody without the document, but where askers cite them, so may the writer.
    """
    if not like:
        fewest, most = _LENGTHS[style]
        return Form(fewest_words=fewest, most_words=most, may_cite=False)
    lengths = [n_words(question) for question in like]
    return Form(
        fewest_words=max(2.0, min(lengths) / 2),
        most_words=1.5 * max(lengths),
        may_cite=any(_REFERENCE.search(question) for question in like),
    )


def style_of(text: str) -> Style:
    """How `text` asks: by its question mark (of any script), as a sentence, or in keywords."""
    if re.search(r"[?？؟\u037e⁇՞]\W*$", text):
        return "question"
    return "claim" if re.search(r"[.。।!؛]\W*$", text) or n_words(text) > 10 else "keywords"


def question_in(reply: str) -> str:
    """The first question of a reply, "" for none, without thoughts, prefaces, labels, list and quotation marks."""
    for block in re.split(r"\n\s*\n", without_thinking(reply).strip()):
        lines = [
            line for line in block.splitlines() if line.strip() and not (_PREFACE.match(line) or _NOTE.match(line))
        ]
        if text := _cleaned(" ".join(lines[:1] if _NUMBER.match("".join(lines[:1])) else lines)):
            return text
    return ""


def _cleaned(line: str) -> str:
    text = _NUMBER.sub("", _LABEL.sub("", _NUMBER.sub("", line)))
    return " ".join(text.replace("**", "").split()).strip("\"'“”„«»「」` ")


def why_useless(question: str, form: Form) -> str:
    """Why nobody would ask `question` who has not got its passage; "" if somebody might."""
    n = n_words(question)
    if not form.fewest_words <= n <= form.most_words:
        return f"has {n:g} words"
    if _POINTS_AT_PASSAGE.search(question):
        return "points at its passage"
    if _REFERENCE.search(question) and not form.may_cite:
        return "cites a number that only the document explains"
    return ""


def key_of(question: str) -> str:
    """Equal for questions that differ only in case, spaces and punctuation."""
    return " ".join(re.findall(r"\w+", question.casefold()))


class KnownQuestions:
    """The questions there are so far, to tell a new one from a repetition by words and by meaning."""

    def __init__(self, questions: Sequence[str], vectors: Vectors | Sequence[Vectors]) -> None:
        self._keys = {key_of(question) for question in questions}
        self._vectors = [np.asarray(vector, dtype=np.float32) for vector in vectors]

    def adds(self, question: str, vector: Vectors) -> bool:
        """Whether `question`, whose unit vector has shape (D,), is a new one; from now on it is known."""
        if key_of(question) in self._keys:
            return False
        if self._vectors and (np.stack(self._vectors) @ vector).max() >= SAME_QUESTION:
            return False
        self._keys.add(key_of(question))
        self._vectors.append(np.asarray(vector, dtype=np.float32))
        return True


HELD_OUT_SHARE = 0.2
FEWEST_LIKE, MOST_LIKE = 3, 20  # real questions that show the writer how the askers ask


def assign_splits(
    queries: Sequence[Query],
    *,
    seed: int,
    about: Mapping[str, Sequence[str]] | None = None,
    asked: Sequence[Query] = (),
) -> list[Query]:
    """`queries` with the split "train" or "dev", then the `asked` that may train: the one place that decides it.

    `about` has the passages that a question, by its id, was written for. Splits of their own are kept: whatever is not
    "train" is held out. Without any a fifth is held out by lot, and two questions about the same passage, or of the
    same words, always stand on the same side. Nobody knows what answers the live questions `asked`: all of them train,
    but for those that repeat a held-out one.
    """
    if any(query.split for query in queries):
        held_out = {query.id for query in queries if query.split != "train"}
    else:
        held_out = _drawn(queries, about or {}, seed)
    split = [replace(query, split="dev" if query.id in held_out else "train") for query in queries]
    taken = {key_of(query.text) for query in split}
    split += [replace(query, split="train") for query in asked if key_of(query.text) not in taken]
    if not any(query.split == "train" for query in split):
        raise InputError('At least one question to train with was expected, but none has the split "train".')
    return split


def _drawn(queries: Sequence[Query], about: Mapping[str, Sequence[str]], seed: int) -> set[str]:
    """Ids of at most `HELD_OUT_SHARE` of `queries`: whole groups of those that share a passage or their words."""
    groups = _groups(queries, about)
    room = round(HELD_OUT_SHARE * len(queries))
    held_out: set[str] = set()
    for group in random.Random(seed).sample(groups, len(groups)):  # noqa: S311
        if len(held_out) + len(group) <= room:
            held_out.update(group)
    return held_out


def _groups(queries: Sequence[Query], about: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Ids of `queries`, those that are linked by what they share in one group, in the order given."""
    from scipy.cluster.hierarchy import DisjointSet

    links = [
        (f"question {query.id}", shared)
        for query in queries
        for shared in (f"words {key_of(query.text)}", *(f"passage {passage}" for passage in about.get(query.id, ())))
    ]
    linked = DisjointSet({node for link in links for node in link})
    for link in links:
        linked.merge(*link)
    groups: dict[str, list[str]] = {}
    for query in queries:
        groups.setdefault(linked[f"question {query.id}"], []).append(query.id)
    return list(groups.values())


def read_log(file: Path) -> list[Query]:
    """The questions that live users asked, each once, from a log with a record {"question": …} a line.

    Those asked most often come first. A last line that is still being written is left out.
    """
    spelled: dict[str, str] = {}
    times: Counter[str] = Counter()
    for number, line in enumerate(read_lines(file)[:-1], start=1):
        if not line.strip():
            continue
        text = " ".join(parse_query(line, number, file).text.split())
        spelled.setdefault(key_of(text), text)
        times[key_of(text)] += 1
    return [Query(id=f"u{number}", text=spelled[key]) for number, (key, _) in enumerate(times.most_common(), start=1)]


def read_like(file: Path, *, seed: int) -> list[str]:
    """Real questions that show how the askers ask: 3 to 20, drawn by `seed` where `file` has more of them.

    `file` has one a line, as plain text or as records {"question": …}, such as a question file or the app's log.
    """
    lines = [line.strip() for line in read_lines(file) if line.strip()]
    texts = [parse_query(line, n, file).text if line.startswith("{") else line for n, line in enumerate(lines, start=1)]
    questions = list({key_of(text): text for text in texts}.values())
    if len(questions) < FEWEST_LIKE:
        raise InputError(
            f"{FEWEST_LIKE} to {MOST_LIKE} different questions that show how people ask were expected in '{file}', "
            f"but it has {len(questions)}. Put one on each line."
        )
    if len(questions) > MOST_LIKE:
        return random.Random(seed).sample(questions, MOST_LIKE)  # noqa: S311
    return questions
