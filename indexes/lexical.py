"""The BM25 twin of an index, kept beside the manifest and opened without reading a passage."""

from __future__ import annotations

import json
import re
import shutil
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import cache, lru_cache
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import regex
from filelock import FileLock
from numpy.typing import NDArray

from indexes.corpus import Corpus
from indexes.filters import EVERYTHING, Facets, PassageFilter
from indexes.paths import DataPaths, can_write, replacing, scratch
from indexes.types import Candidate

if TYPE_CHECKING:
    import bm25s

Scores = NDArray[np.float32]

_FORMAT = "4"  # of what is kept; part of the folder's name, so that another version's is never read
_BATCH = 1000
_BUILDING = Lock()  # one builds it, the others wait for it
_SAMPLE, _MIN_SAMPLE, _SHARE = 200, 10, 0.8  # passages that tell the language; how many, and which part, must agree
_COMES_AGAIN = 40  # characters of what stands between two blanks: longer ones are not remembered
_TELLING, _TOLD_BY = 60, 1000  # characters of a passage
SPACELESS = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}ー々"
_LETTER = rf"[[\p{{L}}\p{{N}}\p{{M}}]--[{SPACELESS}]]"
_TOKEN = regex.compile(
    rf"(?P<run>(?:[{SPACELESS}]\p{{M}}*)+)"
    rf"|{_LETTER}+(?:(?:[._\-/:'’&@‐‑]|(?<=\p{{N}}),(?=\p{{N}})){_LETTER}+)*(?:\+\+|\#(?!\w))?(?:\({_LETTER}{{1,4}}\))*",
    regex.VERSION1,
)
_SIGN = regex.compile(r"\X")  # a character with its marks
_MEANS_ALONE = regex.compile(r"[\p{Han}\p{Hangul}]")
_HUMP = regex.compile(
    r"\p{Lu}+(?!\p{Ll})|\p{Lu}?\p{Ll}[\p{Ll}\p{M}]*|\p{N}+|[[\p{L}\p{M}]--[\p{Lu}\p{Ll}]]+", regex.VERSION1
)
_JOINT = re.compile(r"[._\-/:'’&@,()‐‑]+")
_HYPHEN = re.compile(r"[_\-'’,‐‑]+")  # beside digits the other joints mean something: 3.1.3 is not 31.3
# What is not seen or not always written: soft hyphens, marks of direction, Arabic and Hebrew vowel points.
_UNSEEN = re.compile(
    "[\u00ad\u0640\u200b-\u200f\u2060\ufeff\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed]"
)
_STEMMED = {
    "da": "danish", "de": "german", "en": "english", "es": "spanish", "fi": "finnish", "fr": "french",
    "hu": "hungarian", "it": "italian", "nl": "dutch", "no": "norwegian", "pt": "portuguese", "ro": "romanian",
    "ru": "russian", "sv": "swedish", "tr": "turkish",
}  # fmt: skip


class Searchable(Protocol):
    """Whatever finds passages for questions."""

    def search_many(self, questions: Sequence[str], k: int, where: PassageFilter = EVERYTHING) -> list[list[Candidate]]:
        """The `k` best passages of each question among those that fit `where`, best first."""
        ...


def _map(file: Path) -> Any:
    """The array in `file`, mapped into memory; one of nothing cannot be mapped."""
    try:
        return np.load(file, mmap_mode="r")
    except ValueError:
        return np.load(file)


class _Kept(NamedTuple):
    """What is kept of the passages, in the order of their ids: weights of words, ids, and what is filtered by."""

    bm25: bm25s.BM25  # of one empty text if there are no passages: the library needs one
    ids: NDArray[np.bytes_]
    facets: list[Facets]  # each combination that passages have
    places: NDArray[np.int32]  # of each passage's combination in them
    language: str  # of the corpus, "" if that is not sure


_OPEN: dict[Path, _Kept] = {}
_MOST_OPEN = 8


def kept_in(corpus: Corpus) -> Path:
    """Where the lexical index of the passages that `corpus` has now is kept, or will be."""
    return corpus.folder / "lexical" / f"{_FORMAT}-{corpus.content_hash()}"


class LexicalIndex:
    """BM25 over the passages of one corpus."""

    def __init__(self, corpus: Corpus, kept: _Kept) -> None:
        self._corpus = corpus
        self._kept = kept

    @classmethod
    def open(cls, paths: DataPaths, corpus: str | Corpus) -> LexicalIndex:
        """The lexical index of `corpus`: the one kept beside its manifest, or a new one if the corpus has changed.

        What is kept is mapped into memory, and once in a process: opening costs next to nothing.
        """
        opened = Corpus.open(paths, corpus)
        folder = kept_in(opened)
        with _BUILDING:
            if not folder.is_dir():
                folder = folder if can_write(opened.folder) else scratch() / f"lexical-{opened.uid}" / folder.name
            if not folder.is_dir():
                _build(opened, folder)
            kept = _load(folder)
        return cls(opened, kept)

    @property
    def language(self) -> str:
        """The language in which words are stemmed, as `en`; "" where the corpus has several, or too little text."""
        return self._kept.language

    @property
    def n_passages(self) -> int:
        """How many passages are indexed."""
        return len(self._kept.ids)

    def search_many(self, questions: Sequence[str], k: int, where: PassageFilter = EVERYTHING) -> list[list[Candidate]]:
        """The `k` passages with the highest BM25 score for each question, best first; equal scores by passage id.

        Passages that do not fit `where`, or share no word with the question, are left out.
        """
        allowed = self._allowed(where) if where else None
        found = [self._best(self._scores(question), k, allowed) for question in questions]
        wanted = sorted({identifier for best in found for identifier, _ in best})
        passages = {passage.id: passage for passage in self._corpus.get_passages(wanted)}
        return [[Candidate(passage=passages[i], score=score) for i, score in best if i in passages] for best in found]

    def search(self, question: str, k: int = 10, where: PassageFilter = EVERYTHING) -> list[Candidate]:
        """The `k` passages with the highest BM25 score, best first; passages that share no word are left out."""
        return self.search_many([question], k, where)[0]

    def scores(self, question: str, passage_ids: Sequence[str]) -> list[float]:
        """The BM25 score of each of these passages for `question`; 0 for a passage that is not in the index."""
        if not passage_ids or not self.n_passages:
            return [0.0] * len(passage_ids)
        ids = np.array([_to_bytes(identifier) for identifier in passage_ids])
        places = np.minimum(np.searchsorted(self._kept.ids, ids), self.n_passages - 1)
        scores = np.where(self._kept.ids[places] == ids, self._scores(question)[places], 0.0)
        return [float(score) for score in scores]

    def _allowed(self, where: PassageFilter) -> NDArray[np.bool_]:
        takes = np.array([where.takes(each) for each in self._kept.facets], dtype=np.bool_)
        return np.asarray(takes[self._kept.places], dtype=np.bool_)

    def _scores(self, question: str) -> Scores:
        words = question_words(question, self._kept.language)
        if not words or not self.n_passages:
            return np.zeros(self.n_passages, dtype=np.float32)
        return np.asarray(self._kept.bm25.get_scores(words), dtype=np.float32)

    def _best(self, scores: Scores, k: int, allowed: NDArray[np.bool_] | None) -> list[tuple[str, float]]:
        if allowed is not None:
            scores = np.where(allowed, scores, 0)
        n_best = min(k, len(scores))
        threshold = np.partition(scores, -n_best)[-n_best] if n_best else 0.0
        places = np.flatnonzero((scores >= threshold) & (scores > 0))
        best = places[np.argsort(-scores[places], kind="stable")][:k]  # places are in the order of the ids
        return [(self._kept.ids[place].decode(), float(scores[place])) for place in best]


def _to_bytes(identifier: str) -> bytes:
    return identifier.encode("utf-8", "replace")


def _load(folder: Path) -> _Kept:
    """What is kept in `folder`, whose name says the content: another content is another folder. Files of folders that
    are gone are let go of, and so is what was not asked for longest.
    """
    import bm25s

    for gone in [each for each in _OPEN if not each.is_dir()]:
        _OPEN.pop(gone)
    kept = _OPEN.pop(folder, None)
    if kept is None:
        facets = [Facets(**each) for each in json.loads((folder / "facets.json").read_text(encoding="ascii"))]
        language = (folder / "language").read_text(encoding="ascii")
        ids, places = _map(folder / "ids.npy"), _map(folder / "facets.npy")
        kept = _Kept(bm25s.BM25.load(folder, mmap=True), ids, facets, places, language)
    _OPEN[folder] = kept
    if len(_OPEN) > _MOST_OPEN:
        _OPEN.pop(next(iter(_OPEN)))
    return kept


def _build(corpus: Corpus, folder: Path) -> None:
    """Makes `folder`, complete at once, and takes away what older contents left; texts are read batch by batch."""
    import bm25s

    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent.with_suffix(".lock")):  # one process makes it, the others wait
        if folder.is_dir():
            return
        with replacing(folder) as partial:
            partial.mkdir()
            ids = sorted(corpus.passage_ids_by_length())
            facets: list[Facets] = []
            bm25 = bm25s.BM25()
            texts = _full_texts(corpus, ids, facets) if ids else iter([""])
            language = language_of(sample_of(corpus, ids))
            bm25.index(_tokenize(texts, language), show_progress=False)
            bm25.save(partial, show_progress=False)
            (partial / "language").write_text(language, encoding="ascii")
            np.save(partial / "ids.npy", np.array([_to_bytes(identifier) for identifier in ids], dtype=np.bytes_))
            known = {each: place for place, each in enumerate(dict.fromkeys(facets))}
            np.save(partial / "facets.npy", np.array([known[each] for each in facets], dtype=np.int32))
            (partial / "facets.json").write_text(json.dumps([*map(asdict, known)]), encoding="ascii")
        for other in folder.parent.iterdir():  # what was half written when its process was killed too
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)


def sample_of(corpus: Corpus, ids: Sequence[str]) -> list[str]:
    """The texts of some of these passages, spread evenly."""
    return [passage.text for passage in corpus.get_passages(list(ids[:: len(ids) // _SAMPLE + 1]))]


def _full_texts(corpus: Corpus, ids: Sequence[str], facets: list[Facets]) -> Iterator[str]:
    """The text of each passage; what it can be filtered by is appended to `facets` on the way."""
    for first in range(0, len(ids), _BATCH):
        for passage in corpus.get_passages(list(ids[first : first + _BATCH])):
            facets.append(Facets(source=passage.source, kind=passage.kind, date=passage.date))
            yield passage.full_text


def words_of(text: str, language: str = "") -> list[str]:
    """The words of `text` as the index has them, in any script, stemmed if its `language` is known.

    An identifier (`Rule 3.1.3`, `read_timeout`, `openConnectionPool`, `Wi-Fi`) is a word as a whole and in its parts;
    scripts that write no blanks between words give pairs of characters.
    """
    return [
        word
        for chunk in text.split()
        for word in (_known_words if len(chunk) <= _COMES_AGAIN else _chunk_words)(chunk, language)
    ]


def question_words(question: str, language: str = "") -> list[str]:
    """The words of a question without those that are everywhere, unless it has no other."""
    common = _common_words(language)
    words = words_of(question, language)
    return [word for word in words if word not in common] or words


def _chunk_words(chunk: str, language: str) -> tuple[str, ...]:
    """The words of what stands between two blanks."""
    words: list[str] = []
    for found in _TOKEN.finditer(_UNSEEN.sub("", unicodedata.normalize("NFKC", chunk))):
        if found["run"]:
            signs = _SIGN.findall(found["run"])
            is_alone = len(signs) == 1 or _MEANS_ALONE.match(signs[0])
            words += [*map("".join, pairwise(signs)), *(signs if is_alone else ())]
        else:
            words += _forms(found[0])
    stem = _stemmer(language)
    return tuple(stem(word) if word.isalpha() and word.islower() else word for word in words)


_known_words = lru_cache(maxsize=2**17)(_chunk_words)


def _forms(token: str) -> list[str]:
    """A word as it is looked for: folded; the parts of a compound, and all of it without its hyphens."""
    folded = token.casefold().replace("i\u0307", "i")
    pieces = [piece for piece in _JOINT.split(token) if piece]
    if len(pieces) == 1:
        parts = [] if token.isupper() or token.istitle() else _HUMP.findall(pieces[0])
        as_written = [token] if token.isupper() and folded in _common_words("en") else []  # IT, A, NOT
        return [folded, *(part.casefold() for part in parts if len(part) > 1 and len(parts) > 1), *as_written]
    if pieces[-1] in ("s", "S") and len(pieces) == 2 and token[-2] in "'’":
        return _forms(pieces[0])
    is_number = any(character.isdigit() for character in token)
    whole = (_HYPHEN if is_number else _JOINT).sub("", folded)
    if is_number and pieces[0].isdigit():
        parts = [piece.casefold() for piece in pieces if len(piece) > 1]
    else:
        parts = [form for piece in pieces for form in _forms(piece)]
    return [*dict.fromkeys((*parts, whole))]


@cache
def _stemmer(language: str) -> Callable[[str], str]:
    """What takes the endings off a word of `language`; the words as they are where no way is known."""
    import Stemmer

    name = _STEMMED.get(language)
    return Stemmer.Stemmer(name).stemWord if name else str


@cache
def _common_words(language: str) -> frozenset[str]:
    """The words that are everywhere in `language`, as the index has them; English ones where it is not known."""
    from bm25s import stopwords

    known = getattr(stopwords, f"STOPWORDS_{_STEMMED.get(language, '').upper()}", None) or stopwords.STOPWORDS_EN
    stem = _stemmer(language)
    return frozenset(stem(word.casefold()) for word in known) | frozenset(word.casefold() for word in known)


def language_of(texts: Sequence[str]) -> str:
    """The language that nearly all of some texts are in, as `en` or `de`; "" where that is not sure."""
    from chardet import detect

    long_enough = [text for text in texts if len(text) >= _TELLING]
    found = Counter(detect(text[:_TOLD_BY].encode())["language"] or "" for text in long_enough)
    language, n_passages = found.most_common(1)[0] if found else ("", 0)
    return language if n_passages >= max(_MIN_SAMPLE, _SHARE * len(long_enough)) else ""


_LETTERS = regex.compile(r"[\p{L}\p{M}]+")
_ENGLISH, _EVERYDAY, _MIN_WORDS = 0.15, 0.2, 15  # of the words: everyday ones are 0.2 to 0.35 of a language's texts


def foreign_language(texts: Sequence[str]) -> str:
    """The language that most of some texts are in, or whose letters they have; "" where it is English or not sure."""
    words = _LETTERS.findall(" ".join(texts).casefold())
    letters = Counter("".join(words))
    scripts = Counter[str]()
    for letter, n in letters.items():
        scripts[unicodedata.name(letter, "?").split()[0]] += n
    if 2 * scripts["LATIN"] < scripts.total():
        if 10 * (scripts["HIRAGANA"] + scripts["KATAKANA"]) > scripts.total():
            return "Japanese"
        script = scripts.most_common(1)[0][0]
        return {"CJK": "Chinese", "HANGUL": "Korean"}.get(script, f"{script.capitalize()} letters")
    shares = {code: sum(word in _common_words(code) for word in words) / len(words) for code in _STEMMED if words}
    if len(words) < _MIN_WORDS or shares.pop("en") > _ENGLISH:
        return ""
    best = max(shares, key=shares.__getitem__)
    found = best if shares[best] >= _EVERYDAY else language_of(texts)
    return "" if found in ("", "en") else _STEMMED.get(found, f"'{found}'").capitalize()


def _tokenize(texts: Iterator[str], language: str) -> Any:
    """The words of each text as numbers, and the vocabulary; arrays take a tenth of what lists would."""
    from bm25s.tokenization import Tokenized

    known: dict[str, int] = {"": 0}
    ids = [
        np.array([known.setdefault(word, len(known)) for word in words_of(text, language)] or [0], dtype=np.int32)
        for text in texts
    ]
    return Tokenized(ids=ids, vocab=known)
