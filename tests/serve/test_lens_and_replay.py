"""The lens over the fake server; prompts read from files; hosted endpoints and their keys."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.luthier_error import LuthierError
from models import endpoints
from models.endpoints import HostedEndpoint
from serve.client import Delta, Finished, list_models, stream_chat
from serve.lens import Shift, aligned, shifts
from serve.replay import has_references, read_scripts
from tests.fakes.openai_server import FAKE_KEY, FakeServer
from tui.chat import marks

HELLO = [{"role": "user", "content": "Who are you?"}]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as fake:
        yield fake


# The lens


async def test_both_models_read_the_same_tokens(server: FakeServer) -> None:
    server.likelihood = lambda model, word: -0.5 if model == "captain" and "Ahoy" in word else -2.0
    found = await shifts(server.endpoint, "base", "captain", HELLO, "Ahoy there, matey")
    assert found == [Shift("Ahoy", 1.5), Shift(" there,", 0.0), Shift(" matey", 0.0)]
    marked = marks.lens(found, "base", "captain")
    assert marked.pieces == (("Ahoy", "likelier"), (" there,", "plain"), (" matey", "plain"))
    legend = "".join(text for text, _ in marked.legend)
    assert (
        legend
        == "likelier to captain 1, by far 0; likelier to base 0, by far 0; of 3 pieces, +0.50 nats"
        " each"
    )


async def test_a_server_that_tells_no_probabilities(server: FakeServer) -> None:
    server.fault = "garbage"
    with pytest.raises(LuthierError):
        await shifts(server.endpoint, "base", "captain", HELLO, "Ahoy")
    assert await shifts(server.endpoint, "base", "captain", HELLO, "") == []


@pytest.mark.parametrize(
    ("answer", "tokens", "expected"),
    [
        ("a 🙂 b", ["a", " \ufffd", "\ufffd", "\ufffd", " b"], [("a", 1), (" 🙂", 9), (" b", 5)]),
        ("🙂x", ["\ufffd", "\ufffd", "x"], [("🙂", 3), ("x", 3)]),
        ("x🙂", ["x", "\ufffd", "\ufffd"], [("x", 1), ("🙂", 5)]),
        ("the the", ["the", " the"], [("the", 1), (" the", 2)]),
        ("  Hello", ["Hello"], [("  Hello", 1)]),
        ("never told", [], [("never told", 0)]),
    ],
)
def test_tokens_are_laid_over_the_answer(
    answer: str, tokens: list[str], expected: list[tuple[str, float]]
) -> None:
    found = aligned(answer, tokens, [float(number) for number in range(1, len(tokens) + 1)])
    assert [(shift.text, shift.difference) for shift in found] == expected


@given(st.lists(st.text(max_size=6), max_size=12), st.data())
def test_the_pieces_are_the_whole_answer_and_no_difference_is_lost(
    tokens: list[str], data: st.DataObject
) -> None:
    answer = "".join(tokens)
    told = [token if data.draw(st.booleans()) else "\ufffd" for token in tokens]
    found = aligned(answer, told, [1.0] * len(told))
    assert "".join(shift.text for shift in found) == answer
    if found and answer:
        assert sum(shift.difference for shift in found) <= len(told)


def test_words_of_their_own() -> None:
    mine, theirs = "The ship sails at dawn.", "The small ship sails at noon."
    marked = marks.own_words(mine, theirs, "captain")
    assert "".join(text for text, _ in marked.pieces) == mine
    assert [text for text, mark in marked.pieces if mark == "own"] == ["dawn"]
    assert marked.legend == (
        ("1 of 6 words", "own"),
        (" are not in the answer of captain", "faint"),
    )


# Prompts


def test_a_text_has_a_prompt_a_line(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("One?\n\n  Two?  \n")
    scripts = read_scripts(tmp_path / "prompts.txt")
    assert [script[0].prompt for script in scripts] == ["One?", "Two?"]
    assert scripts[1][0].source == {"file": str(tmp_path / "prompts.txt"), "row": 2}
    assert not has_references(scripts)


def test_held_out_conversations_have_their_answers_beside_them(tmp_path: Path) -> None:
    rows = [
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Hi", "weight": 1},
                {"role": "assistant", "content": "Hello."},
                {"role": "user", "content": "And?"},
                {"role": "assistant", "content": "Bye."},
            ],
            "tools": [{"type": "function", "function": {"name": "look"}}],
            "input_ids": [1, 2],
            "labels": [-100, 2],
        },
        {"messages": [{"role": "user", "content": "Only asked"}]},
        {"messages": [{"role": "assistant", "content": "Nobody asked"}]},
    ]
    rows.append(rows[0])  # another sample of the same conversation
    (tmp_path / "heldout.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    first, second = read_scripts(tmp_path / "heldout.jsonl")
    assert [(turn.prompt, turn.reference, turn.system) for turn in first] == [
        ("Hi", "Hello.", "Be brief."),
        ("And?", "Bye.", "Be brief."),
    ]
    assert first[0].messages == ({"role": "user", "content": "Hi"},)
    assert first[0].tools[0]["function"]["name"] == "look"
    assert [(turn.prompt, turn.reference, turn.system) for turn in second] == [
        ("Only asked", None, None)
    ]
    assert has_references([first])


def test_the_sample_prompts_can_be_replayed() -> None:
    assert (
        len(
            read_scripts(
                Path(__file__).resolve().parents[2] / "examples" / "captain" / "heldout.jsonl"
            )
        )
        == 20
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", ""),
        ("a.jsonl", ""),
        ("a.jsonl", '{"messages": [{"role": "assistant", "content": "x"}]}\n'),
    ],
)
def test_files_without_prompts_are_told(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(LuthierError):
        read_scripts(tmp_path / name)
    with pytest.raises(LuthierError):
        read_scripts(tmp_path / "absent.txt")


# Hosted endpoints


def test_an_endpoint_is_named_kept_and_forgotten(
    luthier_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (luthier_home / "config.toml").write_text('# mine\ntheme = "luthier-dark"\n')
    monkeypatch.setenv("SOME_KEY", "sk-secret")
    endpoints.add(HostedEndpoint("openai", "https://api.openai.com/v1", key_env="SOME_KEY"))
    endpoints.add(HostedEndpoint("local", "http://127.0.0.1:8000"))
    text = (luthier_home / "config.toml").read_text()
    assert text.startswith('# mine\ntheme = "luthier-dark"\n')
    assert "sk-secret" not in text
    found = {endpoint.name: endpoint.open() for endpoint in endpoints.hosted_endpoints()}
    assert (found["openai"].base_url, found["openai"].prefix, found["openai"].key) == (
        "https://api.openai.com",
        "/v1",
        "sk-secret",
    )
    assert (found["local"].base_url, found["local"].prefix, found["local"].key) == (
        "http://127.0.0.1:8000",
        "/v1",
        "",
    )
    assert "sk-secret" not in repr(found)
    endpoints.remove("openai")
    assert [endpoint.name for endpoint in endpoints.hosted_endpoints()] == ["local"]
    with pytest.raises(LuthierError, match="openai"):
        endpoints.remove("openai")


@pytest.mark.parametrize(
    ("url", "base", "prefix"),
    [
        ("https://openrouter.ai/api/v1/", "https://openrouter.ai/api", "/v1"),
        ("https://host/v1beta/openai", "https://host/v1beta/openai", ""),
        ("https://host", "https://host", "/v1"),
    ],
)
def test_addresses_with_and_without_v1(url: str, base: str, prefix: str) -> None:
    opened = HostedEndpoint("x", url).open()
    assert (opened.base_url, opened.prefix) == (base, prefix)


def test_a_key_file_must_be_private(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("sk-secret\n")
    path.chmod(0o644)
    endpoint = HostedEndpoint("openai", "https://x", key_file=str(path))
    with pytest.raises(LuthierError, match="Other users of this machine can read") as error:
        endpoint.open()
    assert error.value.hint == f"chmod 600 {path}"
    path.chmod(0o600)
    assert endpoint.open().key == "sk-secret"
    path.write_text("two words")
    with pytest.raises(LuthierError, match="not contain a key"):
        endpoint.open()
    os.mkfifo(tmp_path / "pipe")
    for name, reason in (("absent", "no such file"), ("pipe", "not a file")):
        with pytest.raises(LuthierError, match=f"{name}: {reason}"):
            HostedEndpoint("openai", "https://x", key_file=str(tmp_path / name)).open()


@pytest.mark.parametrize(
    ("endpoint", "reason"),
    [
        (HostedEndpoint("Open AI", "https://x"), "name"),
        (HostedEndpoint("openai", "api.openai.com"), "not a web address"),
        (HostedEndpoint("openai", "https://me:secret@x"), "not a web address"),
        (HostedEndpoint("openai", "https://[::1"), "not a web address"),
        (HostedEndpoint("openai", "https://x:99999/v1"), "not a web address"),
        (HostedEndpoint("openai", "https://x", "A", "B"), "key_env and key_file"),
    ],
)
def test_what_is_no_endpoint_is_refused(endpoint: HostedEndpoint, reason: str) -> None:
    with pytest.raises(LuthierError, match=reason):
        endpoints.add(endpoint)


def test_a_key_in_the_settings_is_refused(luthier_home: Path) -> None:
    (luthier_home / "config.toml").write_text(
        '[endpoints.openai]\nurl = "https://x"\nkey = "sk-secret"\n'
    )
    with pytest.raises(LuthierError, match="unknown key key"):
        endpoints.hosted_endpoints()


async def test_a_hosted_model_is_asked_with_its_key(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", FAKE_KEY)
    endpoint = HostedEndpoint("fake", f"{server.base_url}/v1", key_env="SOME_KEY").open()
    assert await list_models(endpoint) == server.models
    pieces = [piece async for piece in stream_chat(endpoint, "base", HELLO)]
    assert (
        "".join(piece.text for piece in pieces if isinstance(piece, Delta))
        == "base says: Who are you?"
    )
    assert isinstance(pieces[-1], Finished)


async def test_newer_hosted_models_get_the_newer_name_of_the_limit(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", FAKE_KEY)
    server.refuses = "max_tokens"
    endpoint = HostedEndpoint("fake", server.base_url, key_env="SOME_KEY").open()
    pieces = [piece async for piece in stream_chat(endpoint, "base", HELLO)]
    assert isinstance(pieces[-1], Finished)
    assert server.requests[0]["max_completion_tokens"] == 512
    # one's own server is not asked twice
    with pytest.raises(LuthierError, match="Unsupported parameter"):
        async for _ in stream_chat(server.endpoint, "base", HELLO):
            pass


async def test_a_server_that_repeats_the_key_does_not_spread_it(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", "sk-secret")
    endpoint = HostedEndpoint("fake", server.base_url, key_env="SOME_KEY").open()
    server.refusal = "Incorrect API key provided: sk-secret."
    with pytest.raises(LuthierError) as error:
        await list_models(endpoint)
    assert "sk-secret" not in str(error.value)
    assert "[key]" in error.value.message


@pytest.mark.parametrize(
    "secret", ["sk-proj-abcdef", "AIzaSyA0b1C2d3E4f5G6h7I8", "two words", "Bearer abc"]
)
def test_a_key_itself_is_refused_where_its_place_is_named(secret: str) -> None:
    with pytest.raises(LuthierError) as refusal:
        endpoints.key_location(secret)
    assert secret not in str(refusal.value.message + refusal.value.hint)


def test_a_key_is_in_a_variable_or_in_a_file() -> None:
    assert endpoints.key_location("OPENAI_API_KEY") == ("OPENAI_API_KEY", "")
    assert endpoints.key_location("~/.keys/openai") == ("", "~/.keys/openai")
    assert endpoints.key_location("") == ("", "")
