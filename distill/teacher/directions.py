"""Which end of an order is its best, from the words around it: pure. English, German, French and Spanish."""

from __future__ import annotations

import re
from typing import Literal

Direction = Literal["", "best first", "worst first", "unclear"]

_UP = (
    r"ascending|increasing|rising|(?:auf)?steigend\w*|zunehmend\w*|croissante?s?|ascendante?s?|ascendentes?|crecientes?"
)
_DOWN = (
    r"descending|decreasing|falling|(?:ab)fallend\w*|absteigend\w*|abnehmend\w*|décroissante?s?|descendante?s?"
    r"|descendentes?|decrecientes?"
)
_ORDER = (
    r"order\w*|sort\w*|rank\w*|list\w*|relevanc\w+|usefulness|scores?|reihenfolge|relevanz|geordnet|ordre|pertinence"
    r"|classement|orden\w*|relevancia|pertinencia"
)
_BEST = (
    r"best|most|highest|strongest|top|beste\w*|relevanteste\w*|meisten|wichtigste\w*|höchste\w*|meilleure?s?|plus"
    r"|mejor(?:es)?|más|mayor"
)
_WORST = (
    r"worst|least|lowest|weakest|poorest|schlechteste\w*|wenigsten|unwichtigste\w*|irrelevanteste\w*|niedrigste\w*"
    r"|pires?|moins|peor(?:es)?|menos|menor"
)
_FIRST = r"first|zuerst|zunächst|d'abord|en premi(?:er|ère)|primero"
_LAST = r"last|zuletzt|en derni(?:er|ère)|al final"
_TO = r"(?:\b(?:to|through|up|bis|zu[mr]?|à|aux?|al?|hacia)\b|->|→|–)"
_BEGIN = r"(?:start|begin)\w* (?:with|from|at)|beginnend mit|en commençant par|empezando por"
_END = r"ending with|endend mit|en finissant par|terminando (?:en|con)"
_GAP = r"[^.;:!?\n\[\]<>]{0,40}?"
_FEW_WORDS = rf"(?:[^\w.;:!?\n]+(?!(?:{_FIRST}|{_LAST})\b)\w+){{0,3}}[^\w.;:!?\n]+"


def _announced(order: str, first: str, last: str, chinese: str) -> re.Pattern[str]:
    """Words that say that what is `first` stands first; `order` are adjectives for it."""
    return re.compile(
        rf"\b(?:{first})\b{_GAP}{_TO}{_GAP}\b(?:{last})\b"
        rf"|\b(?:{first})\b{_FEW_WORDS}(?:{_FIRST})\b|\b(?:{last})\b{_FEW_WORDS}(?:{_LAST})\b"
        rf"|\b(?:{_BEGIN})\b{_FEW_WORDS}(?:{first})\b|\b(?:{_END})\b{_FEW_WORDS}(?:{last})\b"
        rf"|\b(?:{order})\b(?:\W+\w+){{0,3}}?\W+(?:{_ORDER})\b|\b(?:{_ORDER})\b(?:\W+\w+){{0,3}}?\W+(?:{order})\b"
        rf"|\b(?:{order})\W*\Z|\A\W*(?:{order})\b|{chinese}"
    )


_WORST_FIRST = _announced(_UP, _WORST, _BEST, r"\blow to high\b|升序|昇順|[从由](?:最)?(?:低|差|不相关)到")
_BEST_FIRST = _announced(_DOWN, _BEST, _WORST, r"\bhigh to low\b|降序|降順|[从由](?:最)?(?:高|好|相关)到")
_UNCLEAR = re.compile(
    rf"\b(?:reversed?|inverted) (?:order|ranking|list)|\border (?:is )?reversed|umgekehrte\w* reihenfolge|ordre inverse"
    rf"|orden inverso|\b(?:{_UP})\b{_GAP}\b(?:rank|place|position|number|distance|ids?)\b(?! of relevance)"
)
_NEGATION = re.compile(
    r"\b(?:not(?! only)|none|neither|nor|never|no(?! doubt)|cannot|without|irrelevant\w*|unrelated|useless|unhelpful"
    r"|nicht|nichts|kein\w*|weder|unpassend\w*|ne|n'\w+|pas|aucune?s?|ni|non|hors sujet|ningun[oa]s?|ningún"
    r"|tampoco)\b|n't\b|不"
)
_RULED_OUT = re.compile(
    r"\b(?:not|no|none|neither|nor|never|cannot|nicht|kein\w*|weder|ne|pas|ni|non)\b(?:\W+\w+){0,3}?\W+(?:answer\w*"
    r"|relevan\w*|related|useful|helpful|matter\w*|help\w*|beantwort\w*|antwort\w*|hilf\w*|pertinent\w*|répond\w*"
    r"|respond\w*|útil\w*)|n't (?:really )?(?:answer|help|relat|matter)\w*|\birrelevant\w*|\bunrelated|\buseless"
    r"|hors sujet|\A\W*(?:(?:is|are|was|do|does|did|can|could|ist|sind|kann)\W+)?(?:not|nor|nicht|ne|no)\b"
    r"|\A\W*\w+n't\b"
)
_NEXT_BEST = re.compile(r"\b(?:second|next|third|fourth)[ -]best\b")
_BEST_WORD = re.compile(rf"\b(?:{_BEST}|better|first|perfect\w*|ideal\w*)\b")
_WORST_WORD = re.compile(rf"\b(?:{_WORST})\b")
_SLIGHTED = re.compile(rf"\b(?:{_WORST}|worse|poor\w*|bad|behind|below|than)\b")
_AMOUNT = re.compile(r"\bat (?:least|most|best)\b|\bau moins\b|\b(?:al|por lo) menos\b|\bbut not least\b")
_LESS = re.compile(r"\b(?:less|weaker|lower)\b")
MENTION = "\0"
_CLAUSE = re.compile(r"[.,;:!?\n]|\b(?:and|but|while|whereas|und|aber|während|et|mais|y|pero)\b")
_IN_ORDER = re.compile(
    r"\b(?:first|then|next|followed|second|third|finally|lastly|last|best|most|better|zuerst|dann|danach|gefolgt|puis"
    r"|ensuite|suivi|luego|después|seguido)\b"
)


def words(text: str) -> str:
    """`text` as the patterns here take it."""
    return _AMOUNT.sub(
        "", _NEXT_BEST.sub("second", re.sub(r"[_\-’]", lambda m: "'" if m[0] == "’" else " ", text.lower()))
    )


def announced(before: str, after: str) -> Direction:
    """Which end of an order the text right `before` and `after` it says is the best; "" if it says nothing."""
    said = [words(before), words(after)]
    worst_first = any(_WORST_FIRST.search(text) for text in said)
    best_first = any(_BEST_FIRST.search(text) for text in said)
    if any(_UNCLEAR.search(text) for text in said) or (worst_first and best_first):
        return "unclear"
    return "worst first" if worst_first else "best first" if best_first else ""


def negated(text: str) -> bool:
    """Whether `text` says of something that it is not so."""
    return _NEGATION.search(words(text)) is not None


def rules_out(text: str) -> bool:
    """Whether what follows a passage says that it is no answer."""
    return _RULED_OUT.search(words(text)) is not None


def names_worst(text: str) -> bool:
    """Whether `text` is about the worst and not about the best."""
    text = words(text)
    return _WORST_WORD.search(text) is not None and _BEST_WORD.search(text) is None


def names_best(text: str) -> bool:
    """Whether `text` is about the best and not about the worst."""
    text = words(text)
    return _BEST_WORD.search(text) is not None and _WORST_WORD.search(text) is None


def tells_best_first(text: str) -> bool:
    """Whether sentences in which `MENTION` stands for each passage tell an order, best first.

    Something has to say that it is an order, and nothing is denied. What is praised is the first of them, what is
    slighted the last; to be less than another is to come after what was praised.
    """
    text = words(text)
    if _NEGATION.search(text) or not _IN_ORDER.search(text):
        return False
    n, named, praised = text.count(MENTION), 0, False
    for clause in _CLAUSE.split(text):
        here = clause.count(MENTION)
        named += here
        praises = _BEST_WORD.search(clause) is not None
        if praises and not (named <= 1 or named == here):
            return False
        if _SLIGHTED.search(clause) and (here > 1 or named < n):
            return False
        if _LESS.search(clause) and not praised:
            return False
        praised |= praises
    return True
