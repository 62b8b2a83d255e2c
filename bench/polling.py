"""What programs cost that poll the fine-tuning API: `python -m bench.polling [--pollers N]
[--seconds S] [--every S]`, from the checkout.

The API's own process, its door and its routes, beside a run that takes two steps a second. Each
poller keeps one connection, and asks for the job each time, for its newest events every fifth time.
Told is the API's share of one core (user and system time), and how long answers took. The exit
status is 1 if that is 5 % of a core or more.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import tempfile
import time
from pathlib import Path

import httpx

from jobs.home import models_directory
from jobs.job import Job, stop, submit, wait
from jobs.spec import Spec
from jobs.state import Running
from serve.key_files import control_key
from serve.ports import free_port
from tests.fakes.fake_run import ENDLESS
from tests.tui.folders import base_model
from tests.workshop.api.conftest import lines, rows
from workshop.api.plan import READY, ApiPlan

SHARE = 0.05  # of a core
_EVENTS_EVERY = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pollers", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--every", type=float, default=2.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {"LUTHIER_HOME": home, "STEP_SECONDS": "0.5"}
        base_model(models_directory() / "builtin")
        plan = ApiPlan("127.0.0.1", free_port("127.0.0.1"))
        spec = Spec("api", "api", "tests.fakes.api_worker", plan.to_json(), ready_phase=READY)
        job = submit(spec)
        try:
            share = asyncio.run(
                _measure(job, plan, options.pollers, options.seconds, options.every)
            )
        finally:
            stop(job)
            wait(job, 30)
    sys.exit(share >= SHARE)


async def _measure(job: Job, plan: ApiPlan, pollers: int, seconds: float, every: float) -> float:
    while not isinstance(job.state(), Running):
        await asyncio.sleep(0.1)
    headers = {"authorization": f"Bearer {control_key()}"}
    async with httpx.AsyncClient(
        base_url=plan.base_url, headers=headers, limits=httpx.Limits(max_connections=pollers)
    ) as client:
        form = {"file": ("a.jsonl", lines(rows()))}
        file = (await client.post("/files", files=form, data={"purpose": "fine-tune"})).json()
        body = {"model": "builtin", "training_file": file["id"], "seed": ENDLESS}
        path = (
            f"/fine_tuning/jobs/{(await client.post('/fine_tuning/jobs', json=body)).json()['id']}"
        )
        await asyncio.sleep(3.0)
        waits: list[float] = []

        async def poll() -> None:
            await asyncio.sleep(random.random() * every)
            count = 0
            while time.monotonic() < end:
                count += 1
                begun = time.monotonic()
                answer = await client.get(f"{path}/events" if count % _EVENTS_EVERY == 0 else path)
                assert answer.status_code == 200, answer.text
                waits.append(time.monotonic() - begun)
                await asyncio.sleep(every)

        pid = next(event["pid"] for event in job.events() if event["kind"] == "started")
        end, cpu, begun = time.monotonic() + seconds, _cpu_seconds(pid), time.monotonic()
        await asyncio.gather(*(poll() for _ in range(pollers)))
        share = (_cpu_seconds(pid) - cpu) / (time.monotonic() - begun)
        waits.sort()
        print(
            f"{pollers} pollers, each every {every:g} s, for {seconds:g} s: {len(waits)} answers,"
            f" {share:.1%} of a core; median {waits[len(waits) // 2] * 1000:.1f} ms, 99 of 100"
            f" within {waits[len(waits) * 99 // 100] * 1000:.1f} ms"
        )
        await client.post(f"{path}/cancel")
        return share


def _cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
