"""What trials decide, and that they leave nothing behind: the callback of a run, with a small
module in the place of its model (tests/real/test_trials.py has whole runs)."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from jobs import job as jobs
from jobs.spec import Spec
from jobs.worker import WorkerContext
from tests.trainer.shapes import llama
from trainer.plan import trials
from trainer.plan.compute import Compute
from trainer.plan.plan import Plan
from trainer.plan.trials import Trial, Trials
from trainer.recipe import Recipe

pytestmark = pytest.mark.real

EIGHT, FOUR = Trial(8, 1, "none", False), Trial(4, 2, "none", False)
RECOMPUTED = Trial(8, 1, "standard", False)
OF = {"model": "small"}


class Engine:
    """Remembers which kinds of checkpointing a model was switched to."""

    def __init__(self) -> None:
        self.kinds: list[str] = []

    def use_checkpointing(self, model: Any, kind: str) -> None:
        self.kinds.append(kind)


class Run:
    """A run before its first step: 64 conversations of 3 to 9 tokens, 8 a step."""

    def __init__(self, folder: Path, contenders: list[Trial], steps: int = 100_000) -> None:
        import pyarrow as pa  # type: ignore[import-untyped]
        import torch
        from torch import nn

        class Model(nn.Linear):  # type: ignore[misc]
            def get_output_embeddings(self) -> None:
                return None

        lengths = [3 + number % 7 for number in range(64)]
        rows = pa.table({"input_ids": [[1] * length for length in lengths]})

        class Rows:
            data = rows

            def __getitem__(self, number: int) -> int:
                return lengths[number]

        self.torch = torch
        self.model = Model(4, 4)
        self.engine = Engine()
        self.context = WorkerContext(jobs.create(Spec("run", "captain", "m")))
        self.batches: list[int] = []
        self.loader = SimpleNamespace(
            dataset=Rows(),
            batch_sampler=[[*range(start, start + 8)] for start in range(0, 64, 8)],
            collate_fn=lambda picked: torch.rand(sum(picked), 4),
        )
        self.trainer = SimpleNamespace(
            model=self.model,
            model_wrapped=self.model,
            accelerator=SimpleNamespace(backward=lambda loss: loss.backward()),
            compute_loss=self._loss,
            compute_loss_context_manager=nullcontext,
            _prepare_inputs=lambda inputs: inputs,
            _metrics={"train": {"entropy": [1.0]}},
        )
        compute = Compute(micro_batch=8, padding_free=True)
        self.plan = replace(
            Plan("m", str(folder), "cpu", "trl", compute, 64, 0, 8, 1.0, steps, ["cpu"]),
            trials=Trials(OF, contenders),
        )
        self.steps = steps

    def _loss(self, model: Any, inputs: Any) -> Any:
        self.batches.append(len(inputs))
        self.trainer._metrics["train"]["entropy"].append(2.0)
        return model(inputs).sum()

    def begin(self) -> Plan:
        """What goes on without another trainer. Raises Chosen."""
        from trainer.run.trials import TrialCallback

        recipe = msgspec.convert({"data": ["x"]}, Recipe)
        callback = TrialCallback(self.context, self.plan, recipe, self.trainer, self.engine)
        state: Any = SimpleNamespace(max_steps=self.steps)
        nothing: Any = None
        callback.on_train_begin(nothing, state, nothing, train_dataloader=self.loader)
        return callback.plan

    def kinds_of_events(self) -> list[str]:
        return [event["kind"] for event in jobs.Job(self.context.directory).look()[1]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    return llama(tmp_path / "model", "135m")


def showing(monkeypatch: pytest.MonkeyPatch, seconds: dict[str, float | Exception]) -> None:
    """Passes show these seconds, by micro-batch and kind of checkpointing, and are computed."""
    from trainer.run.trials import Rounds

    really = Rounds.seconds_of

    def shown(self: Any, numbers: Any, size: int) -> float:
        really(self, numbers, size)
        result = seconds[f"{size} {self._kind}"]
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(Rounds, "seconds_of", shown)


def test_nothing_is_left_behind(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(folder, [EIGHT, FOUR])
    showing(monkeypatch, {"8 none": 0.1, "4 none": 0.2})
    weights, state = run.model.weight.clone(), run.torch.random.get_rng_state()
    plan = run.begin()
    assert plan.compute == run.plan.compute and plan.trials is not None
    assert plan.trials.run == run.context.job.id and plan.trials.best is not None
    assert run.torch.equal(run.model.weight, weights) and run.model.weight.grad is None
    assert run.torch.equal(run.torch.random.get_rng_state(), state)
    assert run.trainer._metrics == {"train": {"entropy": [1.0]}}
    assert run.kinds_of_events().count("trials") == 1
    # all of a global batch, each time, the whole of it or in two of about equal tokens
    longest = max(sum(3 + number % 7 for number in batch) for batch in run.loader.batch_sampler)
    assert run.batches[0] == longest == sum(run.batches[3:5])
    assert trials.recall(OF) == plan.trials


def test_another_micro_batch_has_the_trainer_built_again_for_the_same_model(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainer.run.trials import Chosen

    run = Run(folder, [EIGHT, FOUR])
    showing(monkeypatch, {"8 none": 0.2, "4 none": 0.1})
    with pytest.raises(Chosen) as choice:
        run.begin()
    assert choice.value.model is run.model
    assert choice.value.plan.compute.batch == {**FOUR.applied(run.plan.compute).batch}
    assert choice.value.plan.global_batch == 8 and run.kinds_of_events()[-1] == "plan"


def test_other_checkpointing_has_the_model_loaded_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainer.run.trials import Chosen

    run = Run(folder, [EIGHT, RECOMPUTED])
    showing(monkeypatch, {"8 none": 0.2, "8 standard": 0.1})
    with pytest.raises(Chosen) as choice:
        run.begin()
    assert choice.value.model is None
    assert choice.value.plan.compute.gradient_checkpointing == "standard"
    assert run.engine.kinds == ["standard", "none"]  # and back, should somebody go on with it


def test_what_fails_is_an_answer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(folder, [EIGHT, FOUR, RECOMPUTED])
    memory, broken = run.torch.OutOfMemoryError("CUDA out of memory."), TypeError("no such kernel")
    showing(monkeypatch, {"8 none": 0.1, "4 none": memory, "8 standard": broken})
    plan = run.begin()
    assert plan.trials is not None and plan.compute == run.plan.compute
    outcomes = {trial.in_words(): trial.outcome for trial in plan.trials.contenders}
    assert [*outcomes.values()] == ["", "out of memory", "failed: no such kernel"]
    assert trials.recall(OF) is not None


def test_a_stop_ends_them_without_a_choice(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(folder, [EIGHT, FOUR])
    showing(monkeypatch, {"8 none": 0.2, "4 none": 0.1})
    run.context.stopping.set()
    assert run.begin() == run.plan
    assert "trials" not in run.kinds_of_events() and trials.recall(OF) is None


def test_what_no_time_is_left_for_is_not_remembered(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pass that shows nothing of the time it takes: the run seems to be over in no time."""
    run = Run(folder, [EIGHT, FOUR], steps=300)
    showing(monkeypatch, {"8 none": 1e-9, "4 none": 1e-10})
    plan = run.begin()
    assert plan.trials is not None and plan.compute == run.plan.compute
    assert [trial.outcome for trial in plan.trials.contenders] == ["", trials.NO_TIME]
    assert trials.recall(OF) is None


def test_a_short_run_tries_nothing(folder: Path) -> None:
    run = Run(folder, [EIGHT, FOUR], steps=200)
    assert run.begin() == run.plan and not run.batches
