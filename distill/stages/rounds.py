"""Rounds after the first: the taught retriever finds again, and only what the teacher has not seen is put to it, each
against the best that it has named so far.

What a round has taught lives in a folder inside the run's, `round-1` and so on, with the files that it was taught by.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence

from distill.candidates import Retrieval, candidate_records, join, search_both, words_of
from distill.json_files import read_json, read_records, write_json, write_records
from distill.records import CandidateList, Ranking
from distill.run import Distillation
from distill.run_config import WITHOUT_LLM
from distill.run_folder import CANDIDATES, KEPT_OUT, QUESTIONS, RANKINGS, RETRIEVAL, ROUNDS, TEACHER
from distill.stages import training
from distill.stages.labelling import all_rankings, ask_teacher, kept_out, round_files
from distill.teacher.orders import merge_orders
from indexes.encoders.finding import load_model
from indexes.encoders.torch import SentenceTransformerEncoder, comparable
from indexes.errors import InputError
from indexes.ingest import index_corpus
from indexes.locks import writing
from indexes.passage_index import PassageIndex, delete_index
from indexes.paths import replacing
from indexes.queries import read_queries
from indexes.types import Candidate, Query

_TAUGHT_BY = (QUESTIONS, TEACHER, KEPT_OUT, CANDIDATES, RANKINGS)
_BATCH = 256


def check_rounds(run: Distillation) -> None:
    """Raises `InputError` if there is nobody to ask in a second round."""
    if run.config.rounds > 1 and run.config.teacher == WITHOUT_LLM:
        raise InputError("A second round asks the LLM about passages that it has not seen. Leave out --teacher none.")


def make_rounds(run: Distillation) -> None:
    """Asks in all rounds after the first; what they say stands beside the first round's files."""
    if run.config.rounds < 2:
        return
    if run.teacher.trust == "refuse":
        run.say("rankings", remark="The teacher's orders are not to teach, so it is not asked in a second round.")
        return
    for number in range(2, run.config.rounds + 1):
        _ask(run, number)
    rounds = [read_records(file, Ranking) for file in round_files(run, "rankings")]
    write_json(run.file(ROUNDS), {"rounds": [_account(rounds, n) for n in range(1, len(rounds) + 1)]})


def _ask(run: Distillation, number: int) -> None:
    """The teacher's orders of what the retriever of the round before has found, and nobody has shown it."""
    file = run.file(f"candidates-{number}.jsonl")
    if not file.is_file():
        write_records(file, _find_again(run, _taught(run, number - 1)))
    ask_teacher(run, read_records(file, CandidateList), run.file(f"rankings-{number}.jsonl"), f"round {number}")


def _taught(run: Distillation, number: int) -> Distillation:
    """The run after that round, its retriever trained; it has its own copies of the files that taught it."""
    earlier = run.at_round(number)
    earlier.folder.mkdir(exist_ok=True)
    later = [f"{what}-{n}.jsonl" for n in range(2, number + 1) for what in ("candidates", "rankings")]
    for name in (*_TAUGHT_BY, *later):
        with replacing(earlier.file(name)) as partial:
            shutil.copyfile(run.file(name), partial)
    training.make_ranker(earlier)
    training.make_scores(earlier)
    training.make_retriever(earlier)
    return earlier


def _index_of(run: Distillation) -> PassageIndex:
    """The corpus as the encoder of a round sees it; where only its questions were taught, its base's index will do."""
    model = load_model(str(run.encoder_folder), run.paths)
    encoder = SentenceTransformerEncoder(run.config.base, model)
    if not comparable(encoder.fingerprint, run.encoder.fingerprint):
        encoder = SentenceTransformerEncoder(run.config.name, model)
        for done, total in index_corpus(run.paths, run.corpus, encoder):
            run.say("candidates", done, total, "indexing the corpus with the retriever of this round")
    return PassageIndex.open(run.paths, run.corpus.name, encoder)


def _find_again(run: Distillation, earlier: Distillation) -> list[CandidateList]:
    """For each question the best so far and then what the retriever of the round before finds that was not shown;
    questions for which that is nothing are left out.
    """
    known = {record.id: record for record in all_rankings(run)}
    asked = {record.id for record in read_records(run.file(CANDIDATES), CandidateList)} - kept_out(run)
    queries = [query for query in read_queries(run.file(QUESTIONS), "train") if query.id in asked]
    index = _index_of(earlier)
    records: list[CandidateList] = []
    for first in range(0, len(queries), _BATCH):
        run.say("candidates", first, len(queries), "finding again")
        batch = queries[first : first + _BATCH]
        lists = [found for found in _lists(run, batch, index, known) if len(found[1]) > 1]
        records += candidate_records([q for q, _ in lists], [found for _, found in lists], run.index, run.lexical)
    return records


def _lists(
    run: Distillation, queries: Sequence[Query], index: PassageIndex, known: Mapping[str, Ranking]
) -> list[tuple[Query, list[Candidate]]]:
    """Each question with its best passage so far, if any, and with the best of those that it was not shown with."""
    n = run.config.n_candidates
    before = {q.id: run.corpus.get_passages(known[q.id].shown) if q.id in known else [] for q in queries}
    depth = n + max(map(len, before.values()))
    lists = []
    for query, found in zip(queries, search_both(queries, index, run.lexical, depth), strict=True):
        seen = {words_of(passage.text) for passage in before[query.id]}
        new = [c for c in join(found, _retrieval(run), depth) if words_of(c.passage.text) not in seen]
        best = [
            Candidate(passage=passage, score=0.0)
            for passage in before[query.id]
            if passage.id in known[query.id].ranking[:1]
        ]
        lists.append((query, [*best, *new[: n - len(best)]] if new else []))
    return lists


def _retrieval(run: Distillation) -> Retrieval:
    """What finds again: what found before, with the taught retriever in it."""
    chosen = run.config.retrieval
    before: Retrieval = read_json(run.file(RETRIEVAL))["retrieval"] if chosen == "auto" else chosen
    return "union" if before == "lexical" else before


def _account(rounds: Sequence[Sequence[Ranking]], number: int) -> dict[str, int]:
    """What the round of this number has asked, and for how many questions it has put another passage first."""
    asked = rounds[number - 1]
    best = [
        {record.id: record.ranking[0] for record in merge_orders(rounds[:n]) if record.ranking}
        for n in (number - 1, number)
    ]
    return {
        "round": number,
        "questions": len(asked),
        "calls": sum(record.n_asked for record in asked),
        "passages": sum(len(record.shown) for record in asked),
        "best_changed": sum(best[0].get(identifier) != passage for identifier, passage in best[1].items()),
    }


def drop_indexes(run: Distillation) -> None:
    """Takes the indexes of earlier rounds' retrievers away: nobody searches with them once the run is over."""
    names = {run.at_round(number).config.name for number in range(1, run.config.rounds)}
    if names & {info.encoder for info in run.corpus.indexes()}:
        with writing(run.paths, run.corpus.name, f"ending run '{run.config.name}'", wait_s=3600):
            for name in sorted(names):
                delete_index(run.paths, run.corpus, name)
