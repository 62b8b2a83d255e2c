"""Comparing without a screen: answers never asked twice, a judge whose bias cancels, a report that
shows what was said as it was."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from jobs.job import Job, create, stop, wait
from jobs.luthier_error import LuthierError
from jobs.spec import Spec
from serve import launch
from serve.client import Sampling
from serve.comparison.asking import Contender, answer_key, ask, missing
from serve.comparison.items import Item, read_items
from serve.comparison.journal import Journal
from serve.comparison.judge import (
    Judge,
    Judged,
    Pair,
    ask_judge,
    judge_at,
    outcomes,
    unjudged,
    verdict_in,
)
from serve.comparison.page import html
from serve.comparison.report import markdown
from serve.comparison.summary import Row, summary
from serve.servers import running_servers
from tests.fakes.openai_server import FakeServer
from tests.serve.conftest import write_adapter
from tests.serve.test_life import FAKE_HOME
from tui.commands.compare import compare

BASE, TUNED = Contender("base", "/models/x"), Contender("captain", "run, abc")
SAMPLING = Sampling(0.0, 1.0, 50, 0)


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


def conversations(path: Path, *rows: list[tuple[str, str]]) -> Path:
    text = (
        json.dumps({"messages": [{"role": role, "content": content} for role, content in row]})
        for row in rows
    )
    path.write_text("\n".join(text) + "\n")
    return path


def test_each_turn_is_asked_after_the_files_own_answers(tmp_path: Path) -> None:
    path = conversations(
        tmp_path / "x.jsonl",
        [
            ("system", "Be brief."),
            ("user", "one"),
            ("assistant", "eins"),
            ("user", "two"),
            ("assistant", "zwei"),
        ],
        [("user", "open")],
    )
    items = read_items(path)
    assert [(item.question, item.reference) for item in items] == [
        ("one", "eins"),
        ("two", "zwei"),
        ("open", None),
    ]
    assert [message["content"] for message in items[1].messages] == [
        "Be brief.",
        "one",
        "eins",
        "two",
    ]
    assert len(read_items(path, 2)) == 2
    (tmp_path / "x.txt").write_text("first\n\nsecond\n")
    assert [item.question for item in read_items(tmp_path / "x.txt")] == ["first", "second"]


def questions(count: int, reference: str | None = None) -> list[Item]:
    return [
        Item(({"role": "user", "content": f"question {number}"},), reference)
        for number in range(count)
    ]


def run(fake: FakeServer, items: list[Item], models: list[Contender], journal: Journal) -> int:
    wanted = missing(items, models, SAMPLING, journal)
    asyncio.run(ask(fake.endpoint, wanted, SAMPLING, journal, lambda entry: None, 4))
    return len(wanted)


def test_nothing_is_asked_twice_and_what_failed_is_asked_again(
    fake: FakeServer, tmp_path: Path
) -> None:
    path, items = tmp_path / "out" / "answers.jsonl", questions(5)
    assert run(fake, items, [BASE], Journal(path)) == 5
    with path.open("a") as file:
        file.write('{"key": "torn')  # a crash
    assert run(fake, items, [BASE, TUNED], Journal(path)) == 5
    assert run(fake, items, [BASE, TUNED], Journal(path)) == 0
    assert run(fake, items, [Contender("captain", "another content")], Journal(path)) == 5
    fake.fault = "drop"
    assert run(fake, questions(7), [BASE], Journal(path)) == 2
    fake.fault = None
    journal = Journal(path)
    failed = journal.found[answer_key(questions(7)[6], BASE, SAMPLING)]
    assert "broke off" in failed["error"] and failed["text"].startswith("base says")
    assert run(fake, questions(7), [BASE], journal) == 2
    assert (
        journal.found[answer_key(questions(7)[6], BASE, SAMPLING)]["text"]
        == "base says: question 6"
    )


def judged(
    fake: FakeServer, pairs: list[Pair], verdict: Callable[[str], str], path: Path
) -> Judged:
    judge = Judge("wise", fake.endpoint)
    fake.models.append("wise")
    fake.answer = lambda model, messages: verdict(messages[-1]["content"])
    journal = Journal(path)
    asyncio.run(ask_judge(judge, unjudged(judge, pairs, journal), journal, lambda entry: None, 4))
    assert unjudged(judge, pairs, journal) == []
    return outcomes(judge, pairs, Journal(path))


def pairs(count: int) -> list[Pair]:
    return [
        Pair(item, "captain", "base", f"Aye, {item.question}! Fair winds!", "No.")
        for item in questions(count, "the reference")
    ]


def test_a_judge_that_prefers_a_place_decides_nothing(fake: FakeServer, tmp_path: Path) -> None:
    found = judged(
        fake, pairs(6), lambda prompt: "I like the first.\nVerdict: A", tmp_path / "j.jsonl"
    )
    assert [comparison.outcome for comparison in found.comparisons] == ["tie"] * 6
    assert (found.pairs, found.agreed, found.decisive, found.for_first) == (6, 0, 12, 12)


def test_a_judge_that_means_it_is_heard_in_both_orders(fake: FakeServer, tmp_path: Path) -> None:
    def likes_the_sea(prompt: str) -> str:
        assert "captain" not in prompt and "base" not in prompt  # who said what is never told
        assert "the reference" in prompt
        return f"Because.\n**Verdict: {'A' if prompt.index('Aye') < prompt.index('No.') else 'B'}**"

    found = judged(
        fake,
        [*pairs(8), Pair(questions(1)[0], "captain", "base", "same", "same")],
        likes_the_sea,
        tmp_path / "j.jsonl",
    )
    assert [comparison.outcome for comparison in found.comparisons] == ["first"] * 8 + ["tie"]
    assert (found.agreed, found.for_first) == (8, 8)
    assert sum(found.left_out.values()) == 1


def test_a_judge_without_a_verdict_is_left_out(fake: FakeServer, tmp_path: Path) -> None:
    found = judged(fake, pairs(2), lambda prompt: "Hard to say.", tmp_path / "j.jsonl")
    assert found.comparisons == [] and found.left_out["no verdict in one of the orders"] == 2
    assert [
        verdict_in(text)
        for text in ("verdict: b", "Verdict: tie.", "Verdict: A ... no, Verdict: B", "A")
    ] == ["B", "tie", "B", ""]


def test_where_the_judge_is_and_which_key_it_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "key-of-openai")
    monkeypatch.delenv("LUTHIER_JUDGE_KEY", raising=False)
    judge = judge_at("org/gpt@x@https://api.openai.com/v1", None)
    assert (judge.model, judge.endpoint.base_url, judge.endpoint.key) == (
        "org/gpt@x",
        "https://api.openai.com",
        "key-of-openai",
    )
    # another's key goes nowhere else
    assert judge_at("m@http://localhost:1/v1", None).endpoint.key == ""
    monkeypatch.setenv("LUTHIER_JUDGE_KEY", "key-of-judge")
    assert judge_at("m@http://localhost:1/v1", None).endpoint.key == "key-of-judge"
    for text, reason in (
        ("model", "not MODEL@URL"),
        ("m@nowhere", "has no endpoint"),
        ("m@ftp://x", "is not an address for a judge"),
    ):
        with pytest.raises(LuthierError, match=reason):
            judge_at(text, None)
    with pytest.raises(LuthierError, match="empty or not set"):
        judge_at("m@http://localhost:1/v1", "NO_SUCH_VARIABLE")


def test_the_summary_and_both_reports(fake: FakeServer, tmp_path: Path) -> None:
    items = [
        *questions(6, "captain says: question"),
        Item(({"role": "user", "content": "<b>bold</b> | ```x```"},), None),
    ]
    journal = Journal(tmp_path / "a.jsonl")
    run(fake, items, [BASE, TUNED], journal)
    rows = [
        Row(
            item,
            {
                model.name: journal.found[answer_key(item, model, SAMPLING)]
                for model in (BASE, TUNED)
            },
        )
        for item in items
    ]
    fights = [
        Pair(row.item, "captain", "base", said(row, "captain"), said(row, "base")) for row in rows
    ]
    verdicts = judged(fake, fights, likes_the_captain, tmp_path / "j")
    found = summary(rows, ["base", "captain"], verdicts)
    assert found["models"]["captain"] | {"mean_first_token": 0} == {
        **{
            "answered": 7,
            "failed": 0,
            "first_failure": "",
            "mean_tokens": pytest.approx(4, abs=0.2),
            "mean_first_token": 0,
            "cut_off": 0,
        },
        "mean_characters": pytest.approx(25.6, abs=0.1),
    }
    metric = found["metrics"]["chrF"]["captain"]
    assert metric["difference"] > 10 and metric["interval"][0] > 0 and metric["questions"] == 6
    (duel,) = found["judge"]["duels"]
    assert (duel["model"], duel["wins"], duel["win_rate"]) == ("captain", 7, 1.0)
    page, text = (
        make("A & B", [("prompts", "x")], found, rows, ["base", "captain"])
        for make in (html, markdown)
    )
    assert "<b>bold" not in page and "&lt;b&gt;bold" in page and "A &amp; B" in page
    assert "````text\n" in text and "| captain | 7 | 0 | 0 | 4 |" in text
    assert "7 of 7 verdicts agreed" in text


def said(row: Row, model: str) -> str:
    answer = row.answers[model]
    assert answer is not None
    return str(answer["text"])


def likes_the_captain(prompt: str) -> str:
    first = prompt.partition("Answer of assistant A")[2].partition("Answer of assistant B")[0]
    return f"Verdict: {'A' if 'captain says' in first else 'B'}"


@pytest.mark.heavy
@pytest.mark.timeout(90)
def test_the_command_starts_a_server_goes_on_and_leaves_nothing(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{FAKE_HOME}:{Path(__file__).parents[2]}")
    monkeypatch.setattr(launch, "vllm_module", lambda: "")
    monkeypatch.delenv("LUTHIER_JUDGE_KEY", raising=False)
    made = create(
        Spec(
            "run",
            "captain",
            "trainer.worker",
            settings={"model": str(base), "model_directory": str(base)},
        )
    )
    write_adapter(made.directory / "checkpoints" / "step-000040")
    (made.directory / "checkpoints" / "step-000040" / "COMPLETE").touch()
    prompts = conversations(
        tmp_path / "p.jsonl",
        *([("user", f"hello {n}"), ("assistant", f"captain@40 says hello {n}")] for n in range(3)),
    )
    told = called(
        "captain@40", "--prompts", str(prompts), "--out", str(tmp_path / "out"), "--max-tokens", "4"
    )
    assert {name: about["answered"] for name, about in told["models"].items()} == {
        "base": 3,
        "captain@40": 3,
    }
    assert told["metrics"]["exact match"]["captain@40"] == {
        "mean": 1.0,
        "difference": 1.0,
        "interval": [1.0, 1.0],
        "questions": 3,
    }
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "answers.jsonl",
        "report.md",
        "report.html",
        "report.json",
    }
    assert running_servers() == []
    before = (tmp_path / "out" / "answers.jsonl").read_bytes()
    job: Job = launch.serve(base, [])
    try:  # it is starting, and is waited for
        called(
            "captain@last",
            "--prompts",
            str(prompts),
            "--out",
            str(tmp_path / "out"),
            "--max-tokens",
            "4",
        )
        assert (tmp_path / "out" / "answers.jsonl").read_bytes() == before
        assert job.alive()  # it was there before
        (server,) = running_servers()
        own = [
            judge_at(f"base@http://{host}:{server.port}/v1", None)
            for host in ("localhost", "127.0.0.1")
        ]
        assert {judge.endpoint.key for judge in own} == {server.endpoint.key}
        assert judge_at(f"base@http://localhost:{server.port + 1}/v1", None).endpoint.key == ""
    finally:
        stop(job)
        assert wait(job, 30.0)


def called(*arguments: str) -> dict[str, Any]:
    answer = CliRunner().invoke(compare, [*arguments, "--json"])
    assert answer.exit_code == 0, answer.output + repr(answer.exception)
    told: dict[str, Any] = json.loads(answer.stdout)
    return told
