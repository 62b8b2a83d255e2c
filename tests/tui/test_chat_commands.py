"""`luthier chat`, `chats`, `votes` and `endpoints`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from jobs.job import Job
from jobs.luthier_error import LuthierError
from serve.chats import search, store
from serve.chats.turns import Complete, Failed
from tests.fakes.openai_server import FAKE_KEY, FakeServer
from tests.serve.chat_writing import new_chat, write
from tests.serve.test_votes import corrected_chat, duel_of
from tests.tui import folders
from tui.cli import luthier


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(luthier, [*arguments], catch_exceptions=True)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def server(jobs_by_name: dict[str, Job], home: Path) -> Iterator[FakeServer]:
    """The running server of the home, as far as its job and its port tell; what answers there is
    the fake."""
    keys = home / "keys"
    keys.mkdir(exist_ok=True)
    for name in ("client", "control"):
        (keys / name).write_text(FAKE_KEY)
        (keys / name).chmod(0o600)
    with FakeServer(("base", "builtin", "captain")) as fake:
        folders.serve(jobs_by_name["captain-server"], "captain", port=fake.port)
        yield fake


def test_what_the_command_asks_is_kept(server: FakeServer) -> None:
    result = run("chat", "-p", "Hello there", "--seed", "5", "--json")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(line["model"], line["answer"]) for line in lines] == [
        ("base", "base says: Hello there"),
        ("captain", "captain says: Hello there"),
    ]
    chat = store.load(lines[0]["chat"])
    assert [pane.answers[0].text for pane in chat.panes] == [line["answer"] for line in lines]
    assert all(isinstance(pane.answers[0].state, Complete) for pane in chat.panes)
    assert chat.panes[1].speaker is not None
    assert chat.panes[1].speaker.run is not None
    assert chat.turns[0].settings.sampling.seed == 5


def test_an_answer_that_fails_is_kept_as_far_as_it_came(server: FakeServer) -> None:
    server.fault = "drop"
    with pytest.raises(LuthierError, match="was lost"):
        run("chat", "base", "-p", "one two three four five")
    (chat,) = search.chats()
    answer = store.load(chat.id).panes[0].answers[0]
    assert isinstance(answer.state, Failed)
    assert answer.text == "base says: one"


def test_chats_are_listed_searched_exported_and_removed(tmp_path: Path) -> None:
    assert "No chats yet" in run("chats").stderr
    chat = new_chat()
    write(chat, "How do I tie a bowline?", ["Make a loop.", "Ahoy! Through the hole."])
    assert chat.id in run("chats").stdout
    (listed,) = json.loads(run("chats", "--json").stdout)
    assert (listed["id"], listed["models"], listed["turns"]) == (chat.id, ["base", "captain"], 1)
    (hit,) = json.loads(run("chats", "search", "through", "hole", "--json").stdout)
    assert (hit["chat"], hit["speaker"]) == (chat.id, "captain")
    assert (
        "No prompt or answer contains all of these words" in run("chats", "search", "zither").stderr
    )
    assert "### captain\n\nAhoy! Through the hole." in run("chats", "export", "last").stdout
    assert len(run("chats", "export", chat.id[-4:], "--json").stdout.splitlines()) == 2
    run("chats", "export", "last", "--out", str(tmp_path / "chat.jsonl"))
    assert len((tmp_path / "chat.jsonl").read_text().splitlines()) == 2
    run("chats", "remove", "last", "--yes")
    assert search.chats() == []


@pytest.mark.heavy
@pytest.mark.xdist_group("statsmodels")
def test_votes_are_shown_and_exported(tmp_path: Path) -> None:
    assert "No blind votes yet" in run("votes", "show").stdout
    for _ in range(7):
        duel_of("plain", "Ahoy!", "better", 1)
    duel_of("plain", "Ahoy!", "better", 0, blind=False)
    shown = run("votes", "show").stdout
    assert "captain against base    7 : 0, 0 ties, 0 both bad" in shown
    assert "decided: captain is better (p = 0.037)" in shown
    assert "1 with visible names (not counted)" in shown
    found = json.loads(run("votes", "show", "--all", "--json").stdout)
    assert (
        found["duels"][0]["wins"],
        found["duels"][0]["losses"],
        found["duels"][0]["at_any_time"]["decided"],
    ) == (7, 1, False)
    assert len(run("votes", "export").stdout.splitlines()) == 8
    corrected = str(tmp_path / "corrected.jsonl")
    with pytest.raises(LuthierError, match="no corrections"):
        run("votes", "export", "--corrected", corrected)
    early = run(
        "votes", "export", "--pairs", str(tmp_path / "early.jsonl"), "--corrected", corrected
    )
    assert "no corrections yet, so corrected.jsonl was not written" in " ".join(
        early.stderr.split()
    )
    assert len((tmp_path / "early.jsonl").read_text().splitlines()) == 8
    corrected_chat()
    totals = json.loads(
        run(
            "votes",
            "export",
            "--pairs",
            str(tmp_path / "pairs.jsonl"),
            "--corrected",
            corrected,
            "--json",
        ).stdout
    )
    assert totals == {"pairs": 9, "corrected": 1, "left_out": {}}
    assert len((tmp_path / "pairs.jsonl").read_text().splitlines()) == 9
    with pytest.raises(LuthierError, match="already exists"):
        run("votes", "export", "--pairs", str(tmp_path / "pairs.jsonl"))


def test_endpoints_are_named_and_their_models_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_HOST_KEY", FAKE_KEY)
    with FakeServer(("big", "small")) as host:
        run("endpoints", "add", "host", host.base_url, "--key-env", "FAKE_HOST_KEY")
        assert json.loads(run("endpoints", "models", "host", "--json").stdout) == ["big", "small"]
    assert "$FAKE_HOST_KEY" in run("endpoints").stdout
    far = run("endpoints", "add", "far", "http://example.org/v1", "--key-env", "FAKE_HOST_KEY")
    assert "not encrypted" in far.stderr
    run("endpoints", "remove", "far")
    assert [endpoint["name"] for endpoint in json.loads(run("endpoints", "--json").stdout)] == [
        "host"
    ]
    assert FAKE_KEY not in run("endpoints", "--json").output
