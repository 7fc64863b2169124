"""Metrics are trec_eval's, and a difference is called one only when it is."""

import math
from pathlib import Path

import numpy as np
import pytest
import pytrec_eval

from indexes.errors import InputError
from indexes.evaluation import (
    compare_runs,
    evaluate_run,
    make_qrels,
    run_of_candidates,
    write_trec_qrels,
    write_trec_run,
)
from indexes.types import Candidate, Passage, Query


def candidates(*documents: str, scores: list[float] | None = None) -> list[Candidate]:
    values = scores or [1.0 - 0.1 * place for place in range(len(documents))]
    return [
        Candidate(passage=Passage(id=f"{d}#{n}", document_id=d, source="s", text="t"), score=score)
        for n, (d, score) in enumerate(zip(documents, values, strict=True))
    ]


def test_metrics_of_a_small_ranking_are_those_computed_by_hand() -> None:
    run = {"q": run_of_candidates(candidates("x", "a", "y", "b"), 10)}
    metrics = evaluate_run({"q": {"a": 1, "b": 1}}, run, [1, 2, 5])["q"]
    ideal = 1 + 1 / math.log2(3)
    assert metrics == pytest.approx(
        {
            "hit_rate@1": 0,
            "hit_rate@2": 1,
            "hit_rate@5": 1,
            "recall@1": 0,
            "recall@2": 0.5,
            "recall@5": 1,
            "recall@10": 1,
            "mrr@10": 0.5,
            "ndcg@10": (1 / math.log2(3) + 1 / math.log2(5)) / ideal,
        }
    )


def test_documents_count_once_at_their_best_passage_and_ties_keep_their_order() -> None:
    run = run_of_candidates(candidates("a", "a", "b", "c", scores=[0.9, 0.8, 0.5, 0.5]), 3)
    assert list(run) == ["a", "b", "c"]
    assert np.float32(run["b"]) > np.float32(run["c"])


def test_trec_files_are_what_trec_eval_reads(tmp_path: Path) -> None:
    qrels = {"q 1": {"doc a": 2, "b": 1}, "q_1": {"doc_a": 1}}  # ids with blanks stay apart
    run = {"q 1": run_of_candidates(candidates("b", "x", "doc a", scores=[0.5, 0.5, 0.5]), 10), "q_1": {"x": 1.0}}
    write_trec_run(tmp_path / "r.run", run, "my run")
    write_trec_qrels(tmp_path / "qrels.txt", qrels)
    with (tmp_path / "r.run").open() as run_file, (tmp_path / "qrels.txt").open() as qrels_file:
        read_run, read_qrels = pytrec_eval.parse_run(run_file), pytrec_eval.parse_qrel(qrels_file)
    theirs = pytrec_eval.RelevanceEvaluator(read_qrels, {"ndcg_cut.10"}).evaluate(read_run)
    ours = evaluate_run(qrels, run)
    assert theirs["q%201"]["ndcg_cut_10"] == pytest.approx(ours["q 1"]["ndcg@10"], abs=1e-9)
    assert theirs["q_1"]["ndcg_cut_10"] == 0


def test_a_clear_gain_is_significant_and_noise_is_not() -> None:
    rng = np.random.default_rng(1)
    base = {str(n): {"ndcg@10": float(v)} for n, v in enumerate(rng.uniform(0.3, 0.5, 200))}
    better = {q: {"ndcg@10": m["ndcg@10"] + 0.05} for q, m in base.items()}
    noise = {q: {"ndcg@10": m["ndcg@10"] + float(rng.normal(0, 0.1))} for q, m in base.items()}
    gain, nothing = compare_runs(base, better), compare_runs(base, noise)
    assert gain.p_value < 0.001
    assert gain.low == pytest.approx(0.05)
    assert nothing.p_value > 0.05
    assert nothing.low < 0 < nothing.high


def test_equal_runs_differ_by_nothing() -> None:
    same = {"a": {"ndcg@10": 0.5}, "b": {"ndcg@10": 0.1}}
    comparison = compare_runs(same, same)
    assert (comparison.difference, comparison.p_value) == (0.0, 1.0)


def test_questions_without_positives_cannot_evaluate() -> None:
    with pytest.raises(InputError, match="can only train"):
        make_qrels([Query(id="1", text="why?")])
