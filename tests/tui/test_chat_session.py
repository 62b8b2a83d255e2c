"""What is sent, kept, repeated and forgotten: the conversation without a screen."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import pytest

from jobs.errors import LuthierError
from serve.client import Delta, Finished, Sampling
from tui.chat_export import export
from tui.chat_session import ChatSession, ChatSettings, Complete, Conversation, Failed, Halted, Turn, Waiting, Writing, receive
from tui.chat_text import figures, figures_rows, settings_line

FINISHED = Finished("stop", 9, 3, 0.13, 0.33)


async def stream(*items: Delta | Finished | Exception) -> AsyncIterator[Delta | Finished]:
    for item in items:
        await asyncio.sleep(0)
        if isinstance(item, Exception):
            raise item
        yield item


async def answer(side: Conversation, *items: Delta | Finished | Exception) -> Turn:
    turn = side.turns[-1]
    await receive(turn, stream(*items), lambda: None)
    return turn


def session() -> ChatSession:
    seeds = count(100)
    made = ChatSession(draw_seed=lambda: next(seeds))
    for side, model in zip(made.sides, ("base", "captain"), strict=True):
        side.model = model
    return made


def refused() -> LuthierError:
    return LuthierError("The server does not answer", "Nothing answers.", "Start it.")


async def test_both_sides_get_the_same_turn_and_seed() -> None:
    chat = session()
    chat.send("Hi")
    left, right = (side.turns[-1] for side in chat.sides)
    assert (left.id, left.settings) == (right.id, right.settings)
    assert left.settings.sampling.seed == 100
    assert (left.model, right.model) == ("base", "captain")
    assert chat.answering


async def test_each_side_sends_its_own_history() -> None:
    chat = session()
    chat.settings = ChatSettings("Be brief.", Sampling(seed=7))
    chat.send("Hi")
    for side, text in zip(chat.sides, ("Hello.", "Ahoy!"), strict=True):
        await answer(side, Delta(text), FINISHED)
    chat.send("Who are you?")
    system = {"role": "system", "content": "Be brief."}
    question = {"role": "user", "content": "Who are you?"}
    for side, text in zip(chat.sides, ("Hello.", "Ahoy!"), strict=True):
        earlier = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": text}]
        assert side.messages() == [system, *earlier, question]
    assert chat.sides[0].turns[-1].settings.sampling.seed == 7


async def test_first_text_is_announced_once() -> None:
    chat = session()
    chat.send("Hi")
    turn = chat.sides[0].turns[-1]
    assert type(turn.state) is Waiting
    announced: list[bool] = []
    items = stream(Delta(""), Delta("a"), Delta("b"), FINISHED)
    await receive(turn, items, lambda: announced.append(isinstance(turn.state, Writing)))
    assert announced == [True]
    assert turn.text == "ab"
    assert isinstance(turn.state, Complete)


async def test_stop_keeps_what_came_and_sends_it_on() -> None:
    chat = session()
    chat.send("Hi")
    side = chat.sides[0]
    arrived = asyncio.Event()

    async def endless() -> AsyncIterator[Delta | Finished]:
        yield Delta("Well, ")
        arrived.set()
        await asyncio.sleep(60)

    task = asyncio.create_task(receive(side.turns[-1], endless(), lambda: None))
    await arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert isinstance(side.turns[-1].state, Halted)
    side.begin(2, "Go on", ChatSettings())
    assert [message["content"] for message in side.messages()] == ["Hi", "Well, ", "Go on"]


async def test_a_turn_that_brought_nothing_makes_way() -> None:
    chat = session()
    chat.send("Hi")
    turn = await answer(chat.sides[0], refused())
    assert isinstance(turn.state, Failed)
    chat.sides[1].turns[-1].halt()
    chat.send("Hi")
    for side in chat.sides:
        assert [message["content"] for message in side.messages()] == ["Hi"]


async def test_retry_after_failure_keeps_the_seed_and_takes_new_settings() -> None:
    chat = session()
    chat.send("Hi")
    await answer(chat.sides[0], refused())
    await answer(chat.sides[1], Delta("Ahoy!"), FINISHED)
    chat.settings = ChatSettings("", Sampling(max_tokens=16))
    assert chat.retry([chat.sides[0]]) == [chat.sides[0]]
    turn = chat.sides[0].turns[-1]
    assert (turn.id, turn.prompt, len(chat.sides[0].turns)) == (1, "Hi", 1)
    assert turn.settings.sampling == Sampling(max_tokens=16, seed=100)
    assert chat.sides[1].turns[-1].text == "Ahoy!"


async def test_retry_of_complete_answers_draws_one_new_seed() -> None:
    chat = session()
    chat.send("Hi")
    for side in chat.sides:
        await answer(side, Delta("Hello."), FINISHED)
    chat.retry(chat.sides)
    assert [side.turns[-1].settings.sampling.seed for side in chat.sides] == [101, 101]
    assert not chat.sides[0].turns[-1].pieces


def test_retry_of_nothing_is_nothing() -> None:
    chat = session()
    assert chat.retry(chat.sides) == []


async def test_clear_and_back() -> None:
    chat = session()
    assert not chat.can_clear
    chat.send("Hi")
    for side in chat.sides:
        await answer(side, Delta("Hello."), FINISHED)
    old = chat.sides
    chat.clear()
    assert chat.empty
    assert [side.model for side in chat.sides] == ["base", "captain"]
    chat.clear()
    assert chat.sides is old


def test_figures_say_why_it_ended() -> None:
    turn = Turn(1, "Hi", "base", ChatSettings(), Complete(FINISHED))
    assert figures(turn) == ["TTFT 130 ms", "3 tokens", "10.0 tok/s", "stop"]
    turn.state = Complete(Finished("length", 9, 1, 1.25, 1.25))
    assert figures(turn) == ["TTFT 1.2 s", "1 token", "cut at max tokens"]
    turn.state = Halted(None, 2.04)
    assert figures(turn) == ["stopped by you after 2.0 s"]
    turn.state = Complete(FINISHED)
    assert figures_rows(turn, 30) == ["TTFT 130 ms · 3 tokens", "10.0 tok/s · stop"]


def test_settings_in_one_line() -> None:
    assert settings_line(ChatSettings()) == "temperature 0.7 · top-p 0.95 · max 512 · random seed · no system prompt"
    line = settings_line(ChatSettings("You are\na captain.", Sampling(0, 1, 64, 5)))
    assert line == "temperature 0 · top-p 1 · max 64 · seed 5 · system: You are a captain."


async def chat_to_export() -> ChatSession:
    chat = session()
    chat.settings = ChatSettings("Be brief.", Sampling(seed=7))
    chat.send("Hi\nthere")
    await answer(chat.sides[0], Delta("Hello."), FINISHED)
    await answer(chat.sides[1], refused())
    return chat


async def test_export_to_markdown(tmp_path: Path) -> None:
    export(await chat_to_export(), tmp_path / "chat.md")
    text = (tmp_path / "chat.md").read_text()
    assert "> Hi\n> there\n" in text
    assert text.count("> Hi") == 1
    assert "### base\n\nHello.\n" in text
    assert "### captain\n\n(no answer)\n\n*The server does not answer" in text


async def test_export_to_jsonl(tmp_path: Path) -> None:
    export(await chat_to_export(), tmp_path / "chat.jsonl")
    (base,) = (json.loads(line) for line in (tmp_path / "chat.jsonl").read_text().splitlines())
    assert [message["role"] for message in base["messages"]] == ["system", "user", "assistant"]
    assert base["answers"][0]["sampling"]["seed"] == 7
    assert base["answers"][0]["completion_tokens"] == 3


async def test_export_never_replaces(tmp_path: Path) -> None:
    chat = await chat_to_export()
    for name in ("there.md", "chat.txt", "nowhere/chat.md"):
        (tmp_path / "there.md").write_text("mine")
        with pytest.raises(LuthierError):
            export(chat, tmp_path / name)
    assert (tmp_path / "there.md").read_text() == "mine"
