"""A merge as a whole: what it leaves, what it never leaves, and what it refuses while it runs.
Small, and without PEFT."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from jobs import job as jobs
from jobs.home import models_directory
from jobs.locks import Lock
from jobs.luthier_error import LuthierError
from jobs.spec import Spec
from models.merge import receipt
from models.merge.disk_space import partial_directory
from models.merge.merging import merge
from models.merge.plan import plan_merge
from models.merge.stream import Stopped
from models.registry import display_name, list_models, resolve
from models.weights import tensor_shapes
from tests.models.merge.headers import PREFIX, Q, lora, write_adapter, write_base, write_weights

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

ONE = struct.pack("<f", 1.0)
HALF = struct.pack("<f", 0.5)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A base in two files, with everything that lies beside weights on the hub."""
    folder = write_base(tmp_path / "base", eos_token_id=7, dtype="float32")
    write_weights(
        folder / "model-00001-of-00002.safetensors",
        {"model.embed_tokens.weight": (20, 8), f"{Q}.weight": (12, 8)},
        fill=ONE,
    )
    rest = {f"{Q}.bias": (12,), "model.norm.weight": (8,), "lm_head.weight": (20, 8)}
    write_weights(folder / "model-00002-of-00002.safetensors", rest, fill=ONE)
    (folder / "model.safetensors").unlink()
    files = {
        name: f"model-0000{number}-of-00002.safetensors"
        for number, name in ((1, "model.embed_tokens.weight"), (1, f"{Q}.weight"))
    }
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": files | dict.fromkeys(rest, "model-00002-of-00002.safetensors")})
    )
    (folder / "tokenizer.json").write_text(
        json.dumps({"added_tokens": [{"id": 19, "content": "<|end|>"}]})
    )
    (folder / "tokenizer_config.json").write_text('{"eos_token": "<|end|>"}')
    (folder / "generation_config.json").write_text(
        '{"eos_token_id": 7, "temperature": 0.5, "_from_model_config": true}'
    )
    (folder / "chat_template.jinja").write_text("base's template")
    (folder / "LICENSE").write_text("Apache")
    (folder / "README.md").write_text("The card of another model.")
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    (folder / "card.json").write_text('{"title": "Small", "license": "MIT"}')
    return folder


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = write_adapter(tmp_path / "adapter")
    write_weights(folder / "adapter_model.safetensors", lora(), fill=HALF)
    return folder


def test_what_lies_there_in_the_end(base: Path, adapter: Path, tmp_path: Path) -> None:
    told: list[int] = []
    out = tmp_path / "deep" / "merged"
    made = merge(
        plan_merge(base, adapter),
        out,
        run="the-run",
        stops=lambda folder: [19, 7],
        progress=told.append,
    )
    assert sorted(path.name for path in out.iterdir()) == [
        *(
            "LICENSE",
            "card.json",
            "chat_template.jinja",
            "config.json",
            "generation_config.json",
            "merge.json",
        ),
        *(
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
        ),
        *("tokenizer.json", "tokenizer_config.json"),
    ]
    assert [path.name for path in out.parent.iterdir()] == ["merged"]
    assert json.loads((out / "config.json").read_text()) == json.loads(
        (base / "config.json").read_text()
    )
    assert json.loads((out / "generation_config.json").read_text()) == {
        "eos_token_id": [7, 19],
        "temperature": 0.5,
    }
    card = json.loads((out / "card.json").read_text())
    assert (card["title"], card["license"], card["run"]) == ("Small + the-run", "MIT", "the-run")
    index = json.loads((out / "model.safetensors.index.json").read_text())
    assert (
        index["weight_map"]
        == json.loads((base / "model.safetensors.index.json").read_text())["weight_map"]
    )
    assert index["metadata"]["total_size"] == plan_merge(base, adapter).written_bytes == told[-1]
    assert told == sorted(told)
    values = torch.frombuffer(
        bytearray((out / "model-00001-of-00002.safetensors").read_bytes()[-12 * 8 * 4 :]),
        dtype=torch.float32,
    )
    # W + s * B@A, with rank 4 and halves everywhere
    assert values.tolist() == [1.0 + 2.0 * 4 * 0.25] * 96
    assert (made.changed, made.copied, made.largest_change, made.run, made.stop_token_ids) == (
        1,
        4,
        2.0,
        "the-run",
        [7, 19],
    )
    assert {record.name for record in made.tensors} == set(index["weight_map"])
    assert set(made.base.files) >= {
        "model-00001-of-00002.safetensors",
        "config.json",
        "tokenizer.json",
    }
    assert receipt.read(out) == made
    assert receipt.differences(out, made) == []


def test_the_hashes_of_the_base_are_those_of_its_files(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    from models.hashing import file_hash

    made = merge(plan_merge(base, adapter), tmp_path / "merged")
    assert {name: file_hash(base / name) for name in made.base.files} == made.base.files
    assert {name: file_hash(adapter / name) for name in made.adapter.files} == made.adapter.files
    assert {name: file_hash(tmp_path / "merged" / name) for name in made.files} == made.files


def test_a_receipt_notices_what_became_of_the_files(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    out = tmp_path / "merged"
    made = merge(plan_merge(base, adapter), out)
    first, second = (
        out / "model-00001-of-00002.safetensors",
        out / "model-00002-of-00002.safetensors",
    )
    whole = first.read_bytes()
    first.write_bytes(whole[:-4])
    assert [line.partition(" ")[0] for line in receipt.differences(out, made)] == [first.name]
    first.write_bytes(whole[:-1] + b"\x01")
    second.unlink()
    (out / "extra.safetensors").write_bytes(b"")
    assert [line.partition(" ")[0] for line in receipt.differences(out, made)] == [
        first.name,
        second.name,
        "extra.safetensors",
    ]
    (out / "merge.json").write_text("{}")
    with pytest.raises(LuthierError, match="damaged"):
        receipt.read(out)
    with pytest.raises(LuthierError, match=r"no merge\.json"):
        receipt.read(tmp_path)


def test_the_adapter_s_tokenizer_replaces_the_base_s(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    (base / "special_tokens_map.json").write_text("{}")
    (adapter / "tokenizer_config.json").write_text('{"of": "the adapter"}')
    (adapter / "tokenizer.json").write_text(
        json.dumps({"added_tokens": [{"id": 20, "content": "<new>"}]})
    )
    (adapter / "chat_template.jinja").write_text("the adapter's template")
    with pytest.raises(LuthierError, match="token 20"):
        merge(plan_merge(base, adapter), tmp_path / "merged")
    (adapter / "tokenizer.json").write_text(
        json.dumps({"added_tokens": [{"id": 19, "content": "<new>"}]})
    )
    merge(plan_merge(base, adapter), tmp_path / "merged")
    assert (tmp_path / "merged" / "chat_template.jinja").read_text() == "the adapter's template"
    assert (tmp_path / "merged" / "tokenizer_config.json").read_text() == '{"of": "the adapter"}'
    assert not (tmp_path / "merged" / "special_tokens_map.json").exists()


def test_a_base_of_links_as_in_the_hub_s_cache(base: Path, adapter: Path, tmp_path: Path) -> None:
    links = tmp_path / "snapshot"
    links.mkdir()
    for path in base.iterdir():
        (links / path.name).symlink_to(path)
    merge(plan_merge(links, adapter), tmp_path / "merged")
    assert not any(path.is_symlink() for path in (tmp_path / "merged").iterdir())


def test_nothing_is_overwritten_unless_asked(base: Path, adapter: Path, tmp_path: Path) -> None:
    out = tmp_path / "merged"
    merge(plan_merge(base, adapter), out)
    (out / "mine.txt").write_text("mine")
    with pytest.raises(LuthierError, match="exists"):
        merge(plan_merge(base, adapter), out)
    assert (out / "mine.txt").exists()
    merge(plan_merge(base, adapter), out, replace=True)
    assert not (out / "mine.txt").exists()
    assert [path.name for path in tmp_path.iterdir() if "merged" in path.name] == ["merged"]


def test_values_that_are_not_finite(base: Path, adapter: Path, tmp_path: Path) -> None:
    write_weights(
        adapter / "adapter_model.safetensors", lora(), fill=struct.pack("<f", float("nan"))
    )
    with pytest.raises(LuthierError, match=rf"{Q}\.lora_A\.weight.*not finite"):
        merge(plan_merge(base, adapter), tmp_path / "merged")
    write_weights(adapter / "adapter_model.safetensors", lora(), fill=struct.pack("<f", 200.0))
    with pytest.raises(LuthierError, match=rf"{Q}\.weight.*do not fit F16"):
        merge(plan_merge(base, adapter, dtype="float16"), tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
    assert not partial_directory(tmp_path / "merged").exists()


def test_too_little_disk_is_told_first(
    base: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 10**9 - 10**6, 10**6)
    )
    with pytest.raises(LuthierError, match=r"0\.0 GB free"):
        merge(plan_merge(base, adapter), tmp_path / "merged")
    assert not partial_directory(tmp_path / "merged").exists()


@pytest.mark.parametrize("call", ["posix_fallocate", "pwrite", "fsync", "preadv"])
def test_a_disk_that_fails_leaves_nothing(
    call: str, base: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., Any] = getattr(os, call)
    count = 0

    def failing(*arguments: Any) -> Any:
        nonlocal count
        count += 1
        if count > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*arguments)

    monkeypatch.setattr(os, call, failing)
    with pytest.raises(OSError, match="No space"):
        merge(plan_merge(base, adapter), tmp_path / "merged")
    monkeypatch.undo()
    assert not (tmp_path / "merged").exists()
    assert not partial_directory(tmp_path / "merged").exists()
    merge(plan_merge(base, adapter), tmp_path / "merged")


def test_a_stop_leaves_nothing(base: Path, adapter: Path, tmp_path: Path) -> None:
    for moment in range(4):
        asked = iter([*[False] * moment, *[True] * 99])
        with pytest.raises(Stopped):
            merge(
                plan_merge(base, adapter),
                tmp_path / "merged",
                stopping=lambda asked=asked: next(asked),  # type: ignore[misc]
            )
        assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "base"]


def test_two_merges_into_one_place(base: Path, adapter: Path, tmp_path: Path) -> None:
    partial = partial_directory(tmp_path / "merged")
    partial.mkdir()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        Lock(partial / ".lock").acquire()
        os.write(writing, b"x")
        signal.pause()
    try:
        os.read(reading, 1)
        with pytest.raises(LuthierError, match="Another job is writing"):
            merge(plan_merge(base, adapter), tmp_path / "merged")
        assert partial.exists()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    merge(plan_merge(base, adapter), tmp_path / "merged")


_CALLS = (
    (os, "posix_fallocate"),
    (os, "pwrite"),
    (os, "fsync"),
    (os, "preadv"),
    (shutil, "copyfile"),
    (Path, "rename"),
    (Path, "replace"),
)


def _killed_at(moment: int, run: Callable[[], object]) -> int | None:
    """Run in a fork that is killed at its `moment`-th call that touches the disk. None if it was,
    else how many calls there were."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            count = _count_calls(moment)
            run()
            os.write(writing, str(next(count)).encode())
        finally:
            os._exit(0)
    os.close(writing)
    _, status = os.waitpid(child, 0)
    answer = os.read(reading, 100)
    os.close(reading)
    assert os.WIFSIGNALED(status) != bool(answer)
    return int(answer) if answer else None


def _count_calls(moment: int) -> Iterator[int]:
    calls = 0

    def patch(place: Any, name: str) -> None:
        real = getattr(place, name)

        def counted(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **named)

        setattr(place, name, counted)

    for place, name in _CALLS:
        patch(place, name)

    def told() -> Iterator[int]:
        yield calls

    return told()


def test_killed_at_any_moment(base: Path, adapter: Path, tmp_path: Path) -> None:
    """kill -9 at every call that touches the disk, one after another: never half a model under the
    name, and the next merge works."""
    out = tmp_path / "merged"
    run = lambda: merge(plan_merge(base, adapter), out, stops=lambda folder: [19])  # noqa: E731
    moment, whole = 0, 0
    while True:
        moment += 1
        total = _killed_at(moment, run)
        if out.exists():
            whole += 1
            assert receipt.differences(out, receipt.read(out)) == []
            shutil.rmtree(out)
        if total is not None:
            break
    assert moment == total + 1 > 30
    assert 1 <= whole <= 4  # the run that was left alone, and kills after the renaming
    merge(plan_merge(base, adapter), out)
    assert [path.name for path in tmp_path.iterdir() if "merged" in path.name] == ["merged"]


def test_rows_saved_tensors_and_new_rows_without_peft(tmp_path: Path) -> None:
    base = write_base(
        tmp_path / "base", tied=True, more={"model.layers.0.mlp.experts.bias": (4, 6)}
    )
    rows = {
        f"{PREFIX}model.embed_tokens.token_adapter.trainable_tokens_delta": (3, 8),
        f"{PREFIX}model.norm.weight": (8,),
    }
    rows |= {f"{PREFIX}model.layers.0.mlp.experts.bias": (4, 6)}
    adapter = write_adapter(tmp_path / "adapter", rows, trainable_token_indices=[21, 2, 20])
    write_weights(adapter / "adapter_model.safetensors", rows, fill=ONE)
    made = merge(plan_merge(base, adapter), tmp_path / "merged")
    config = json.loads((tmp_path / "merged" / "config.json").read_text())
    assert (config["vocab_size"], config["tie_word_embeddings"], made.tied) == (22, True, True)
    assert tensor_shapes(tmp_path / "merged" / "model.safetensors")[
        "model.embed_tokens.weight"
    ] == [22, 8]
    changes = {record.name: (record.made, record.largest_change) for record in made.tensors}
    assert changes["model.embed_tokens.weight"] == ("rows", None)
    assert (
        changes["model.norm.weight"] == changes["model.layers.0.mlp.experts.bias"] == ("saved", 1.0)
    )


def test_a_run_s_merged_model_is_one_of_the_models(
    base: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    job = jobs.create(Spec(kind="run", name="captain", module="trainer.worker"))
    merge(plan_merge(base, adapter), job.directory / "merged", run=job.id)
    merge(plan_merge(base, adapter), models_directory() / "mine")
    assert [(model.name, model.note) for model in list_models()[1:]] == [
        ("mine", "Small + adapter"),
        (f"{job.id}/merged", f"Small + {job.id}"),
    ]
    assert resolve(f"{job.id}/merged") == job.directory / "merged"
    assert display_name(job.directory / "merged") == f"{job.id}-merged"
    for name in (f"{job.id}/other", f"{job.id}/merged/..", "x/merged"):
        with pytest.raises(LuthierError):
            resolve(name)
