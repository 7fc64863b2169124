"""Where an LLM cited nothing, sentences are tied to passages only if they share most of their words."""

from app.answering import cite_by_words

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
