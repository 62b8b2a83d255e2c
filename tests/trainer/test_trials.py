"""Which settings are tried, what is made of the figures, and what is remembered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from tests.trainer.shapes import llama, shape_of
from trainer.plan import trials
from trainer.plan.autotune import Task, choose
from trainer.plan.compute import Compute
from trainer.plan.memory.batches import Lengths
from trainer.plan.memory.shape import ModelShape
from trainer.plan.trials import Trial, Trials
from trainer.recipe import Recipe

H200 = 143_771 << 20


@pytest.fixture(scope="module")
def eight(tmp_path_factory: pytest.TempPathFactory) -> ModelShape:
    return shape_of(llama(tmp_path_factory.mktemp("8b")))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path))
    return tmp_path


def task(shape: ModelShape, conversations: int, tokens: int, **train: Any) -> Task:
    recipe = msgspec.convert(
        {"data": ["x"], "train": {"global_batch": conversations, **train}}, Recipe
    )
    lengths = Lengths(tokens, tokens, 0.1 * tokens)
    return Task(recipe, shape, lengths, "unsloth", H200, conversations, capability=(9, 0))


def trial(speed: float, *, float8: bool = False, size: int = 8, outcome: str = "") -> Trial:
    return Trial(size, 8 // size, "none", float8, tokens_per_second=speed, outcome=outcome)


@pytest.mark.parametrize(
    ("conversations", "tokens", "float8"),
    [(8, 1440, True), (16, 410, True), (4, 1030, False), (2, 1030, False), (16, 1030, True)],
)
def test_the_prediction_takes_float8_only_where_it_was_measured_faster(
    eight: ModelShape, conversations: int, tokens: int, float8: bool
) -> None:
    """H200, 8B: product by product (here for the dropout) by the tokens of a micro-batch; always
    where layers are computed together."""
    together = task(eight, conversations, tokens)
    lora = msgspec.structs.replace(together.recipe.lora, dropout=0.1)
    recipe = msgspec.structs.replace(together.recipe, lora=lora)
    assert choose(replace(together, recipe=recipe)).best.compute.float8 == float8
    assert choose(together).best.compute.float8


@pytest.mark.parametrize("capability", [(8, 9), (12, 0), (0, 0), None])
def test_elsewhere_float8_is_not_predicted_to_be_faster(
    eight: ModelShape, capability: tuple[int, int] | None
) -> None:
    planned = replace(task(eight, 8, 1440), capability=capability)
    assert not choose(planned).best.compute.float8


def test_both_kinds_of_products_are_tried(eight: ModelShape) -> None:
    planned = task(eight, 8, 1440)
    worth_trying = trials.contenders(planned, choose(planned).best)
    assert 2 <= len(worth_trying) <= 4
    assert worth_trying[0].compute == choose(planned).best.compute
    assert [candidate.compute.float8 for candidate in worth_trying[:2]] == [True, False]
    assert all(candidate.compute.conversations == 8 for candidate in worth_trying)


def test_what_the_recipe_says_is_not_tried(eight: ModelShape) -> None:
    planned = task(eight, 8, 1440, float8=False, micro_batch=4, gradient_checkpointing="none")
    assert trials.planned(planned, choose(planned).best) is None


def test_the_quickest_is_chosen_and_float8_must_be_worth_its_error() -> None:
    exact, fast = trial(1000.0), trial(1015.0, float8=True)
    assert trials.quickest([fast, exact]) == exact
    fast = replace(fast, tokens_per_second=1030.0)
    assert trials.quickest([fast, exact]) == fast
    assert trials.quickest([trial(2000.0, outcome="out of memory"), exact]) == exact
    assert trials.quickest([trial(0.0, outcome="failed")]) is None


def test_what_was_measured_is_remembered_for_such_a_run_alone(
    home: Path, eight: ModelShape, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = task(eight, 8, 1440)
    best = choose(planned).best
    asked = trials.planned(planned, best)
    assert asked is not None and not asked.run and asked.best is None
    slow, fast = (replace(each, tokens_per_second=9.0) for each in asked.contenders[:2])
    fast = replace(fast, tokens_per_second=99.0)
    measured = trials.finished(asked, [slow, fast], "run-7", 3.2)
    trials.remember(measured)
    assert trials.planned(planned, best) == measured and measured.best == fast
    assert "run-7" in measured.reason().text and "99 tokens/s" in measured.reason().text
    # a few conversations more are the same data
    assert trials.planned(task(eight, 8, 1460), best) == measured
    for other in (task(eight, 8, 2048), task(eight, 16, 1440), task(eight, 8, 1440, float8=False)):
        planned_trials = trials.planned(other, choose(other).best)
        assert planned_trials is None or not planned_trials.run
    monkeypatch.setattr(trials, "version", lambda package: "9.9")
    newer = trials.planned(planned, best)
    assert newer is not None and not newer.run


def test_a_trial_that_was_broken_off_is_not_remembered(home: Path, eight: ModelShape) -> None:
    planned = task(eight, 8, 1440)
    asked = trials.planned(planned, choose(planned).best)
    assert asked is not None
    left = replace(asked.contenders[1], outcome=trials.NO_TIME)
    tried = [replace(asked.contenders[0], tokens_per_second=9.0), left]
    trials.remember(trials.finished(asked, tried, "run-7", 3.2))
    assert trials.recall(asked.of) is None


@pytest.mark.parametrize("content", ["", "{", "3", '[{"of": 3}, null]', '{"of": {}}', "[[]]"])
def test_a_damaged_file_is_as_good_as_none(home: Path, eight: ModelShape, content: str) -> None:
    (home / trials.TRIALS_FILE).write_text(content)
    planned = task(eight, 8, 1440)
    asked = trials.planned(planned, choose(planned).best)
    assert asked is not None and not asked.run
    tried = [replace(each, tokens_per_second=9.0) for each in asked.contenders]
    trials.remember(trials.finished(asked, tried, "run-8", 1.0))
    assert trials.recall(asked.of) is not None


def test_a_plan_keeps_them(eight: ModelShape) -> None:
    planned = task(eight, 8, 1440)
    asked = trials.planned(planned, choose(planned).best)
    assert asked is not None
    assert Trials.from_json(msgspec.to_builtins(asked)) == asked


def test_a_short_run_does_not_try() -> None:
    """Two contenders take five passes, which may be 2 % of the run."""
    assert trials.is_too_short(249, 1.0) and not trials.is_too_short(250, 1.0)
    assert not trials.is_too_short(125, 0.5)


@pytest.mark.heavy
@pytest.mark.xdist_group("transformers")
def test_a_slow_second_of_the_host_is_the_fault_of_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass of 16 bits takes 1.0 s, one of float8 0.8, and float8's take 1.4 while the
    host is slow, at first. One after the other 16 bits would be chosen."""
    from trainer.run.trials import Allowance, Batches, Rounds

    now = 0.0
    passes: list[bool] = []

    def seconds_of(rounds: Rounds, numbers: list[int], size: int) -> float:
        nonlocal now
        in_float8 = used[-1]
        passes.append(in_float8)
        seconds = 0.8 if in_float8 else 1.0
        if in_float8 and passes.count(True) <= 4:  # the host is slow
            seconds = 1.4
        now += seconds
        return seconds

    used: list[bool] = []
    monkeypatch.setattr(Rounds, "seconds_of", seconds_of)
    monkeypatch.setattr(Rounds, "use", lambda rounds, trial: used.append(trial.float8))
    monkeypatch.setattr(Rounds, "forget", lambda rounds, *, collect=False: None)
    batches = Batches([0], [0], [[0]], [1000], flat=True)
    products = SimpleNamespace(can_return=True, spare_bytes=0)
    rounds = Rounds(None, None, None, batches, Compute(), products, None)  # type: ignore[arg-type]
    contenders = [trial(0.0, float8=True), trial(0.0)]

    def tried(steps: int) -> list[Trial]:
        passes.clear()
        allowance = Allowance(steps, 1.0, forced=False, clock=lambda: now)
        return rounds.run(contenders, allowance, None)

    float8, exact = tried(steps=100_000)
    assert (float8.tokens_per_second, exact.tokens_per_second) == (1250.0, 1000.0)
    assert trials.quickest([float8, exact]) == float8
    tried(steps=100)  # 2 s may be spent: no turn more
    assert len(passes) < 8
