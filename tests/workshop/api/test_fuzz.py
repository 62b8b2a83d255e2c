"""Whatever is sent, the answer is never our own fault: no 500, errors in OpenAI's shape."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.home import models_directory
from jobs.job import all_jobs, stop, wait
from tests.tui.folders import base_model
from tests.workshop.api.conftest import lines
from tests.workshop.api.routes import Client, client_of
from workshop.api.fields import FIELDS
from workshop.api.plan import ApiPlan

pytestmark = pytest.mark.heavy

_OF_RECIPE = ("train", "lora", "r", "epochs", "data", "heldout", "trackers", "tokens", "template")
NAMES = sorted(
    {part.removesuffix("[]") for field in FIELDS["jobs"] for part in field.path.split(".")}
    | {*_OF_RECIPE}
)
# half characters, too: JSON can write them as \ud800
ANY_TEXT = st.text(st.characters(), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
_OF_A_JOB = ("", "/events", "/checkpoints", "/cancel", "/pause", "/resume", "/x")
PLACES = st.sampled_from(
    (
        *("/files", "/files/{}", "/files/{}/content", "/models/{}", "/models", "/fine_tuning/jobs"),
        *(f"/fine_tuning/jobs/{{}}{end}" for end in _OF_A_JOB),
    )
)
QUERY = st.dictionaries(
    st.sampled_from(("after", "limit", "order", "purpose", "metadata", "metadata[a]")),
    st.text(max_size=10) | st.integers(-3, 200).map(str),
    max_size=3,
)
ONCE = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, str, str]]:
    """With a file and a finished job."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUTHIER_HOME", str(tmp_path_factory.mktemp("fuzz")))
        base_model(models_directory() / "builtin")
        with client_of(ApiPlan("127.0.0.1", 8123), patch) as opened:
            file_id = opened.upload()
            job = opened.create(training_file=file_id)
            opened.until(job["id"], "succeeded")
            yield opened, file_id, job["id"]
            for started in all_jobs("run"):
                stop(started, now=True)
                wait(started, 20)


@pytest.fixture(autouse=True)
def home(client: object) -> Path:
    """The module's own, in the place of one for each test."""
    return models_directory().parent


def check(answer: Any) -> None:
    assert answer.status_code < 500 or answer.status_code == 503, answer.text
    if answer.status_code >= 400:
        error = answer.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["message"]


@ONCE
@given(
    place=PLACES,
    method=st.sampled_from(("GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS")),
    name=st.text(max_size=30) | st.sampled_from(("KNOWN JOB", "KNOWN FILE", "..", "ft:a:b:c")),
    query=QUERY,
)
def test_any_route_with_any_name(
    place: str, method: str, name: str, query: dict[str, str], client: Any
) -> None:
    opened, file_id, job_id = client
    known = {"KNOWN JOB": job_id, "KNOWN FILE": file_id}
    if method == "DELETE" and name in known:
        return
    text = known.get(name) or quote(name.encode("utf-8", "surrogatepass"), safe="")
    answer = opened.ask(method, place.format(text), params=query)
    if method != "HEAD":
        check(answer)


@ONCE
@given(body=st.dictionaries(st.sampled_from(NAMES), JSON, max_size=6), raw=st.binary(max_size=40))
def test_any_body_of_a_job(body: dict[str, Any], raw: bytes, client: Any) -> None:
    opened, _, _ = client
    check(opened.ask("POST", "/fine_tuning/jobs", content=json.dumps(body)))
    check(opened.ask("POST", "/fine_tuning/jobs", content=raw))


@settings(ONCE, max_examples=60)
@given(fields=st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, JSON)))
def test_any_further_fields_of_a_job(fields: dict[str, Any], client: Any) -> None:
    opened, file_id, _ = client
    body = {**fields, "model": "builtin", "training_file": file_id}
    answer = opened.ask("POST", "/fine_tuning/jobs", content=json.dumps(body))
    check(answer)
    luthier = opened.ask(
        "POST",
        "/fine_tuning/jobs",
        content=json.dumps({"model": "builtin", "training_file": "file-1", "luthier": fields}),
    )
    check(luthier)
    assert luthier.status_code in (400, 404)


@ONCE
@given(
    content=st.binary(max_size=200) | st.lists(JSON, max_size=5).map(lines),
    name=st.text(max_size=20),
    purpose=st.sampled_from(("fine-tune", "batch", "")),
    kind=st.sampled_from(("form", "cut", "raw")),
)
def test_any_upload(content: bytes, name: str, purpose: str, kind: str, client: Any) -> None:
    opened, _, _ = client
    body = (
        b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n'
        + purpose.encode()
        + b'\r\n--b\r\nContent-Disposition: form-data; name="file"; filename="'
        + name.encode("utf-8", "surrogatepass")
        + b'"\r\n\r\n'
        + content
        + b"\r\n--b--\r\n"
    )
    body = {"form": body, "cut": body[: len(body) * 2 // 3], "raw": content}[kind]
    headers = {"content-type": "multipart/form-data; boundary=b"}
    answer = opened.ask("POST", "/files", content=body, headers=headers)
    check(answer)
    if answer.status_code == 200:
        opened.ask("DELETE", f"/files/{answer.json()['id']}")


@ONCE
@given(body=st.dictionaries(st.sampled_from(("model", "messages", "stream")), JSON, max_size=3))
def test_any_chat(body: dict[str, Any], client: Any) -> None:
    opened, _, _ = client
    if body.get("model") == "builtin":  # which would start a server
        return
    check(opened.ask("POST", "/chat/completions", content=json.dumps(body)))
