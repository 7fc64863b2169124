"""A plan → what it would ask, cost and take, and what it can show in the end, in sentences."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from app.teaching.plan import Plan
from indexes.corpus import Corpus
from indexes.paths import DataPaths

# Seconds on two cores: of a question whose candidates are scored and that trains, of a passage that is embedded.
_A_QUESTION = {"query": 0.25, "both": 1.4}
_A_PASSAGE = 1 / 40


def foresee(plan: Plan, paths: DataPaths) -> tuple[str, ...]:
    """Sentences on what the plan would ask, cost and take, and what it can show in the end."""
    from distill.estimating import estimate, price_of

    with tempfile.TemporaryDirectory() as folder:
        config = plan.config
        if plan.questions:  # they lie in the run's folder only once it begins
            file = Path(folder) / Path(config.questions).name
            file.write_bytes(plan.files[file.name])
            config = replace(config, questions=str(file))
        found = estimate(paths, config, price_of(plan.llm, paths), is_embedded=plan.llm.is_embedded)
    n_passages = Corpus.open(paths, config.corpus).info().n_passages
    sentences = [*_about_questions(plan), *_about_people(plan)]
    if found.calls:
        cost = "at a price that is not known" if found.cost is None else f"for about {_dollars(found.cost)}"
        cost = "on this machine, for free" if plan.llm.is_embedded else cost
        sentences.append(
            f"About {found.calls:,} calls of {plan.llm.name} would read {found.prompt_tokens:,} tokens and write "
            f"{found.reply_tokens:,}, {cost}."
        )
    else:
        sentences.append("No LLM is asked, so it costs nothing.")
    n_training = _n_training(plan)
    embeds = config.train == "both" or config.weighs_passages
    n_taught = 2 if config.free_name else 1  # the free control beside it
    own = n_taught * (n_training * _A_QUESTION[config.train] + (n_passages * _A_PASSAGE if embeds else 0))
    also = "" if plan.llm.is_embedded or not found.calls else ", and however long the endpoint takes"
    sentences.append(f"That takes about {_duration(own + (found.seconds or 0))} on two cores{also}.")
    return tuple(sentences)


def _about_questions(plan: Plan) -> list[str]:
    from distill.questions.sources import assign_splits

    if not plan.questions:
        return []
    split = assign_splits(plan.questions, seed=plan.config.seed)
    held_out = [query for query in split if query.split != "train"]
    n_judged = sum(bool(query.grades) for query in held_out)
    sentences = [f"{len(split) - len(held_out):,} questions train and {len(held_out):,} are held out."]
    if not n_judged:
        sentences.append(
            "None of those held out says which documents answer it, so no gain can be measured in the end, and the "
            "baseline is kept unless you promote the new retriever yourself."
        )
    elif n_judged < 30:
        sentences.append(f"Only {n_judged} of those held out say what answers them; so few rarely show a clear gain.")
    return sentences


def _about_people(plan: Plan) -> list[str]:
    from distill.run import WITHOUT_LLM

    sentences = []
    if plan.n_votes:
        beside = "are the only ones" if plan.config.teacher == WITHOUT_LLM else "count beside the teacher's"
        sentences.append(f"People's votes give {plan.n_votes:,} order(s), which {beside}.")
    if plan.n_asked:
        sentences.append(f"{plan.n_asked:,} question(s) that people asked here train too.")
    return sentences


def _n_training(plan: Plan) -> int:
    return round(0.8 * (len(plan.questions) or plan.config.n_written))


def _dollars(amount: float) -> str:
    return f"{amount:.2f} US dollars" if amount >= 0.01 else "less than 0.01 US dollars"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return "a minute"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"
