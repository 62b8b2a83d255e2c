from __future__ import annotations

from pathlib import Path

import pytest

from jobs.job import create
from jobs.luthier_error import LuthierError
from jobs.spec import Spec
from serve.planning import ServeOptions, make_plan
from serve.servers import base_url, current_server, running_servers, write_server


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("localhost", "http://localhost:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("::1", "http://[::1]:80"),
        ("192.0.2.7", "http://192.0.2.7:80"),
    ],
)
def test_address_for_a_client_on_this_machine(host: str, url: str) -> None:
    assert base_url(host, 80) == url


def test_a_server_that_no_longer_runs_is_not_listed(base: Path) -> None:
    plan = make_plan(base, "tiny", [], "127.0.0.1", None, ServeOptions(device="cpu"))
    settings = plan.to_json()
    job = create(Spec("server", "tiny", "serve.worker", settings, ready_phase="ready"))
    write_server(job.directory, plan, [], {})
    job.events_path.write_text(
        '{"t": 1, "kind": "phase", "name": "ready"}\n{"t": 2, "kind": "exited", "code": 0,'
        ' "stopped": true}\n'
    )
    assert running_servers() == []
    with pytest.raises(LuthierError, match="No model of Luthier's"):
        current_server()
