"""Answers: streamed, cited by the order shown, and kept when the LLM breaks off."""

from __future__ import annotations

import itertools

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from scripted_endpoint import UNREADABLE, Fault, ScriptedEndpoint

from app.answering import (
    Answer,
    Turn,
    answer_question,
    cite_by_words,
    find_citations,
    last_sentence,
    stand_alone,
    supporting_span,
)
from app.workbench import Workbench
from distill.prompts import NO_ANSWER, answer_messages
from indexes.types import Passage

PASSAGES = [Passage(id=str(n), document_id=str(n), source=f"{n}.txt", text=f"Text number {n}.") for n in (1, 2, 3)]


def silent(status: str) -> None:
    """Nobody listens to the status."""


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("So [1].", [(1,)]),
        ("So [1][2].", [(1,), (2,)]),
        ("So [1, 3].", [(1, 3)]),
        ("So [1-3].", [(1, 2, 3)]),
        ("So [passages 2 and 3].", [(2, 3)]),
        ("So【1】, ［2］, 〔３〕.", [(1,), (2,), (3,)]),
        ("So [Source 1], [source: 2; Source 3], [来源1、2], [Quellen 1 und 3].", [(1,), (2, 3), (1, 2), (1, 3)]),
        ("So [^1], [^2^], [#3], [[1]], [citation:2].", [(1,), (2,), (3,), (1,), (2,)]),
        ("So【1†source】【2†L3-L8, 3†x】, (Source 1), （来源 2）.", [(1,), (2, 3), (1,), (2,)]),
        ("So [1–3], [1 to 2], [١، ٣].", [(1, 2, 3), (1, 2), (1, 3)]),
        ("[Table 1], [Section 2], [1d2], (2, 3), (see 1), x[i1]", []),
        ("So [2, 2].", [(2,)]),
        ("Only what exists [1, 9].", [(1,)]),
        ("Nothing here [0], [4], [1e3], [a], [2026], (1), 1.", []),
        ("Half a citation [1", []),
        ("[3-1] runs backwards and cites nothing", []),
    ],
)
def test_only_numbers_of_passages_are_citations(text: str, numbers: list[tuple[int, ...]]) -> None:
    assert [citation.numbers for citation in find_citations(text, 3)] == numbers


def test_a_citation_knows_its_characters() -> None:
    (citation,) = find_citations("Bees dance [1, 2].", 2)
    assert "Bees dance [1, 2]."[citation.start : citation.end] == "[1, 2]"


def test_an_absurd_range_is_read_in_no_time() -> None:
    assert find_citations("[1-999]", 3)[0].numbers == (1, 2, 3)


def test_an_answer_grows_and_ends() -> None:
    llm = GenericFakeChatModel(messages=iter([AIMessage("Bees dance [1].")]))
    answers = list(answer_question(llm, "Who dances?", PASSAGES))
    texts = [answer.text for answer in answers]
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(texts))
    assert len(answers) > 2
    assert (answers[0].state, answers[-1].state, answers[-1].text) == ("writing", "done", "Bees dance [1].")
    assert answers[-1].first_word_s is not None
    assert answers[-1].took_s >= answers[-1].first_word_s
    assert [citation.numbers for citation in answers[-1].citations] == [(1,)]


def test_numbers_in_the_prompt_follow_the_order_shown(bench: Workbench, endpoint: ScriptedEndpoint) -> None:
    """Citations bound before the final order would open the wrong passage."""
    reversed_passages = PASSAGES[::-1]
    list(answer_question(bench.reader.connect(silent), "What?", reversed_passages))
    sent = endpoint.requests[0].text
    places = [sent.index(f"[{n}] Text number {passage.id}.") for n, passage in enumerate(reversed_passages, start=1)]
    assert places == sorted(places)


@pytest.mark.parametrize("said", [NO_ANSWER, NO_ANSWER.rstrip("."), f"**{NO_ANSWER}** [1]", f' "{NO_ANSWER}" '])
def test_a_refusal_is_recognised(said: str) -> None:
    assert Answer(n_passages=3, state="done", text=said).says_nothing


def test_one_sentence_is_asked_for_where_the_passages_do_not_say() -> None:
    """In the question's language nobody could know it again; a passage's own numbers are no citations either."""
    system, human = (str(each.content) for each in answer_messages("围墙谁来修？", ["见【3】和 [^2]。", "a[0, 1]"]))
    assert f"exactly this English sentence, whatever the language of the question: {NO_ANSWER}" in system
    assert "见(3)和 (2)。" in human and "a[0, 1]" in human


def test_an_answer_that_only_mentions_the_refusal_is_none() -> None:
    assert not Answer(n_passages=3, state="done", text=f"Bees dance [1]. {NO_ANSWER}").says_nothing


def test_what_came_before_a_broken_stream_is_kept(bench: Workbench, endpoint: ScriptedEndpoint) -> None:
    endpoint.reply = lambda messages: "One two three four five six [1]."
    endpoint.break_streams(after_words=3)
    last = list(answer_question(bench.reader.connect(silent), "What?", PASSAGES))[-1]
    assert last.state == "failed"
    assert last.text.startswith("One two")
    assert "kept" in last.notice


def test_a_wrong_key_gives_a_sentence_without_the_key(bench: Workbench, endpoint: ScriptedEndpoint) -> None:
    endpoint.api_key = "another-key"
    (failed,) = answer_question(bench.reader.connect(silent), "What?", PASSAGES)
    assert failed.state == "failed"
    assert "OPENAI_API_KEY" in failed.notice
    assert "a-key" not in failed.notice


def test_an_empty_reply_gives_a_sentence(bench: Workbench, endpoint: ScriptedEndpoint) -> None:
    endpoint.reply = lambda messages: " "
    last = list(answer_question(bench.reader.connect(silent), "What?", PASSAGES))[-1]
    assert last.state == "failed"
    assert "nothing" in last.notice


def test_a_defect_of_ours_is_not_hidden() -> None:
    with pytest.raises(RuntimeError):
        list(answer_question(GenericFakeChatModel(messages=iter([])), "What?", PASSAGES))


def test_citations_that_are_ours_are_said_to_be_ours() -> None:
    passage = Passage(id="1", document_id="d", source="s", text="Basalt columns form where thick lava cools slowly.")
    said = "Basalt columns form where thick lava cools."
    *_, last = answer_question(GenericFakeChatModel(messages=iter([AIMessage(said)])), "How?", [passage])
    assert last.text == "Basalt columns form where thick lava cools [1]."
    assert "The LLM cited nothing" in last.notice
    *_, cited = answer_question(GenericFakeChatModel(messages=iter([AIMessage(f"{said} [1]")])), "How?", [passage])
    assert (cited.text, cited.notice) == (f"{said} [1]", "")


@pytest.mark.parametrize("kind", UNREADABLE)
def test_no_stream_is_a_traceback(kind: str, bench: Workbench, endpoint: ScriptedEndpoint) -> None:
    endpoint.fault = lambda request: UNREADABLE[kind]
    *_, last = answer_question(bench.reader.connect(silent), "Why?", PASSAGES)
    assert last.state == "failed" and last.notice.endswith(".") and not last.text


@pytest.mark.parametrize(
    "reply",
    [
        "<think>Maybe [2]. The secret is 7.</think>Bees dance [1].",
        "The secret is 7, so</think>\n\nBees dance [1].",
        "<Thinking>The secret is 7.</Thinking> Bees <think>secret</think>dance [1].",
    ],
)
def test_thoughts_are_never_shown_nor_cited_nor_searched_for(
    reply: str, bench: Workbench, endpoint: ScriptedEndpoint
) -> None:
    endpoint.reply = lambda messages: reply
    answers = list(answer_question(bench.reader.connect(silent), "Who?", PASSAGES))
    assert (answers[-1].state, answers[-1].text) == ("done", "Bees dance [1].")
    shown = answers if reply.startswith("<") else answers[-1:]  # until it closes nobody can know
    assert not any("secret" in answer.text or "<" in answer.text for answer in shown)
    turn = Turn(question="q", searched="q", answer="a")
    assert stand_alone(bench.reader.connect(silent), [turn], "And then?") == "Bees dance [1]."


@pytest.mark.parametrize(("finish", "said"), [("length", "cut at the limit"), ("content_filter", "content filter")])
def test_an_answer_that_is_cut_or_filtered_says_so(
    finish: str, said: str, bench: Workbench, endpoint: ScriptedEndpoint
) -> None:
    endpoint.fault = lambda request: Fault(content="Bees dance and", finish=finish)
    *_, last = answer_question(bench.reader.connect(silent), "Who?", PASSAGES)
    assert (last.state, last.text) == ("failed", "Bees dance and") and said in last.notice
    assert ("APP_ANSWER_TOKENS" in last.notice) == (finish == "length")
    turn = Turn(question="q", searched="q", answer="a")
    assert stand_alone(bench.reader.connect(silent), [turn], "And then?") == "And then?", (
        "half a question finds other things"
    )


def test_an_endless_answer_is_broken_off(bench: Workbench, endpoint: ScriptedEndpoint) -> None:
    endpoint.reply = lambda messages: ("endlessly_" * 20 + " ") * 5_000
    *_, last = answer_question(bench.reader.connect(silent), "Who?", PASSAGES)
    assert "40,000 characters" in last.notice and len(last.text) == 40_000


def test_halves_of_characters_are_mended(bench: Workbench, endpoint: ScriptedEndpoint) -> None:
    endpoint.fault = lambda request: Fault(content="Bees \ud83d\ude00 \ud800 dance [1].")
    *_, last = answer_question(bench.reader.connect(silent), "Who?", PASSAGES)
    assert (last.state, last.text) == ("done", "Bees 😀 \ufffd dance [1].")


LAVA_AND_LENS = [
    "Basalt columns form where thick lava cools slowly.",
    "A lighthouse lens bends light into a beam that is seen for thirty kilometres.",
]


def test_each_sentence_gets_the_passage_that_it_repeats() -> None:
    text = "The lighthouse lens bends light into a beam. Thick lava cools slowly and forms basalt columns!"
    assert cite_by_words(text, LAVA_AND_LENS) == (
        "The lighthouse lens bends light into a beam [2]. Thick lava cools slowly and forms basalt columns [1]!"
    )


def test_sentences_of_other_words_or_of_few_get_none() -> None:
    text = "Otters keep a favourite stone in some pouch under their arm. A lens.\n\n- Maybe."
    assert cite_by_words(text, LAVA_AND_LENS) == text


def test_code_and_dotted_names_stay_whole() -> None:
    code = "```python\nlens = bends(light, into=beam, seen=thirty)\n```"
    assert cite_by_words(code, LAVA_AND_LENS) == code
    named = "With lava.columns basalt forms where thick lava cools."
    assert cite_by_words(named, LAVA_AND_LENS) == "With lava.columns basalt forms where thick lava cools [1]."


def test_without_passages_nothing_is_cited() -> None:
    assert cite_by_words("Basalt columns form where thick lava cools.", []) == (
        "Basalt columns form where thick lava cools."
    )


@pytest.mark.parametrize(
    ("before", "claim", "end"),
    [
        ("员工每年享有二十五天带薪年假。", "发生火灾时请使用楼梯疏散", "。"),
        ("年次休暇は二十五日です！", "火災のときは階段を使って避難してください", "。"),
        ("हर कर्मचारी को पच्चीस दिन की छुट्टी मिलती है। ", "आग लगने पर सीढ़ियों से बाहर निकलें", "।"),
        ("هل يحق لكل موظف إجازة؟ ", "عند نشوب حريق استخدموا السلالم", "."),
        ("ہر ملازم کو پچیس دن کی چھٹی ملتی ہے۔ ", "آگ لگنے پر سیڑھیاں استعمال کریں", "۔"),
        ("직원은 연간 휴가를 받습니다. ", "화재가 나면 계단을 이용해 대피하십시오", "."),
        ("Отпуск длится двадцать пять дней. ", "При пожаре пользуйтесь только лестницей", "!"),
        ("พนักงานลาพักร้อนได้ยี่สิบห้าวัน\n", "เมื่อเกิดเพลิงไหม้ให้ใช้บันได", ""),
    ],
)
def test_sentences_of_any_script_are_told_apart(before: str, claim: str, end: str) -> None:
    passage = before + claim + end
    assert cite_by_words(claim + end, ["Stairs lead to the roof.", passage]) == f"{claim} [2]{end}"
    assert last_sentence(f"{before}{claim}【1】{end}") == claim + end
    span = supporting_span(claim, passage)
    assert span and passage[slice(*span)] == claim + end


def test_a_quotation_ends_with_its_mark() -> None:
    assert last_sentence("他说：“请走楼梯。”然后离开了[1]。") == "然后离开了。"
