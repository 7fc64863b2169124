"""The stages up to the teacher's orders: questions, candidates, teacher, rankings.

Each reads the file before it and leaves its own, unless that is there already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from distill.candidates import mine_candidates, shown
from distill.json_files import read_json, read_records, write_json, write_records
from distill.prompts import speaks_to_its_reader
from distill.questions.reading import assign_splits, key_of, passages_to_ask_about, read_like, read_log
from distill.questions.writing import ROUND_TRIP_DEPTH, Surroundings, write_questions
from distill.records import CandidateList, Kind, Ranking, Trust
from distill.run import Distillation, digest
from distill.run_config import FROM_FILE, WITHOUT_LLM
from distill.run_folder import (
    CANDIDATES,
    GIVEN,
    KEPT_OUT,
    QUESTIONS,
    RANKINGS,
    SAMPLE,
    SOURCES,
    TEACHER,
    WRITTEN,
)
from distill.stages.proposing import propose
from distill.teacher.asking import n_shuffles
from distill.teacher.assessment import assess_teacher
from distill.teacher.orders import (
    beside,
    draw_held_out,
    merge_candidates,
    merge_orders,
    read_rankings,
    read_votes,
    voted_questions,
)
from distill.teacher.ranking import given_up, no_order, place_positives, rank_candidates
from distill.teacher.trust import Probe, judge_given, known_answers, make_probes
from distill.verdict.report import Teacher
from indexes.errors import InputError
from indexes.evaluation import unknown_positives
from indexes.mixes import DEFAULT_MIX
from indexes.queries import read_queries, write_queries
from indexes.retrievers import Retriever, Search
from indexes.types import Query


def make_questions(run: Distillation) -> None:
    """Reads or writes the questions and splits them."""
    file = run.file(QUESTIONS)
    config = run.config
    given = run.config.questions
    if file.is_file():
        known = read_json(run.file(GIVEN)).get("questions")
        if given and known and digest(given) not in (known, None):
            run.say(
                "questions", remark=f"'{given}' was changed since; the run goes on with the questions it had before"
            )
        return
    asked = read_log(Path(config.log)) if config.log else []
    voted = voted_questions(read_votes(Path(config.votes))) if config.votes else []
    known = {key_of(query.text) for query in voted}
    asked = [*voted, *(query for query in asked if key_of(query.text) not in known)]
    if given:
        queries = assign_splits(read_queries(Path(given)), seed=config.seed, asked=asked)
        held_out = [query for query in queries if query.split != "train"]
        unknown_positives(held_out, run.corpus.document_ids())  # refuses now what would judge nothing in hours
        write_json(run.file(GIVEN), {"questions": digest(given)})  # before the questions, so that they never lack it
    else:
        queries = _written(run, asked)
    write_queries(file, _limited(queries, config.limit))


def _limited(queries: Sequence[Query], limit: int) -> list[Query]:
    """At most `limit` training questions (0: all), and every held-out one."""
    train = [query for query in queries if query.split == "train"]
    return [*(train[:limit] if limit else train), *(query for query in queries if query.split != "train")]


def _written(run: Distillation, asked: Sequence[Query]) -> list[Query]:
    config = run.config
    like = read_like(Path(config.like), seed=config.seed) if config.like else []
    written = write_questions(
        passages_to_ask_about(list(run.corpus.passages()), seed=config.seed),
        run.writer,
        run.file(WRITTEN),
        _surroundings(run),
        n=config.n_written,
        styles=config.styles,
        like=like,
        seed=config.seed,
        on_progress=lambda done, total: run.say("questions", done, total),
    )
    write_json(run.file(SOURCES), written.about)
    return assign_splits(written.queries, seed=config.seed, about=written.about, asked=asked)


def _surroundings(run: Distillation) -> Surroundings:
    fused = Retriever(encoder=run.config.base, kind="fused", mix=DEFAULT_MIX)
    search = Search(fused, lambda: run.index, lambda: run.lexical)
    return Surroundings(
        find=lambda questions: search.search_many(questions, ROUND_TRIP_DEPTH),
        embed=run.encoder.encode_queries,
    )


def make_candidates(run: Distillation) -> None:
    """Retrieves for each training question."""
    file = run.file(CANDIDATES)
    if file.is_file():
        return
    config = run.config
    queries = read_queries(run.file(QUESTIONS), "train")
    run.say("candidates", 0, len(queries))
    retrieval, given = propose(run, queries)
    sources = read_json(run.file(SOURCES))
    mined = mine_candidates(
        queries, run.index, run.lexical, config.n_candidates, retrieval=retrieval, given=given, sources=sources
    )
    records = [record for record in mined if len(record.candidates) > 1]
    if not records:
        raise InputError(
            "To put candidates in order takes at least two of them, but no question has found two passages. "
            f"Add more documents to corpus '{run.corpus.name}'."
        )
    write_records(file, records)
    run.say("candidates", len(queries), len(queries))


def assess(run: Distillation) -> None:
    """Asks the LLM about a few questions twice, and about planted answers, to know what its orders are worth."""
    file = run.file(TEACHER)
    if file.is_file():
        return
    name = run.config.teacher
    if name == WITHOUT_LLM:
        write_json(file, {"name": "none (ranker)"})
        return
    if told := commanding(run):
        run.say("teacher", remark=told)
    records = [shown(each) for each in read_records(run.file(CANDIDATES), CandidateList)]
    if name == FROM_FILE:
        trust, kind, sentence = judge_given(records, read_rankings(Path(run.config.rankings), records)[0])
        given = Teacher(name=run.config.rankings, trust=_insisting(run, trust, kind), sentence=sentence)
        write_json(file, asdict(given))
        run.say("teacher", remark=sentence)
        return
    probes = _probes(run, records)
    found = assess_teacher(
        records,
        run.texts,
        run.asker,
        run.config.mode,
        probes,
        seed=run.config.seed,
        on_progress=lambda done, total: run.say("teacher", done, total),
    )
    trust = _insisting(run, found.trust, found.verdict_kind)
    teacher = Teacher(
        name=name,
        trust=trust,
        weight=1.0 if trust == "use" else found.weight,
        top1=found.top1,
        top1_weight=found.top1_weight,
        assessment=found,
    )
    write_json(file, asdict(teacher))
    run.say("teacher", remark=found.sentence)


def _insisting(run: Distillation, trust: Trust, kind: Kind) -> Trust:
    """`trust`, or "use" where the run insists on a teacher that is refused, unless its orders are upside down."""
    return "use" if run.config.insist and trust == "refuse" and kind != "reversed" else trust


def _probes(run: Distillation, records: Sequence[CandidateList]) -> list[Probe]:
    """Planted answers: what training questions were written from or are known to have, else passages themselves."""
    passages = list(run.corpus.passages())
    positives = {query.id: query.positives for query in read_queries(run.file(QUESTIONS), "train")}
    known = known_answers(positives, read_json(run.file(SOURCES)), passages)
    return make_probes(records, passages, known, seed=run.config.seed)


def all_candidates(run: Distillation) -> list[CandidateList]:
    """The candidates of all rounds so far: what the teacher was shown, and then what only the ranker scores."""
    return merge_candidates([read_records(file, CandidateList) for file in round_files(run, "candidates")])


def all_rankings(run: Distillation) -> list[Ranking]:
    """The teacher's orders of all rounds so far, one a question."""
    return merge_orders([read_records(file, Ranking) for file in round_files(run, "rankings")])


def round_files(run: Distillation, what: str) -> list[Path]:
    """The files of each round so far, the first round's whether it is there or not."""
    later = (run.file(f"{what}-{number}.jsonl") for number in range(2, run.config.rounds + 1))
    return [run.file(f"{what}.jsonl"), *(file for file in later if file.is_file())]


def make_rankings(run: Distillation) -> None:
    """The teacher's orders: the LLM's, or those of a file; none where nobody is to be asked."""
    file = run.file(RANKINGS)
    if run.config.teacher == WITHOUT_LLM or run.teacher.trust == "refuse":
        return
    records = [shown(each) for each in read_records(run.file(CANDIDATES), CandidateList)]
    if run.config.teacher == FROM_FILE:
        if not file.is_file():
            given, notes = read_rankings(Path(run.config.rankings), records)
            for note in notes:
                run.say("rankings", remark=note)
            write_records(file, given)
    else:
        if not file.is_file():
            _keep_sample(run, run.teacher.weight)
        ask_teacher(run, records, file)
    _keep_out(run, read_records(file, Ranking))


def _keep_out(run: Distillation, rankings: Sequence[Ranking]) -> None:
    """Keeps a share of the orders out of training where no held-out question can judge, so that something does."""
    file = run.file(KEPT_OUT)
    if file.is_file():
        return
    can_judge = any(query.split != "train" and query.grades for query in read_queries(run.file(QUESTIONS)))
    write_json(file, {"questions": [] if can_judge else draw_held_out(rankings, run.config.seed)})


def kept_out(run: Distillation) -> frozenset[str]:
    """Ids of the training questions that train nothing, because the teacher's orders of them are to judge."""
    return frozenset(read_json(run.file(KEPT_OUT)).get("questions", ()))


def commanding(run: Distillation) -> str:
    """A word on passages that speak to whoever puts them in order, and how often one has bought the first place; ""
    where none is shown.
    """
    seen = sorted({passage for record in all_candidates(run) for passage in shown(record).passages})
    found = [passage for passage in seen if speaks_to_its_reader(run.texts[passage])]
    if not found:
        return ""
    lists = orders(run).values()
    n_bought = sum(each.ranking[0] in found for each in lists)
    bought = f" One of them comes first in {n_bought:,} of {len(lists):,} orders that teach." if lists else ""
    return (
        f"{len(found):,} of {len(seen):,} passages seem to speak to whoever ranks them, such as one of "
        f"'{run.corpus.get_passages(found[:1])[0].source}'. They may buy their place, or have the teacher look "
        f"blind.{bought} Look at them, and take those out of the corpus that nobody who is trusted wrote."
    )


def ask_teacher(run: Distillation, records: Sequence[CandidateList], file: Path, remark: str = "") -> None:
    """Has the LLM put in order what it has not yet, as `file` says."""
    if {record.id for record in records} - {record.id for record in read_records(file, Ranking)}:
        rank_candidates(
            records,
            run.texts,
            run.asker,
            file,
            mode=run.config.mode,
            seed=run.config.seed,
            weight=run.teacher.weight,
            on_progress=lambda done, total: run.say("rankings", done, total, remark),
        )
        run.say("rankings", remark=given_up(read_records(file, Ranking)))


def _keep_sample(run: Distillation, weight: float) -> None:
    """Begins the rankings with the orders that the choice of the retrieval was made by: they are paid for."""
    orders = [each for each in read_records(run.file(SAMPLE), Ranking) if not each.failed]
    if orders:
        asked_once = n_shuffles(run.config.mode) == 1
        write_records(run.file(RANKINGS), [replace(e, weight=weight) if asked_once else e for e in orders])


def orders(run: Distillation) -> Mapping[str, Ranking]:
    """The rankings that hold an order, by question id: people's beside the teacher's, the known positives first, if
    the run says so. Both teach where there is no order of the teacher too. Those `kept_out` are not among them.
    """
    apart = kept_out(run)
    return {key: each for key, each in _all_orders(run).items() if key not in apart}


def _all_orders(run: Distillation) -> dict[str, Ranking]:
    found = all_rankings(run)
    if run.config.votes or run.config.positives == "first":
        mined = all_candidates(run)
        queries = read_queries(run.file(QUESTIONS), "train")
    if run.config.votes:
        found = beside(found, mined, queries, read_votes(Path(run.config.votes)))
    if run.config.positives == "none":
        return {record.id: record for record in found if _says_something(record)}
    ranked = {record.id for record in found}
    asked = [(each.id, each.passages) for each in map(shown, mined)]
    found += [no_order(identifier, passages) for identifier, passages in asked if identifier not in ranked]
    documents = {c.passage: c.document for record in mined for c in record.candidates}
    positives = {query.id: set(query.positives) for query in queries}
    placed = [place_positives(each, {p for p in each.shown if documents[p] in positives[each.id]}) for each in found]
    # A known positive alone is an order too: it comes before all others that were shown.
    return {record.id: record for record in placed if record.ranking}


def _says_something(ranking: Ranking) -> bool:
    """A single passage is an order where several rounds agree that it comes before all others."""
    return len(ranking.ranking) > 1 or (len(ranking.ranking) == 1 and ranking.n_rounds is not None)
