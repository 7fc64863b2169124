"""Where an LLM cited nothing, sentences are tied to passages only if they share most of their words."""

import pytest

from app.answering import cite_by_words, last_sentence, supporting_span

PASSAGES = [
    "Basalt columns form where thick lava cools slowly.",
    "A lighthouse lens bends light into a beam that is seen for thirty kilometres.",
]


def test_each_sentence_gets_the_passage_that_it_repeats() -> None:
    text = "The lighthouse lens bends light into a beam. Thick lava cools slowly and forms basalt columns!"
    assert cite_by_words(text, PASSAGES) == (
        "The lighthouse lens bends light into a beam [2]. Thick lava cools slowly and forms basalt columns [1]!"
    )


def test_sentences_of_other_words_or_of_few_get_none() -> None:
    text = "Otters keep a favourite stone in some pouch under their arm. A lens.\n\n- Maybe."
    assert cite_by_words(text, PASSAGES) == text


def test_code_and_dotted_names_stay_whole() -> None:
    code = "```python\nlens = bends(light, into=beam, seen=thirty)\n```"
    assert cite_by_words(code, PASSAGES) == code
    named = "With lava.columns basalt forms where thick lava cools."
    assert cite_by_words(named, PASSAGES) == "With lava.columns basalt forms where thick lava cools [1]."


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
