"""A question and its passages → an answer, streamed and cited; follow-ups, and the words that a citation means."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import regex
from langchain_core.language_models import BaseChatModel

from distill.llm.connection import as_user_error, llm_errors
from distill.llm.reply_cache import how_ended, without_thinking
from distill.prompts import NO_ANSWER, answer_messages, standalone_messages
from indexes.errors import UserError
from indexes.lexical import SPACELESS, words_of
from indexes.observing import count, step
from indexes.types import Passage

N_REMEMBERED = 6
_N_READ = 3  # turns that the LLM reads to understand a follow-up: a local one reads about 60 tokens a second
_ANSWER_CHARACTERS = 400
_MAX_CHARACTERS = 500
_LONGEST_ANSWER = 40_000  # characters: what is longer is a machine that repeats itself
_LONGER = " APP_ANSWER_TOKENS sets how long it may be; LLMs that think aloud need thousands."


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One question as it was typed and as it was searched, and its answer with where its passages stand."""

    question: str
    searched: str
    answer: str
    sources: tuple[str, ...] = ()


def remember(turns: Sequence[Turn], turn: Turn) -> tuple[Turn, ...]:
    """The last `N_REMEMBERED` turns, `turn` the newest."""
    return (*turns, turn)[-N_REMEMBERED:]


def stand_alone(llm: BaseChatModel, turns: Sequence[Turn], question: str) -> str:
    """`question` rewritten by `llm` so that a search understands it; as it is where the reply is no question.

    Raises an `LLMError` where the LLM cannot be asked.
    """
    with llm_errors():
        said = [(turn.searched, _short(turn.answer)) for turn in turns[-_N_READ:]]
        reply = llm.invoke(standalone_messages(said, question))
    return question if how_ended(reply) else _first_line(without_thinking(str(reply.text))) or question


def _first_line(reply: str) -> str:
    """The first line of a reply without quotes and labels, "" if it is none or endless."""
    line = next((each.strip() for each in reply.splitlines() if each.strip()), "")
    label, colon, rest = line.partition(":")
    if colon and label.strip("*_ ").casefold() in ("question", "rewritten question", "last question"):
        line = rest
    line = line.strip(" \t\"'*“”")
    return line if len(line) <= _MAX_CHARACTERS else ""


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _ANSWER_CHARACTERS else text[:_ANSWER_CHARACTERS].rstrip() + " …"


_MIN_WORDS = 4  # of a sentence, below which shared words mean nothing
_MIN_SHARE = 0.6  # of a sentence's words that its passage must have
_MIN_SHARED = 2  # words that a passage's sentence must share with what it is cited for
# . ! ? end a sentence before a blank only, 。 ؟ । and their like always; quotes and brackets that close belong to it.
_END = r"[\p{SB=STerm}--[!?]]"
_SENTENCE = regex.compile(
    rf"[[^.!?\n]--{_END}]+(?:[.!?](?!\s|$)[[^.!?\n]--{_END}]*)*[[.!?]||{_END}]*[”’)」』）》]*", regex.VERSION1
)
_FENCE = regex.compile(r"(```.*?(?:```|\Z))", regex.DOTALL)
_MEANS = regex.compile(rf"\p{{Cased}}\X{{3}}|[{SPACELESS}]\X|\p{{Lo}}\X{{2}}|\p{{N}}\X{{3}}")


def cite_by_words(text: str, passages: Sequence[str]) -> str:
    """`text` with [n] at the end of each sentence most of whose words stand in passage n; code is left as it is."""
    known = [_words(passage) for passage in passages]
    parts = _FENCE.split(text)
    return "".join(
        part if part.startswith("```") else _SENTENCE.sub(lambda match: _cite(match[0], known), part) for part in parts
    )


def _cite(sentence: str, known: Sequence[frozenset[str]]) -> str:
    words = _words(sentence)
    if len(words) < _MIN_WORDS or not known:
        return sentence
    shares = [len(words & passage) / len(words) for passage in known]
    best = max(range(len(shares)), key=shares.__getitem__)
    if shares[best] < _MIN_SHARE:
        return sentence
    found = _STEM.match(sentence)
    stem = found[0] if found else ""
    return f"{stem} [{best + 1}]{sentence[len(stem) :]}"


def _words(text: str) -> frozenset[str]:
    """The words of `text` that carry meaning: of four letters and more, fewer where a script writes no vowels."""
    return frozenset(word for word in words_of(text) if _MEANS.match(word))


def supporting_span(claim: str, passage: str) -> tuple[int, int] | None:
    """The characters of `passage` that say what `claim` says: its sentence, or two in a row, with most of the words.

    None where no sentence shares enough of them.
    """
    wanted = _words(claim)
    sentences = [match for match in _SENTENCE.finditer(passage) if match[0].strip()]
    best: tuple[float, int, int] | None = None
    for first in range(len(sentences)):
        for last in (first, first + 1):
            if last < len(sentences):
                best = _better(best, wanted, passage, sentences[first].start(), sentences[last].end())
    return (best[1], best[2]) if best else None


def _better(
    best: tuple[float, int, int] | None, wanted: frozenset[str], passage: str, start: int, end: int
) -> tuple[float, int, int] | None:
    """The span that covers more of the claim; of two that cover nearly the same, the shorter."""
    text = passage[start:end]
    start += len(text) - len(text.lstrip())
    end -= len(text) - len(text.rstrip())
    shared = len(wanted & _words(text))
    if shared < min(_MIN_SHARED, len(wanted)) or not shared:
        return best
    score = shared - (end - start) / 500  # a second sentence has to bring words of its own
    return (score, start, end) if best is None or score > best[0] else best


def last_sentence(text: str) -> str:
    """The last sentence of `text`, whose citation may stand after its full stop."""
    found = [match[0].strip() for match in _SENTENCE.finditer(without_citations(text)) if match[0].strip()]
    return found[-1] if found else ""


# [1], [1, 2], [1-3], [Source 2], [^1], 【1】, 【1†source】, (来源 1); several in a row are several citations. In round
# brackets a number is one only behind a label: they hold years and quantities too.
_LABEL = (
    r"(?:(?:passage|source|citation|cite|document|doc|reference|ref|footnote|context|snippet|excerpt|textstelle|quelle|"
    r"beleg|pasaje|fragmento|fuente|passagem|trecho|fonte|passaggio|bron|källa|kilde|źródło|источник|отрывок|фрагмент|"
    r"джерело|来源|來源|资料|資料|文献|段落|引用|出典|출처|문서|구절|स्रोत|مصدر|المصدر|المقطع|منبع|מקור|kaynak|"
    r"nguồn|sumber)(?:e?[sn])?\s*[.:#：№]?\s*)"
)
_NUMBER = r"\d{1,3}(?:\s?†[^\]］】\n]{0,80})?"
_ITEM = rf"(?:{_LABEL}|[\^#№]\s*)?{_NUMBER}\^?"
_BETWEEN = r"(?:\s*(?:[,;&，；、،]|[-–—~〜～]|和|与|到|と|및)\s*|\s+(?:and|to|und|bis|et|à|y|e|och|og|en|и|و)\s+)"
_CITATION = regex.compile(
    rf"[\[［【〔]\s*(?P<listed>{_ITEM}(?:{_BETWEEN}{_ITEM})*)\s*[\]］】〕]"
    rf"|[(（]\s*(?P<listed>{_LABEL}{_NUMBER}(?:{_BETWEEN}{_ITEM})*)\s*[)）]",
    regex.IGNORECASE,
)
_RANGE = regex.compile(rf"(\d+)\s*(?:[-–—~〜～]|to|bis|à|到)\s*(?:{_LABEL}|[\^#№])?(\d+)|(\d+)", regex.IGNORECASE)
_ASIDE = regex.compile(r"†[^\]］】,;，；、\n]*")
_STEM = regex.compile(r"(?s:.*)(?<![\p{SB=Close}\p{SB=STerm}.\s])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """Characters `start` to `end` of an answer, which cite the passages with these numbers (from 1)."""

    start: int
    end: int
    numbers: tuple[int, ...]


def find_citations(text: str, n_passages: int) -> list[Citation]:
    """The citations in `text`; numbers that no passage has are left out, and so is a citation without any other."""
    found = []
    for match in _CITATION.finditer(text):
        numbers = tuple(dict.fromkeys(n for n in _expand(match["listed"]) if 1 <= n <= n_passages))
        if numbers:
            found.append(Citation(start=match.start(), end=match.end(), numbers=numbers))
    return found


def without_citations(text: str) -> str:
    """`text` without whatever looks like a citation."""
    return str(_CITATION.sub("", text))


def _expand(listed: str) -> Iterator[int]:
    for first, last, single in _RANGE.findall(_ASIDE.sub("", listed)):
        if single:
            yield int(single)
        else:
            yield from range(int(first), min(int(last), int(first) + 50) + 1)


State = Literal["waiting", "writing", "done", "stopped", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer as it stands. `notice` says what is waited for, why it broke off, or whose the citations are."""

    n_passages: int
    state: State = "waiting"
    text: str = ""
    notice: str = ""
    first_word_s: float | None = None
    took_s: float = 0.0

    @property
    def says_nothing(self) -> bool:
        """Whether the reader found no answer in the passages."""
        plain = without_citations(self.text).strip(" \n\t\"'*_.。“”")
        return plain.casefold() == NO_ANSWER.strip(".").casefold()

    @property
    def citations(self) -> list[Citation]:
        """The citations of the passages that were given."""
        return find_citations(self.text, self.n_passages)


def answer_question(llm: BaseChatModel, question: str, passages: Sequence[Passage]) -> Iterator[Answer]:
    """The growing answer to `question` from `passages` in the order in which they are shown, which binds the numbers.

    The last one is "done", or "failed" with what had come until then and the sentence that says why. An LLM's thoughts
    are no part of it; what is longer than any answer is broken off, and what the endpoint cut or held back is said.
    """
    started = time.perf_counter()
    answer, said, thinks, ended = Answer(n_passages=len(passages)), "", False, ""
    try:
        for piece in _pieces(llm, question, passages):
            new = str(piece.text)
            said, ended = said + new, how_ended(piece) or ended
            if thinks and ">" not in new:
                continue
            thinks = "<" in said and not without_thinking(said + ".")
            grown = without_thinking(said, is_whole=False)[:_LONGEST_ANSWER]
            if grown != answer.text:
                took_s = time.perf_counter() - started
                first_s = took_s if answer.first_word_s is None else answer.first_word_s
                answer = replace(answer, state="writing", text=grown, first_word_s=first_s, took_s=took_s)
                yield answer
            if len(grown) == _LONGEST_ANSWER:
                ended = f"was longer than {_LONGEST_ANSWER:,} characters and was broken off"
                break
        answer = replace(answer, text=without_thinking(said)[:_LONGEST_ANSWER])
    except Exception as error:
        shown = error if isinstance(error, UserError) else as_user_error(error)
        if shown is None:
            raise
        yield fail(answer, str(shown), time.perf_counter() - started)
        return
    took_s = time.perf_counter() - started
    if ended:
        yield fail(answer, f"The LLM's answer {ended}.{_LONGER if 'cut' in ended else ''}", took_s)
    elif not answer.text.strip():
        yield fail(answer, "The LLM answered with nothing. Ask again, or put the question in other words.", took_s)
    else:
        yield _with_citations(replace(answer, state="done", took_s=took_s), passages)


def _pieces(llm: BaseChatModel, question: str, passages: Sequence[Passage]) -> Iterator[Any]:
    with step("llm"):
        for piece in llm.stream(answer_messages(question, [passage.full_text for passage in passages])):
            for kind, n in (getattr(piece, "usage_metadata", None) or {}).items():
                if kind in ("input_tokens", "output_tokens"):
                    count("rag_llm_tokens_total", n, kind=kind)
            yield piece


def _with_citations(answer: Answer, passages: Sequence[Passage]) -> Answer:
    """`answer`, its sentences tied to passages by their words if the LLM has cited none, which is then said."""
    if answer.citations or answer.says_nothing:
        return answer
    text = cite_by_words(answer.text, [passage.full_text for passage in passages])
    return answer if text == answer.text else replace(answer, text=text, notice=_CITED_BY_WORDS)


_CITED_BY_WORDS = "The LLM cited nothing. The numbers mark the passage whose words a sentence repeats."


def fail(answer: Answer, sentence: str, took_s: float) -> Answer:
    """`answer` broken off because of `sentence`; what had come stays."""
    kept = " What had come until then is kept." if answer.text.strip() else ""
    return replace(answer, state="failed", notice=sentence + kept, took_s=took_s)
