"""A rescue from an endpoint on a bad day: nothing is lost, nothing is kept twice, nothing is asked
twice, and the ceiling holds."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from jobs.job import Job, all_jobs, wait
from jobs.luthier_error import LuthierError
from jobs.state import Done, Failed
from serve.client import Unreachable
from serve.comparison.journal import Journal
from tests.fakes.hostile_server import MISHAPS, HostileServer
from tests.fakes.openai_server import FakeServer
from tests.models.registry.made import model_folder
from tui.commands import rescue as command
from workshop.asking import asker
from workshop.asking.asker import Outcome, is_answer
from workshop.asking.budget import Ceiling
from workshop.rescue.asking import ask_all
from workshop.rescue.launch import cache_of
from workshop.rescue.launch import rescue as start_rescue
from workshop.rescue.order import Order, Sampling
from workshop.rescue.questions import Question, file_hash, read_questions

COUNT = 60


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.txt"
    path.write_text("".join(f"Question number {number}\n" for number in range(COUNT)))
    return path


def order_for(server: FakeServer, prompts: Path, **changes: Any) -> Order:
    order = Order(
        "ft:old",
        f"{server.base_url}/v1",
        str(prompts.parent / "rescued"),
        str(prompts),
        file_hash(prompts),
        key_env="OLD_KEY",
        tries=40,
        timeout=10,
    )
    return msgspec.structs.replace(order, **changes)


async def asked(order: Order, questions: list[Question], journal: Journal) -> Outcome:
    endpoint = order.endpoint()
    return await ask_all(order, endpoint, journal, questions, lambda: False, lambda outcome: None)


def rows_in(order: Order) -> list[dict[str, Any]]:
    path = Path(order.out) / "answers.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def of_job(order: Order) -> Job:
    return start_rescue(order, order.endpoint().base_url, read_questions([Path(order.prompts)]))


@pytest.mark.heavy
async def test_every_mishap_is_outlived_and_each_answer_is_kept_once(
    prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asker, "_FIRST_WAIT", 0.01)
    monkeypatch.setattr(asker, "_LONGEST_WAIT", 0.05)
    questions = read_questions([prompts])
    with HostileServer(share=0.6, seconds=0.01) as server:
        order, journal = order_for(server, prompts), Journal(tmp_path / "cache.jsonl")
        outcome = await asked(order, questions, journal)
        assert (outcome.answered, outcome.failed, outcome.refused) == (COUNT, 0, 0)
        assert set(server.mishaps) == set(MISHAPS)
        assert set(server.answered.values()) == {1} and len(server.answered) == COUNT
        assert server.most_at_once <= order.at_once
        before = len(server.requests)
        again = await asked(order, questions, Journal(tmp_path / "cache.jsonl"))
        assert again.answered == COUNT and len(server.requests) == before
    texts = [entry["message"]["content"] for entry in journal.found.values()]
    assert sorted(texts) == sorted(f"ft:old says: Question number {n}" for n in range(COUNT))


@pytest.mark.heavy
def test_the_run_that_it_starts_outlives_it(prompts: Path, tmp_path: Path) -> None:
    base = model_folder(tmp_path / "base")
    with HostileServer(share=0.0, seconds=0.01) as server:
        job = of_job(order_for(server, prompts, base=str(base)))
        assert wait(job, 60)
    state = job.state()
    assert isinstance(state, Done), state
    (run,) = all_jobs("run")
    assert state.result["run"] == run.id
    until(lambda: job.supervisor() is None)
    # the folder has no weights: it ends by itself, with a reason, and nobody has ended it
    assert wait(run, 90)
    ended = run.state()
    assert isinstance(ended, Failed) and ended.code == 1, ended


@pytest.mark.heavy
def test_killed_with_its_supervisor_it_goes_on_and_asks_only_what_was_on_its_way(
    prompts: Path,
) -> None:
    with HostileServer(share=0.2, seconds=0.05) as server:
        order = order_for(server, prompts, at_once=4)
        job = of_job(order)
        until(lambda: len(server.answered) >= 15)
        worker = next(event["pid"] for event in job.events() if event["kind"] == "started")
        supervisor = job.supervisor()
        assert supervisor is not None
        os.kill(supervisor, signal.SIGKILL)
        os.kill(worker, signal.SIGKILL)
        until(lambda: job.supervisor() is None)
        until(lambda: server.now == 0)
        journal = Journal(cache_of(order.model, order.endpoint().base_url))
        kept = sum(map(is_answer, journal.found.values()))
        again = of_job(order)
        assert wait(again, 60)
        state = again.state()
        assert isinstance(state, Done), state
        assert state.result["answered"] == COUNT
        doubled = sum(count - 1 for count in server.answered.values())
        assert 0 < kept < COUNT and doubled <= order.at_once
    rows = rows_in(order)
    assert [row["messages"][-1]["content"] for row in rows] == [
        f"ft:old says: Question number {number}" for number in range(COUNT)
    ]


async def test_the_ceiling_holds_and_a_higher_one_goes_on(prompts: Path, tmp_path: Path) -> None:
    questions, journal = read_questions([prompts]), Journal(tmp_path / "cache.jsonl")
    with FakeServer(models=("ft:old",)) as server:
        ceiling = Ceiling(price_in=1e6, price_out=1e6, cost=400.0)
        order = order_for(server, prompts, ceiling=ceiling, sampling=Sampling(max_tokens=20))
        outcome = await asked(order, questions, journal)
        assert outcome.at_ceiling and 0 < outcome.answered < COUNT
        assert ceiling.cost_of(outcome.spent) <= 400.0
        higher = msgspec.structs.replace(order, ceiling=Ceiling())
        assert (await asked(higher, questions, journal)).answered == COUNT
        assert len(server.requests) == COUNT


async def test_a_refused_key_ends_it_at_once(prompts: Path, tmp_path: Path) -> None:
    with FakeServer(models=("ft:old",)) as server:
        server.fault = "unauthorized"
        order = order_for(server, prompts)
        outcome = await asked(order, read_questions([prompts]), Journal(tmp_path / "cache.jsonl"))
        assert outcome.over is not None and "key" in outcome.over.title
        assert outcome.answered == 0


async def test_an_address_where_nothing_listens_is_not_waited_for(
    prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asker, "_FIRST_WAIT", 0.01)
    with FakeServer(models=("ft:old",)) as server:
        order = order_for(server, prompts)
    outcome = await asked(order, read_questions([prompts]), Journal(tmp_path / "cache.jsonl"))
    assert isinstance(outcome.over, Unreachable) and server.base_url in outcome.over.message
    assert (outcome.answered, outcome.failed) == (0, 0)


@pytest.mark.heavy
def test_a_model_that_is_gone_fails_in_words(prompts: Path) -> None:
    with FakeServer(models=("other",)) as server:
        job = of_job(order_for(server, prompts))
        assert wait(job, 60)
        state = job.state()
        assert isinstance(state, Failed) and "The same command" in state.hint
        assert "0 of 60" in state.message


@pytest.mark.heavy
def test_the_command_keeps_a_folder_with_its_card_and_overwrites_nothing_else(
    prompts: Path, tmp_path: Path
) -> None:
    out = tmp_path / "kept"
    with FakeServer(models=("ft:old",)) as server:
        arguments = ["ft:old", "--at", f"{server.base_url}/v1", "--key-env", "OLD_KEY"]
        arguments += ["--prompts", str(prompts), "--out", str(out)]
        planned = CliRunner().invoke(command.rescue, [*arguments, "--plan", "--json"])
        assert json.loads(planned.stdout)["questions"] == COUNT and not server.requests
        result = CliRunner().invoke(command.rescue, [*arguments, "--json"])
        assert json.loads(result.stdout)["rows"] == COUNT
        assert len(server.requests) == COUNT
        card = (out / "README.md").read_text()
        assert file_hash(prompts) in card and "ft:old" in card and server.base_url in card
        other = CliRunner().invoke(command.rescue, [*arguments, "--max-tokens", "3"])
        assert isinstance(other.exception, LuthierError)
        assert other.exception.title == "The folder is in use" and len(all_jobs("rescue")) == 1


def test_earlier_answers_of_a_conversation_are_context_and_are_not_trained(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    turns = [("system", "S"), ("user", "A"), ("assistant", "B"), ("user", "C"), ("assistant", "D")]
    messages = [{"role": role, "content": content} for role, content in turns]
    path.write_text(json.dumps({"messages": messages}) + "\n")
    questions = read_questions([path, path])
    assert [question.messages for question in questions] == [messages[:2], messages[:4]]
    entry = {
        "error": None,
        "message": {"role": "assistant", "content": "new"},
        "reason": "stop",
    }
    from workshop.rescue.kept import rows_of

    rows = rows_of(questions, [entry, {**entry, "reason": "length"}])
    assert rows.left_out == {"length": 1}
    assert rows.rows[0]["messages"][-1]["content"] == "new"
    second = rows_of(questions[1:], [entry]).rows[0]["messages"]
    assert [message.get("weight") for message in second] == [None, None, 0, None, None]
