"""Words and meaning are mixed by one share, which is kept with the corpus for each encoder and used by every search."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from fakes import KeywordEncoder

from indexes.corpus import Corpus
from indexes.errors import InputError
from indexes.filters import EVERYTHING, PassageFilter
from indexes.ingest import add_files
from indexes.lexical import LexicalIndex
from indexes.mixes import DEFAULT_MIX, Mix, blend, keep_mix, kept_mix
from indexes.passage_index import PassageIndex
from indexes.paths import DataPaths
from indexes.retrievers import Retriever, Search, open_search
from indexes.types import Candidate, Passage

QUESTION = "which cats purr on cushion 7"


def ranking(**scores: float) -> list[Candidate]:
    """Passages with these scores, best first as given."""
    return [
        Candidate(passage=Passage(id=name, document_id=name, source="s", text=name), score=score)
        for name, score in scores.items()
    ]


def ids(found: Sequence[Candidate]) -> list[str]:
    return [candidate.passage.id for candidate in found]


def test_scores_are_stretched_and_added_by_their_shares() -> None:
    """a 1, b 0.75, c 0 by meaning and d 1, b 0.75 by words: 0.6 · 0.75 + 0.4 · 0.75 puts b before a."""
    found = blend(ranking(a=0.9, b=0.8, c=0.5), ranking(d=8, b=6), 4, Mix(lexical=0.4))
    assert ids(found) == ["b", "a", "d", "c"]
    assert [candidate.score for candidate in found] == pytest.approx([0.75, 0.6, 0.4, 0.0])


def test_equal_scores_at_equal_places_stand_by_passage_id_and_k_bounds_them() -> None:
    assert ids(blend(ranking(b=0.5), ranking(a=3), 2, Mix(lexical=0.5))) == ["a", "b"]
    assert ids(blend(ranking(b=0.5), ranking(a=3), 1, Mix(lexical=0.5))) == ["a"]
    assert blend([], [], 3) == []


def test_a_share_of_nothing_leaves_one_ranking_as_it_is() -> None:
    dense, lexical = ranking(a=0.9, b=0.8), ranking(b=8, c=6)
    assert blend(dense, lexical, 2, Mix(lexical=0)) == dense
    assert blend(dense, lexical, 2, Mix(lexical=1)) == lexical


def test_the_first_passages_are_the_same_however_deep_a_search_looks() -> None:
    dense = ranking(**{f"d{n:02}": 1 - n / 100 for n in range(90)})
    lexical = ranking(**{f"d{n:02}": n / 10 for n in range(80, 20, -1)})
    mix = Mix(lexical=0.5)
    shallow, deep = blend(dense[:50], lexical[:50], 10, mix), blend(dense, lexical, 90, mix)
    assert shallow == deep[:10]
    assert {"d00", "d80"} < set(ids(shallow))
    assert len(set(ids(deep))) == 90


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(InputError, match=r"from 0 \(meaning alone\) to 1 \(words alone\) was expected"):
        Mix(lexical=share)


def test_a_mix_is_said_in_words() -> None:
    assert Mix(lexical=0.2, n_orders=1616).sentence == "words count 0.2, meaning 0.8, as learned from 1,616 orders"
    assert Mix(lexical=0.2, n_orders=1).sentence.endswith("as learned from 1 order")
    assert DEFAULT_MIX.sentence.endswith("the default")


# --- kept with a corpus ----------------------------------------------------------------------------------------


@pytest.fixture
def corpus(paths: DataPaths, encoder: KeywordEncoder, tmp_path: Path) -> Corpus:
    """Sixty short texts about cats."""
    for n in range(60):
        (tmp_path / f"{n:02}.txt").write_text(f"Cats purr {'purr ' * (n % 7)}on cushion number {n}.", encoding="utf-8")
    list(add_files(paths, "cats", sorted(tmp_path.glob("*.txt")), encoder))
    return Corpus.open(paths, "cats")


def test_each_encoder_has_its_own_mix_and_the_last_one_learned_counts(corpus: Corpus) -> None:
    assert kept_mix(corpus, "keywords") is None
    keep_mix(corpus, "keywords", Mix(lexical=0.7, n_orders=300))
    keep_mix(corpus, "taught", Mix(lexical=0.1, n_orders=50))
    keep_mix(corpus, "keywords", Mix(lexical=0.2, n_orders=616))
    assert kept_mix(corpus, "keywords") == Mix(lexical=0.2, n_orders=616)
    assert kept_mix(corpus, "taught") == Mix(lexical=0.1, n_orders=50)
    assert kept_mix(corpus, "another") is None


@pytest.mark.usefixtures("corpus")
def test_a_corpus_that_learned_no_mix_is_searched_by_the_default(paths: DataPaths, encoder: KeywordEncoder) -> None:
    index = PassageIndex.open(paths, "cats", encoder)
    lexical = LexicalIndex.open(paths, "cats")
    (dense,), (words,) = (each.search_many([QUESTION], 50) for each in (index, lexical))
    search = open_search(paths, "cats", Retriever(encoder=encoder.name, kind="fused"), lambda name: encoder)
    assert search.search(QUESTION) == blend(dense, words, 10, Mix(lexical=0.4))


@pytest.mark.parametrize("mmr", [None, 0.5])
@pytest.mark.parametrize(("share", "kind"), [(0, "dense"), (1, "lexical")])
def test_where_words_or_meaning_count_nothing_fused_is_the_other_search(
    paths: DataPaths, corpus: Corpus, encoder: KeywordEncoder, share: float, kind: str, mmr: float | None
) -> None:
    keep_mix(corpus, encoder.name, Mix(lexical=share, n_orders=100))
    ways = (Retriever(encoder=encoder.name, kind=each) for each in ("fused", kind))  # type: ignore[arg-type]
    fused, alone = (open_search(paths, "cats", way, lambda name: encoder) for way in ways)
    assert fused.search(QUESTION, 12, mmr=mmr) == alone.search(QUESTION, 12, mmr=mmr)


class Silent:
    """A search that nobody should wait for."""

    def search_many(self, questions: Sequence[str], k: int, where: PassageFilter = EVERYTHING) -> list[list[Candidate]]:
        raise AssertionError("asked in vain")


def test_what_counts_nothing_is_not_asked(paths: DataPaths, corpus: Corpus, encoder: KeywordEncoder) -> None:
    index, lexical = PassageIndex.open(paths, "cats", encoder), LexicalIndex.open(paths, "cats")
    meaning, words = (Retriever(kind="fused", mix=Mix(lexical=share)) for share in (0, 1))
    assert Search(meaning, lambda: index, Silent).search(QUESTION) == index.search(QUESTION)
    assert Search(words, Silent, lambda: lexical).search(QUESTION) == lexical.search(QUESTION)
