"""Orders of the teacher's that never train, and judge where no question can: its own word, and named as that.

Nobody has said which documents answer the questions, so the passage that the teacher put first stands for the answer,
and retrievers are judged by where they find it in the whole corpus. Its place among the passages that the teacher was
shown foretells less: it does not see what a retriever now puts above all of them (see benchmarks/order_verdict). What a
retriever finds that is better than all that was shown counts against it, so the word errs on the side of the base.

That tells whether training has carried the teacher's opinion into the retriever, and whether training without it has
moved the retriever away from it. Whether the opinion is any good it cannot tell, so nothing is promoted by it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from distill.json_files import Record
from indexes.evaluation import FEW_QUERIES
from indexes.types import Query

_SHARE = 6  # one in so many orders is kept out


def draw(rankings: Sequence[Record], seed: int) -> list[str]:
    """Ids of the questions whose orders are to be kept out of training: a sixth, at least `FEW_QUERIES`, by `seed`.

    None where that would take more than a third of them.
    """
    ids = sorted(record["id"] for record in rankings if len(record["ranking"]) > 1)
    n = max(FEW_QUERIES, len(ids) // _SHARE)
    return sorted(random.Random(seed).sample(ids, n)) if 3 * n <= len(ids) else []  # noqa: S311


def first_choices(rankings: Sequence[Record], candidates: Sequence[Record]) -> list[Query]:
    """A question for each of the `rankings`, answered by the document of the passage that the teacher put first.

    `candidates` are the candidate records, which have the questions, and the documents of passages.
    """
    texts = {record["id"]: record["question"] for record in candidates}
    documents: Mapping[str, str] = {c["passage"]: c["document"] for record in candidates for c in record["candidates"]}
    return [
        Query(id=record["id"], text=texts[record["id"]], positives=(documents[record["ranking"][0]],), split="dev")
        for record in rankings
    ]
