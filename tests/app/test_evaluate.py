"""Every retriever of a corpus is judged on questions that people bring, and each question can be looked into."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from scripted_endpoint import ScriptedEndpoint

from app.answering import Answer
from app.evaluating import (
    ORDERS,
    choose_answerable,
    choose_questions,
    f1,
    grade,
    judged_runs,
    normal_words,
    pair_up,
    plain_cell,
    read_upload,
    summarise,
    to_csv,
    uploaded_questions,
    write_files,
)
from app.handlers import evaluate
from app.handlers.buttons import StopFlag, press_stop
from app.plots import Drawing, dot, text, to_file, to_svg
from app.workbench import Workbench
from distill.prompts import NO_ANSWER
from indexes.corpus import Corpus
from indexes.errors import InputError
from indexes.evaluation import Judgement
from indexes.ingest import delete_corpus, remove_sources
from indexes.mixes import Mix, keep_mix
from indexes.types import Query

HOSTILE = "Why do <img src=x onerror=alert(1)> tides rise?"
RECORDS = [
    {"id": "q1", "question": "Where do honey bees dance?", "positives": ["bees.txt"], "answers": ["the hive"]},
    {"id": "=cmd()", "question": HOSTILE, "positives": ["tides.txt"], "split": "dev"},
    {"id": "q3", "question": "How is glass made?", "positives": ["glass.txt"], "answers": ["by melting sand"]},
    {"id": "q4", "question": "A question that trains", "positives": ["glass.txt"], "split": "train"},
]
Judge = Callable[..., list[evaluate.EvaluationView]]


@pytest.fixture
def questions(tmp_path: Path) -> str:
    """An uploaded file of judged questions."""
    return _write(tmp_path / "mine.jsonl", RECORDS)


def _write(file: Path, records: list[dict[str, object]]) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return str(file)


@pytest.fixture
def judge(bench: Workbench, corpus: str, questions: str) -> Judge:
    """Runs the evaluation as a click does."""

    def run(file: str | None = questions, source: str = "", **more: object) -> list[evaluate.EvaluationView]:
        values = {"limit": 1000, "metric": "ndcg@10", "flag": StopFlag()} | more
        return list(evaluate.run_evaluation(bench, corpus, source, file, **values))  # type: ignore[arg-type]

    return run


def evaluation_of(views: list[evaluate.EvaluationView]) -> Judgement:
    assert isinstance(views[-1].evaluation, Judgement), views[-1].progress
    return views[-1].evaluation


def test_each_is_fused_by_its_own_mix(judge: Judge, bench: Workbench, corpus: str, taught: str) -> None:
    opened = Corpus.open(bench.paths, corpus)
    keep_mix(opened, "keywords", Mix(lexical=0.0, n_orders=300))
    keep_mix(opened, taught, Mix(lexical=1.0, n_orders=300))
    runs = evaluation_of(judge()).runs
    assert runs["Baseline + words"] == runs["Baseline"]
    assert runs["Both"] == runs["Words"]
    assert runs["Words"] != runs["Baseline"]


def test_every_retriever_is_judged_alone_fused_and_by_words(judge: Judge, taught: str) -> None:
    views = judge()
    evaluation = evaluation_of(views)
    assert tuple(evaluation.by_query) == ("Baseline", "Taught", "Words", "Baseline + words", "Both")
    assert [query.id for query in evaluation.queries] == ["q1", "=cmd()", "q3"]
    assert all(values["hit_rate@1"] == 1.0 for values in evaluation.metrics.values())
    assert any("Asking every retriever" in str(view.progress) for view in views)
    figures = views[-1].figures
    assert "too few to tell" in figures
    assert "3 questions" in figures
    assert views[-1].charts.count("<svg") == 3


def test_the_questions_of_a_run_that_did_not_train_can_be_taken(bench: Workbench, judge: Judge) -> None:
    folder = bench.paths.run("lessons")
    _write(folder / "questions.jsonl", RECORDS)
    (folder / "config.json").write_text(json.dumps({"name": "lessons", "corpus": "nature"}), encoding="utf-8")
    (bench.paths.runs / "broken").mkdir()
    (bench.paths.runs / "broken" / "config.json").write_text("[", encoding="utf-8")
    assert judged_runs(bench.paths, "nature") == ["lessons"]
    assert judged_runs(bench.paths, "another") == []
    choices = evaluate.list_choices(bench, "nature", None, None)
    assert choices.source["value"] == "lessons"
    assert [query.id for query in evaluation_of(judge(None, "lessons")).queries] == ["q1", "=cmd()", "q3"]
    assert "has no judged questions" in judge(None, "../lessons")[-1].progress


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.csv", "question\n", "should end in .jsonl"),
        ("a.jsonl", "no json\n", "Line 1 of"),
        ("a.jsonl", '{"question": "Why?"}\n', "positives"),
        (
            "a.jsonl",
            '{"question": "Why?", "positives": ["elsewhere.txt"]}\n',
            "1 of 1 positives name no document of this corpus",
        ),
        ("a.jsonl.gz", "not zipped", "gzip"),
    ],
)
def test_a_bad_file_gives_a_sentence(judge: Judge, tmp_path: Path, name: str, content: str, sentence: str) -> None:
    file = tmp_path / "uploads-of-evaluate" / name
    file.parent.mkdir()
    file.write_text(content, encoding="utf-8")
    last = judge(str(file))[-1]
    assert sentence in last.progress
    assert str(file.parent) not in last.progress
    assert last.evaluate["interactive"] is True


def test_nothing_to_judge_with_gives_a_sentence(judge: Judge) -> None:
    assert "Drop a file" in judge(None)[-1].progress


def test_no_corpus_to_judge_gives_a_sentence(bench: Workbench) -> None:
    (_, last) = evaluate.run_evaluation(bench, None, "", None, 10, "ndcg@10", StopFlag())
    assert "There is no corpus yet" in last.progress


def test_a_corpus_that_was_deleted_in_another_window_gives_a_sentence(
    bench: Workbench, corpus: str, judge: Judge
) -> None:
    evaluation = evaluation_of(judge())
    delete_corpus(bench.paths, corpus)
    assert "There is no corpus" in judge()[-1].progress
    opened = evaluate.open_pair(bench, 0, evaluation, "Baseline", "Words", "ndcg@10", ORDERS[2])
    assert "There is no corpus" in opened


def test_positives_that_are_not_there_are_said_and_count_as_not_found(judge: Judge, tmp_path: Path) -> None:
    """As on the command line: a question that was left out would make the figures better than they are."""
    lost = {"id": "q9", "question": "Where do honey bees dance?", "positives": ["gone.txt"]}
    views = judge(_write(tmp_path / "some.jsonl", [RECORDS[0], lost]))
    assert "1 of 2 positives name no document of this corpus (first: &#x27;gone.txt&#x27;)" in views[-1].progress
    assert evaluation_of(views).metrics["Baseline"]["hit_rate@1"] == 0.5


def test_the_evaluation_can_be_stopped(bench: Workbench, corpus: str, questions: str) -> None:
    flag, views = StopFlag(), []
    for view in evaluate.run_evaluation(bench, corpus, "", questions, 1000, "ndcg@10", flag):
        views.append(view)
        press_stop(flag)
    assert "Stopped" in views[-1].progress
    assert not isinstance(views[-1].evaluation, Judgement)


def test_a_limit_draws_the_same_questions_each_time(bench: Workbench, corpus: str) -> None:
    many = [Query(id=f"q{n}", text="bees", positives=("bees.txt",)) for n in range(50)]
    drawn, said = choose_questions(bench.paths, corpus, many, 10)
    assert (drawn, said) == (choose_questions(bench.paths, corpus, many, 10)[0], "")
    assert len(drawn) == 10
    assert list(drawn) == sorted(drawn, key=many.index)


def test_questions_are_listed_by_gain_and_by_loss() -> None:
    values = {"left": {"a": 1.0, "b": 0.0, "c": 0.5}, "right": {"a": 0.0, "b": 1.0, "c": 0.5}}
    evaluation = Judgement(
        queries=[Query(id=each, text=each, positives=("x",)) for each in "abc"],
        by_query={name: {q: {"mrr@10": v} for q, v in each.items()} for name, each in values.items()},
    )
    ids = [[pair.query.id for pair in pair_up(evaluation, "left", "right", "mrr@10", order)] for order in ORDERS]
    assert ids == [["b", "c", "a"], ["a", "c", "b"], ["a", "b", "c"]]


def test_a_question_opens_with_both_lists_and_the_relevant_passages_marked(bench: Workbench, judge: Judge) -> None:
    evaluation = evaluation_of(judge())
    arguments = (evaluation, "Baseline", "Words", "ndcg@10", ORDERS[2])
    assert len(evaluate.list_pairs(*arguments)["samples"]) == 3
    opened = evaluate.open_pair(bench, 1, *arguments)
    assert opened.count('class="passage relevant"') == 2
    assert "&lt;img src=x" in opened
    assert "<img" not in opened
    assert "Baseline" in opened
    assert "not in the list" in evaluate.open_pair(bench, 99, *arguments)
    remove_sources(bench.paths, "nature", ["tides.txt"])
    assert 'class="passage relevant"' not in evaluate.open_pair(bench, 1, *arguments)


def test_nothing_is_opened_before_there_is_an_evaluation(bench: Workbench) -> None:
    assert "Evaluate first" in evaluate.open_pair(bench, 0, None, None, None, "ndcg@10", ORDERS[0])
    assert evaluate.list_pairs(None, None, None, "ndcg@10", ORDERS[0])["samples"] == []


def test_another_metric_changes_the_differences(judge: Judge, taught: str) -> None:
    evaluation = evaluation_of(judge())
    (view,) = evaluate.change_metric(evaluation, "mrr@10")
    assert "mrr@10 against the baseline" in view.figures
    assert "mrr@10: difference" in view.charts


def test_the_files_to_take_away_say_what_the_page_says(judge: Judge, tmp_path: Path) -> None:
    evaluation = evaluation_of(judge())
    rows = list(csv.DictReader(io.StringIO(to_csv(evaluation))))
    assert {row["retriever"] for row in rows} == set(evaluation.by_query)
    assert len(rows) == len(evaluation.by_query) * (1 + 3)
    assert float(rows[0]["ndcg@10"]) == pytest.approx(evaluation.metrics["Baseline"]["ndcg@10"])
    assert "'=cmd()" in {row["question_id"] for row in rows}
    (tmp_path / "out").mkdir()
    drawing = Drawing(width=200, height=100, label="label", marks=[text(0, 10, "text")])
    files = write_files(tmp_path / "out", evaluation, [drawing])
    with zipfile.ZipFile(files["trec"]) as archive:
        assert len(archive.namelist()) == len(evaluation.by_query) + 1
        assert "q1 0 bees.txt 1" in archive.read("qrels.txt").decode()
    picture = ElementTree.fromstring(files["svg"].read_text(encoding="utf-8"))  # noqa: S314
    assert (picture.get("width"), picture.get("height")) == ("200", "100")


@pytest.mark.parametrize("start", ["", "a;", "a\n", "a\r\n", "a,", "\t", "a;\u00a0", '"\n'])
@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "＝1", "＋1", "－1", "＠x"])
def test_a_spreadsheet_takes_no_cell_for_a_formula(text: str, start: str) -> None:
    assert plain_cell(start + text) == f"{start}'{text}"
    assert plain_cell("a-b; c = d") == "a-b; c = d"
    assert plain_cell("plain") == "plain"


def test_texts_in_a_picture_are_escaped() -> None:
    marks = [dot(1, 1, 1, "#000000", "<b>hint"), text(0, 0, "<i>text")]
    drawing = Drawing(width=9, height=9, label='"><script>', marks=marks)
    svg = to_svg(drawing)
    assert "<script" not in svg
    assert "&lt;b&gt;hint" in svg
    assert "&lt;i&gt;text" in svg
    assert "&lt;i&gt;text" in to_file([drawing])
    assert "<script" not in to_file([drawing])


# --- answers ---------------------------------------------------------------------------------------------------


def graded(text: str, *answers: str) -> float | None:
    query = Query(id="q", text="?", answers=answers)
    return grade(query, Answer(n_passages=3, state="done", text=text)).f1


def test_answers_are_compared_without_articles_case_punctuation_and_citations() -> None:
    assert normal_words("The Hive, a home!") == ["hive", "home"]
    assert graded("The hive [1].", "hive") == 1.0
    assert graded("in the hive", "hive", "in hive") == 1.0
    assert graded("in the hive", "hive") == pytest.approx(2 / 3)
    assert f1(["bees"], ["sea"]) == 0.0


def test_a_refusal_is_right_only_where_there_is_no_answer() -> None:
    refusal = Answer(n_passages=3, state="done", text=NO_ANSWER)
    known, unknown = Query(id="a", text="?", answers=("hive",)), Query(id="b", text="?")
    quality = summarise([grade(known, refusal), grade(unknown, refusal)])
    assert list(quality.values()) == [0.0, 0.0, 0.0, 1.0, 1.0]
    assert set(summarise([]).values()) == {None}


def test_questions_without_known_answers_are_not_asked() -> None:
    known, judged, unanswerable = (
        Query(id="a", text="?", answers=("x",)),
        Query(id="b", text="?", positives=("d",)),
        Query(id="c", text="?"),
    )
    assert choose_answerable([known, judged, unanswerable], 9) == [known, unanswerable]
    with pytest.raises(InputError, match="answers"):
        choose_answerable([judged], 9)


def test_the_llm_is_asked_at_most_as_often_as_allowed(
    bench: Workbench, corpus: str, questions: str, endpoint: ScriptedEndpoint
) -> None:
    views = list(evaluate.judge_answers(bench, corpus, "", questions, "keywords", 1, StopFlag()))
    assert len(endpoint.requests) == 1
    assert "1 answerable" in views[-1].answers
    assert "Bees dance" in views[-1].answers


def test_a_failing_llm_ends_the_answers_with_a_sentence(
    bench: Workbench, corpus: str, questions: str, endpoint: ScriptedEndpoint
) -> None:
    endpoint.fail(401)
    last = list(evaluate.judge_answers(bench, corpus, "", questions, "keywords", 5, StopFlag()))[-1]
    assert 'role="alert"' in last.progress
    assert last.ask["interactive"] is True


def test_lines_that_train_are_left_out_of_an_upload(questions: str) -> None:
    assert "q4" not in {query.id for query in read_upload(questions)}


def test_what_is_wrong_with_an_upload_is_said_without_its_place_on_the_server(tmp_path: Path) -> None:
    file = tmp_path / "asked.jsonl"
    file.write_text('{"question": "Which one?"}\nno record\n', encoding="utf-8")
    with pytest.raises(InputError) as refused:
        uploaded_questions(file)
    assert "Line 2 of 'asked.jsonl'" in str(refused.value) and str(tmp_path) not in str(refused.value)
