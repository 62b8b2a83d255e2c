"""The client and the comparison, over real sockets against the fake server."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.luthier_error import LuthierError
from serve.asking import Answer, ask_all
from serve.client import (
    ContextExceeded,
    Delta,
    Endpoint,
    Finished,
    Sampling,
    list_models,
    load_adapter,
    server_id,
    stream_chat,
    unload_adapter,
)
from tests.fakes.openai_server import FakeServer, Fault

HELLO = [{"role": "user", "content": "hello there, how are you today?"}]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as fake:
        yield fake


async def ask(
    server: FakeServer, model: str = "base", sampling: Sampling | None = None
) -> tuple[str, Finished | None]:
    text, finished = "", None
    async for piece in stream_chat(server.endpoint, model, HELLO, sampling):
        match piece:
            case Delta():
                text += piece.text
            case Finished():
                finished = piece
    return text, finished


async def test_an_answer_streams_and_ends(server: FakeServer) -> None:
    server.first_token_seconds, server.tokens_per_second = 0.1, 50
    text, finished = await ask(server, "captain", Sampling(temperature=0.1, seed=7))
    assert text == "captain says: hello there, how are you today?"
    assert finished is not None
    assert (finished.reason, finished.prompt_tokens, finished.completion_tokens) == ("stop", 6, 8)
    assert finished.time_to_first_token is not None
    assert 0.1 <= finished.time_to_first_token < finished.seconds
    assert finished.tokens_per_second is not None
    asked = server.requests[0]
    assert (asked["temperature"], asked["seed"], asked["stream_options"]) == (
        0.1,
        7,
        {"include_usage": True},
    )
    assert asked["messages"] == HELLO


async def test_no_seed_is_sent_unless_given(server: FakeServer) -> None:
    await ask(server)
    assert "seed" not in server.requests[0]


async def test_a_cut_answer_says_so(server: FakeServer) -> None:
    text, finished = await ask(server, sampling=Sampling(max_tokens=2))
    assert text == "base says:"
    assert finished is not None
    assert finished.reason == "length"


@pytest.mark.parametrize(
    "text",
    ["a\u2028b\u0085c\x0bd", "data: [DONE]\n\ndata: x", '"}{', "日本語 \U0001f600", "\\n\r\n"],
)
async def test_any_text_comes_through_whole(server: FakeServer, text: str) -> None:
    server.answer = lambda model, messages: f"<{text}>"
    assert (await ask(server))[0] == f"<{text}>"


async def test_closing_the_stream_cancels_the_request(server: FakeServer) -> None:
    server.tokens_per_second = 50
    server.answer = lambda model, messages: "word " * 500
    stream = stream_chat(server.endpoint, "base", HELLO)
    async for _ in stream:
        break
    await stream.aclose()
    deadline = time.monotonic() + 3
    while server.cancelled == 0:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_cancelling_the_task_cancels_the_request(server: FakeServer) -> None:
    server.tokens_per_second = 50
    server.answer = lambda model, messages: "word " * 500
    task = asyncio.create_task(ask(server))
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    deadline = time.monotonic() + 3
    while server.cancelled == 0:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("fault", "title", "reason"),
    [
        ("unauthorized", "The server does not accept the key", "not one of this server's keys"),
        ("bad_request", "The chat is too long for the model", "maximum context length"),
        ("drop", "The answer broke off", "connection"),
        ("no_done", "The answer broke off", "before the answer"),
        ("stream_error", "The server failed", "EngineCore"),
        ("half_event", "The answer broke off", "before the answer"),
        ("odd_event", "Not a model server", "a text, where an object is due"),
        ("wrong_encoding", "The answer broke off", "was lost"),
    ],
)
async def test_faults_are_told(server: FakeServer, fault: Fault, title: str, reason: str) -> None:
    server.fault = fault
    with pytest.raises(LuthierError, match=reason) as error:
        await ask(server)
    assert error.value.title == title


async def test_a_context_that_is_too_long_says_how_long(server: FakeServer) -> None:
    server.context_words = 4
    with pytest.raises(ContextExceeded) as error:
        await ask(server)
    assert (error.value.limit, error.value.used) == (4, 6)
    server.fault = "bad_request"
    with pytest.raises(ContextExceeded) as error:
        await ask(server)
    assert (error.value.limit, error.value.used) == (4096, 5000)


@pytest.mark.parametrize(
    "said",
    [
        "System role not supported",
        "Conversation roles must alternate user/assistant/user/assistant/...",
    ],
)
async def test_a_template_that_refuses_the_system_prompt_is_told_with_what_to_do(
    server: FakeServer, said: str
) -> None:
    server.without_system = said
    assert (await ask(server))[0]
    told = [{"role": "system", "content": "be kind"}, *HELLO]
    with pytest.raises(LuthierError, match=said.split()[-1].rstrip(".")[:8]) as error:
        async for _ in stream_chat(server.endpoint, "base", told):
            pass
    assert error.value.title == "The model does not accept a system prompt"
    assert "before the first question" in error.value.hint


async def test_reasoning_and_tool_calls_come_in_pieces(server: FakeServer) -> None:
    server.thoughts = "let me see"
    server.calls = [("look", '{"where": "aft"}'), ("steer", "{}")]
    pieces = [
        piece
        async for piece in stream_chat(
            server.endpoint, "base", HELLO, None, ({"type": "function"},)
        )
    ]
    deltas = [piece for piece in pieces if isinstance(piece, Delta)]
    assert "".join(piece.reasoning for piece in deltas) == "let me see"
    assert deltas[0].text == ""
    calls = [call for piece in deltas for call in piece.calls]
    assert [(call.index, call.name) for call in calls if call.name] == [(0, "look"), (1, "steer")]
    assert "".join(call.arguments for call in calls if call.index == 0) == '{"where": "aft"}'
    assert server.requests[0]["tools"] == [{"type": "function"}]
    assert isinstance(pieces[-1], Finished)
    assert pieces[-1].time_to_first_token is not None


async def test_half_characters_are_not_let_through(server: FakeServer) -> None:
    server.answer = lambda model, messages: "a\ud83d b"
    assert (await ask(server))[0] == "a\ufffd b"


async def test_a_model_that_is_gone(server: FakeServer) -> None:
    with pytest.raises(LuthierError, match="absent"):
        await ask(server, "absent")


async def test_no_server() -> None:
    with FakeServer() as server:
        pass
    with pytest.raises(LuthierError, match="Nothing answers at") as error:
        await list_models(server.endpoint)
    assert error.value.title == "The server does not answer"


@pytest.mark.parametrize("fault", ["drop", "no_done"])
async def test_somebody_elses_server_is_not_looked_up_among_luthiers(
    server: FakeServer, fault: Fault
) -> None:
    hosted = dataclasses.replace(server.endpoint, hosted=True)
    server.fault = fault
    with pytest.raises(LuthierError, match="The answer broke off") as error:
        async for _ in stream_chat(hosted, "base", HELLO, None):
            pass
    assert error.value.hint and "luthier" not in error.value.hint


async def test_another_program_on_the_port(server: FakeServer) -> None:
    server.fault = "garbage"
    for call in (list_models, server_id):
        with pytest.raises(LuthierError, match="home page"):
            await call(server.endpoint)
    with pytest.raises(LuthierError, match="before the answer"):
        await ask(server)


async def test_a_wrong_key(server: FakeServer) -> None:
    with pytest.raises(LuthierError, match="keys"):
        await list_models(Endpoint(server.base_url, "wrong"))


def test_an_endpoint_does_not_print_its_key() -> None:
    assert "secret" not in repr(Endpoint("http://x", "secret"))


async def test_adapters_are_loaded_and_unloaded(server: FakeServer) -> None:
    await load_adapter(server.endpoint, "new", Path("/somewhere"))
    assert "new" in await list_models(server.endpoint)
    await unload_adapter(server.endpoint, "new")
    assert "new" not in await list_models(server.endpoint)


async def test_comparison_keeps_order_and_goes_on_after_an_error(server: FakeServer) -> None:
    heard: list[Answer] = []
    prompts = [[{"role": "user", "content": f"question {index}"}] for index in range(4)]
    answers = await ask_all(
        server.endpoint, ["base", "absent", "captain"], prompts, Sampling(), heard.append, at_once=5
    )
    assert [(answer.prompt, answer.model) for answer in answers] == [
        (i, model) for i in range(4) for model in ("base", "absent", "captain")
    ]
    assert [answer.text for answer in answers[:3]] == [
        "base says: question 0",
        "",
        "captain says: question 0",
    ]
    assert [answer.error is None for answer in answers[:3]] == [True, False, True]
    assert sorted((answer.prompt, answer.model) for answer in heard) == sorted(
        (answer.prompt, answer.model) for answer in answers
    )


@pytest.mark.parametrize(
    ("first", "seconds", "speed"),
    [(0.5, 2.5, 7.5), (0.5, 0.504, None), (None, 2.0, None), (0.5, 0.5, None)],
)
def test_an_answer_that_came_at_once_has_no_speed(
    first: float | None, seconds: float, speed: float | None
) -> None:
    assert Finished("stop", 5, 16, first, seconds).tokens_per_second == speed
