"""Making conversations with an endpoint on a bad day: nothing is lost, nothing doubled, nothing
asked twice, and whatever comes back is held against its passage."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from jobs.job import Job, wait
from jobs.luthier_error import LuthierError
from jobs.state import Done, Failed, Stopped
from tests.fakes.hostile_server import MISHAPS, HostileServer
from tests.fakes.openai_server import FakeServer
from tests.workshop.making import interviewer, written
from tui.commands import make as command
from workshop.asking.budget import Ceiling
from workshop.making.launch import make
from workshop.making.order import Order, Terms
from workshop.making.recipe import load

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(120)]

DOCS = Path(__file__).parents[3] / "docs"
DOCUMENTS = [DOCS / name for name in ("runs.md", "data.md", "serve.md")]


def order_for(server: FakeServer, out: Path, method: str = "qa", **changes: Any) -> Order:
    terms = Terms(
        server.models[0],
        f"{server.base_url}/v1",
        key_env="MAKING_KEY",
        tries=40,
        timeout=10,
        **changes.pop("terms", {}),
    )
    files = [str(path) for path in changes.pop("files", DOCUMENTS)]
    return Order(files, str(out), load(method), terms, **changes)


def started(order: Order) -> Job:
    return make(order, order.terms.endpoint().base_url if order.terms else "")


def done(order: Order) -> dict[str, Any]:
    job = started(order)
    assert wait(job, 90)
    state = job.state()
    assert isinstance(state, Done), state
    return dict(state.result)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def rows(out: Path) -> list[dict[str, Any]]:
    return lines(out / "train.jsonl") + lines(out / "heldout.jsonl")


def hold_against_the_documents(out: Path, result: dict[str, Any]) -> None:
    """Each passage has one entry, each kept one is in one row, and each answer is the text at the
    place that it names."""
    ledger = lines(out / "origins" / "ledger.jsonl")
    assert [entry["number"] for entry in ledger] == list(range(result["passages"]))
    in_rows = Counter(number for row in rows(out) for number in row["source"]["numbers"])
    kept = {entry["number"] for entry in ledger if entry["state"] in ("kept", "context")}
    assert set(in_rows) == kept and set(in_rows.values()) <= {1}
    assert all(entry["reason"] for entry in ledger if entry["state"] != "kept")
    texts = {
        path.name.removesuffix(".txt"): path.read_text() for path in (out / "origins").glob("*.txt")
    }
    for row in rows(out):
        numbers = row["source"]["numbers"]
        locations = [ledger[number]["location"] for number in numbers]
        passages = [texts[each["file"]][each["start"] : each["end"]] for each in locations]
        answers = [each["content"] for each in row["messages"] if each["role"] == "assistant"]
        assert answers == passages[-len(answers) :]


def listed(*questions: str) -> str:
    return json.dumps({"questions": questions})


class CarelessInterviewer:
    """Answers each tenth prompt, in the order in which they come, with no JSON, half of it, another
    list, or a refusal, each time that it is asked."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def is_careless_with(self, prompt: str) -> bool:
        return self._numbers[prompt] % 10 == 0

    def write(self, model: str, messages: list[dict[str, Any]]) -> str:
        answer = interviewer.write(model, messages)
        prompt = messages[-1]["content"]
        number = self._numbers.setdefault(prompt, len(self._numbers))
        unreadable = ["Sure! Here: ?", answer[:-3], '{"questions": [1, 2]}', "I cannot do that."]
        return unreadable[number // 10 % 4] if self.is_careless_with(prompt) else answer


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("method", ["qa", "interview"])
def test_every_mishap_is_outlived_and_each_passage_has_one_end(tmp_path: Path, method: str) -> None:
    out = tmp_path / "made"
    with HostileServer(share=0.4, seconds=0.01) as server:
        careless = CarelessInterviewer()
        server.answer = careless.write
        order = order_for(server, out, method, terms={"at_once": 16}, limit=40)
        result = done(order)
        assert set(server.mishaps) <= set(MISHAPS) and sum(server.mishaps.values()) > 10
        for prompt, count in server.answered.items():
            # What cannot be read is asked once more.
            assert count == (2 if careless.is_careless_with(prompt) else 1)
        assert server.most_at_once <= 16
        before, first = len(server.requests), rows(out)
        assert done(order) == {**result} and len(server.requests) == before
    assert rows(out) == first and result["unanswered"] == 0
    assert result["kept"] > 0.4 * result["passages"]
    assert 0 < result["reasons"]["unreadable"] < 0.6 * result["passages"]
    hold_against_the_documents(out, result)
    turns = [len(row["messages"]) for row in first]
    assert max(turns) == (2 if method == "qa" else 8)


def test_answers_slower_than_the_patience_are_asked_again(tmp_path: Path) -> None:
    out = tmp_path / "made"
    with HostileServer(share=0.0, seconds=0.01) as server:
        server.answer = interviewer.write
        server.slow_at_first = (3.0, lambda question: len(server.asked) % 8 == 1)
        order = order_for(server, out, limit=20, terms={"at_once": 16})
        assert order.terms is not None
        hasty = msgspec.structs.replace(order.terms, timeout=1.0)
        result = done(msgspec.structs.replace(order, terms=hasty))
        assert max(server.asked.values()) >= 2
    assert result["unanswered"] == 0
    hold_against_the_documents(out, result)


def test_what_a_provider_refuses_for_its_content_keeps_nothing_else_from_being_made(
    tmp_path: Path,
) -> None:
    out = tmp_path / "made"
    with HostileServer(share=0.0) as server:
        server.answer = interviewer.write
        refused: list[str] = []

        def forbids(question: str) -> bool:
            """The first twelve, one after the other."""
            if question not in refused and len(refused) < 12:
                refused.append(question)
            return question in refused

        server.forbids = forbids
        order = order_for(server, out, limit=30, terms={"at_once": 1})
        result = done(order)
        assert result["unanswered"] == 12 and result["kept"] > 6
        assert "content management policy" in result["first_failure"]
        answered = len(server.answered)
        assert {**done(order)} == {**result}  # only what was refused is asked again
        assert len(server.answered) == answered
    hold_against_the_documents(out, result)


def test_killed_at_any_moment_it_goes_on_and_asks_only_what_was_on_its_way(
    tmp_path: Path,
) -> None:
    out = tmp_path / "made"
    with HostileServer(share=0.2, seconds=0.05) as server:
        server.answer = interviewer.write
        order = order_for(server, out, limit=60, terms={"at_once": 4})
        moments = (3, 20, 45)
        for count in moments:
            job = started(order)
            until(lambda count=count: len(server.answered) >= count)  # type: ignore[misc]
            worker = next(event["pid"] for event in job.events() if event["kind"] == "started")
            supervisor = job.supervisor()
            assert supervisor is not None
            os.kill(supervisor, signal.SIGKILL)
            os.kill(worker, signal.SIGKILL)
            until(lambda job=job: job.supervisor() is None and server.now == 0)  # type: ignore[misc]
        result = done(order)
        doubled = sum(count - 1 for count in server.answered.values())
        assert doubled <= 4 * len(moments)
    hold_against_the_documents(out, result)
    assert result["unanswered"] == 0


def test_a_folder_that_was_being_written_is_known_again(tmp_path: Path) -> None:
    book = written.text_book(tmp_path / "keeper.txt")
    order = Order([str(book)], str(tmp_path / "made"), load("continue"))
    origins = tmp_path / "made" / "origins"
    origins.mkdir(parents=True)
    (origins / ".provenance.json.x1").write_text("{")  # killed before anything was whole
    done(order)
    for path in (*origins.parent.glob("*.jsonl"), origins / "ledger.jsonl"):
        path.unlink()  # killed after the provenance
    hold_against_the_documents(tmp_path / "made", done(order))


def test_an_endpoint_that_says_nothing_is_given_up_in_words(tmp_path: Path) -> None:
    with HostileServer(share=0.0, seconds=5.0) as server:
        terms = {"at_once": 16}
        order = order_for(server, tmp_path / "made", limit=20, terms=terms)
        assert order.terms is not None
        hasty = msgspec.structs.replace(order.terms, timeout=0.5, tries=1)
        job = started(msgspec.structs.replace(order, terms=hasty))
        assert wait(job, 60)
        state = job.state()
        assert isinstance(state, Failed) and state.title == "The server takes too long"
    ledger = lines(tmp_path / "made" / "origins" / "ledger.jsonl")
    assert {entry["state"] for entry in ledger} == {"unanswered"} and len(ledger) == 20


def test_stopped_it_keeps_what_it_has_and_the_same_job_resumes(tmp_path: Path) -> None:
    from jobs.job import stop
    from tui.commands import resume

    out = tmp_path / "made"
    with HostileServer(share=0.0, seconds=0.1) as server:
        server.answer = interviewer.write
        job = started(order_for(server, out, limit=60, terms={"at_once": 2}))
        until(lambda: len(server.answered) >= 26)
        stop(job)
        assert wait(job, 30) and isinstance(job.state(), Stopped)
        ledger = lines(out / "origins" / "ledger.jsonl")
        states = Counter(entry["state"] for entry in ledger)
        assert states["unanswered"] and states["kept"] and len(ledger) == 60
        until(lambda: job.supervisor() is None)
        again = CliRunner().invoke(resume.resume, [job.id])
        assert again.exit_code == 0, again.exception
        assert wait(job, 60)
        state = job.state()
        assert isinstance(state, Done) and state.result["unanswered"] == 0
        assert set(server.answered.values()) == {1}
    hold_against_the_documents(out, dict(state.result))


def test_what_a_model_says_wrongly_is_rejected_with_its_reason(tmp_path: Path) -> None:
    paragraphs = [
        f"{paragraph} It was the day number {number} of that year, and nobody forgot it since."
        for number, paragraph in enumerate(written.PARAGRAPHS)
    ]
    text = tmp_path / "keeper.txt"
    text.write_text("\n\n".join(paragraphs))
    recipe = tmp_path / "recipe"
    CliRunner().invoke(command.make, ["--copy", str(recipe), "--recipe", "qa"])
    toml = (recipe / "recipe.toml").read_text()
    toml = toml.replace("shortest = 300", "shortest = 50").replace(
        "longest = 1200", "longest = 600"
    )
    (recipe / "recipe.toml").write_text(toml)
    good = "Why did the keeper get up so early?"
    by_passage: dict[str, str] = {
        "rose at four": "Sorry, but I cannot help with that.",
        "counted the boats": listed("The boats in the morning and their number."),
        "wrote the number": listed("Was machte der W\u00e4rter eigentlich mit seinem Bleistift?"),
        "The lamp itself": listed("Who says that it burned rapeseed oil until the war and why?"),
        "Every third Sunday": listed(good, good),
        "did not come for six": listed("What does the passage tell about cake?"),
        "When the ferry came": f"```json\n{listed(good)}\n```",
    }

    def answer(model: str, messages: list[dict[str, Any]]) -> str:
        prompt = messages[-1]["content"]
        if '{"answers"' in prompt:
            return json.dumps({"answers": ["The keeper hoisted the flag and lit the lamp."]})
        passage = prompt.partition("The passage:")[2]
        return next(text for sign, text in by_passage.items() if sign in passage)

    out = tmp_path / "made"
    with FakeServer(models=("m",)) as server:
        server.answer = answer
        server.refuses = "response_format"
        result = done(order_for(server, out, str(recipe), files=[text]))
    ledger = {entry["number"]: entry for entry in lines(out / "origins" / "ledger.jsonl")}
    reasons = [ledger[number].get("reason", "kept") for number in range(7)]
    assert reasons == [
        "unreadable", "no_question", "language", "gives_away", "unreadable", "banned_word", "kept",
    ]  # fmt: skip
    assert result["reasons"] == Counter(reasons[:-1]) and result["kept"] == 1
    assert rows(out)[0]["messages"][0]["content"] == good
    card = (out / "README.md").read_text()
    assert "2: the model's answer is not the JSON" in card


def test_a_ceiling_holds_and_a_higher_one_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "made"
    with FakeServer(models=("m",)) as server:
        server.answer = interviewer.write
        low = Ceiling(price_in=1.0, price_out=1.0, cost=0.01)
        result = done(order_for(server, out, limit=30, terms={"ceiling": low}))
        assert result["at_ceiling"] and result["unanswered"] and result["cost"] <= 0.01
        high = Ceiling(price_in=1.0, price_out=1.0, cost=5.0)
        again = done(order_for(server, out, limit=30, terms={"ceiling": high}))
        assert not again["unanswered"] and again["cost"] >= result["cost"]
        bodies = [json.dumps(body["messages"]) for body in server.requests]
        assert len(bodies) == len(set(bodies))


def test_a_refused_key_ends_it_in_words_and_keeps_the_rest(tmp_path: Path) -> None:
    with FakeServer(models=("m",)) as server:
        server.fault = "unauthorized"
        job = started(order_for(server, tmp_path / "made", limit=10))
        assert wait(job, 60)
        state = job.state()
        assert isinstance(state, Failed) and "The same command" in state.hint
        assert "10 of 10 passages are still open" in state.message


def test_the_rate_is_held(tmp_path: Path) -> None:
    with FakeServer(models=("m",)) as server:
        server.answer = interviewer.write
        order = order_for(server, tmp_path / "made", limit=4, terms={"per_minute": 120})
        begin = time.monotonic()
        done(order)
        assert len(server.requests) == 5 and time.monotonic() - begin > 2.0


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "made"
    out.mkdir()
    (out / "mine.txt").write_text("precious")
    with FakeServer(models=("m",)) as server:
        order = order_for(server, out, limit=4)
        with pytest.raises(LuthierError, match="contains something other"):
            started(order)
        other = msgspec.structs.replace(order, out=str(tmp_path / "other"))
        server.answer = interviewer.write
        done(other)
        with pytest.raises(LuthierError, match="another recipe, model"):
            started(msgspec.structs.replace(other, making=load("interview")))
