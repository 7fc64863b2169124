"""Which passages the teacher is shown."""

import pytest
from fakes import KeywordEncoder
from hypothesis import given
from hypothesis import strategies as st

from distill.candidates import RETRIEVALS, Given, Retrieval, mine_candidates, shown
from distill.records import CandidateList
from indexes.corpus import Corpus
from indexes.ingest import add_files
from indexes.lexical import LexicalIndex
from indexes.passage_index import PassageIndex
from indexes.paths import DataPaths
from indexes.types import Query


def order(found: CandidateList) -> list[str]:
    return [candidate.passage for candidate in found.candidates]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataPaths:
    """A corpus of a hundred and twenty passages that share some words with each other, two of them the same text."""
    folder = tmp_path_factory.mktemp("words")
    files = []
    for number in range(120):
        files.append(folder / f"{number:03}.txt")
        words = [f"word{number % divisor}of{divisor}" for divisor in (3, 5, 7, 11, 13)]
        files[-1].write_text(f"a passage of {' '.join(words)}" if number else "a passage of word1of3", encoding="utf-8")
    files.append(folder / "again.txt")
    files[-1].write_text("a  passage of word1of3", encoding="utf-8")
    paths = DataPaths(folder / "data")
    list(add_files(paths, "words", files, KeywordEncoder()))
    return paths


@pytest.fixture(scope="module")
def indexes(data: DataPaths) -> tuple[PassageIndex, LexicalIndex]:
    return PassageIndex.open(data, "words", KeywordEncoder()), LexicalIndex.open(data, "words")


QUERIES = [Query(id=f"q{n}", text=f"word{n % 3}of3 and word{n % 7}of7 word{n % 11}of11") for n in range(12)]


@pytest.mark.parametrize("retrieval", RETRIEVALS)
def test_what_a_question_was_written_from_is_shown_in_place_of_the_last(
    indexes: tuple[PassageIndex, LexicalIndex], retrieval: Retrieval
) -> None:
    """Where the search has found it; one that stands high already, or that nobody found, moves nothing."""
    deep = [order(each) for each in mine_candidates(QUERIES, *indexes, 20, retrieval=retrieval)]
    assert all(12 < len(set(found)) == len(found) <= 20 for found in deep)
    sources = {query.id: [found[12], found[1], "elsewhere"] for query, found in zip(QUERIES[1:], deep[1:], strict=True)}
    first, *others = mine_candidates(QUERIES, *indexes, 5, retrieval=retrieval, sources=sources)
    assert order(first) == deep[0][:5]
    assert [order(each) for each in others] == [[*found[:4], found[12]] for found in deep[1:]]


@given(n=st.integers(1, 12), places=st.sets(st.integers(0, 19), max_size=6))
def test_sources_are_among_the_candidates_and_nothing_is_doubled(
    indexes: tuple[PassageIndex, LexicalIndex], n: int, places: set[int]
) -> None:
    (deep,) = map(order, mine_candidates(QUERIES[:1], *indexes, 20))
    sources = {deep[place] for place in places if place < len(deep)}
    (found,) = map(order, mine_candidates(QUERIES[:1], *indexes, n, sources={"q0": sources}))
    assert len(found) == len(set(found)) == n
    assert len(sources & set(found)) == min(len(sources), n)
    assert found == [passage for passage in deep if passage in found], "in the order of retrieval"


def test_more_sources_than_are_shown_are_the_first_of_them(indexes: tuple[PassageIndex, LexicalIndex]) -> None:
    (deep,) = mine_candidates(QUERIES[:1], *indexes, 20)
    sources = {"q0": order(deep)[3:12]}
    (found,) = mine_candidates(QUERIES[:1], *indexes, 4, sources=sources)
    assert order(found) == order(deep)[3:7]


def test_given_passages_come_first_found_or_not_and_equal_texts_once(
    indexes: tuple[PassageIndex, LexicalIndex], data: DataPaths
) -> None:
    ids = {passage.source: passage for passage in Corpus.open(data, "words").passages()}
    given_ones = {"q0": Given(passages=(ids["000.txt"], ids["again.txt"], ids["119.txt"]), n_shown=3)}
    first, second = mine_candidates(QUERIES[:2], *indexes, 6, given=given_ones)
    assert order(first)[:2] == [ids["000.txt"].id, ids["119.txt"].id]
    assert (first.n_shown, len(order(first))) == (2, 6)
    assert order(shown(first)) == order(first)[:2]
    assert second.n_shown is None and shown(second) == second
    assert all(candidate.dense > 0 for candidate in first.candidates)
