"""Passages fit the encoder and know where they stand in their document."""

from fakes import WordTokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from indexes.passages import PassageSettings, split_document
from indexes.types import Document, Passage

SMALL = PassageSettings(max_tokens=20, overlap_tokens=4)


def split(text: str, source: str = "note.txt", **fields: object) -> list[Passage]:
    document = Document(id=source, source=source, text=text, **fields)  # type: ignore[arg-type]
    return split_document(document, WordTokenizer(), SMALL)


@settings(deadline=None, max_examples=60)
@given(st.text(alphabet=st.sampled_from("ab .\n,é漢"), max_size=400))
def test_every_passage_is_its_span_fits_and_no_word_is_lost(text: str) -> None:
    passages = split(text)
    covered = [False] * len(text)
    for passage in passages:
        assert passage.text == text[passage.start : passage.end]
        assert len(WordTokenizer().spans(passage.full_text)) <= SMALL.max_tokens - 2
        covered[passage.start : passage.end] = [True] * (passage.end - passage.start)
    assert all(seen or letter.isspace() for seen, letter in zip(covered, text, strict=True))


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


def test_pages_are_known() -> None:
    text = "First page text.\n\nSecond page text."
    passages = split(text + " more words" * 10, "two.pdf", page_starts=(0, 18))
    assert passages[0].page == 1
    assert passages[-1].page == 2


def test_an_unchanged_passage_keeps_its_id_and_a_changed_one_gets_another() -> None:
    before, after = split("Cats purr."), split("Cats purr!")
    assert split("Cats purr.") == before
    assert before[0].id != after[0].id
