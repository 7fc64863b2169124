"""An endpoint that fails in every way there is: each question is answered or given up by name, and money is counted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from scripted_endpoint import PASSING, REFUSED, UNREADABLE, Fault, ScriptedEndpoint, mixed

from distill.json_files import read_records
from distill.llm.calls import LEAST_JOBS, MOST_IN_A_ROW, Asker, ask_all
from distill.llm.connection import LLMConfig, connect_llm
from distill.llm.reply_cache import ReplyCache, without_thinking
from distill.llm.spending import Budget, Meter
from distill.llm.wire import fitted, habits_of
from distill.records import CandidateList, Ranking, Retrieved
from distill.teacher.ranking import given_up, rank_candidates
from indexes.errors import BudgetSpentError, LLMError, LLMRefusedError, LLMUnavailableError
from indexes.paths import DataPaths

N = 12
ALPHA = [HumanMessage("alpha")]


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    with ScriptedEndpoint(lambda messages: "[2] > [1]") as running:
        yield running


def model(
    endpoint: ScriptedEndpoint, *, timeout_s: float = 20, n_tries: int = 2, limit: int = 400, name: str = "scripted"
) -> BaseChatModel:
    config = LLMConfig(base_url=endpoint.base_url, api_key="sk-test", model=name)
    return connect_llm(config, DataPaths(Path()), timeout_s=timeout_s, max_retries=n_tries, max_tokens=limit)


def prompts(n: int = N) -> Sequence[Sequence[BaseMessage]]:
    return [[HumanMessage(f"question q{number}.")] for number in range(n)]


@pytest.mark.parametrize("kind", [*REFUSED, *UNREADABLE, "500", "429"])
def test_a_question_that_always_fails_is_given_up_and_the_others_are_answered(
    kind: str, endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    fault = (REFUSED | UNREADABLE | PASSING)[kind]
    endpoint.fault = lambda request: fault if "q3." in request.text else None
    cache = ReplyCache(tmp_path / "cache")
    results = dict(ask_all(Asker(model(endpoint), concurrency=4, cache=cache), prompts()))
    failed = {n: result for n, result in results.items() if isinstance(result, LLMError)}
    assert set(results) == set(range(N)) and set(failed) == {3}
    assert len(str(failed[3])) > 40 and "Traceback" not in str(failed[3])
    assert set(endpoint.served.values()) == {1}
    endpoint.fault = lambda request: None
    again = dict(ask_all(Asker(model(endpoint), cache=cache), prompts()))
    assert again[3] == "[2] > [1]", "what failed is not remembered"
    assert set(endpoint.served.values()) == {1}, "nothing is paid for twice"


@pytest.mark.parametrize("content", ["\ud800 [1] > [2] \udfff", "\ud83d\ude00 [1]", [{"type": "text", "text": "[1]"}]])
def test_text_of_any_kind_is_text_that_any_file_takes(
    content: object, endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    endpoint.fault = lambda request: Fault(content=content)
    asker = Asker(model(endpoint), cache=ReplyCache(tmp_path / "cache"))
    [(_, reply)] = ask_all(asker, [ALPHA])
    assert isinstance(reply, str) and "[1]" in reply
    reply.encode()


def test_many_questions_at_a_fifth_of_mixed_faults_take_one_pass(endpoint: ScriptedEndpoint, tmp_path: Path) -> None:
    endpoint.fault = mixed(0.2, [*list(PASSING.values())[:4], *UNREADABLE.values(), REFUSED["413"], REFUSED["403"]])
    records = [
        CandidateList(
            id=f"q{n}", question=f"What is q{n}?", candidates=(Retrieved(passage="a"), Retrieved(passage="b"))
        )
        for n in range(60)
    ]
    asker = Asker(model(endpoint, n_tries=6), concurrency=8, cache=ReplyCache(tmp_path / "cache"))
    file = tmp_path / "rankings.jsonl"
    rank_candidates(records, {"a": "one", "b": "two"}, asker, file, seed=1, on_progress=lambda done, total: None)
    found = read_records(file, Ranking)
    failed = [record for record in found if record.failed]
    assert Counter(record.id for record in found) == Counter(record.id for record in records)
    assert all(record.ranking for record in found if record not in failed)
    assert 0 < len(failed) < 10 and all(not record.ranking and not record.weight for record in failed)
    assert given_up(found).startswith(f"{len(failed)} of 60 questions were given up. '{failed[0].id}': The LLM")
    assert set(endpoint.served.values()) == {1}
    n_asked = len(endpoint.requests)
    rank_candidates(records, {}, asker, file, seed=1, on_progress=lambda done, total: None)
    assert len(endpoint.requests) == n_asked, "what was given up is not asked for ever"


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=401, message="Incorrect API key"),
        Fault(status=404, message="no such model"),
        Fault(status=402, message="Insufficient credits"),
        Fault(status=429, message="You exceeded your current quota"),
        Fault(body=b'{"error": {"message": "no", "code": "insufficient_quota"}}'),
    ],
)
def test_what_concerns_all_ends_the_work_at_once_without_retries(fault: Fault, endpoint: ScriptedEndpoint) -> None:
    endpoint.fault = lambda request: fault if "q3." in request.text else None
    came: dict[int, str | LLMError] = {}
    with pytest.raises(LLMRefusedError):
        for position, reply in ask_all(Asker(model(endpoint, n_tries=6)), prompts()):
            came[position] = reply
    assert sorted(came) == [0, 1, 2]
    assert len(endpoint.requests) == 4


def test_what_is_under_way_when_the_work_ends_is_not_lost(endpoint: ScriptedEndpoint, tmp_path: Path) -> None:
    def fault(request: object) -> Fault | None:
        time.sleep(0.05 if "q0." in str(request) else 0.3)
        return Fault(status=401, message="key revoked") if "q0." in str(request) else None

    endpoint.fault = fault
    cache = ReplyCache(tmp_path / "cache")
    came = []
    with pytest.raises(LLMRefusedError, match="API key"):
        for position, _ in ask_all(Asker(model(endpoint), concurrency=4, cache=cache), prompts()):
            came.append(position)
    assert sorted(came) == [1, 2, 3] and len(endpoint.requests) == 4


def test_an_address_that_nobody_answers_at_any_more_ends_the_work(endpoint: ScriptedEndpoint) -> None:
    with ScriptedEndpoint(models=["scripted"]) as gone:
        llm = model(gone, n_tries=0)
    with pytest.raises(LLMUnavailableError, match="cannot be reached"):
        list(ask_all(Asker(llm), prompts()))


def test_too_many_failures_end_the_work_and_say_the_last(endpoint: ScriptedEndpoint) -> None:
    """At once where nothing else comes; at a share, where it is surely more than a fifth; not for a run of bad luck."""
    endpoint.fault = lambda request: REFUSED["403"]
    with pytest.raises(LLMRefusedError, match=r"10 of 10 questions.*status 403.*same command goes on"):
        list(ask_all(Asker(model(endpoint)), prompts(50)))
    assert len(endpoint.requests) == MOST_IN_A_ROW
    lot = iter(range(10_000))
    endpoint.fault = lambda request: REFUSED["403"] if next(lot) % 2 else None
    n_before = len(endpoint.requests)
    with pytest.raises(LLMRefusedError, match="too many"):
        list(ask_all(Asker(model(endpoint)), prompts(200)))
    assert LEAST_JOBS <= len(endpoint.requests) - n_before < 60
    endpoint.fault = lambda request: REFUSED["403"] if next(lot) % 5 == 0 else None
    assert len(list(ask_all(Asker(model(endpoint)), prompts(100)))) == 100


@pytest.mark.parametrize(("content", "finish"), [(None, "stop"), ("", "stop"), ("[2]", "length"), ("", "length")])
def test_an_empty_or_cut_reply_is_never_remembered(
    content: str | None, finish: str, endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    cache = ReplyCache(tmp_path / "cache")
    cut = Fault(content=content, finish=finish)
    endpoint.fault = lambda request: cut
    [(_, reply)] = ask_all(Asker(model(endpoint), cache=cache), [ALPHA])
    assert (reply == "") if finish == "stop" else "cut at the limit" in str(reply)
    endpoint.fault = lambda request: None
    assert dict(ask_all(Asker(model(endpoint), cache=cache), [ALPHA])) == {0: "[2] > [1]"}


def test_a_hanging_endpoint_is_told_at_the_check_in_time(endpoint: ScriptedEndpoint) -> None:
    endpoint.stall()
    began = time.monotonic()
    with pytest.raises(LLMUnavailableError, match=r"did not answer a first short question within 0\.3 s"):
        Asker(model(endpoint, timeout_s=30, n_tries=6)).check(within_s=0.3)
    assert time.monotonic() - began < 2


def test_a_question_that_hangs_has_a_heartbeat_and_two_tries(endpoint: ScriptedEndpoint) -> None:
    endpoint.fault = lambda request: Fault(stall=True) if "q3." in request.text else None
    said: list[str] = []
    asker = Asker(model(endpoint, timeout_s=0.4, n_tries=6), say=said.append, heartbeat_s=0.15)
    results = dict(ask_all(asker, prompts(5)))
    assert "did not answer in time (0.4 s)" in str(results[3]) and results[4] == "[2] > [1]"
    assert said and all("waited for" in each for each in said)
    assert sum("q3." in request.text for request in endpoint.requests) == 2
    assert asker.meter.calls == 5, "what hung may have been written, and counts as paid"


def test_a_reply_of_ten_megabytes_is_broken_off_at_once(endpoint: ScriptedEndpoint) -> None:
    endpoint.fault = lambda request: Fault(content="word " * 2_000_000)
    asker = Asker(model(endpoint))
    began = time.monotonic()
    [(_, reply)] = ask_all(asker, [ALPHA])
    assert "more than 8 MB for one reply" in str(reply) and time.monotonic() - began < 5
    assert asker.meter.calls == 1


_ASK = """
import sys
from pathlib import Path
from langchain_core.messages import HumanMessage
from distill.llm.calls import Asker, ask_all
from distill.llm.connection import LLMConfig, connect_llm
from distill.llm.reply_cache import ReplyCache, without_thinking
from distill.llm.spending import Meter
from indexes.paths import DataPaths
folder = Path(sys.argv[2])
llm = connect_llm(LLMConfig(base_url=sys.argv[1], model="scripted"), DataPaths(folder))
asker = Asker(llm, concurrency=3, cache=ReplyCache(folder / "cache"), meter=Meter(file=folder / "spend.json"))
for _ in ask_all(asker, [[HumanMessage(f"question q{n}.")] for n in range(500)]): print("came", flush=True)
"""


@pytest.mark.slow
def test_spend_is_right_after_a_kill_and_a_budget_is_for_the_whole_run(
    endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    endpoint.reply = lambda messages: time.sleep(0.02) or "[2] > [1]"
    child = subprocess.Popen(
        [sys.executable, "-c", _ASK, endpoint.base_url, str(tmp_path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert child.stdout
    for _ in range(20):
        child.stdout.readline()
    child.kill()
    child.wait()
    time.sleep(0.1)
    file = tmp_path / "spend.json"
    spent = json.loads(file.read_text())
    assert 20 <= len(endpoint.requests) <= spent["calls"] <= len(endpoint.requests) + 3
    tokens = spent["prompt_tokens"] + spent["reply_tokens"]
    for _ in range(3):  # one command after the other, each with the same budget
        meter = Meter(budget=Budget(amount=tokens + 1000, unit="tokens"), max_reply_tokens=40, file=file)
        with pytest.raises(BudgetSpentError):
            list(ask_all(Asker(model(endpoint), meter=meter), prompts(500)))
    assert tokens < meter.prompt_tokens + meter.reply_tokens <= tokens + 1000
    assert json.loads(file.read_text())["calls"] == meter.calls


SHAPES = {
    "o-series": {
        "max_tokens": "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
        "'max_completion_tokens' instead.",
        "temperature": "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) "
        "value is supported.",
    },
    "Azure": {"max_tokens": "Unrecognized request argument supplied: max_tokens", "temperature": "no temperature here"},
    "Mistral": {"max_completion_tokens": '{"type":"extra_forbidden","loc":["body","max_completion_tokens"]}'},
    "Ollama": {},
    "Gemma": {"system": "System role not supported"},
    "o1": {"developer": "Unsupported value: 'messages[0].role' does not support 'developer' with this model."},
    "a template": {"system": "Conversation roles must alternate user/assistant/user/assistant"},
}


@pytest.mark.parametrize("kind", SHAPES)
def test_one_parameter_off_is_no_dead_end_and_is_asked_about_once(kind: str) -> None:
    with ScriptedEndpoint(lambda messages: "word " * 50, models=[kind]) as endpoint:
        endpoint.refuses = SHAPES[kind]
        endpoint.honours = ("max_tokens",) if kind in ("Ollama", "Mistral") else ("max_completion_tokens", "max_tokens")
        llm = model(endpoint, limit=20, name=kind)
        n_learned = len(SHAPES[kind]) if kind != "Mistral" else 0  # which is asked in its own words from the start
        Asker(llm).check()
        assert len(endpoint.requests) == 1 + n_learned
        llm.invoke([SystemMessage("Be brief."), HumanMessage("Why?")])
        [*_, last] = endpoint.requests
        assert len(endpoint.requests) == 2 + n_learned
        assert ("temperature" in last.body) == ("temperature" not in SHAPES[kind])
        assert "Be brief." in last.text and last.messages[-1]["role"] == "user"
        reply = llm.invoke("Why?")
        assert len(str(reply.text).split()) == 20, "the limit holds"
        assert "".join(str(piece.text) for piece in llm.stream("Why?")).split() == ["word"] * 20


def test_a_refusal_of_another_kind_changes_no_habit(endpoint: ScriptedEndpoint) -> None:
    asker = Asker(model(endpoint))
    for said in ("max_tokens is too large: 400", "This model's maximum context length is 8 (max_tokens 400)"):
        endpoint.fail(400, said, times=1)
        with pytest.raises(LLMRefusedError):
            asker.check()
    assert len(endpoint.requests) == 2
    asker.check()
    assert endpoint.requests[-1].body["max_tokens"] == 400


@pytest.mark.parametrize("host", ["api.openai.com", "me.openai.azure.com"])
def test_where_new_models_refuse_the_old_name_of_the_limit_the_new_one_is_sent(host: str) -> None:
    body = {"messages": [], "max_completion_tokens": 5}
    assert fitted(body, habits_of(f"https://{host}/v1", "any")) == body
    assert "max_tokens" in fitted(body, habits_of("https://api.mistral.ai/v1", "any"))
    assert "max_tokens" in fitted(body, habits_of("https://openai.com.evil.example/v1", "any"))


def test_nothing_of_the_environment_goes_to_an_address(
    endpoint: ScriptedEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A visitor of the page names an address; the operator's organisation, project and headers are not for it."""
    for name in ("ORG_ID", "ORGANIZATION", "PROJECT_ID", "ADMIN_KEY", "API_KEY", "WEBHOOK_SECRET"):
        monkeypatch.setenv(f"OPENAI_{name}", "the-operators-own")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Secret: the-operators-own\nAuthorization: Bearer the-operators-own")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    llm = connect_llm(LLMConfig(base_url=endpoint.base_url), DataPaths(Path()))
    llm.invoke("whole")
    list(llm.stream("streamed"))
    list(ask_all(Asker(llm), [ALPHA]))
    known = {"host", "accept", "accept-encoding", "connection", "content-type", "content-length", "user-agent"}
    for request in endpoint.requests:
        assert set(request.headers) == known and request.key == "none"
        assert "the-operators-own" not in str(request.headers)
    assert len(endpoint.requests) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<think>hm</think>Bees.", "Bees."),
        ("<think>hm", ""),
        ("hm</think>Bees.", "Bees."),
        ("Bees <thinking>no</thinking>dance.", "Bees dance."),
        ("1 < 2", "1 < 2"),
        ("\ud83d\ude00 \ud800", "😀 \ufffd"),
    ],
)
def test_thoughts_are_no_part_of_what_is_said(text: str, said: str) -> None:
    assert without_thinking(text) == said
    assert without_thinking("Bees <thin", is_whole=False) == "Bees "
