"""Which passages the teacher is shown."""

import pytest
from fakes import KeywordEncoder
from hypothesis import given
from hypothesis import strategies as st

from distill.candidates import RETRIEVALS, Given, Retrieval, mine_candidates, with_sources
from distill.records import CandidateList, Retrieved
from indexes.corpus import Corpus
from indexes.ingest import add_files
from indexes.lexical import LexicalIndex
from indexes.passage_index import PassageIndex
from indexes.paths import DataPaths
from indexes.types import Query


def record(n: int) -> CandidateList:
    return CandidateList(id="q", question="?", candidates=tuple(Retrieved(passage=f"p{i}") for i in range(n)))


def order(found: CandidateList) -> list[str]:
    return [candidate.passage for candidate in found.candidates]


def test_a_source_that_was_found_late_is_shown_in_place_of_the_last() -> None:
    found = with_sources(record(6), {"q": ["p4"]}, 3)
    assert order(found) == ["p0", "p1", "p4", "p2", "p3", "p5"]


@pytest.mark.parametrize("sources", [{}, {"other": ["p4"]}, {"q": ["p1"]}, {"q": ["elsewhere"]}])
def test_without_a_late_source_nothing_moves(sources: dict[str, list[str]]) -> None:
    assert with_sources(record(6), sources, 3) == record(6)


@given(
    n=st.integers(1, 12),
    n_shown=st.integers(1, 12),
    sources=st.sets(st.integers(0, 14).map("p{}".format), max_size=6),
)
def test_nothing_is_lost_or_doubled_and_sources_are_shown_first(n: int, n_shown: int, sources: set[str]) -> None:
    before = record(n)
    after = order(with_sources(before, {"q": sorted(sources)}, n_shown))
    assert sorted(after) == sorted(order(before))
    n_known = len(sources & set(after))
    assert len(sources & set(after[:n_shown])) == min(n_known, n_shown)


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
def test_what_the_teacher_is_shown_does_not_depend_on_what_is_scored(
    indexes: tuple[PassageIndex, LexicalIndex], retrieval: Retrieval
) -> None:
    """Orders are paid for: another --n-scored must not make them orders of other passages."""
    few = mine_candidates(QUERIES, *indexes, 5, retrieval=retrieval)
    many = mine_candidates(QUERIES, *indexes, 5, n_more=60, retrieval=retrieval)
    assert [order(each) for each in few] == [order(each)[:5] for each in many]
    assert all(5 < len(set(order(each))) == len(order(each)) <= 65 for each in many)


def test_given_passages_come_first_found_or_not_and_equal_texts_once(
    indexes: tuple[PassageIndex, LexicalIndex], data: DataPaths
) -> None:
    ids = {passage.source: passage for passage in Corpus.open(data, "words").passages()}
    given_ones = {"q0": Given(passages=(ids["000.txt"], ids["again.txt"], ids["119.txt"]), n_shown=3)}
    first, second = mine_candidates(QUERIES[:2], *indexes, 4, n_more=2, given=given_ones)
    assert order(first)[:2] == [ids["000.txt"].id, ids["119.txt"].id]
    assert (first.n_shown, len(order(first))) == (2, 6)
    assert second.n_shown is None
    assert all(candidate.dense > 0 for candidate in first.candidates)
