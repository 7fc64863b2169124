"""What becomes of a reply: the questions in it, and why one of them is of no use."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distill.questions.prompts import Style
from distill.questions.sampling import n_words
from indexes.types import Vectors

SAME_QUESTION = 0.95  # cosine of two question vectors; our choice: rewordings lie above, other questions below
_LENGTHS: dict[Style, tuple[float, float]] = {"question": (5, 80), "keywords": (2, 12), "claim": (5, 80)}
_THINKING = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL | re.IGNORECASE)
_LABEL = re.compile(r"^\W*(?:question|query|q|claim|keywords?|keyword search)\s*\d*\s*[:.)]\W*", re.IGNORECASE)
_NUMBER = re.compile(r"^\s*(?:\(?\d{1,2}[.)\]:、．]|[-*•‣])\s+")
_PREFACE = re.compile(r"^[^?？؟]{0,160}[:：]\s*$")
_NOTE = re.compile(r"^\W*(?:note|explanation|answer)\s*:", re.IGNORECASE)
_REFERENCE = re.compile(
    r"\d+(?:\.\d+)+|\d+\s?\(\w{1,4}\)|§\s*\d|\b(?:section|article|rule|chapter|paragraph)\s+\d", re.I
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


def questions_in(reply: str, n: int) -> list[str]:
    """At most `n` questions of a reply, without thinking blocks, prefaces, labels, list marks and quotation marks."""
    text = _THINKING.sub("", reply).strip()
    lines = [line for line in text.splitlines() if line.strip() and not _PREFACE.match(line)]
    if n == 1:
        lines = [" ".join(_first_block(text))] if len(lines) > 1 and not _NUMBER.match(lines[0]) else lines
    cleaned = [_cleaned(line) for line in lines if not _NOTE.match(line)]
    return [question for question in cleaned if question][:n]


def _first_block(text: str) -> list[str]:
    blocks = [block.splitlines() for block in re.split(r"\n\s*\n", text)]
    kept = [[line.strip() for line in block if line.strip() and not _PREFACE.match(line)] for block in blocks]
    return next((block for block in kept if block), [])


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
