"""The teacher: an LLM that puts candidates in order, asked honestly and accounted for."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage

from distill.asking import ask_all
from distill.jsonl import Record, appending, read_records
from distill.permutations import Permutation, parse_permutation
from distill.prompts import ranking_messages, reminder_message

MAX_ASKED_AGAIN = 2
_MAX_PASSAGE_WORDS = 100


@dataclass(slots=True)
class _Request:
    """One question on its way through the teacher: `shown` are passage ids in the order of the prompt."""

    id: str
    question: str
    shown: list[str]
    messages: list[BaseMessage]
    n_asked: int = 0


def rank_candidates(
    candidates: Sequence[Record],
    texts: Mapping[str, str],
    llm: BaseChatModel,
    file: Path,
    *,
    seed: int,
    on_progress: Callable[[int, int], None],
    concurrency: int = 1,
) -> list[Record]:
    """One ranking for each record of `candidates`: {"id", "ranking", "status", "shown", "n_asked", "reply"}.

    `texts` has the text of each passage id. `ranking` holds only passages that the LLM placed. A reply without an
    order is asked for again at most twice. `file` grows line by line, and what stands in it is not asked again.
    """
    done = {record["id"] for record in read_records(file)}
    waiting = [
        _request(record, texts, seed)
        for record in candidates
        if record["id"] not in done and len(record["candidates"]) > 1
    ]
    total = len(done) + len(waiting)
    on_progress(len(done), total)
    with appending(file) as append:
        while waiting:
            unanswered: list[_Request] = []
            for position, reply in ask_all(llm, [request.messages for request in waiting], concurrency=concurrency):
                request = waiting[position]
                request.n_asked += 1
                permutation = parse_permutation(reply, len(request.shown))
                if permutation.status == "refused" and request.n_asked <= MAX_ASKED_AGAIN:
                    request.messages += [AIMessage(reply), reminder_message()]
                    unanswered.append(request)
                    continue
                append(_record(request, permutation, reply))
                done.add(request.id)
                on_progress(len(done), total)
            waiting = unanswered
    return read_records(file)


def _request(record: Record, texts: Mapping[str, str], seed: int) -> _Request:
    shown = [candidate["passage"] for candidate in record["candidates"]]
    # Shuffled, because the order of retrieval would leak into the answer; by question, so that a resumed run agrees.
    digest = hashlib.blake2b(f"{seed}:{record['id']}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    random.Random(int.from_bytes(digest)).shuffle(shown)  # noqa: S311
    passages = [_first_words(texts[identifier]) for identifier in shown]
    messages = ranking_messages(record["question"], passages)
    return _Request(id=record["id"], question=record["question"], shown=shown, messages=messages)


def _first_words(text: str) -> str:
    words = text.split()
    return " ".join(words[:_MAX_PASSAGE_WORDS]) + (" …" if len(words) > _MAX_PASSAGE_WORDS else "")


def _record(request: _Request, permutation: Permutation, reply: str) -> Record:
    return {
        "id": request.id,
        "ranking": [request.shown[position] for position in permutation.order],
        "status": permutation.status,
        "shown": request.shown,
        "n_asked": request.n_asked,
        "reply": reply[:2000],
    }


def status_shares(rankings: Sequence[Record]) -> dict[str, float]:
    """The share of each status among `rankings`, and of all that were not ok as `malformed`."""
    counts = Counter(record["status"] for record in rankings)
    n = max(1, len(rankings))
    shares = {status: counts[status] / n for status in ("ok", "repaired", "partial", "refused")}
    return shares | {"malformed": 1 - shares["ok"] if rankings else 0.0}


def first_shown_share(rankings: Sequence[Record]) -> list[float]:
    """How often the teacher's best stood at each place of the prompt; about equal where it looks at the content."""
    answered = [record for record in rankings if record["ranking"]]
    n_places = max((len(record["shown"]) for record in answered), default=0)
    counts = Counter(record["shown"].index(record["ranking"][0]) for record in answered)
    return [counts[place] / len(answered) for place in range(n_places)]
