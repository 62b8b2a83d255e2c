"""The API as its own process: killed at any moment, asked by many, and stopped."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from jobs import processes
from jobs.job import Job, submit, wait
from jobs.job import stop as stop_job
from jobs.spec import Spec
from jobs.state import Failed, Lost, Running, Stopped
from models.runs import Run
from serve.key_files import client_key, control_key
from serve.ports import free_port
from tests.fakes.fake_run import ENDLESS
from tests.workshop.api.conftest import lines, rows
from workshop.api.files import files_directory
from workshop.api.launch import living_api, start_api
from workshop.api.plan import READY, ApiPlan

pytestmark = pytest.mark.heavy


class Process:
    """The API in a process of its own, with the fake training worker."""

    def __init__(self, port: int) -> None:
        self.plan = ApiPlan("127.0.0.1", port)
        self.job: Job
        self.start()
        self.http = httpx.Client(
            base_url=self.plan.base_url,
            headers={"authorization": f"Bearer {control_key()}"},
            timeout=30,
        )

    def start(self) -> None:
        spec = Spec(
            "api",
            "api",
            "tests.fakes.api_worker",
            self.plan.to_json(),
            ready_phase=READY,
            starts_jobs=True,
        )
        self.job = submit(spec)
        deadline = time.monotonic() + 30
        while not isinstance(self.job.state(), Running):
            assert time.monotonic() < deadline, self.job.log_path.read_text()
            time.sleep(0.05)

    @property
    def pid(self) -> int:
        return int(next(event["pid"] for event in self.job.events() if event["kind"] == "started"))

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        assert wait(self.job, 20)

    def upload(self) -> str:
        answer = self.http.post(
            "/files", files={"file": ("a.jsonl", lines(rows()))}, data={"purpose": "fine-tune"}
        )
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    def create(self, file_id: str, headers: dict[str, str] | None = None, **fields: Any) -> Any:
        body = {"model": "builtin", "training_file": file_id, **fields}
        return self.http.post("/fine_tuning/jobs", json=body, headers=headers)

    def until(self, job_id: str, status: str) -> None:
        deadline = time.monotonic() + 30
        while (job := self.http.get(f"/fine_tuning/jobs/{job_id}").json())["status"] != status:
            assert time.monotonic() < deadline, job
            time.sleep(0.05)


@pytest.fixture
def api(home: object) -> Iterator[Process]:
    process = Process(free_port("127.0.0.1"))
    yield process
    process.http.close()
    stop_job(process.job)
    assert wait(process.job, 20)


def upload_head() -> bytes:
    """The beginning of an upload of a megabyte."""
    head = (
        "POST /v1/files HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        f"Authorization: Bearer {control_key()}\r\nContent-Length: 1000000\r\n\r\n"
        '--b\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
    )
    return head.encode()


def times_run(run: Run) -> int:
    return len((run.job.directory / "runs.log").read_text().splitlines())


def test_killed_it_loses_no_file_and_no_run(api: Process) -> None:
    file_id = api.upload()
    endless = api.create(file_id, seed=ENDLESS).json()["id"]
    api.until(endless, "running")
    api.kill()
    assert isinstance(api.job.state(), Failed)
    api.start()
    assert api.http.get(f"/files/{file_id}").json()["status"] == "processed"
    assert api.http.get(f"/fine_tuning/jobs/{endless}").json()["status"] == "running"
    api.http.post(f"/fine_tuning/jobs/{endless}/cancel")
    api.until(endless, "cancelled")
    assert [times_run(run) for run in Run.all()] == [1]


def test_a_request_whose_answer_was_lost_makes_no_second_run(api: Process) -> None:
    file_id = api.upload()
    first = api.create(file_id).json()["id"]
    api.kill()  # as if before the answer: the client sends it again, and says so
    api.start()
    again = api.create(file_id, {"x-stainless-retry-count": "1"}).json()["id"]
    assert again == first
    api.until(first, "succeeded")
    assert [times_run(run) for run in Run.all()] == [1]


def test_killed_while_a_file_comes_nothing_of_it_stays(api: Process) -> None:
    with socket.create_connection(("127.0.0.1", api.plan.port)) as connection:
        connection.sendall(upload_head() + lines(rows()) * 50)
        deadline = time.monotonic() + 10
        while not list(files_directory().glob(".uploading-*")):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        api.kill()
    assert list(files_directory().glob(".uploading-*"))
    api.start()
    deadline = time.monotonic() + 10
    while list(files_directory().glob(".uploading-*")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert api.http.get("/files").json()["data"] == []
    assert api.http.get(f"/files/{api.upload()}").status_code == 200


def test_a_client_that_leaves_in_the_middle_leaves_nothing(api: Process) -> None:
    deadline = time.monotonic() + 10
    with socket.create_connection(("127.0.0.1", api.plan.port)) as connection:
        connection.sendall(upload_head() + lines(rows()) * 50)
        while not list(files_directory().glob(".uploading-*")):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    while list(files_directory().glob(".uploading-*")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "Traceback" not in api.job.log_path.read_text()


def test_without_its_supervisor_it_ends_and_can_be_started_again(api: Process) -> None:
    supervisor, worker = api.job.supervisor(), api.pid
    assert supervisor is not None
    os.kill(supervisor, signal.SIGKILL)
    deadline = time.monotonic() + 15
    while worker in processes.parents():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert isinstance(api.job.state(), Lost)
    api.start()
    assert api.http.get("/models").status_code == 200


def test_a_run_whose_supervisor_is_killed_fails_and_goes_on(api: Process) -> None:
    job_id = api.create(api.upload(), seed=ENDLESS).json()["id"]
    api.until(job_id, "running")
    supervisor = Run.all()[0].job.supervisor()
    assert supervisor is not None
    os.kill(supervisor, signal.SIGKILL)
    api.until(job_id, "failed")
    error = api.http.get(f"/fine_tuning/jobs/{job_id}").json()["error"]
    assert (error["code"], "/resume" in error["message"]) == ("lost", True)
    deadline = time.monotonic() + 15
    while (answer := api.http.post(f"/fine_tuning/jobs/{job_id}/resume")).status_code != 200:
        assert time.monotonic() < deadline, answer.text  # its worker is still saving
        time.sleep(0.1)
    api.until(job_id, "running")
    api.http.post(f"/fine_tuning/jobs/{job_id}/cancel")
    api.until(job_id, "cancelled")


def test_two_clients_create_at_once(api: Process) -> None:
    file_id = api.upload()
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda seed: api.create(file_id, seed=seed).json(), range(20, 26)))
    ids = {answer["id"] for answer in answers}
    assert len(ids) == 6
    for job_id in ids:
        api.until(job_id, "succeeded")
    assert [times_run(run) for run in Run.all()] == [1] * 6
    key = {"idempotency-key": "once"}
    with ThreadPoolExecutor(4) as pool:
        same = list(pool.map(lambda _: api.create(file_id, key).json()["id"], range(4)))
    assert len(set(same)) == 1


def test_one_api_lives_in_a_home_and_stops_when_it_is_told(home: object) -> None:
    started = start_api()
    try:
        deadline = time.monotonic() + 30
        while not started.answers:
            assert time.monotonic() < deadline, started.job.log_path.read_text()
            time.sleep(0.05)
        living = living_api()
        assert living is not None
        assert living.job.id == started.job.id
        with pytest.raises(Exception, match="runs already"):
            start_api()
        headers = {"authorization": f"Bearer {client_key()}"}
        assert httpx.get(f"{started.base_url}/models", headers=headers).status_code == 200
        text = started.job.log_path.read_text()
        assert client_key() not in text
    finally:
        stop_job(started.job)
        assert wait(started.job, 20)
    assert isinstance(started.job.state(), Stopped)
    again = start_api()
    try:
        assert again.plan.port == started.plan.port
    finally:
        stop_job(again.job)
        assert wait(again.job, 20)


def test_many_poll_while_a_file_comes(api: Process) -> None:
    job_id = api.create(api.upload(), seed=ENDLESS).json()["id"]
    api.until(job_id, "running")
    stopping = threading.Event()
    waits: list[float] = []

    def poll() -> None:
        with httpx.Client(base_url=api.plan.base_url, headers=dict(api.http.headers)) as http:
            while not stopping.is_set():
                begun = time.monotonic()
                assert http.get(f"/fine_tuning/jobs/{job_id}").status_code == 200
                waits.append(time.monotonic() - begun)
                time.sleep(0.02)

    with ThreadPoolExecutor(8) as pool:
        polling = [pool.submit(poll) for _ in range(8)]
        deadline = time.monotonic() + 30
        while len(waits) < 100 and time.monotonic() < deadline:
            api.upload()
        stopping.set()
        for future in polling:
            future.result()
    assert len(waits) >= 100
    api.http.post(f"/fine_tuning/jobs/{job_id}/cancel")
    api.until(job_id, "cancelled")
