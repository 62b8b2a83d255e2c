"""Checkpoints: whole or absent, whatever the moment; what stays and what goes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.run_folder import COMPLETE, RunFolder
from trainer.run import checkpoints
from trainer.run.checkpoints import (
    MEMORY_FILE,
    Checkpoint,
    complete_checkpoints,
    discard,
    newest_intact,
    seal,
    superfluous,
    sweep,
)


def save(run: Path, step: int, text: str = "weights") -> Path:
    """What a trainer leaves under .saving."""
    saved = RunFolder(run).checkpoints / ".saving" / f"checkpoint-{step}"
    saved.mkdir(parents=True)
    (saved / "adapter_model.safetensors").write_text(text)
    (saved / MEMORY_FILE).write_text(f'{{"total": {step}}}')
    return saved


def test_a_sealed_checkpoint_is_complete_intact_and_the_newest(tmp_path: Path) -> None:
    for step in (9, 10, 100):
        seal(save(tmp_path, step), tmp_path, step)
    assert [checkpoint.step for checkpoint in complete_checkpoints(tmp_path)] == [9, 10, 100]
    newest = newest_intact(tmp_path)
    assert newest is not None
    assert (newest.step, newest.path.name, newest.memory) == (100, "step-000100", {"total": 100})


@pytest.mark.parametrize("damage", ["changed", "cut", "gone", "not complete", "no manifest"])
def test_what_is_not_as_it_was_saved_is_never_gone_on_from(tmp_path: Path, damage: str) -> None:
    for step in (1, 2):
        seal(save(tmp_path, step), tmp_path, step)
    folder = RunFolder(tmp_path).checkpoints / "step-000002"
    weights = folder / "adapter_model.safetensors"
    match damage:
        case "changed":
            weights.write_text("weightz")
        case "cut":
            weights.write_text("weigh")
        case "gone":
            weights.unlink()
        case "not complete":
            (folder / COMPLETE).unlink()
        case _:
            (folder / COMPLETE).write_text("")
    newest = newest_intact(tmp_path)
    assert newest is not None
    assert newest.step == 1


def test_sealing_the_same_step_again_replaces_it(tmp_path: Path) -> None:
    seal(save(tmp_path, 3, "old"), tmp_path, 3)
    checkpoint = seal(save(tmp_path, 3, "new"), tmp_path, 3)
    assert checkpoint.intact()
    assert (checkpoint.path / "adapter_model.safetensors").read_text() == "new"


def failing(real: Callable[..., Any], left: list[int]) -> Callable[..., Any]:
    """A function that is interrupted once `left`, which several share, has been counted down."""

    def call(*arguments: Any, **named: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return real(*arguments, **named)

    return call


def test_an_interruption_anywhere_leaves_the_old_one_and_nothing_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every step of a seal and of a removal fails in turn."""
    calls = ["flush", "write_json"]
    for number in range(12):
        run = tmp_path / str(number)
        seal(save(run, 1), run, 1)
        save(run, 2)
        left = [number]
        with monkeypatch.context() as patch:
            for name in calls:
                patch.setattr(checkpoints, name, failing(getattr(checkpoints, name), left))
            patch.setattr(Path, "rename", failing(Path.rename, left))
            try:
                seal(RunFolder(run).checkpoints / ".saving" / "checkpoint-2", run, 2)
                discard(RunFolder(run).checkpoints / "step-000001")
            except KeyboardInterrupt:
                pass
        found = complete_checkpoints(run)
        assert found
        assert all(checkpoint.intact() for checkpoint in found)
        sweep(run)
        assert {path.name for path in RunFolder(run).checkpoints.iterdir()} == {
            checkpoint.path.name for checkpoint in found
        }
    assert left[0] >= 0, "the last round came to the end"


@given(
    st.lists(st.integers(1, 60), unique=True, max_size=12), st.integers(1, 4), st.integers(1, 60)
)
def test_the_best_and_the_last_ones_stay(steps: list[int], keep: int, best: int) -> None:
    found = [Checkpoint(Path(str(step)), step) for step in sorted(steps)]
    gone = {checkpoint.step for checkpoint in superfluous(found, keep, best)}
    left = [step for step in sorted(steps) if step not in gone]
    assert left[-keep:] == sorted(steps)[-keep:]
    assert best not in gone
    assert len(left) <= keep + 1


def test_no_checkpoints(tmp_path: Path) -> None:
    assert complete_checkpoints(tmp_path) == []
    assert newest_intact(tmp_path) is None
    sweep(tmp_path)
    shutil.rmtree(tmp_path)
