"""Data sets of the hub, read by the real `datasets` and `huggingface_hub` from a stand-in for the
hub behind HF_ENDPOINT."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest

from tests.fakes.hub import HubServer, hub

pytestmark = pytest.mark.real

CARD = b"""---
configs:
- config_name: ship
  data_files:
  - split: train
    path: ship/train.jsonl
  - split: test
    path: ship/test.jsonl
- config_name: shore
  data_files: shore.jsonl
---
"""
# The tries are the library's, its waits between them are not awaited.
READ = """
import json, sys, time
time.sleep = lambda seconds: None
from jobs.luthier_error import LuthierError
from trainer.data.files import read_rows
for source in sys.argv[1:]:
    told = []
    try:
        rows = [[row.row, row.value, row.damage] for row in read_rows(source, told.append)]
    except LuthierError as error:
        rows = str(error)
    print(json.dumps([rows, told == sorted(told) and len(told)]))
"""


def talk(text: str) -> dict[str, Any]:
    return {
        "messages": [
            {"role": "user", "content": text},
            {"role": "assistant", "content": "Aye.", "name": None},
        ]
    }


def lines(*texts: str) -> bytes:
    return "".join(json.dumps(talk(text)) + "\n" for text in texts).encode()


def parquet(*texts: str) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([talk(text) for text in texts]), sink)
    return sink.getvalue()


@pytest.fixture(scope="module")
def server() -> Iterator[HubServer]:
    repositories = {
        "pirates/songs": {
            "README.md": b"# Songs",
            "data/train.jsonl": lines(*(f"song {number}" for number in range(500))),
        },
        "pirates/talk": {
            "README.md": CARD,
            "ship/train.jsonl": lines("a", "b"),
            "ship/test.jsonl": lines("c"),
            "shore.jsonl": lines("d"),
        },
        "pirates/maps": {
            "data/train-00000-of-00001.parquet": parquet("e"),
            "data/test-00000-of-00001.parquet": parquet("f"),
        },
        "pirates/wreck": {
            "data/train.jsonl": lines(*(f"{number} {'x' * 1000}" for number in range(2000)))
        },
    }
    with hub(repositories) as running:
        running.cut, running.cut_after = {"data/train.jsonl"}, 600_000  # the wreck has 2 MB
        yield running


def read(server: HubServer, folder: Path, *sources: str, **environment: str) -> list[Any]:
    """What each source came to: its rows or its error's words, and how often progress was told."""
    whole = {
        **os.environ,
        "HF_ENDPOINT": server.url,
        "HF_HOME": str(folder),
        "DO_NOT_TRACK": "1",
        **environment,
    }
    done = subprocess.run(
        [sys.executable, "-c", READ, *sources],
        capture_output=True,
        text=True,
        env=whole,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_rows_stream_from_the_hub_by_name_config_and_split(
    server: HubServer, tmp_path: Path
) -> None:
    sources = [
        "hub:pirates/songs",
        "hub:pirates/talk/ship",
        "hub:pirates/talk/ship:test",
        "hub:pirates/talk/shore:train",
        "hub:pirates/maps:test",
    ]
    songs, *others = read(server, tmp_path, *sources)
    assert [row[:2] for row in songs[0]] == [
        [number, plain(f"song {number}")] for number in range(500)
    ]
    assert songs[1] == 500  # progress, and with it the chance to cancel, comes with every row
    assert [[row[1] for row in rows] for rows, _ in others] == [
        [plain("a"), plain("b")],
        [plain("c")],
        [plain("d")],
        [plain("f")],
    ]


def plain(text: str) -> dict[str, Any]:
    """What is null inside a struct is absent."""
    return {
        "messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "Aye."}]
    }


def test_what_is_wrong_with_the_name_is_told_in_the_library_s_words(
    server: HubServer, tmp_path: Path
) -> None:
    sources = [
        "hub:pirates/talk",
        "hub:pirates/talk/shop",
        "hub:pirates/songs:test",
        "hub:pirates/nothing",
    ]
    words = [
        "available configs: ['ship', 'shore']",
        "'shop' not found. Available: ['ship', 'shore']",
        "Available splits: ['train']",
        "doesn't exist",
    ]
    for source, expected, (said, _) in zip(
        sources, words, read(server, tmp_path, *sources), strict=True
    ):
        assert (
            said.startswith(f"The data set on the hub cannot be read: {source}: ")
            and expected in said
        )


def test_a_folder_of_the_same_name_is_not_read_in_its_place(
    server: HubServer, tmp_path: Path
) -> None:
    (tmp_path / "pirates" / "songs").mkdir(parents=True)
    (tmp_path / "pirates" / "songs" / "train.jsonl").write_bytes(lines("here"))
    code = f"import os; os.chdir({str(tmp_path)!r})\n{READ}"
    whole = {
        **os.environ,
        "HF_ENDPOINT": server.url,
        "HF_HOME": str(tmp_path / "hf"),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    done = subprocess.run(
        [sys.executable, "-c", code, "hub:pirates/songs"],
        capture_output=True,
        text=True,
        env=whole,
        timeout=120,
        check=True,
    )
    assert len(json.loads(done.stdout)[0]) == 500


def test_a_connection_that_is_cut_again_and_again_is_told(
    server: HubServer, tmp_path: Path
) -> None:
    ((said, _),) = read(server, tmp_path, "hub:pirates/wreck")
    assert said.startswith(
        "The data set on the hub cannot be read: hub:pirates/wreck: Server Disconnected"
    )


def test_offline_and_unreachable_are_told(server: HubServer, tmp_path: Path) -> None:
    ((offline, _),) = read(server, tmp_path, "hub:pirates/songs", HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE" in offline
    ((unreachable, _),) = read(
        server, tmp_path, "hub:pirates/songs", HF_ENDPOINT="http://127.0.0.1:1"
    )
    assert "Couldn't reach" in unreachable


def test_nobody_is_told_what_was_read(server: HubServer, tmp_path: Path) -> None:
    """Only the repository's own pages, and none of those that count downloads."""
    server.requests.clear()
    read(server, tmp_path, "hub:pirates/talk/ship")
    paths = {request.split()[1].partition("?")[0] for request in server.requests}
    assert all(
        path.startswith(("/datasets/pirates/talk/", "/api/datasets/pirates/talk/"))
        for path in paths
    ), paths


def test_check_reads_the_hub_in_a_job(
    server: HubServer, builtin_model: Path, tmp_path: Path
) -> None:
    whole = {**os.environ, "HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "tui.cli", "data", "check", "hub:pirates/talk/ship", "--json"]
    done = subprocess.run(
        command, capture_output=True, text=True, env=whole, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["rows"], found["train"]) == (2, 2)
    assert found["formats"][0]["files"] == ["hub:pirates/talk/ship"]
