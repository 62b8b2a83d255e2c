"""The routes one by one: the real app and door, real files and jobs, a training worker without a
model."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.job import Job
from models.runs import Run
from serve.key_files import client_key
from tests.fakes.fake_run import ENDLESS, FAILS
from tests.workshop.api.conftest import lines, pairs, row, rows
from tests.workshop.api.routes import Client, client_of
from trainer.data_recipe import recipe_of_data
from trainer.launch import frozen_recipe, submit_run
from trainer.objective import Objective
from workshop.api import files, jobs
from workshop.api.files import Upload, files_directory
from workshop.api.order import Hyperparameters, Method, Order, recipe_of
from workshop.api.plan import ApiPlan

pytestmark = pytest.mark.heavy

GRADERS = {"type": "reinforcement"}
RECORDED = Path(__file__).parent / "recorded" / "errors.json"


@pytest.fixture
def client(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    plan = ApiPlan("127.0.0.1", 8123, largest_file=200_000, aliases={"gpt-4o-mini": "builtin"})
    with client_of(plan, monkeypatch) as opened:
        yield opened


def error_of(answer: Any) -> dict[str, Any]:
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


# Files


def test_a_file_is_kept_as_it_came(client: Client) -> None:
    content = lines(rows())
    file_id = client.upload()
    listed = client.get("/files")
    assert [file["id"] for file in listed["data"]] == [file_id]
    file = client.get(f"/files/{file_id}")
    assert (file["bytes"], file["filename"], file["status"]) == (
        len(content),
        "mine.jsonl",
        "processed",
    )
    assert client.ask("GET", f"/files/{file_id}/content").content == content
    deleted = client.ask("DELETE", f"/files/{file_id}").json()
    assert deleted == {"id": file_id, "object": "file", "deleted": True}
    assert client.ask("GET", f"/files/{file_id}").status_code == 404
    assert list(files_directory().glob("[!.]*")) == []


@pytest.mark.parametrize(
    ("form", "status", "param"),
    [
        ({"files": {"file": ("a.jsonl", b"x")}}, 400, "purpose"),
        ({"data": {"purpose": "fine-tune"}, "files": {"other": b"x"}}, 400, "other"),
        ({"data": {"purpose": "batch"}, "files": {"file": ("a.jsonl", b"{}")}}, 400, "purpose"),
        (
            {
                "data": {"purpose": "fine-tune", "expires_after[anchor]": "created_at"},
                "files": {"file": ("a.jsonl", b"{}")},
            },
            400,
            "expires_after",
        ),
        (
            {"data": {"purpose": "fine-tune"}, "files": {"file": ("a.jsonl", b"x" * 300_000)}},
            413,
            "file",
        ),
        ({"data": {"purpose": "fine-tune"}, "files": {"file": ("a.jsonl", b"")}}, 400, "file"),
        ({"content": b"{}", "headers": {"content-type": "application/json"}}, 415, None),
        (
            {"content": b"--x\r\n", "headers": {"content-type": "multipart/form-data; boundary=x"}},
            400,
            None,
        ),
        (
            {"content": b"garbage", "headers": {"content-type": "multipart/form-data; boundary=x"}},
            400,
            None,
        ),
    ],
)
def test_what_is_no_upload_leaves_nothing(
    form: dict[str, Any], status: int, param: str | None, client: Client
) -> None:
    answer = client.ask("POST", "/files", **form)
    assert (answer.status_code, error_of(answer)["param"]) == (status, param), answer.text
    assert not files_directory().exists() or list(files_directory().iterdir()) == []


def test_a_files_name_leads_nowhere(client: Client) -> None:
    file_id = client.upload(name="../../../../tmp/evil.jsonl")
    assert client.get(f"/files/{file_id}")["filename"] == "evil.jsonl"
    for odd in ("..", "file-..", "file-%2e%2e", "file-" + "0" * 24, "file-results-x", "%00"):
        assert client.ask("GET", f"/files/{odd}").status_code == 404


def test_a_file_in_use_stays(client: Client) -> None:
    file_id = client.upload()
    job = client.create(training_file=file_id, seed=ENDLESS)
    refused = client.ask("DELETE", f"/files/{file_id}")
    assert (refused.status_code, error_of(refused)["code"]) == (409, "file_in_use")
    client.until(job["id"], "running")
    answer = client.ask("POST", f"/fine_tuning/jobs/{job['id']}/cancel")
    assert answer.json()["status"] == "cancelled"
    assert client.get(f"/fine_tuning/jobs/{job['id']}")["status"] == "cancelled"
    assert client.ask("DELETE", f"/files/{file_id}").status_code == 200


# Jobs


def test_a_job_from_its_creation_to_its_results(client: Client) -> None:
    training, validation = client.upload(), client.upload([row("v", str(n)) for n in range(4)])
    job = client.create(
        model="gpt-4o-mini",
        training_file=training,
        validation_file=validation,
        suffix="my mate",
        metadata={"who": "me"},
        seed=3,
        method={
            "type": "supervised",
            "supervised": {"hyperparameters": {"n_epochs": 2, "learning_rate_multiplier": 0.5}},
        },
    )
    (run,) = Run.all()
    assert run.name == "my-mate"
    done = client.until(job["id"], "succeeded")
    assert done["fine_tuned_model"].startswith("ft:builtin:luthier:my-mate:")
    assert done["hyperparameters"] == {
        "n_epochs": 2,
        "batch_size": 16,
        "learning_rate_multiplier": 0.5,
    }
    kept = ("model", "training_file", "validation_file", "metadata", "seed", "trained_tokens")
    assert [done[name] for name in kept] == [
        "builtin",
        training,
        validation,
        {"who": "me"},
        3,
        600,
    ]
    (results,) = done["result_files"]
    csv = client.ask("GET", f"/files/{results}/content", client_key()).text.splitlines()
    assert csv[0] == "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy"
    assert csv[1:3] == ["0,,,3.0,", "1,2.0,,,"]
    assert csv[-1] == f"6,{2 / 6},,{2.5 / 6},"
    assert results in [file["id"] for file in client.get("/files")["data"]]
    (newest, _) = client.get(f"/fine_tuning/jobs/{job['id']}/checkpoints")["data"]
    assert (newest["step_number"], newest["metrics"]["valid_loss"]) == (6, 2.5 / 6)
    assert newest["fine_tuned_model_checkpoint"] == f"{done['fine_tuned_model']}:ckpt-step-6"
    names = [model["id"] for model in client.get("/models", client_key())["data"]]
    assert names == ["builtin", "gpt-4o-mini", done["fine_tuned_model"], "my-mate"]
    assert client.get(f"/models/{done['fine_tuned_model']}")["parent"] == "builtin"


def test_preferences_train_by_dpo(client: Client) -> None:
    settings = {"beta": 0.3, "n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 0.5}
    job = client.create(
        training_file=client.upload(pairs()),
        validation_file=client.upload(pairs(4)),
        method={"type": "dpo", "dpo": {"hyperparameters": settings}},
    )
    assert job["method"] == {"type": "dpo", "dpo": {"hyperparameters": settings}}
    (run,) = Run.all()
    recipe = frozen_recipe(run.job)
    assert recipe.objective == Objective("dpo", 0.3)
    rate = rate_of("dpo", job["training_file"])
    assert recipe.train.learning_rate == pytest.approx(rate * 0.5)
    assert rate == pytest.approx(rate_of("supervised", job["training_file"]) / 20)
    assert client.until(job["id"], "succeeded")["method"]["type"] == "dpo"
    defaults = client.create(training_file=client.upload(pairs()), method={"type": "dpo"})
    assert defaults["method"]["dpo"]["hyperparameters"] == {
        "beta": 0.1,
        "n_epochs": 3,
        "batch_size": 16,
        "learning_rate_multiplier": "auto",
    }


def rate_of(method: Method, training_file: str) -> float:
    """What the plan chooses by itself for this model and method."""
    hyperparameters = Hyperparameters(learning_rate_multiplier=1.0)
    order = Order("builtin", training_file, method=method, hyperparameters=hyperparameters)
    rate = recipe_of(order, {}).train.learning_rate
    assert isinstance(rate, float)
    return rate


def test_dpo_wants_preferences_in_both_files(client: Client) -> None:
    body = {"model": "builtin", "method": {"type": "dpo"}}
    preferences, conversations = client.upload(pairs()), client.upload()
    for file_ids, param in (
        ({"training_file": conversations}, "training_file"),
        ({"training_file": preferences, "validation_file": conversations}, "validation_file"),
    ):
        answer = client.ask("POST", "/fine_tuning/jobs", json={**body, **file_ids})
        assert answer.status_code == 400
        assert (error_of(answer)["param"], error_of(answer)["code"]) == (param, f"invalid_{param}")
    for further in ({"objective": {"kind": "kto"}}, {"objective": 3}):
        order = {**body, "training_file": preferences, "luthier": further}
        answer = client.ask("POST", "/fine_tuning/jobs", json=order)
        assert answer.status_code == 400
        assert str(error_of(answer)["param"]).startswith("luthier.objective")
    assert Run.all() == []


def test_a_tuned_model_is_where_the_next_run_starts(client: Client) -> None:
    first = client.until(client.create()["id"], "succeeded")
    (run,) = Run.all()
    preferences, tuned = client.upload(pairs()), first["fine_tuned_model"]
    for model, start in ((tuned, run.id), (f"{tuned}:ckpt-step-6", str(run.folder.checkpoint(6)))):
        order = Order(model, preferences, method="dpo")
        recipe = recipe_of(order, {})
        assert (recipe.model, recipe.start_from) == ("builtin", start)
    body: dict[str, Any] = {"training_file": preferences}
    far = f"{tuned}:ckpt-step-{'9' * 5000}"
    for model in ("ft:builtin:luthier:gone:1", f"{tuned}:ckpt-step-5", f"{tuned}:ckpt-step-x", far):
        answer = client.ask("POST", "/fine_tuning/jobs", json={**body, "model": model})
        assert (answer.status_code, error_of(answer)["code"]) == (404, "model_not_found")
    body = {**body, "model": first["fine_tuned_model"], "luthier": {"start_from": "x"}}
    answer = client.ask("POST", "/fine_tuning/jobs", json=body)
    assert error_of(answer)["param"] == "luthier.start_from"


def test_events_are_paged_from_the_newest_on(client: Client) -> None:
    job = client.create()
    client.until(job["id"], "succeeded")
    path = f"/fine_tuning/jobs/{job['id']}/events"
    everything = client.get(f"{path}?limit=100")
    assert not everything["has_more"]
    messages = [event["message"] for event in everything["data"]]
    assert messages[0] == "The job has successfully completed"
    assert messages[-1] == f"Created fine-tuning job: {job['id']}"
    paged: list[str] = []
    page = client.get(f"{path}?limit=4")
    while True:
        paged += [event["message"] for event in page["data"]]
        if not page["has_more"]:
            break
        page = client.get(f"{path}?limit=4&after={page['last_id']}")
    assert paged == messages
    metrics = [event["data"] for event in everything["data"] if event["type"] == "metrics"]
    assert {"step": 6, "total_steps": 6, "train_loss": 2 / 6} in metrics


def test_a_job_is_paused_goes_on_and_is_cancelled(client: Client) -> None:
    job_id = client.create(seed=ENDLESS)["id"]
    client.until(job_id, "running")
    client.ask("POST", f"/fine_tuning/jobs/{job_id}/pause")
    client.until(job_id, "paused")
    again = client.ask("POST", f"/fine_tuning/jobs/{job_id}/pause")
    assert again.json()["status"] == "paused"
    assert client.ask("DELETE", f"/files/{again.json()['training_file']}").status_code == 409
    assert client.ask("POST", f"/fine_tuning/jobs/{job_id}/resume").status_code == 200
    going_on = client.get(f"/fine_tuning/jobs/{job_id}")
    assert going_on["status"] in ("queued", "validating_files", "running")
    refused = client.ask("POST", f"/fine_tuning/jobs/{job_id}/resume")
    assert (refused.status_code, error_of(refused)["code"]) == (409, "invalid_job_state")
    client.until(job_id, "running")
    client.ask("POST", f"/fine_tuning/jobs/{job_id}/pause")
    client.until(job_id, "paused")
    client.ask("POST", f"/fine_tuning/jobs/{job_id}/cancel")
    assert client.get(f"/fine_tuning/jobs/{job_id}")["status"] == "cancelled"
    refused = client.ask("POST", f"/fine_tuning/jobs/{job_id}/resume")
    assert (refused.status_code, error_of(refused)["code"]) == (409, "invalid_job_state")


def test_a_job_that_fails_says_why(client: Client) -> None:
    job = client.until(client.create(seed=FAILS)["id"], "failed")
    assert job["error"] == {
        "code": "invalid_training_file",
        "message": "Some rows need a decision: data.jsonl, row 3: half a row. Mend it.",
        "param": "training_file",
    }
    assert (job["fine_tuned_model"], job["result_files"]) == (None, [])
    assert job["finished_at"] >= job["created_at"]


def test_a_request_that_is_sent_again_makes_no_second_run(client: Client) -> None:
    body = {"model": "builtin", "training_file": client.upload(), "seed": 3}
    first = client.ask("POST", "/fine_tuning/jobs", json=body).json()
    for headers in ({"x-stainless-retry-count": "1"}, {"x-stainless-retry-count": "2"}):
        again = client.ask("POST", "/fine_tuning/jobs", json=body, headers=headers).json()
        assert again["id"] == first["id"]
    second = client.ask("POST", "/fine_tuning/jobs", json=body).json()
    assert second["id"] != first["id"]
    key = {"idempotency-key": "abc"}
    third = client.ask("POST", "/fine_tuning/jobs", json=body, headers=key).json()
    again = client.ask("POST", "/fine_tuning/jobs", json=body, headers=key).json()
    assert again["id"] == third["id"]
    other = client.ask("POST", "/fine_tuning/jobs", json={**body, "seed": 4}, headers=key)
    assert (other.status_code, error_of(other)["code"]) == (409, "idempotency_key_in_use")
    assert len(Run.all()) == 3


def test_jobs_are_listed_in_pages_and_by_metadata(client: Client) -> None:
    file_id = client.upload()
    ids = [
        client.create(training_file=file_id, metadata={"n": str(number % 2)})["id"]
        for number in range(3)
    ]
    page = client.get("/fine_tuning/jobs?limit=2")
    assert page["has_more"]
    rest = client.get(f"/fine_tuning/jobs?limit=2&after={page['data'][-1]['id']}")
    assert {job["id"] for job in page["data"] + rest["data"]} == set(ids)
    odd = client.get("/fine_tuning/jobs?metadata[n]=1")
    assert [job["id"] for job in odd["data"]] == [ids[1]]
    for wrong in ("limit=0", "limit=101", "limit=x", "after=nobody"):
        assert client.ask("GET", f"/fine_tuning/jobs?{wrong}").status_code == 400


def test_a_run_of_the_app_is_a_job_here(client: Client, tmp_path: Path) -> None:
    data = tmp_path / "own.jsonl"
    data.write_bytes(lines(rows()))
    recipe = recipe_of_data(data)
    run = Run(submit_run(recipe, jobs.spec_of(recipe)))
    (job,) = client.get("/fine_tuning/jobs", client_key())["data"]
    assert (job["id"], job["training_file"]) == (f"ftjob-{run.id}", str(data))
    assert job["hyperparameters"]["n_epochs"] == 3
    assert client.until(run.id, "succeeded")["id"] == job["id"]


def test_what_a_killed_api_left_half_made_goes(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "_YOUNG_SECONDS", -1.0)
    whole = client.create()["id"]
    spec = Run.all()[0].job.spec
    half = Job(Run.all()[0].job.directory.with_name("20261122-1530-half-7f3a"))
    half.directory.mkdir()
    spec.write(half.directory)
    jobs.sweep()
    assert [f"ftjob-{run.id}" for run in Run.all()] == [whole]


def test_half_received_files_go_before_the_first_request(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later sweep would take the first upload for one of them."""
    files_directory().mkdir(parents=True)
    left = Upload()
    sweep = files.sweep

    def slow_sweep() -> None:
        time.sleep(0.2)
        sweep()

    monkeypatch.setattr(files, "sweep", slow_sweep)
    with client_of(ApiPlan("127.0.0.1", 8123), monkeypatch) as client:
        assert not left.folder.exists()
        client.upload()


def test_no_server_is_started_where_that_is_not_wanted(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = ApiPlan("127.0.0.1", 8123, starts_servers=False)
    with client_of(plan, monkeypatch) as client:
        answer = client.ask("POST", "/chat/completions", json={"model": "builtin"})
    assert (answer.status_code, error_of(answer)["code"]) == (503, "model_not_served")


# Keys and errors


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/files"),
        ("DELETE", "/files/file-1"),
        ("GET", "/files/file-1/content"),
        ("POST", "/fine_tuning/jobs"),
        ("POST", "/fine_tuning/jobs/x/cancel"),
        ("POST", "/fine_tuning/jobs/x/pause"),
        ("POST", "/fine_tuning/jobs/x/resume"),
        ("POST", "/nowhere"),
    ],
)
def test_the_client_key_changes_nothing(method: str, path: str, client: Client) -> None:
    answer = client.ask(method, path, client_key())
    assert (answer.status_code, error_of(answer)["code"]) == (403, "control_key_required")
    assert client.ask(method, path, "x" * 40).status_code == 401
    assert client.http.request(method, f"/v1{path}").status_code == 401


def test_errors_have_the_recorded_shapes(client: Client) -> None:
    file_id = client.upload()
    job = {"model": "builtin", "training_file": file_id}
    pictures = [{"messages": [{"role": "user", "content": "<image>"}, {"role": "assistant"}]}]
    gone = "ftjob-20261122-1530-captain-7f3a"
    form: dict[str, Any] = {"data": {"purpose": "fine-tune"}}
    asked: dict[str, tuple[str, str, dict[str, Any]]] = {
        "bad file": ("POST", "/files", {**form, "files": {"file": ("a.jsonl", b"{}\n")}}),
        "half a row": ("POST", "/files", {**form, "files": {"file": ("a.jsonl", b'{"a": \n')}}),
        "pictures": ("POST", "/files", {**form, "files": {"file": ("a.jsonl", lines(pictures))}}),
        "unknown model": ("POST", "/fine_tuning/jobs", {"json": {**job, "model": "gpt-9"}}),
        "unknown file": ("POST", "/fine_tuning/jobs", {"json": {**job, "training_file": "x"}}),
        "unknown field": ("POST", "/fine_tuning/jobs", {"json": {**job, "sufix": "x"}}),
        "no object": ("POST", "/fine_tuning/jobs", {"content": b"[1]"}),
        "dpo": ("POST", "/fine_tuning/jobs", {"json": {**job, "method": {"type": "dpo"}}}),
        "graders": ("POST", "/fine_tuning/jobs", {"json": {**job, "method": GRADERS}}),
        "bad recipe": ("POST", "/fine_tuning/jobs", {"json": {**job, "luthier": {"lora": 3}}}),
        "gone job": ("GET", f"/fine_tuning/jobs/{gone}", {}),
        "gone job's events": ("GET", f"/fine_tuning/jobs/{gone}/events", {}),
        "cancel of a gone job": ("POST", f"/fine_tuning/jobs/{gone}/cancel", {}),
        "gone file": ("GET", "/files/file-000000000000000000000000", {}),
        "wrong key": ("GET", "/models", {"key": "x" * 40}),
        "client key": ("POST", "/files", {"key": client_key()}),
        "unknown route": ("GET", "/batches", {}),
        "wrong method": ("PUT", "/files", {}),
        "chat with an unknown model": ("POST", "/chat/completions", {"json": {"model": "x"}}),
        "chat without a model": ("POST", "/chat/completions", {"json": {}}),
        "chat with the base of no server": ("POST", "/completions", {"json": {"model": "base"}}),
    }
    answers = {}
    for name, (method, path, options) in asked.items():
        answer = client.ask(method, path, **options)
        answers[name] = {"status": answer.status_code, **error_of(answer)}
    if not RECORDED.exists():  # recorded once, then looked at and committed
        RECORDED.parent.mkdir(exist_ok=True)
        RECORDED.write_text(json.dumps(answers, indent=1, ensure_ascii=False) + "\n")
    assert answers == json.loads(RECORDED.read_text())
