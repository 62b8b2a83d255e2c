"""What a run was made of, by hash: each file of each part that is swapped, cut, removed or added is
named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.luthier_error import LuthierError
from models import provenance
from models.hashing import bytes_hash

TENSOR = b"\x00\x01" * 512


def weights(path: Path, data: bytes = TENSOR) -> None:
    header = json.dumps(
        {"weight": {"dtype": "BF16", "shape": [512], "data_offsets": [0, len(data)]}}
    ).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's folder with its adapter, and the base beside it, both recorded."""
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    base.mkdir()
    adapter.mkdir()
    weights(base / "model.safetensors")
    for name, text in (
        ("config.json", "{}"),
        ("generation_config.json", '{"eos_token_id": [0, 2]}'),
        ("tokenizer.json", "{}"),
        ("tokenizer_config.json", '{"chat_template": "in the config"}'),
        ("chat_template.jinja", "{{ messages }}"),
        ("README.md", "a model"),
    ):
        (base / name).write_text(text)
    (adapter / "adapter_config.json").write_text("{}")
    weights(adapter / "adapter_model.safetensors")
    provenance.record_base(tmp_path, base)
    provenance.record_result(tmp_path, adapter)
    return tmp_path


def changed(run: Path) -> dict[str, list[str]]:
    recorded = provenance.read(run)
    assert recorded is not None
    found = provenance.changes(recorded, run / "base", run / "adapter")
    assert set(found) == {
        "base weights",
        "base configuration",
        "tokenizer",
        "chat template",
        "adapter",
    }
    return {part: differing for part, differing in found.items() if differing}


def test_nothing_changed_and_a_readme_does_not_count(run: Path) -> None:
    (run / "base" / "README.md").write_text("another")
    assert changed(run) == {}


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def another_run_s(path: Path) -> None:
    weights(path, TENSOR[::-1])


@pytest.mark.parametrize(
    ("name", "break_it", "part", "reason"),
    [
        ("base/model.safetensors", flip, "base weights", "model.safetensors has changed"),
        ("base/model.safetensors", cut, "base weights", "model.safetensors is cut off or damaged"),
        ("base/model.safetensors", Path.unlink, "base weights", "model.safetensors is missing"),
        (
            "base/generation_config.json",
            lambda path: path.write_text('{"eos_token_id": 0}'),
            "base configuration",
            "generation_config.json has",
        ),
        (
            "base/tokenizer.json",
            lambda path: path.write_text('{"added_tokens": []}'),
            "tokenizer",
            "tokenizer.json has changed",
        ),
        (
            "base/added_tokens.json",
            lambda path: path.write_text("{}"),
            "tokenizer",
            "added_tokens.json is new",
        ),
        (
            "base/chat_template.jinja",
            lambda path: path.write_text("{{ other }}"),
            "chat template",
            "its text has changed",
        ),
        (
            "adapter/adapter_model.safetensors",
            another_run_s,
            "adapter",
            "adapter_model.safetensors has changed",
        ),
        (
            "adapter/adapter_config.json",
            lambda path: path.write_text('{"lora_alpha": 64}'),
            "adapter",
            "adapter_config.json has changed",
        ),
    ],
    ids=[
        "flipped byte",
        "cut shard",
        "missing shard",
        "stop id",
        "tokenizer",
        "new tokens",
        "template",
        "another run's adapter",
        "alpha",
    ],
)
def test_every_fault_names_its_part_and_file(
    run: Path, name: str, break_it: Callable[[Path], object], part: str, reason: str
) -> None:
    break_it(run / name)
    found = changed(run)
    assert list(found) == [part]
    assert found[part][0].startswith(reason)


def test_an_earlier_record_of_several_templates_is_still_met(run: Path) -> None:
    """Earlier versions took the hash of them all, as JSON."""
    base = run / "base"
    (base / "chat_template.jinja").unlink()
    several = [{"name": "default", "template": "x"}, {"name": "tool_use", "template": "y"}]
    (base / "tokenizer_config.json").write_text(json.dumps({"chat_template": several}))
    earlier = replace(
        provenance.base_hashes(base),
        template=bytes_hash(json.dumps(several, sort_keys=True).encode()),
    )
    assert provenance.changes(earlier, base, run / "adapter")["chat template"] == []
    several[0]["template"] = "z"
    (base / "tokenizer_config.json").write_text(json.dumps({"chat_template": several}))
    assert provenance.changes(earlier, base, run / "adapter")["chat template"] == [
        "its text has changed"
    ]


def test_runs_without_a_record(run: Path, tmp_path: Path) -> None:
    (run / provenance.HASHES_FILE).unlink()
    assert provenance.read(run) is None
    provenance.record_result(run, run / "adapter")
    assert provenance.read(run) is None
    (run / provenance.HASHES_FILE).write_text("{")
    with pytest.raises(LuthierError, match="damaged"):
        provenance.read(run)


def test_a_moved_base_is_the_same_base(run: Path) -> None:
    shutil.move(run / "base", run / "elsewhere")
    recorded = provenance.read(run)
    assert recorded is not None
    assert not any(provenance.changes(recorded, run / "elsewhere", run / "adapter").values())
