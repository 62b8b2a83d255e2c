"""Anthropic's client, and OpenAI's beyond chat, unchanged on the real vLLM: messages, responses,
the list of models, and what no chat model does."""

from __future__ import annotations

from typing import Any

import pytest

from serve.key_files import client_key
from serve.servers import Server

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


def anthropic_client(server: Server, key: str = "") -> Any:
    from anthropic import Anthropic

    return Anthropic(base_url=server.base_url, api_key=key or client_key(), max_retries=0)


def openai_client(server: Server) -> Any:
    from openai import OpenAI

    return OpenAI(base_url=f"{server.base_url}/v1", api_key=client_key(), max_retries=0)


def test_anthropics_client_gets_messages_and_streams_them(server: Server) -> None:
    client = anthropic_client(server)
    order: dict[str, Any] = {"max_tokens": 16, "messages": QUESTION, "system": "Be brief."}
    order["extra_body"] = {"temperature": 0}  # the client has no such argument any more
    message = client.messages.create(model="base", **order)
    text = message.content[0].text
    assert text and message.usage.output_tokens > 0
    with client.messages.stream(model="base", **order) as stream:
        assert "".join(stream.text_stream) == text
    assert client.messages.create(model="noisy", **order).content[0].text != text
    count = client.messages.count_tokens(model="base", messages=QUESTION, system="Be brief.")
    assert count.input_tokens == message.usage.input_tokens


def test_anthropics_client_is_refused_in_words(server: Server) -> None:
    from anthropic import AuthenticationError, NotFoundError

    with pytest.raises(AuthenticationError, match="not one of this server's keys"):
        anthropic_client(server, "wrong").messages.create(
            model="base", max_tokens=4, messages=QUESTION
        )
    with pytest.raises(NotFoundError, match="It has: base, builtin, noisy"):
        anthropic_client(server).messages.create(model="claude", max_tokens=4, messages=QUESTION)


def test_openais_client_gets_responses_and_streams_them(server: Server) -> None:
    client = openai_client(server)
    order = {"model": "base", "temperature": 0, "max_output_tokens": 16}
    question = "What is the capital of France?"
    response = client.responses.create(input=question, **order)
    assert "Paris" in response.output_text
    pieces = [
        event.delta
        for event in client.responses.create(input=question, stream=True, **order)
        if event.type == "response.output_text.delta"
    ]
    assert "".join(pieces) == response.output_text


def test_openais_client_lists_models_and_is_refused_embeddings_in_words(server: Server) -> None:
    from openai import NotFoundError

    client = openai_client(server)
    assert {"base", "builtin", "noisy"} <= {model.id for model in client.models.list()}
    with pytest.raises(NotFoundError, match="make no embeddings") as refused:
        client.embeddings.create(model="base", input="A text")
    assert refused.value.code == "no_embeddings"
    assert refused.value.type == "invalid_request_error"
