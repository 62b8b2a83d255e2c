"""The API's routes in this process, with the door before them and the fake training worker."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.testclient import TestClient

from serve.key_files import client_key, control_key
from tests.fakes.api_worker import fake_spec
from tests.workshop.api.conftest import lines, rows
from workshop.api import jobs
from workshop.api.app import make_app
from workshop.api.door import Door
from workshop.api.plan import ApiPlan

ENDED = ("succeeded", "failed", "cancelled", "paused")


class Client:
    """Asks with the control key, unless told otherwise. A fault of ours is an answer 500."""

    def __init__(self, http: TestClient) -> None:
        self.http = http

    def ask(self, method: str, path: str, key: str | None = None, **options: Any) -> Any:
        headers = {"authorization": f"Bearer {key or control_key()}", **options.pop("headers", {})}
        return self.http.request(method, f"/v1{path}", headers=headers, **options)

    def get(self, path: str, key: str | None = None, **options: Any) -> Any:
        answer = self.ask("GET", path, key, **options)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def upload(self, values: list[Any] | None = None, name: str = "mine.jsonl") -> str:
        content = lines(rows() if values is None else values)
        answer = self.ask(
            "POST", "/files", files={"file": (name, content)}, data={"purpose": "fine-tune"}
        )
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    def create(self, **fields: Any) -> dict[str, Any]:
        body = {"model": "builtin", "training_file": fields.pop("training_file", None), **fields}
        body["training_file"] = body["training_file"] or self.upload()
        answer = self.ask("POST", "/fine_tuning/jobs", json=body)
        assert answer.status_code == 200, answer.text
        job: dict[str, Any] = answer.json()
        return job

    def until(self, job_id: str, *statuses: str, seconds: float = 30.0) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while True:
            job: dict[str, Any] = self.get(f"/fine_tuning/jobs/{job_id}")
            if job["status"] in statuses:
                return job
            assert time.monotonic() < deadline, job
            assert job["status"] not in ENDED, job
            time.sleep(0.05)


@contextmanager
def client_of(plan: ApiPlan, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setattr(jobs, "spec_of", fake_spec)
    app: Any = Door(make_app(plan), client_key(), control_key())
    with TestClient(app, raise_server_exceptions=False) as http:
        yield Client(http)
