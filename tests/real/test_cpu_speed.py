"""What makes a CPU quicker changes nothing of what is learned. Heavy libraries are imported when a
test runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest

from models.compute_dtype import DtypeSpeed, remember
from models.stored_sample import UNTRAINED
from tests.real.forks import KILLED, Forks, events, outcome
from trainer.plan.compute import Compute
from trainer.plan.memory.predict import Setting, predict
from trainer.plan.memory.shape import ModelShape
from trainer.resume import recorded

pytestmark = pytest.mark.real


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("counted", [None, 500])
@pytest.mark.parametrize("trained", [0, 1, 300])
def test_the_head_loss_is_trls(dtype: str, counted: int | None, trained: int) -> None:
    import torch
    from trl.trainer.sft_trainer import _chunked_cross_entropy_loss as trl_loss

    from trainer.kernels.head_loss import head_loss

    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(1000, 32, generator=generator).to(getattr(torch, dtype))
    labels = torch.randint(0, 1000, (1, 340), generator=generator)
    labels[:, trained + 1 :] = UNTRAINED
    answers: list[list[Any]] = []
    for loss in (trl_loss, head_loss):
        hidden = (
            torch.randn(1, 340, 32, generator=torch.Generator().manual_seed(5))
            .to(weight.dtype)
            .requires_grad_()
        )
        value, *rest = loss(hidden, weight, 256, labels=labels, num_items_in_batch=counted)
        value.backward()
        answers.append([value.detach(), *rest, hidden.grad])
    exactness = {"rtol": 1e-4, "atol": 1e-6} if dtype == "float32" else {"rtol": 2e-2, "atol": 1e-4}
    for theirs, ours in zip(*answers, strict=True):
        torch.testing.assert_close(ours.float(), theirs.float(), **exactness)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_head_loss_takes_what_the_plan_predicts(dtype: Literal["float32", "bfloat16"]) -> None:
    import torch

    from trainer.kernels.head_loss import head_loss
    from trainer.run.tensor_memory import allocated_bytes

    vocabulary, tokens = 40_000, 600
    shape = ModelShape("llama", 8, 8, 1, 8, 8, vocabulary, (), 0)
    setting = Setting("trl", tokens, Compute(compute_dtype=dtype), loss="single pass")
    weight = torch.randn(vocabulary, 8).to(getattr(torch, dtype))
    hidden = torch.randn(1, tokens + 1, 8).to(weight.dtype).requires_grad_()
    labels = torch.zeros(1, tokens + 1, dtype=torch.long)
    taken: list[int] = []
    for _ in range(2):  # the first one compiles its products
        before = allocated_bytes()
        head_loss(
            hidden,
            weight,
            256,
            labels=labels,
            at_peak=lambda before=before: taken.append(allocated_bytes() - before),  # type: ignore[misc]
        )
    assert len(taken) == 2
    assert taken[-1] == pytest.approx(predict(shape, setting).working, rel=0.05)


def test_a_head_that_is_trained_gets_its_gradient() -> None:
    import torch

    from trainer.kernels.head_loss import head_loss

    weight = torch.randn(50, 8, requires_grad=True)
    loss, *_ = head_loss(torch.randn(1, 6, 8), weight, 256, labels=torch.arange(6)[None])
    loss.backward()
    assert weight.grad is not None and bool(weight.grad.abs().sum() > 0)


def test_the_cpu_is_measured_with_the_models_own_shapes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from safetensors.torch import save_file

    from models import product_speed
    from models.compute_dtype import matrix_shapes, recall

    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    save_file(
        {"a": torch.ones(64, 32), "b": torch.ones(64, 32), "norm": torch.ones(32)},
        tmp_path / "model.safetensors",
    )
    assert matrix_shapes(tmp_path) == [(64, 32)]
    speed = product_speed.known_or_measured(tmp_path)
    assert speed.bfloat16 > 0 and speed.float32 > 0
    assert recall(tmp_path) == speed == product_speed.known_or_measured(tmp_path)


def test_a_run_keeps_the_type_that_it_began_with(forks: Forks) -> None:
    """It computes in what was measured, learns the same in both, and goes on exactly after a kill,
    whatever is measured by then."""
    model = forks.folder / "in-float32"
    model.symlink_to(forks.model)
    in_bfloat16 = forks.make({"train": 'compute_dtype = "bfloat16"'}, model=model)
    assert forks.work(in_bfloat16) == 0
    whole, killed = forks.make(model=model), forks.make(model=model)
    assert whole.spec.settings["compute_dtype"] == killed.spec.settings["compute_dtype"] == "auto"
    remember(model, DtypeSpeed(bfloat16=2.0, float32=1.0))
    assert forks.work(whole) == 0
    assert forks.work(killed, ["kill_in_save", ["before COMPLETE", 3]]) == KILLED
    remember(model, DtypeSpeed(bfloat16=1.0, float32=2.0))
    assert forks.work(killed) == 0
    assert outcome(killed) == outcome(whole)
    assert [plan["compute_dtype"] for plan in events(killed, "plan")] == ["auto", "float32"] * 2
    assert recorded(killed.directory)["compute_dtype"] == "float32"
    theirs, ours = outcome(in_bfloat16), outcome(whole)
    assert ours.order == theirs.order
    for step, loss in theirs.evaluations.items():
        assert ours.evaluations[step] == pytest.approx(loss, abs=0.02)
