"""Passages fit the encoder and know where they stand in their document."""

from fakes import WordTokenizer
from hypothesis import example, given, settings
from hypothesis import strategies as st

from indexes.splitting import PassageSettings, find_headings, split_document
from indexes.types import Document, Passage

SMALL = PassageSettings(max_tokens=20, overlap_tokens=4)


def split(text: str, source: str = "note.txt", how: PassageSettings = SMALL, **fields: object) -> list[Passage]:
    document = Document(id=source, source=source, text=text, **fields)  # type: ignore[arg-type]
    return split_document(document, WordTokenizer(), how)


def uncovered(text: str, passages: list[Passage]) -> str:
    covered = [False] * len(text)
    for passage in passages:
        covered[passage.start : passage.end] = [True] * (passage.end - passage.start)
    return "".join(letter for letter, seen in zip(text, covered, strict=True) if not seen)


@settings(max_examples=120)
@given(
    st.text(alphabet=st.sampled_from("ab .\n,é漢。"), max_size=400),
    st.sampled_from(["note.txt", "cats.py", "page.pdf"]),
)
def test_every_passage_is_its_span_fits_and_no_word_is_lost(text: str, source: str) -> None:
    passages = split(text, source)
    for passage in passages:
        assert passage.text == text[passage.start : passage.end]
        assert len(WordTokenizer().spans(passage.full_text)) <= SMALL.max_tokens - 2
    assert not uncovered(text, passages).strip()
    assert [p.start for p in passages] == sorted({p.start for p in passages})


@settings(max_examples=120)
@example("# =====a\n`", "a.md")
@given(st.text(alphabet=st.sampled_from("ab #=-|`\n"), max_size=300), st.sampled_from(["a.md", "a.rst", "a.xlsx"]))
def test_of_marked_up_text_only_headings_are_outside_the_passages_and_they_are_in_their_titles(
    text: str, source: str
) -> None:
    passages = split(text, source)
    assert all(passage.text == text[passage.start : passage.end] for passage in passages)
    assert all(len(WordTokenizer().spans(passage.full_text)) <= SMALL.max_tokens - 2 for passage in passages)
    if text.strip():
        words = " ".join(passage.full_text for passage in passages)
        assert all(letter in words for letter in "ab" if letter in text)


def test_a_heading_too_long_for_a_title_stands_in_the_passage() -> None:
    text = "# One two three\n\n## Four five six seven eight\n\nThe words below."
    (passage,) = (p for p in split(text, "note.md") if "below" in p.text)
    assert passage.title == "One two three › Four", "a quarter of the tokens"
    assert passage.text == "## Four five six seven eight\n\nThe words below."


def test_a_text_that_repeats_itself_is_covered_to_its_end() -> None:
    """Looked up by its words, every passage of such a text is found near the beginning."""
    text = "the same line again and again\n" * 500
    passages = split(text)
    assert passages[-1].end == len(text) - 1
    assert not uncovered(text, passages).strip()


def test_a_text_longer_than_what_is_held_at_once_is_cut_as_if_it_were_not() -> None:
    text = "".join(f"word{number} " for number in range(60_000))
    passages = split(text)
    assert len(text) > 2 * 2**18
    assert not uncovered(text, passages).strip()
    lengths = {len(passage.text.split()) for passage in passages[:-1]}
    assert lengths == {SMALL.max_tokens - 2}


def test_a_short_text_is_one_passage() -> None:
    (passage,) = split("  Cats purr.  ")
    assert (passage.text, passage.start, passage.end) == ("Cats purr.", 2, 12)


def test_neighbouring_passages_overlap() -> None:
    first, second, *_ = split(" ".join(f"word{n}" for n in range(60)))
    assert second.start < first.end


def test_headings_are_carried_along_as_context_and_code_comments_are_none() -> None:
    text = "# Animals\n\n## Cats\n\nCats purr.\n\n```\n# a comment\n```\n\n## Dogs\n\nDogs bark.\n"
    titles = [(passage.title, passage.text.splitlines()[0]) for passage in split(text, "animals.md")]
    assert titles == [("Animals › Cats", "Cats purr."), ("Animals › Dogs", "Dogs bark.")]


def test_underlined_headings_are_headings_and_front_matter_is_none() -> None:
    text = "---\ntitle: x\n---\n\nAnimals\n=======\n\nCats\n----\n\nCats purr.\n\na | b\n--- | ---\n"
    assert [(p.title, p.text.splitlines()[0]) for p in split(text, "a.md")] == [
        ("", "---"),
        ("Animals › Cats", "Cats purr."),
    ]


def test_headings_of_restructured_text_are_carried_along() -> None:
    text = "=======\nAnimals\n=======\n\nCats\n----\n\nThey purr.\n\nDogs\n----\n\nThey bark.\n\n.. code::\n\n   ---\n"
    titles = [(passage.title, passage.text.splitlines()[0]) for passage in split(text, "animals.rst")]
    assert titles == [("Animals › Cats", "They purr."), ("Animals › Dogs", "They bark.")]


def test_a_heading_with_nothing_under_it_is_not_lost() -> None:
    titles = [(passage.title, passage.text) for passage in split("# Cats\n\n## Purring\n\n## Meowing\nLoud.\n", "a.md")]
    assert titles == [("Cats", "## Purring"), ("Cats › Meowing", "Loud.")]


def test_a_passage_within_a_table_carries_the_names_of_the_columns() -> None:
    rows = "".join(f"| cat{number} | {number} |\n" for number in range(30))
    text = f"# Sounds\n\nSome.\n\n| cat | hertz |\n| --- | --- |\n{rows}\nEnd."
    first, *others = split(text, "book.xlsx", PassageSettings(max_tokens=48, overlap_tokens=4))
    assert first.title == "Sounds"
    assert first.text.startswith("Some.\n\n| cat | hertz |")
    assert len(others) > 1
    assert all(passage.text.startswith("| cat") for passage in others)
    assert {passage.title for passage in others} == {"Sounds › cat, hertz"}


def test_code_is_cut_where_definitions_begin() -> None:
    body = "".join(f"    line_{n} = {n}\n" for n in range(3))
    code = "".join(f"@cached\ndef function_{name}():\n{body}\n\n" for name in "abcdef")
    starts = [passage.text.splitlines()[0] for passage in split(code, "module.py")]
    assert starts == ["@cached"] * 6


def test_a_long_definition_does_not_take_the_next_one_apart() -> None:
    code = "def long():\n" + "    a = 1\n" * 7 + "\n\ndef short():\n    b = 2\n    c = 3\n"
    assert [passage.text.splitlines()[0].strip() for passage in split(code, "m.py")][-1] == "def short():"


def test_pages_are_known() -> None:
    text = "First page text.\n\nSecond page text."
    passages = split(text + " more words" * 10, "two.pdf", page_starts=(0, 18))
    assert passages[0].page == 1
    assert passages[-1].page == 2


def test_an_unchanged_passage_keeps_its_id_and_a_changed_one_gets_another() -> None:
    before, after = split("Cats purr."), split("Cats purr!")
    assert split("Cats purr.") == before
    assert before[0].id != after[0].id


def test_hashes_that_close_a_heading_are_not_of_it_and_those_of_a_word_are() -> None:
    text = "# Plain\n\n## Closed ##\n\n# C#\n\n# \n"
    assert [heading.title for heading in find_headings(text, "md")] == ["Plain", "Closed", "C#"]


def test_a_heading_of_a_hundred_thousand_blanks_is_read_at_once() -> None:
    """A pattern that may split the blanks in several ways took hours for this line."""
    (heading,) = find_headings("# a" + " " * 100_000 + "b", "md")
    assert heading.title.startswith("a")
