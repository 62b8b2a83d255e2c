"""A teacher behind an API that answers badly: late, wrongly, or with other tokens."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from jobs.luthier_error import LuthierError
from models.endpoints import HostedEndpoint
from trainer.teacher import EndpointTeacher

pytestmark = [pytest.mark.heavy, pytest.mark.xdist_group("torch")]

Answer = Callable[[dict[str, Any]], tuple[int, Any]]


class Server:
    """Answers completions as `answer` says, and lists `models`."""

    def __init__(self) -> None:
        self.answer: Answer = lambda body: (500, {})
        self.models = ["m"]
        self.asked = 0
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._send(200, {"data": [{"id": name} for name in owner.models]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                owner.asked += 1
                self._send(*owner.answer(body))

            def _send(self, status: int, content: Any) -> None:
                text = content if isinstance(content, str) else json.dumps(content)
                self.send_response(status)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr("trainer.run.patient_client.time.sleep", lambda seconds: None)
    running = Server()
    yield running
    running.close()


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import AutoTokenizer

    from tests.real.tiny import write_tiny_model

    folder: Path = write_tiny_model(tmp_path_factory.mktemp("tiny") / "model")
    return AutoTokenizer.from_pretrained(folder)


def scorer(server: Server, tokenizer: Any, model: str = "") -> Any:
    from trainer.run.teaching import EndpointScorer

    return EndpointScorer(EndpointTeacher("t", HostedEndpoint("t", server.url), model), tokenizer)


def vllm(tokenizer: Any, shift: int = 0) -> Answer:
    """As vLLM answers; with a vocabulary that is shifted by so many tokens."""

    def answer(body: dict[str, Any]) -> tuple[int, Any]:
        entries = [
            {str(token): {"logprob": -token / 100, "decoded_token": text}}
            for token in body["prompt"]
            for text in [tokenizer.decode([token + shift])]
        ]
        return 200, {"choices": [{"prompt_logprobs": [None, *entries[1:]]}]}

    return answer


def echo(tokenizer: Any) -> Answer:
    """As servers do that know only OpenAI's own fields."""

    def answer(body: dict[str, Any]) -> tuple[int, Any]:
        if not body.get("echo"):
            return 200, {"choices": [{"text": "x"}]}
        tokens = [*body["prompt"], 0]  # and one that it has generated
        values = [None, *(-token / 100 for token in tokens[1:])]
        texts = tokenizer.convert_ids_to_tokens(tokens)
        return 200, {"choices": [{"logprobs": {"token_logprobs": values, "tokens": texts}}]}

    return answer


@pytest.mark.parametrize("kind", [vllm, echo])
def test_each_token_of_an_answer_has_its_score(server: Server, tokenizer: Any, kind: Any) -> None:
    from trainer.run.teaching import Row

    server.answer = kind(tokenizer)
    rows = [Row([5, 6, 7], [8, 2]), Row([9], [100])]
    assert scorer(server, tokenizer).scores(rows) == [[-0.08, -0.02], [-1.0]]


def test_it_waits_for_a_server_that_is_busy(server: Server, tokenizer: Any) -> None:
    from trainer.run.teaching import Row

    good, trouble = vllm(tokenizer), [(429, "slow down"), (503, "restarting"), (500, "no")]

    def answer(body: dict[str, Any]) -> tuple[int, Any]:
        return trouble.pop() if trouble else good(body)

    server.answer = answer
    assert scorer(server, tokenizer).scores([Row([5], [8])]) == [[-0.08]]
    assert not trouble


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((401, {"error": "no key"}), "401"),
        ((500, {}), "500"),
        ((200, "<html>"), "no JSON object"),
        ((200, []), "no JSON object"),
        ((200, {"choices": []}), "no choices"),
        ((200, {"choices": [{"text": "x"}]}), "neither prompt_logprobs nor echoed"),
        ((200, {"choices": [{"logprobs": {"token_logprobs": [], "tokens": []}}]}), "0 log-prob"),
    ],
)
def test_what_cannot_score_says_why(
    server: Server, tokenizer: Any, answer: tuple[int, Any], message: str
) -> None:
    server.answer = lambda body: answer
    with pytest.raises(LuthierError) as error:
        scorer(server, tokenizer)
    assert message in error.value.message
    assert error.value.hint
    assert server.asked <= 12


def test_a_server_with_other_tokens_is_refused_with_figures(server: Server, tokenizer: Any) -> None:
    server.answer = vllm(tokenizer, shift=1)
    with pytest.raises(LuthierError, match=r"\d+ of \d+ probed ids mean something else") as error:
        scorer(server, tokenizer)
    assert error.value.title == "The teacher has another tokenizer"


def test_of_several_models_one_must_be_named(server: Server, tokenizer: Any) -> None:
    server.models = ["a", "b"]
    server.answer = vllm(tokenizer)
    with pytest.raises(LuthierError, match="2 models: a, b"):
        scorer(server, tokenizer)
    scorer(server, tokenizer, "b")


def test_a_server_that_is_gone_is_named(tokenizer: Any, server: Server) -> None:
    url = server.url
    server.close()
    with pytest.raises(LuthierError, match=url.removesuffix("/v1")):
        scorer(server, tokenizer)
