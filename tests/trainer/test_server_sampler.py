"""A server that samples, as vLLM does, with whatever adapter it has loaded last: a second copy of
the model behind HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from jobs.luthier_error import LuthierError
from models.endpoints import HostedEndpoint

pytestmark = [pytest.mark.heavy, pytest.mark.xdist_group("torch")]

PROMPTS = [[1, 300, 5, 7], [1, 300, 9], [1, 300, 11, 12, 13], [1, 300, 20], [1, 300, 21, 22]]


class FakeVllm:
    """`loaded` are folders by the names that requests use."""

    def __init__(self, base: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        self._base, self._model_type = base, AutoModelForCausalLM
        self._float = torch.float32
        self.loaded: dict[str, str] = {}
        self.ignores_adapters = False
        self.answers_without_tokens = False
        self._lock = threading.Lock()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                cards = [{"id": name, "root": root} for name, root in owner.loaded.items()]
                self._send({"data": [{"id": "base", "root": str(base)}, *cards]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with owner._lock:
                    self._send(owner.post(self.path, body))

            def _send(self, content: Any) -> None:
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.endpoint = HostedEndpoint("s", f"http://127.0.0.1:{self._server.server_port}/v1")

    def post(self, path: str, body: dict[str, Any]) -> Any:
        if path.endswith("/load_lora_adapter"):
            self.loaded[body["lora_name"]] = body["lora_path"]
            return b"Success: LoRA adapter added."
        if path.endswith("/unload_lora_adapter"):
            del self.loaded[body["lora_name"]]
            return b"Success: LoRA adapter removed."
        return {"choices": [self._completed(body)]}

    def _completed(self, body: dict[str, Any]) -> dict[str, Any]:
        import torch
        from peft import PeftModel
        from torch.nn.functional import log_softmax

        if self.answers_without_tokens:
            return {"text": "x", "finish_reason": "stop"}
        model: Any = self._model_type.from_pretrained(self._base, dtype=self._float)
        if not self.ignores_adapters:
            model = PeftModel.from_pretrained(model, self.loaded[body["model"]])
        model.eval()
        generator = torch.Generator().manual_seed(body["seed"])
        tokens, scores = list(body["prompt"]), []
        with torch.no_grad():
            for _ in range(body["max_tokens"]):
                values = log_softmax(model(torch.tensor([tokens])).logits[0, -1].float(), -1)
                token = int(torch.multinomial(values.exp(), 1, generator=generator))
                tokens.append(token)
                scores.append(float(values[token]))
                if token == 2:
                    break
        return {
            "token_ids": tokens[len(body["prompt"]) :],
            "logprobs": {"token_logprobs": scores},
            "finish_reason": "stop" if tokens[-1] == 2 else "length",
        }

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def student(tmp_path: Path) -> Any:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from tests.real.tiny import write_tiny_model

    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(
        write_tiny_model(tmp_path / "model"), dtype=torch.float32
    )
    model = get_peft_model(base, LoraConfig(r=4, target_modules="all-linear"))
    move(model)
    return model


@pytest.fixture
def vllm(student: Any, tmp_path: Path) -> Iterator[FakeVllm]:
    running = FakeVllm(tmp_path / "model")
    yield running
    running.close()


def move(model: Any) -> None:
    """As a step does."""
    import torch

    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data += 0.05 * torch.randn(parameter.shape)


@pytest.fixture
def sampler(student: Any, vllm: FakeVllm, tmp_path: Path) -> Any:
    from trainer.run.sampling import SampleSettings
    from trainer.run.server_sampler import ServerSampler

    settings = SampleSettings(frozenset([2]), 16, 1.0, 4)
    return ServerSampler(student, vllm.endpoint, tmp_path / "sampler", settings)


def never() -> bool:
    return False


def sync(student: Any, sampler: Any, step: int) -> Any:
    from trainer.run.weight_sync import checked

    answers = sampler.answers(PROMPTS, 7, never)
    return checked(student, sampler, PROMPTS, answers, step, "float32")


def test_it_has_the_weights_of_each_sync(
    student: Any, sampler: Any, vllm: FakeVllm, tmp_path: Path
) -> None:
    for step in range(3):
        sampler.sync(step)
        result = sync(student, sampler, step)
        assert result.ok, result
        assert not result.shared
        assert result.sampled == result.trained
        assert result.shown == pytest.approx(1, abs=0.01)
        assert len(vllm.loaded) == 1
        assert [path.name for path in (tmp_path / "sampler").iterdir()] == [f"step-{step:06d}"]
        move(student)
    first, again = (sampler.answers(PROMPTS, 7, never) for _ in range(2))
    assert first == again


def test_a_server_that_keeps_an_earlier_adapter_is_found(student: Any, sampler: Any) -> None:
    sampler.sync(0)
    move(student)
    result = sync(student, sampler, 1)
    assert not result.ok
    assert result.sampled != result.trained


def test_a_server_that_does_not_apply_its_adapter_is_found(
    student: Any, sampler: Any, vllm: FakeVllm
) -> None:
    """Although it lists the right one."""
    vllm.ignores_adapters = True
    sampler.sync(0)
    result = sync(student, sampler, 0)
    assert result.sampled == result.trained
    assert result.shown == pytest.approx(0, abs=0.01)
    assert not result.ok


def test_a_server_that_has_lost_its_adapter_is_found(
    student: Any, sampler: Any, vllm: FakeVllm
) -> None:
    sampler.sync(0)
    answers = sampler.answers(PROMPTS, 7, never)
    vllm.loaded.clear()
    from trainer.run.weight_sync import checked

    result = checked(student, sampler, PROMPTS, answers, 0, "float32")
    assert not result.ok
    assert result.sampled.startswith("no student-")


def test_a_server_that_says_too_little_is_refused(sampler: Any, vllm: FakeVllm) -> None:
    sampler.sync(0)
    vllm.answers_without_tokens = True
    with pytest.raises(LuthierError, match="no token ids"):
        sampler.answers(PROMPTS, 7, never)
