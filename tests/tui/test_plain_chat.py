"""`luthier chat` at a terminal: the commands of the app's chat, typed."""

from __future__ import annotations

import os
import pty
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.job import Job
from serve.chats import search, store
from serve.chats.turns import Halted
from tests.fakes.openai_server import FAKE_KEY, FakeServer
from tests.tui import folders
from tests.tui.terminal import ROOT, foreign, sent
from tui.chat.slash_commands import slash_actions
from tui.commands.plain_chat import PlainChat
from workshop.chat.session import ChatSession

pytestmark = pytest.mark.heavy


@pytest.fixture
def server(jobs_by_name: dict[str, Job], home: Path) -> Iterator[FakeServer]:
    keys = home / "keys"
    keys.mkdir(exist_ok=True)
    for name in ("client", "control"):
        (keys / name).write_text(FAKE_KEY)
        (keys / name).chmod(0o600)
    with FakeServer(("base", "builtin", "captain")) as fake:
        folders.serve(jobs_by_name["captain-server"], "captain", port=fake.port)
        yield fake


def editor(home: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """An $EDITOR that writes this text, whatever was there."""
    program = home / "editor"
    program.write_text(f"#!/bin/sh\nprintf '%s' '{text}' > \"$1\"\n")
    program.chmod(0o755)
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", str(program))


def chat(home: Path, *lines: str, models: tuple[str, ...] = ()) -> str:
    typed = "".join(f"{line}\n" for line in (*lines, "/quit"))
    return sent("tui.cli", "chat", *models, home=home, typed=os.fsencode(typed))


def kept() -> store.Chat:
    (summary,) = search.chats()
    return store.load(summary.id)


def prompts() -> list[str]:
    return [turn.prompt for turn in kept().turns]


def test_questions_and_commands(server: FakeServer, home: Path) -> None:
    printed = chat(home, "Hello", "", "/help", "/exprt", "/lens", " /new", "/retry")
    assert "base says: Hello" in printed and "captain says: Hello" in printed
    assert "settings" in printed and "Ask the last question again" in printed
    assert "Did you mean export?" in printed
    assert "/lens is for the app" in printed
    assert prompts() == ["Hello", "/new"]
    assert [len(pane.left) for pane in kept().panes] == [1, 1]
    assert foreign(printed) == []


def test_long_questions_rewordings_and_corrections_in_the_editor(
    server: FakeServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor(home, monkeypatch, "first line\nsecond line")
    chat(home, "/editor", models=("captain",))
    assert prompts() == ["first line\nsecond line"]
    chat(home, "/chats", "last", "/edit", "/correct", models=("captain",))
    (pane,) = kept().panes
    assert pane.answers[-1].text == "first line\nsecond line" and pane.answers[-1].corrects


def test_settings_models_votes_and_a_file(server: FakeServer, home: Path) -> None:
    settings = ["/settings", "Be brief.", "0.1", "", "64", "7"]
    vote = ["/vote", "b"]
    export = ["/export", "talk.md"]
    printed = chat(home, *settings, "Hello", *vote, *export, "/export", "talk.exe", "/votes")
    kept_chat = kept()
    sampling = kept_chat.turns[0].settings.sampling
    assert (kept_chat.turns[0].settings.system, sampling.temperature) == ("Be brief.", 0.1)
    assert (sampling.top_p, sampling.max_tokens, sampling.seed) == (0.95, 64, 7)
    (cast,) = kept_chat.votes.values()
    assert cast.choice == kept_chat.panes[1].answers[0].id
    assert "captain says: Hello" in (home / "talk.md").read_text()
    assert "The file name has no known ending" in printed


def test_it_asks_with_the_system_prompt_of_the_data(
    server: FakeServer, jobs_by_name: dict[str, Job], home: Path
) -> None:
    folders.samples(jobs_by_name["captain"], "Be a captain.")
    printed = chat(home, "Hello", models=("base", "captain"))
    assert "System prompt of the data: Be a captain." in printed
    assert kept().turns[0].settings.system == "Be a captain."


def test_models_come_and_go(server: FakeServer, home: Path) -> None:
    models = ["/remove-pane", "1", "/remove-pane", "/add-pane", "nobody", "captain"]
    printed = chat(home, *models, "/model", "2", "base", "Hello")
    assert "The chat needs one model at least" in printed
    assert [pane.speaker and pane.speaker.model for pane in kept().panes] == ["captain", "base"]


def test_an_error_does_not_end_the_chat(
    server: FakeServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.fault = "bad_request"
    monkeypatch.setenv("VISUAL", "/nowhere/editor")
    printed = chat(home, "/edit", "Hello", "/edit", "Again", "/quit", "never asked")
    assert "No question has been asked yet" in printed
    assert "The editor did not start" in printed
    assert "context" in printed.lower()
    assert prompts() == ["Again"]  # a question that nobody answered gives way


def test_blind_votes_hide_the_names(server: FakeServer, home: Path) -> None:
    printed = chat(home, "/blind", "Hello", "/model", "/vote", "a")
    (vote,) = kept().votes.values()
    assert vote.blind
    assert "The names are hidden" in printed and "captain\r\n" not in printed


def test_ctrl_c_stops_an_answer_and_the_chat_goes_on(server: FakeServer, home: Path) -> None:
    server.answer = lambda model, messages: " ".join(f"word{number}" for number in range(5000))
    server.tokens_per_second = 100
    process, terminal = pty.fork()
    if process == 0:
        os.environ.update(LUTHIER_HOME=str(home), PYTHONPATH=str(ROOT), TERM="dumb")
        os.execv(sys.executable, [sys.executable, "-m", "tui.cli", "chat", "captain"])
    printed = ""

    def wait_for(text: str) -> None:
        nonlocal printed
        while text not in printed:
            printed += os.read(terminal, 1 << 16).decode()

    for text, keys in (("> ", "Hello\n"), ("word5", "\x03"), ("Stopped", "/quit\n")):
        wait_for(text)
        os.write(terminal, keys.encode())
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    os.close(terminal)
    answer = kept().panes[0].answers[0]
    assert isinstance(answer.state, Halted) and "word5" in answer.text


def test_every_command_of_the_list_is_here_or_said_to_be_the_apps() -> None:
    ids = {action.id for action in slash_actions().values()}
    handlers = PlainChat(ChatSession(record=None), as_json=False)._handlers  # type: ignore[arg-type]
    assert handlers.keys() <= ids
    assert len(handlers) >= 15
