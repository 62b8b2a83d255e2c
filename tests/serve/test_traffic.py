"""What passes the guard: who waits for whom, what is written down, and that a body goes on as it
came."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve import traffic
from serve.traffic import (
    LOG_CONTENT_VARIABLE,
    PROMPT_LOGPROBS_ALONE,
    REQUEST_LOG_VARIABLE,
    Gate,
    Passage,
    Traffic,
)
from serve.usage import Unasked

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"


async def test_one_alone_waits_for_those_inside_and_goes_before_those_after() -> None:
    gate, order = Gate(), []
    finish = asyncio.Event()

    async def many(name: str, wait: bool = False) -> None:
        async with gate.together():
            order.append(name)
            if wait:
                await finish.wait()

    async def alone(name: str) -> None:
        async with gate.alone():
            order.append(name)

    tasks = [asyncio.create_task(many("first", wait=True))]
    await asyncio.sleep(0.01)
    tasks += [asyncio.create_task(alone("alone")), asyncio.create_task(alone("also alone"))]
    await asyncio.sleep(0.01)
    tasks.append(asyncio.create_task(many("later")))
    await asyncio.sleep(0.01)
    assert order == ["first"]
    finish.set()
    await asyncio.gather(*tasks)
    assert order == ["first", "alone", "also alone", "later"]


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.booleans()), min_size=1, max_size=12)
)
def test_whoever_is_cancelled_the_gate_never_lets_one_alone_meet_another_and_never_stays_shut(
    visits: list[tuple[bool, int, bool]],
) -> None:
    async def play() -> None:
        gate, inside = Gate(), {"together": 0, "alone": 0}

        async def visit(alone: bool, pauses: int) -> None:
            kind = "alone" if alone else "together"
            async with gate.alone() if alone else gate.together():
                inside[kind] += 1
                try:
                    assert inside["alone"] == 0 or sum(inside.values()) == 1
                    for _ in range(pauses):
                        await asyncio.sleep(0)
                finally:
                    inside[kind] -= 1

        tasks = []
        for alone, pauses, cancelled in visits:
            tasks.append(asyncio.create_task(visit(alone, pauses)))
            await asyncio.sleep(0)
            if cancelled:
                tasks[len(tasks) // 2].cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            assert outcome is None or isinstance(outcome, asyncio.CancelledError)
        async with asyncio.timeout(1), gate.alone():
            pass
        async with asyncio.timeout(1), gate.together():
            pass

    asyncio.run(play())


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(REQUEST_LOG_VARIABLE, str(tmp_path / "requests.jsonl"))
    monkeypatch.delenv(LOG_CONTENT_VARIABLE, raising=False)
    monkeypatch.setenv(PROMPT_LOGPROBS_ALONE, "1")
    return tmp_path / "requests.jsonl"


async def asked(
    pieces: list[bytes],
    answer: list[bytes],
    kind: bytes = b"application/json",
    broken: bool = False,
    route: str = CHAT,
    **serving: Any,
) -> tuple[bytes, list[Any]]:
    """The body that the application received, and what was sent back. `broken`: the client goes
    before the end, as Starlette tells it."""
    incoming = [
        {"type": "http.request", "body": piece, "more_body": index < len(pieces) - 1}
        for index, piece in enumerate(pieces)
    ]
    received, sent = [], []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        more = True
        while more:
            message = await receive()
            received.append(message["body"])
            more = message["more_body"]
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]}
        )
        for index, chunk in enumerate(answer):
            await send(
                {
                    "type": "http.response.body",
                    "body": chunk,
                    "more_body": broken or index < len(answer) - 1,
                }
            )
        if broken:
            raise asyncio.CancelledError

    async def receive() -> Any:
        return incoming.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    chat = SimpleNamespace(system_fingerprint="vllm-1", **serving)
    state = SimpleNamespace(
        openai_serving_models=SimpleNamespace(lora_requests={}, base_model_paths=[]),
        openai_serving_chat=chat,
    )
    scope = {"type": "http", "method": "POST", "path": route, "app": SimpleNamespace(state=state)}
    with pytest.raises(asyncio.CancelledError) if broken else contextlib.nullcontext():
        await Traffic(application)(scope, receive, send)
    return b"".join(received), sent


async def test_a_body_in_pieces_goes_on_as_it_came(log: Path) -> None:
    asked_for = {
        "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
    }
    body = json.dumps(
        {
            "model": "base",
            **asked_for,
            "messages": [{"role": "user", "content": '"usage": {"prompt_tokens": 99}'}],
        }
    ).encode()
    answer = [
        b'data: {"choices": []}\n\n',
        b'data: {"usage":{"prompt_tokens":3,"total_tokens":9,"completion_tokens":6}}\n\n',
        b"",
    ]
    received, sent = await asked([body[:10], body[10:50], body[50:]], answer)
    assert received == body
    assert [message.get("body") for message in sent[1:]] == answer
    line = json.loads(log.read_text())
    assert (line["model"], line["stream"], line["prompt_tokens"], line["completion_tokens"]) == (
        "base",
        True,
        3,
        6,
    )


def event(choices: list[Any], **more: Any) -> bytes:
    return (
        b"data: "
        + json.dumps({"id": "x", "choices": choices, **more}, separators=(",", ":")).encode()
        + b"\n\n"
    )


TEXTS = (
    "Ahoy",
    '{"choices":[],"usage":{"prompt_tokens":1}}',
    "\n\ndata: ",
    ',"usage":{"completion_tokens":99}',
)
SAID = [event([{"index": 0, "delta": {"content": text}, "finish_reason": None}]) for text in TEXTS]
ENDED = {"index": 0, "delta": {"content": '"finish_reason":"x"'}, "finish_reason": "stop"}
USAGE = event(
    [],
    usage={"prompt_tokens": 3, "total_tokens": 9, "completion_tokens": 6},
    system_fingerprint="vllm-1",
)
DONE = b"data: [DONE]\n\n"


def told(event: bytes, completion: int, prompt: int = 3) -> bytes:
    """The event as vLLM sends it to who asks for continuous usage, in 0.32's form with a reasoning
    parser."""
    chunk = json.loads(event[6:])
    usage = {
        "prompt_tokens": prompt,
        "total_tokens": prompt + completion,
        "completion_tokens": completion,
    }
    details = {"completion_tokens_details": {"reasoning_tokens": 0}}
    return (
        b"data: "
        + json.dumps({**chunk, "usage": {**usage, **details}}, separators=(",", ":")).encode()
        + b"\n\n"
    )


TOLD = [told(one, 1 + place) for place, one in enumerate(SAID)]


@pytest.mark.parametrize(
    "options",
    [
        *("", '"stream_options": null, ', '"stream_options": {}, '),
        (
            '"stream_options": {"include_usage": false, "continuous_usage_stats": true,'
            ' "include_obfuscation": false}, '
        ),
    ],
)
@pytest.mark.parametrize("cut", [0, 1, 9, 40, 500])
async def test_tokens_of_a_stream_are_counted_and_its_client_sees_nothing_of_it(
    log: Path, options: str, cut: int
) -> None:
    """However the events are cut into messages, the client gets what vLLM sends to who asks for no
    usage."""
    body = (
        b' {%b"stream": true, "model": "base", "seed": 12345678901234567890, "messages": []}\n'
        % options.encode()
    )
    all_of_it = [*TOLD, told(event([ENDED]), 6), USAGE, DONE]
    whole = b"".join(all_of_it)
    pieces = (
        [whole[:cut], whole[cut : 3 * cut], whole[3 * cut :], b""] if cut else [*all_of_it, b""]
    )
    received, sent = await asked([body], pieces, b"text/event-stream; charset=utf-8")
    request = json.loads(body)
    wanted = {
        **(request.get("stream_options") or {}),
        "include_usage": True,
        "continuous_usage_stats": True,
    }
    assert json.loads(received) == {**request, "stream_options": wanted}
    assert received.startswith(body.strip()[:-1])
    shown = b"".join(message.get("body", b"") for message in sent)
    assert shown == b"".join([*SAID, event([ENDED], system_fingerprint="vllm-1"), DONE])
    assert not sent[-1].get("more_body", False)
    if not cut:
        # none waits
        assert [message["body"] for message in sent[1:-1]] == [
            *SAID,
            event([ENDED], system_fingerprint="vllm-1"),
            DONE,
        ]
        line = json.loads(log.read_text())
        assert (line["prompt_tokens"], line["completion_tokens"], line["broken_off"]) == (
            3,
            6,
            False,
        )


def test_what_stands_behind_the_usage_stays() -> None:
    asked_for, after = b'data: {"choices":[{"index":0}]', b',"prompt_token_ids":[1]}\n\n'
    found = Unasked("vllm-1", ends=True).feed(
        asked_for + b',"usage":{"prompt_tokens":1,"of":{"them":2}}' + after, last=False
    )
    assert found == asked_for + after


async def test_who_wants_the_tokens_at_the_end_gets_them_there_only(log: Path) -> None:
    body = b'{"model": "base", "stream": true, "stream_options": {"include_usage": true}}'
    received, sent = await asked(
        [body], [*TOLD, told(event([ENDED]), 6), USAGE, DONE, b""], b"text/event-stream"
    )
    assert json.loads(received)["stream_options"] == {
        "include_usage": True,
        "continuous_usage_stats": True,
    }
    assert [message["body"] for message in sent[1:-1]] == [*SAID, event([ENDED]), USAGE, DONE]
    assert json.loads(log.read_text())["broken_off"] is False


@pytest.mark.parametrize("options", ["", ', "stream_options": {"include_usage": true}'])
async def test_an_answer_that_is_broken_off_is_counted_as_far_as_it_came(
    log: Path, options: str
) -> None:
    body = b'{"model": "base", "stream": true%b}' % options.encode()
    _, sent = await asked([body], TOLD, b"text/event-stream", broken=True)
    assert [message["body"] for message in sent[1:]] == SAID
    line = json.loads(log.read_text())
    assert (line["prompt_tokens"], line["completion_tokens"], line["broken_off"]) == (3, 4, True)


async def test_the_answers_of_several_prompts_are_counted_together(log: Path) -> None:
    """Two prompts of 3 and 5 tokens, two answers of each, of which one has not begun."""
    came = [(0, 1, 3), (2, 1, 5), (0, 2, 3), (3, 7, 5)]
    pieces = [
        told(event([{"index": index, "text": "x", "finish_reason": None}]), written, read)
        for index, written, read in came
    ]
    body = b'{"model": "base", "stream": true, "n": 2, "prompt": ["a", "b"]}'
    await asked([body], pieces, b"text/event-stream", broken=True, route=COMPLETIONS)
    line = json.loads(log.read_text())
    assert (line["prompt_tokens"], line["completion_tokens"]) == (8, 10)


async def test_an_engine_that_dies_in_mid_answer_has_broken_it_off(log: Path) -> None:
    """vLLM then ends the stream as others end."""
    await asked(
        [b'{"model": "base", "stream": true}'],
        [*TOLD, b'data: {"error":{"code":500}}\n\n', DONE, b""],
        b"text/event-stream",
    )
    line = json.loads(log.read_text())
    assert (line["completion_tokens"], line["broken_off"]) == (4, True)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"model": "base"}', b"application/json"),
        (b'{"model": "base", "stream": true}', b"text/event-stream"),
    ],
)
async def test_what_is_broken_off_before_anything_was_told_is_not_guessed(
    log: Path, body: bytes, kind: bytes
) -> None:
    await asked([body], [], kind, broken=True)
    line = json.loads(log.read_text())
    assert (line["prompt_tokens"], line["completion_tokens"], line["broken_off"]) == (
        None,
        None,
        True,
    )


@pytest.mark.parametrize(
    ("longest", "each"),
    [
        ("", False),
        (', "max_tokens": 4097', False),
        (', "max_tokens": 4096', True),
        (', "max_completion_tokens": 9', True),
    ],
)
@pytest.mark.parametrize("ends", [False, True])
async def test_long_reasoned_answers_are_counted_at_their_end_only(
    log: Path, longest: str, each: bool, ends: bool
) -> None:
    """vLLM 0.32 would count the reasoning of the whole answer anew with each token."""
    options = ', "stream_options": {"include_usage": true}' if ends else ""
    body = b'{"model": "base", "stream": true%b}' % (longest + options).encode()
    pieces = [*SAID, event([ENDED]), USAGE, DONE, b""]
    received, _ = await asked(
        [body], pieces, b"text/event-stream", _include_reasoning_tokens_details=True
    )
    assert (
        received == body
        if ends and not each
        else json.loads(received)["stream_options"]["continuous_usage_stats"] is each
    )
    line = json.loads(log.read_text())
    assert (line["completion_tokens"], line["broken_off"]) == (6, False)


@pytest.mark.parametrize(
    "body",
    [
        (
            b'{"model": "base", "stream": true, "stream_options": {"include_usage": true,'
            b' "continuous_usage_stats": true}}'
        ),
        b'{"model": "base", "stream": true, "stream_options": "x"}',
        b'{"model": "base", "stream": true, "stream_options": {"include_usage": "yes"}}',
        b'{"model": "base", "stream": "true"}',
        b'{"model": "base"}',
        '{"model": "base", "stream": true}'.encode("utf-16"),
    ],
)
async def test_who_asks_himself_or_wants_no_stream_gets_all_as_it_is(
    log: Path, body: bytes
) -> None:
    answer = [*TOLD, event([ENDED]), USAGE, DONE, b""]
    received, sent = await asked([body], answer, b"text/event-stream")
    assert received == body
    assert [message.get("body") for message in sent[1:]] == answer
    assert json.loads(log.read_text())["broken_off"] is False


async def test_a_server_that_was_told_to_tell_everybody_does(log: Path) -> None:
    """vLLM's own flag, --enable-force-include-usage."""
    body, answer = b'{"model": "base", "stream": true}', [*TOLD, USAGE, DONE, b""]
    received, sent = await asked(
        [body], answer, b"text/event-stream", enable_force_include_usage=True
    )
    assert (received, [message["body"] for message in sent[1:]]) == (body, answer)
    assert json.loads(log.read_text())["completion_tokens"] == 6


async def test_what_is_kept_of_an_answer_is_what_its_client_saw(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LOG_CONTENT_VARIABLE, "1")
    _, sent = await asked(
        [b'{"model": "base", "stream": true}'], [*TOLD, USAGE, DONE, b""], b"text/event-stream"
    )
    assert (
        json.loads(log.read_text())["answer"]
        == b"".join(message["body"] for message in sent[1:]).decode()
    )


async def test_an_error_answer_to_a_counted_stream_goes_on_as_it_is(log: Path) -> None:
    body = b'{"model": "base", "stream": true}'
    assert [
        message.get("body") for message in (await asked([body], [b'{"usage', b'": 1}']))[1][1:]
    ] == [b'{"usage', b'": 1}']


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"[" * 100_000, b"\xff", b'{"model": 7, "prompt_logprobs": 0, "n": "x"}'],
)
async def test_what_is_no_request_is_vllms_to_refuse_or_refused_here(
    log: Path, body: bytes
) -> None:
    received, sent = await asked([body], [b"x"])
    assert received == body or sent[0]["status"] == 400


async def test_a_client_that_hangs_up_in_its_request(log: Path) -> None:
    incoming = [{"type": "http.disconnect"}]

    async def application(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "http.disconnect"

    async def receive() -> Any:
        return incoming.pop(0)

    async def send(message: Any) -> None:
        raise AssertionError

    await Traffic(application)(
        {"type": "http", "method": "POST", "path": "/v1/completions"}, receive, send
    )


async def test_a_body_that_is_too_long_to_look_at_is_refused_on_a_cpu_only(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traffic, "_LONGEST_BODY", 100)
    pieces = [b"a" * 90, b"b" * 90, b"c"]
    assert (await asked(list(pieces), [b"x"]))[1][0]["status"] == 413
    monkeypatch.setenv(PROMPT_LOGPROBS_ALONE, "0")
    assert (await asked(list(pieces), [b"x"]))[0] == b"".join(pieces)


async def test_the_log_begins_anew_when_it_is_long_and_a_full_disk_stops_no_answer(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traffic, "_LOG_BYTES", 300)
    for _ in range(5):
        await asked([b'{"model": "base"}'], [b"x"])
    assert 0 < len(log.read_text().splitlines()) < 5 and log.with_name("requests.1.jsonl").exists()

    def full(*arguments: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("serve.traffic.os.write", full)
    assert (await asked([b'{"model": "base"}'], [b"x"]))[1][0]["status"] == 200


def test_a_name_is_kept_short_and_only_one_that_was_answered_is_written() -> None:
    passage = Passage("/v1/completions")
    passage.read(json.dumps({"model": "x" * 1000}).encode())
    passage.status = 200
    assert len(json.loads(passage.line(False))["model"]) == 100
    passage.status = 404
    assert json.loads(passage.line(False))["model"] == ""
