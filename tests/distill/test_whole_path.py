"""The whole path on real files with a real encoder and a scripted LLM behind HTTP:
files → index → questions → rankings → ranker → retriever → index → answer."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import run_here
from scripted_endpoint import ScriptedEndpoint
from sentence_transformers import SentenceTransformer
from small_lesson import FACTS, scripted_llm, write_facts
from tiny_encoders import cut_encoder

from distill import open_ranker_compressor, open_taught_retriever
from distill.json_files import read_records
from distill.records import CandidateList, Ranking
from indexes.corpus import Corpus
from indexes.encoders.loading import load_encoder
from indexes.mixes import Mix, kept_mix
from indexes.passage_index import PassageIndex
from indexes.paths import DataPaths

pytestmark = pytest.mark.slow
BASE = "cut"


def run(program: str, data: Path, *arguments: str | Path, base_url: str = "") -> subprocess.CompletedProcess[str]:
    return run_here(program, *arguments, environment=of(data, base_url))


def of(data: Path, base_url: str) -> dict[str, str]:
    return os.environ | {
        "DATA_DIR": str(data),
        "ENCODER": BASE,
        "OPENAI_BASE_URL": base_url,
        "OPENAI_API_KEY": "sk-secret-key",
    }


class Taught:
    """What a whole run left behind."""

    def __init__(self, data: Path, endpoint: ScriptedEndpoint, command: list[str], metrics: dict[str, Any]) -> None:
        self.paths = DataPaths(data)
        self.endpoint = endpoint
        self.command = command
        self.metrics = metrics


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Taught]:
    folder = tmp_path_factory.mktemp("whole")
    assert cut_encoder(DataPaths(folder / "data")) == BASE
    files = write_facts(folder)
    with ScriptedEndpoint(scripted_llm) as endpoint:
        added = run("indexes", folder / "data", "add", "facts", *sorted(files))
        assert added.returncode == 0, added.stderr
        command = ["run", "facts", "--write-questions", "12", "--n-candidates", "4"]
        command += ["--name", "taught", "--json"]
        done = run("distill", folder / "data", *command, base_url=endpoint.base_url)
        assert done.returncode == 0, done.stderr
        assert "sk-secret-key" not in done.stderr + done.stdout
        yield Taught(folder / "data", endpoint, command, json.loads(done.stdout))


def test_the_taught_encoder_was_converted_when_its_run_ended(taught: Taught) -> None:
    """The first question on the page would wait for it."""
    program = (
        "import sys; from pathlib import Path; from indexes.encoders.loading import load_encoder\n"
        "from indexes.paths import DataPaths\n"
        f"encoder = load_encoder('taught', DataPaths(Path({str(taught.paths.root)!r})))\n"
        "print(type(encoder).__name__, encoder.encode_queries(['otter']).shape, 'torch' in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert done.stdout == "OnnxEncoder (1, 384) False\n", done.stderr


def test_every_stage_leaves_its_file(taught: Taught) -> None:
    folder = taught.paths.run("taught")
    questions = read_records(folder / "questions.jsonl", dict)
    assert sorted(record["split"] for record in questions) == ["dev"] * 2 + ["train"] * 10
    n_train = sum(record["split"] == "train" for record in questions)
    for name in ("candidates.jsonl", "rankings.jsonl", "scores.jsonl"):
        assert len(read_records(folder / name, dict)) == n_train
    assert (folder / "ranker" / "head.json").is_file()
    assert (folder / "retriever-checkpoints" / "losses.jsonl").is_file()
    assert not list(folder.rglob("checkpoint-*")), "a finished training keeps hundreds of megabytes that nobody reads"
    assert {each.status for each in read_records(folder / "rankings.jsonl", Ranking)} == {"ok"}


def test_the_mix_of_words_and_meaning_is_learned_reported_and_kept_for_the_taught_encoder(taught: Taught) -> None:
    folder = taught.paths.run("taught")
    mixes = json.loads((folder / "mix.json").read_text(encoding="utf-8"))
    assert {BASE, "taught"} <= set(mixes)
    assert mixes == taught.metrics["mixes"]
    assert mixes[BASE]["n_orders"] > 0
    corpus = Corpus.open(taught.paths, "facts")
    assert kept_mix(corpus, "taught") == Mix(**mixes["taught"])
    assert kept_mix(corpus, BASE) is None, "what a run that is not promoted finds of others is not kept"
    assert Mix(**mixes["taught"]).sentence in (folder / "report.md").read_text(encoding="utf-8")
    listed = run("indexes", taught.paths.root, "list", "--json")
    assert json.loads(listed.stdout)[0]["mixes"]["taught"] == mixes["taught"]


def test_held_out_questions_never_train(taught: Taught) -> None:
    folder = taught.paths.run("taught")
    held_out = {r["question"] for r in read_records(folder / "questions.jsonl", dict) if r["split"] == "dev"}
    assert held_out
    ranked = [request.text for request in taught.endpoint.requests if "Rank them" in request.text]
    assert not any(question in text for question in held_out for text in ranked)


def test_the_metrics_name_both_retrievers_on_held_out_questions(taught: Taught) -> None:
    assert taught.metrics["questions"] == 2
    retrievers = taught.metrics["retrievers"]
    assert {BASE, "taught", "lexical"} <= set(retrievers)
    assert set(retrievers["taught"]) == set(retrievers[BASE]) >= {"hit_rate@1", "ndcg@10"}
    assert taught.metrics["teacher"]["statuses"]["malformed"] == 0
    assert taught.metrics["config"]["seed"] == 13
    report = (taught.paths.run("taught") / "report.md").read_text(encoding="utf-8")
    assert "Trained by the recipe auto, both sides, on 10 lists. Its divergence from its targets went from" in report


def test_the_distilled_encoder_is_a_plain_folder_with_other_vectors_than_its_base(taught: Taught) -> None:
    encoder = load_encoder("taught", taught.paths, "fp32")
    anyone = SentenceTransformer(str(taught.paths.encoder("taught")))
    ours, theirs = encoder.encode_queries(["otter"]), anyone.encode_query(["otter"], normalize_embeddings=True)
    assert ours == pytest.approx(theirs, abs=1e-6)
    base = load_encoder(BASE, taught.paths, "fp32")
    assert encoder.fingerprint != base.fingerprint
    assert float(ours[0] @ base.encode_queries(["otter"])[0]) < 0.99999
    assert "Intermediate Distillation" in (taught.paths.encoder("taught") / "README.md").read_text()


def test_the_distilled_index_answers(taught: Taught) -> None:
    index = PassageIndex.open(taught.paths, "facts", load_encoder("taught", taught.paths))
    assert index.n_passages == len(FACTS)
    assert index.search("What bends light into a beam?", 1)[0].passage.source == "lighthouse.md"


def test_the_trained_ranker_searches_from_the_command_line_and_in_langchain(taught: Taught) -> None:
    question, root = "What bends light into a beam?", taught.paths.root
    done = run("distill", root, "search", "taught", question, "--k", "3", "--json")
    found = json.loads(done.stdout)
    assert len(found) == 3
    assert found[0]["source"] == "lighthouse.md"
    assert [each["score"] for each in found] == sorted((each["score"] for each in found), reverse=True)
    documents = open_taught_retriever("taught", k=3, data_dir=root).invoke(question)
    assert [document.id for document in documents] == [each["id"] for each in found]
    best = open_ranker_compressor("taught", 2, root).compress_documents(documents[::-1], question)
    assert [document.id for document in best] == [each["id"] for each in found[:2]]
    assert best[0].metadata["score"] == pytest.approx(found[0]["score"], rel=0.01)  # of other batches


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("distill", "search", "nobody", "why?"), "no run 'nobody' with a trained ranker (there are: 'taught')"),
        (("distill", "report", "nobody"), "no finished run 'nobody' (there are: "),
        (("indexes", "search", "facts", "why?", "--rerank", "taught"), "python -m distill search 'taught' QUESTION"),
    ],
)
def test_a_search_with_what_is_no_ranker_says_what_to_do(taught: Taught, arguments: tuple[str, ...], said: str) -> None:
    done = run(arguments[0], taught.paths.root, *arguments[1:])
    assert done.returncode == 1
    assert said in " ".join(done.stderr.split())


def test_a_finished_run_is_not_run_again(taught: Taught) -> None:
    n_before = len(taught.endpoint.requests)
    again = run("distill", taught.paths.root, *taught.command, base_url=taught.endpoint.base_url)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout) == taught.metrics
    assert len(taught.endpoint.requests) == n_before


def test_a_dry_run_says_what_it_would_ask_and_asks_nothing(taught: Taught) -> None:
    n_before = len(taught.endpoint.requests)
    command = ["run", "facts", "--write-questions", "30", "--name", "dry", "--dry-run"]
    done = run("distill", taught.paths.root, *command, base_url=taught.endpoint.base_url)
    assert done.returncode == 0, done.stderr
    # 40 to write 30 questions, 24 of which train; 20 are asked about twice before, and 20 answers are planted.
    assert "About 124 calls" in done.stdout
    assert "price that is not known" in done.stdout
    assert len(taught.endpoint.requests) == n_before
    assert not taught.paths.run("dry").exists()


def answer_batch(taught: Taught, requests: Path, output: Path) -> subprocess.CompletedProcess[str]:
    """Does what a provider's batch service does with a file of requests, and has its output imported."""
    with output.open("w", encoding="utf-8") as lines:
        for line in requests.read_text(encoding="utf-8").splitlines():
            request = json.loads(line)
            message = {"role": "assistant", "content": scripted_llm(request["body"]["messages"])}
            body = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
            answer = {"custom_id": request["custom_id"], "response": {"status_code": 200, "body": body}, "error": None}
            lines.write(json.dumps(answer) + "\n")
    return run("distill", taught.paths.root, "import-batch", output)


def test_a_run_goes_on_from_a_batch_services_replies(taught: Taught, tmp_path: Path) -> None:
    questions = tmp_path / "questions.jsonl"
    questions.write_bytes((taught.paths.run("taught") / "questions.jsonl").read_bytes())
    settings = tmp_path / "batched.toml"
    settings.write_text('corpus = "facts"\nquestions = "questions.jsonl"\nretrieval = "fused"\n', encoding="utf-8")
    command = ["run", "--config", settings, "--n-candidates", "3", "--name", "batched", "--batch", "--until", "teacher"]
    waiting = run("distill", taught.paths.root, *command, base_url=taught.endpoint.base_url)
    assert waiting.returncode == 1
    assert "batch service" in " ".join(waiting.stderr.split())
    taken = answer_batch(taught, taught.paths.run("batched") / "batch.jsonl", tmp_path / "output.jsonl")
    assert taken.returncode == 0, taken.stderr
    # Ten training questions, each in two shuffles; what is planted was asked for by the run before, and is remembered.
    assert "20 replies" in taken.stdout
    with questions.open("a", encoding="utf-8") as more:
        more.write('{"id": "late", "question": "What came late?", "split": "train"}\n')
    done = run("distill", taught.paths.root, *command, base_url=taught.endpoint.base_url)
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stderr.split())
    assert "goes on with the questions it had before" in said
    assert "the teacher puts the same one first at" in said
    teacher = json.loads((taught.paths.run("batched") / "teacher.json").read_text(encoding="utf-8"))
    assert (teacher["assessment"]["n_questions"], teacher["assessment"]["n_probes"]) == (10, 20)
    assert 0.5 < teacher["top1"] < 1 and teacher["top1_weight"] > 0


def test_without_an_llm_the_passages_keep_their_vectors_and_ranker_and_people_teach(
    taught: Taught, tmp_path: Path
) -> None:
    questions = taught.paths.run("taught") / "questions.jsonl"
    voted = read_records(taught.paths.run("taught") / "candidates.jsonl", CandidateList)[0]
    votes = tmp_path / "votes.jsonl"
    best = voted.passages[:2]
    votes.write_text(json.dumps({"question": voted.question, "ranking": best}) + "\n", encoding="utf-8")
    settings = tmp_path / "free.json"
    settings.write_text('{"votes": "votes.jsonl", "passage_weights": "none", "train": "query"}', encoding="utf-8")
    command = ["run", "facts", "--questions", questions, "--teacher", "none", "--config", settings]
    command += ["--no-control", "--name", "free", "--json"]
    done = run("distill", taught.paths.root, *command, base_url="http://127.0.0.1:9/v1")
    assert done.returncode == 0, done.stderr
    metrics = json.loads(done.stdout)
    assert metrics["ranker"]["kept"] == "untrained"
    assert "Fewer than two orders" in metrics["ranker"]["notes"][0]
    assert "people's votes" in (taught.paths.encoder("free") / "README.md").read_text(encoding="utf-8")
    assert metrics["verdict"]["promoted"] is False  # two questions prove nothing
    assert not metrics["spend"]["calls"]
    free, base = (load_encoder(name, taught.paths) for name in ("free", BASE))
    assert free.fingerprint == base.fingerprint
    assert PassageIndex.open(taught.paths, "facts", free).n_passages == len(FACTS)
    assert (taught.paths.run("free") / "report.md").read_text(encoding="utf-8").startswith("# Report of run free")


def test_orders_made_elsewhere_teach_in_place_of_an_llm(taught: Taught, tmp_path: Path) -> None:
    folder = taught.paths.run("taught")
    orders = tmp_path / "orders.jsonl.gz"
    given = [{"id": r.id, "ranking": r.ranking} for r in read_records(folder / "rankings.jsonl", Ranking)]
    orders.write_bytes(gzip.compress("".join(json.dumps(each) + "\n" for each in given).encode()))
    command = ["run", "facts", "--questions", folder / "questions.jsonl", "--rankings", orders, "--n-candidates", "4"]
    command += ["--train", "query", "--no-control", "--name", "elsewhere", "--json"]
    done = run("distill", taught.paths.root, *command, base_url="http://127.0.0.1:9/v1")
    assert done.returncode == 0, done.stderr
    by_id = {each["id"]: each["ranking"] for each in given}
    taken = read_records(taught.paths.run("elsewhere") / "rankings.jsonl", Ranking)
    assert len(taken) == len(given)
    assert all(r.ranking == tuple(p for p in by_id[r.id] if p in r.shown) for r in taken)
    assert all(len(r.ranking) >= 3 for r in taken)
    metrics = json.loads(done.stdout)
    assert (metrics["retriever"]["train"], metrics["config"]["teacher"]) == ("query", "file")
    elsewhere, base = (load_encoder(name, taught.paths) for name in ("elsewhere", BASE))
    assert elsewhere.fingerprint != base.fingerprint  # rare words count more in its passages' vectors
    assert PassageIndex.open(taught.paths, "facts", elsewhere).n_passages == len(FACTS)


def test_a_run_with_other_settings_is_refused_with_the_difference(taught: Taught) -> None:
    command = [*taught.command, "--train", "query"]
    other = run("distill", taught.paths.root, *command, base_url=taught.endpoint.base_url)
    assert other.returncode == 1
    assert "train: 'both' → 'query'" in other.stderr
    assert "Traceback" not in other.stderr


def test_an_unreachable_llm_is_said(taught: Taught) -> None:
    command = ["run", "facts", "--write-questions", "3", "--name", "unreachable"]
    done = run("distill", taught.paths.root, *command, base_url="http://127.0.0.1:9/v1")
    assert done.returncode == 1
    assert "cannot be reached" in " ".join(done.stderr.split())
    assert "sk-secret-key" not in done.stderr
    assert not taught.paths.encoder("unreachable").exists()


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (("run", "facts", "--name", "x"), 1, "either --questions FILE or --write-questions N"),
        (("run", "facts", "--name", "x", "--seed", "5"), 2, "No such option: --seed"),
        (("run", "nowhere", "--name", "x", "--write-questions", "3"), 1, "There is no corpus 'nowhere'"),
        (("run", "facts", "--name", "x", "--questions", "none.jsonl"), 1, "there is none"),
        (("run", "facts", "--name", BASE, "--write-questions", "3"), 1, "Choose another --name"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    taught: Taught, arguments: tuple[str, ...], status: int, sentence: str
) -> None:
    n_before = len(taught.endpoint.requests)
    done = run("distill", taught.paths.root, *arguments, base_url=taught.endpoint.base_url)
    assert done.returncode == status
    assert sentence in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert len(taught.endpoint.requests) == n_before, "the LLM was paid for a run that cannot be"


def test_a_ranker_that_is_not_to_be_had_is_said_before_anything_is_paid(taught: Taught, tmp_path: Path) -> None:
    settings = tmp_path / "s.json"
    settings.write_text('{"corpus": "facts", "name": "y", "n_written": 3, "ranker_base": "?"}', encoding="utf-8")
    n_before = len(taught.endpoint.requests)
    done = run("distill", taught.paths.root, "run", "--config", settings, base_url=taught.endpoint.base_url)
    assert done.returncode == 1
    assert "There is no cross-encoder '?'" in " ".join(done.stderr.split())
    assert len(taught.endpoint.requests) == n_before


def test_a_finished_run_goes_on_from_what_it_noted_of_itself_but_with_no_other_llm(taught: Taught) -> None:
    noted = taught.paths.run("taught") / "config.json"
    command = ["run", "--config", noted, "--json"]
    n_before = len(taught.endpoint.requests)
    again = run("distill", taught.paths.root, *command, base_url=taught.endpoint.base_url)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout) == taught.metrics
    other = run("distill", taught.paths.root, *command, base_url="http://127.0.0.1:9/v1")
    assert other.returncode == 1
    assert f"The teacher is to be '{taught.metrics['config']['teacher']}'" in " ".join(other.stderr.split())
    assert len(taught.endpoint.requests) == n_before


def test_a_run_that_an_earlier_version_began_is_not_gone_on_with(taught: Taught) -> None:
    folder = taught.paths.run("earlier")
    folder.mkdir()
    known = json.loads((taught.paths.run("taught") / "config.json").read_text(encoding="utf-8"))
    del known["trains_ranker"]
    (folder / "config.json").write_text(json.dumps(known | {"name": "earlier", "method": "direct"}), encoding="utf-8")
    command = ["run", "facts", "--write-questions", "12", "--name", "earlier"]
    done = run("distill", taught.paths.root, *command, base_url=taught.endpoint.base_url)
    assert done.returncode == 1
    assert "Run 'earlier' was begun by an earlier version" in " ".join(done.stderr.split())
