"""The Evaluate tab's second half: answers of the LLM against those that are known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import NamedTuple

from langchain_core.language_models import BaseChatModel

from app.answer_quality import Graded, Quality, choose_answerable, grade, summarise
from app.answering import Answer, answer_question
from app.handlers.buttons import StopFlag, Update, busy, idle
from app.judged_questions import read_held_out, read_upload
from app.rendering import notice_html
from app.replies import N_READ
from app.retriever import IndexRetriever, retrieve
from app.searching import open_retriever
from app.shelf import picked_corpus
from app.tables import progress_html
from app.workbench import Workbench
from indexes.errors import InputError, UserError
from indexes.types import Query

MAX_ANSWERS = 200


class AnswersView(NamedTuple):
    """How far it is, the figures with each answer, and the buttons."""

    progress: Update
    answers: Update
    ask: Update
    stop: Update


def judge_answers(
    bench: Workbench,
    corpus: str | None,
    source: str | None,
    file: str | None,
    encoder: str | None,
    limit: float | None,
    flag: StopFlag,
) -> Iterator[AnswersView]:
    """The LLM's answers to at most `limit` questions, judged as they come; what has come stays when it is stopped."""
    flag.is_set = False
    graded: list[Graded] = []
    try:
        corpus = picked_corpus(bench.paths, corpus)
        read = read_held_out(bench.paths, source) if source else read_upload(file)
        questions = choose_answerable(read, max(1, min(int(limit or 1), MAX_ANSWERS)))
        yield AnswersView(notice_html("Starting the LLM …", "busy"), "", *busy())
        retriever = open_retriever(bench, corpus, encoder).retriever
        llm = bench.connect(lambda status: None)
        for query in questions:
            yield AnswersView(_bar(graded, questions), answers_html(graded), *busy())
            answer = _answer(llm, retriever, query, flag)
            if flag.is_set:
                break
            graded.append(grade(query, answer))
    except UserError as error:
        yield AnswersView(notice_html(str(error), "error"), answers_html(graded), *idle())
        return
    done = notice_html("Stopped. What had come until then is kept.") if flag.is_set else ""
    yield AnswersView(done, answers_html(graded), *idle())


def _bar(graded: Sequence[Graded], questions: Sequence[Query]) -> str:
    return progress_html("Asking the LLM", len(graded), len(questions))


def _answer(llm: BaseChatModel, retriever: IndexRetriever, query: Query, flag: StopFlag) -> Answer:
    """The whole answer; raises `InputError` if the LLM failed."""
    passages = [each.passage for each in retrieve("", retriever, query.text, N_READ).candidates]
    answer = Answer(n_passages=len(passages))
    for answer in answer_question(llm, query.text, passages):
        if flag.is_set:
            return answer
    if answer.state == "failed":
        raise InputError(answer.notice)
    return answer


def answers_html(graded: Sequence[Graded]) -> str:
    """The means, and each answer beside what was expected."""
    if not graded:
        return ""
    rows = "".join(_row(each) for each in graded)
    heads = "".join(f'<th scope="col">{head}</th>' for head in ("Question", "Expected", "Answer", "Exact", "F1"))
    return (
        f'{_summary(summarise(graded))}<div class="scroll"><table class="figures" aria-label="Answers"><thead><tr>'
        f"{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _summary(quality: Quality) -> str:
    parts = [
        f"exact match <b>{_percent(quality.exact)}</b>",
        f"F1 <b>{_percent(quality.f1)}</b>",
        f"answer contained <b>{_percent(quality.contains)}</b>",
        f"refused though there is an answer <b>{_percent(quality.refused_answerable)}</b>",
        f"refused where there is none <b>{_percent(quality.refused_unanswerable)}</b>",
    ]
    counts = f"{quality.n_answerable} answerable, {quality.n_unanswerable} unanswerable question(s)"
    return f'<p class="aside">{counts}: {" · ".join(parts)}. Sentences rarely match a short answer exactly.</p>'


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"


def _row(each: Graded) -> str:
    expected = escape(" · ".join(each.expected)) or "<i>a refusal</i>"
    given = "<i>refused</i>" if each.has_refused else escape(each.given[:600])
    exact = "–" if each.exact is None else ("yes" if each.exact else "no")
    f1 = "–" if each.f1 is None else f"{each.f1:.2f}"
    return f"<tr><td>{escape(each.question)}</td><td>{expected}</td><td>{given}</td><td>{exact}</td><td>{f1}</td></tr>"
