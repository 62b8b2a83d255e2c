"""A vLLM without a model: `python -P -m vllm.entrypoints.launchers.api_server.entry`, with
tests/fakes/vllm_home on PYTHONPATH.

It takes vLLM's command line, loads the real guard by `--middleware`, and is served by uvicorn as
vLLM is. It knows its routes and answers with an echo, word by word, FAKE_RATE words a second. Its
tokens are the lengths of words. FAKE_FAULT "start" has it fail at its start, "fork" where its
engine would be forked; POST /fake/crash ends it, as a dead engine does. With VLLM_SERVER_DEV_MODE
it sleeps and wakes; POST /fake/sleep says how badly. What would have killed the real engine (a
prompt's log-probabilities beside another request; any request in its sleep) ends this one, too.

With FAKE_RECITED (a JSON list of lists of token ids), whoever asks with token ids gets token ids:
the base goes on with the last one for ever, the adapters know those sequences by heart, and find
every second token of a prompt half as likely as the base does.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import json
import math
import os
import sys
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

RATE = float(os.environ.get("FAKE_RATE", "200"))


class Engine:
    """What the routes share. `prompts` counts the answers for which a prompt's log-probabilities
    are wanted."""

    def __init__(self, names: list[str], context: int) -> None:
        self.names = names
        self.context = context
        self.running = self.prompts = self.generated = self.read = 0
        self.first_token_seconds = 0.0
        self.answered = 0
        self.pins: list[int] = []
        self.asleep = False
        self.sleep_fault = ""  # "refuse", "lie", "changed", "never wakes"
        self.changed = False

    @contextlib.contextmanager
    def busy(self, body: dict[str, Any]) -> Any:
        if self.asleep:
            print("RuntimeError: CUDA error: an illegal memory access was encountered", flush=True)
            os._exit(1)
        self.running += 1
        self.prompts += body.get("prompt_logprobs") is not None
        if self.prompts and self.running > 1:
            print("RuntimeError: einsum(): subscript b has size 2 for operand 1", flush=True)
            os._exit(1)
        try:
            yield
        finally:
            self.running -= 1
            self.prompts -= body.get("prompt_logprobs") is not None

    async def pin_lora(self, number: int) -> bool:
        self.pins.append(number)
        return True

    async def remove_lora(self, number: int) -> bool:
        self.pins = [pin for pin in self.pins if pin != number]
        return True

    async def add_lora(self, adapter: Any) -> bool:
        return True


def build(arguments: argparse.Namespace) -> FastAPI:
    app = FastAPI()
    engine = Engine(arguments.served_model_name, arguments.max_model_len or 8192)
    app.state.engine_client = engine
    app.state.args = arguments
    app.state.vllm_config = SimpleNamespace(
        model_config=SimpleNamespace(max_model_len=engine.context)
    )
    base_names = [SimpleNamespace(name=name) for name in engine.names]
    app.state.openai_serving_models = SimpleNamespace(lora_requests={}, base_model_paths=base_names)
    loaded = app.state.openai_serving_models.lora_requests

    @app.get("/health")
    async def health() -> Response:
        return Response()

    @app.get("/metrics")
    async def metrics() -> PlainTextResponse:
        return PlainTextResponse(exposition(engine, arguments.served_model_name[0]))

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        base = [
            {"id": name, "root": arguments.model, "parent": None, "max_model_len": engine.context}
            for name in engine.names
        ]
        return {
            "data": [
                *base,
                *(
                    {"id": one.name, "root": one.lora_path, "parent": engine.names[0]}
                    for one in loaded.values()
                ),
            ]
        }

    @app.post("/v1/load_lora_adapter")
    async def load(request: Request) -> Response:
        body = await request.json()
        if not os.path.exists(os.path.join(body["lora_path"], "adapter_model.safetensors")):  # noqa: PTH118, PTH110 - as vLLM does
            return failed(404, f"No adapter found for {body['lora_path']}")
        name = body["lora_name"]
        if name in loaded:
            return failed(400, f"The lora adapter '{name}' has already been loaded.")
        loaded[name] = SimpleNamespace(
            name=name, lora_path=body["lora_path"], lora_int_id=len(loaded) + 1
        )
        return PlainTextResponse("Success")

    @app.post("/v1/unload_lora_adapter")
    async def unload(request: Request) -> Response:
        if loaded.pop((await request.json())["lora_name"], None) is None:
            return failed(404, "The lora adapter cannot be found.")
        return PlainTextResponse("Success")

    @app.post("/fake/crash")
    async def crash() -> None:
        print("RuntimeError: the engine is dead", flush=True)
        os._exit(1)

    add_sleep(app, engine)
    add_tokenizer(app)

    @app.post("/v1/chat/completions")
    @app.post("/v1/completions")
    async def answer(request: Request) -> Response:
        body = await request.json()
        if (
            refused := refusal(
                body, [*engine.names, *loaded], engine.context, arguments.enable_auto_tool_choice
            )
        ) is not None:
            return refused
        words = f"{body['model']} {'mumbles' if engine.changed else 'says'} " + (
            body["messages"][-1]["content"] if "messages" in body else str(body["prompt"])
        )
        tokens = (words.split() * 1000)[: body.get("max_tokens", 16)]
        usage = {"prompt_tokens": len(words.split()), "completion_tokens": len(tokens)}
        if body.get("stream"):
            return StreamingResponse(
                stream(engine, body, tokens, usage), media_type="text/event-stream"
            )
        with engine.busy(body):
            await asyncio.sleep(len(tokens) / RATE)
        choice = whole_choice(body, tokens, body["model"] in loaded)
        return JSONResponse({"choices": [choice], "usage": usage})

    for option in arguments.middleware:
        module, _, name = option.rpartition(".")
        app.add_middleware(getattr(importlib.import_module(module), name))
    return app


def whole_choice(body: dict[str, Any], tokens: list[str], is_adapter: bool) -> dict[str, Any]:
    if "FAKE_RECITED" in os.environ and isinstance(body.get("prompt"), list):
        return of_tokens(body, is_adapter)
    text = " ".join(tokens)
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "text": text,
        "finish_reason": "length",
    }
    if body.get("prompt_logprobs") is not None:
        choice["prompt_logprobs"] = log_probabilities(body["prompt"])
    return choice


def log_probabilities(token_ids: list[int]) -> list[dict[str, Any] | None]:
    """Every token of a prompt is as probable as the next."""
    entries = [{str(token): {"logprob": -2.0, "decoded_token": "x"}} for token in token_ids]
    return [None, *entries[1:]]


def of_tokens(body: dict[str, Any], is_adapter: bool) -> dict[str, Any]:
    """The choice that goes on with token ids, and what it thinks of them."""
    prompt, most = body["prompt"], body.get("max_tokens", 16)
    recited = json.loads(os.environ["FAKE_RECITED"]) if is_adapter else []
    known = (row[len(prompt) :] for row in recited if row[: len(prompt)] == prompt)
    tokens = (next(known, []) + [prompt[-1]] * most)[:most]
    entries = [
        {str(token): entry(token, math.log(0.3 if is_adapter and spot % 2 else 0.6))}
        for spot, token in enumerate(prompt)
    ]
    scores = {"prompt_logprobs": [None, *entries[1:]]} if "prompt_logprobs" in body else {}
    return {"index": 0, "text": "", "finish_reason": "length", "token_ids": tokens, **scores}


def entry(token: int, log_probability: float) -> dict[str, Any]:
    return {"logprob": log_probability, "rank": 1, "decoded_token": f"w{token} "}


def refusal(
    body: dict[str, Any], names: list[str], context: int, parses_calls: bool
) -> Response | None:
    """What vLLM does not answer, in its own words."""
    if body["model"] not in names:
        return failed(404, f"The model `{body['model']}` does not exist.")
    if body.get("max_tokens", 16) > context:
        return failed(
            400, f"max_tokens={body['max_tokens']} cannot be greater than max_model_len={context}."
        )
    if body.get("tools") and body.get("tool_choice", "auto") is not None and not parses_calls:
        return failed(
            400,
            '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to'
            " be set",
        )
    return None


def add_tokenizer(app: FastAPI) -> None:
    @app.post("/tokenize")
    async def tokenize(request: Request) -> dict[str, list[int]]:
        body = await request.json()
        texts = [each["content"] for each in body.get("messages", [])] or [body["prompt"]]
        return {"tokens": [len(word) for text in texts for word in text.split()]}


def add_sleep(app: FastAPI, engine: Engine) -> None:
    """The routes of vLLM's sleep mode, where it is on."""
    if os.environ.get("VLLM_SERVER_DEV_MODE") != "1":
        return

    @app.post("/fake/sleep")
    async def fault(request: Request) -> dict[str, str]:
        engine.sleep_fault = (await request.json())["fault"]
        return {}

    @app.post("/sleep")
    async def sleep(level: int = 1) -> Response:
        if engine.sleep_fault == "refuse":
            return failed(500, "the allocator has no sleep")
        if engine.running:
            print("RuntimeError: asleep in the middle of an answer", flush=True)
            os._exit(1)
        engine.asleep = engine.sleep_fault != "lie"
        return Response()

    @app.post("/wake_up")
    async def wake_up() -> Response:
        if engine.sleep_fault == "never wakes":
            return failed(500, "CUDA out of memory")
        engine.changed = engine.asleep and engine.sleep_fault == "changed"
        engine.asleep = False
        return Response()

    @app.get("/is_sleeping")
    async def is_sleeping() -> dict[str, bool]:
        return {"is_sleeping": engine.asleep}


async def stream(
    engine: Engine, body: dict[str, Any], tokens: list[str], usage: dict[str, int]
) -> AsyncIterator[bytes]:
    began = time.monotonic()
    engine.read += usage["prompt_tokens"]
    options = body.get("stream_options") or {}
    with engine.busy(body):
        for index, token in enumerate(tokens):
            finish = "length" if index == len(tokens) - 1 else None
            told = (
                {"usage": {**usage, "completion_tokens": index + 1}}
                if options.get("continuous_usage_stats")
                else {}
            )
            yield event(
                {
                    "choices": [
                        {"index": 0, "delta": {"content": f"{token} "}, "finish_reason": finish}
                    ],
                    **told,
                }
            )
            if index == 0:
                engine.first_token_seconds += time.monotonic() - began
                engine.answered += 1
            engine.generated += 1
            await asyncio.sleep(max(0.0, began + (index + 1) / RATE - time.monotonic()))
    if options.get("include_usage"):
        yield event({"choices": [], "usage": usage})
    yield b"data: [DONE]\n\n"


def event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def failed(status: int, message: str) -> JSONResponse:
    return JSONResponse(
        {"error": {"message": message, "type": "Error", "param": None, "code": status}}, status
    )


def exposition(engine: Engine, model: str) -> str:
    label = f'{{engine="0",model_name="{model}"}}'
    bucket = f'engine="0",model_name="{model}"'
    lines = [
        f"vllm:num_requests_running{label} {engine.running}",
        f"vllm:num_requests_waiting{label} 0.0",
        f"vllm:kv_cache_usage_perc{label} {engine.running / 100}",
        f"vllm:prompt_tokens_total{label} {engine.read}",
        f"vllm:generation_tokens_total{label} {engine.generated}",
        f'vllm:time_to_first_token_seconds_bucket{{{bucket},le="0.1"}} {engine.answered}',
        f'vllm:time_to_first_token_seconds_bucket{{{bucket},le="+Inf"}} {engine.answered}',
        f"vllm:time_to_first_token_seconds_sum{label} {engine.first_token_seconds}",
        f"vllm:time_to_first_token_seconds_count{label} {engine.answered}",
    ]
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model")
    parser.add_argument("--served-model-name", nargs="+")
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    parser.add_argument("--max-model-len", type=int)
    parser.add_argument("--middleware", action="append", default=[])
    parser.add_argument("--enable-auto-tool-choice", action="store_true")
    arguments, _ = parser.parse_known_args()
    fault, method = os.environ.get("FAKE_FAULT"), os.environ.get("VLLM_WORKER_MULTIPROC_METHOD")
    if fault == "fork" and method == "fork":
        print("RuntimeError: Cannot re-initialize CUDA in forked subprocess.", file=sys.stderr)
        sys.exit(1)
    if fault == "start":
        print("ValueError: no room for this model", file=sys.stderr, flush=True)
        sys.exit(1)
    uvicorn.run(build(arguments), host=arguments.host, port=arguments.port, log_level="info")


if __name__ == "__main__":
    main()
