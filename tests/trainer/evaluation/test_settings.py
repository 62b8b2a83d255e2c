"""The recipe's [evaluation]: when a run is evaluated, what is refused, what the plan makes of
it."""

from __future__ import annotations

import itertools
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.luthier_error import LuthierError
from trainer.data.split import Heldout
from trainer.evaluation.plan import outlook
from trainer.evaluation.settings import Evaluation
from trainer.recipe import Recipe, parse


@given(st.integers(1, 400), st.integers(1, 60))
def test_times_are_spread_evenly_from_the_base_to_the_end(total: int, times: int) -> None:
    steps = sorted(Evaluation(times=times).steps(total, 10))
    assert steps[0] == 0
    assert steps[-1] == total
    assert len(steps) == min(times, total) + 1
    gaps = {after - before for before, after in itertools.pairwise(steps)}
    assert max(gaps) - min(gaps) <= 1


def test_every_so_many_steps_or_every_epoch() -> None:
    assert Evaluation(every=10).steps(35, 14) == {0, 10, 20, 30, 35}
    assert Evaluation(every=7).steps(14, 14) == {0, 7, 14}
    assert Evaluation(every="epoch").steps(35, 14) == {0, 14, 28, 35}
    assert Evaluation(every=50).steps(35, 14) == {0, 35}
    assert Evaluation(times=0).steps(35, 14) == frozenset()


BAD = [
    ('metric = "bleu"', 'metric "bleu" is not computed. Add "bleu" to metrics'),
    ('metric = "rougeL"\nmetrics = ["bleu"]', 'Add "rouge" to metrics'),
    ('metric = "perplexity"', "evaluation.metric"),
    ('metrics = ["blue"]', "evaluation.metrics[0]"),
    ("patience = 2\ntimes = 0", "patience needs evaluations"),
    ('prompts = ["Hello", " "]', "one of the prompts is empty"),
    ('every = "week"', "evaluation.every"),
    ("answer_tokens = 0", "evaluation.answer_tokens"),
]


@pytest.mark.parametrize(("text", "message"), BAD)
def test_what_cannot_be_is_told_by_key(text: str, message: str) -> None:
    with pytest.raises(LuthierError) as caught:
        parse(f'data = ["x"]\n[evaluation]\n{text}', "my.toml")
    assert message in caught.value.message
    assert "evaluation" in caught.value.message


@pytest.fixture
def model(tmp_path: Path) -> Path:
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.truncate(269_000_000)
    return tmp_path


def asking(settings: Evaluation, heldout: Heldout | None = None, objective: str = "") -> Recipe:
    recipe = parse(f'data = "-"\n{objective}', "r.toml")
    return msgspec.structs.replace(recipe, evaluation=settings, heldout=heldout or Heldout())


def test_the_plan_counts_evaluations_and_answers(model: Path) -> None:
    samples = outlook(asking(Evaluation()), 16, 30, 15, model, "cpu", 8)
    assert (samples.evaluations, samples.heldout, samples.answers) == (5, 16, 3)
    assert 5 * 128 * 0.05 < samples.seconds < 5 * 128 * 0.2  # measured: 64 ms a token
    metrics = outlook(
        asking(Evaluation(metrics=["bleu"], conversations=20)),
        200,
        30,
        15,
        model,
        "cpu",
        8,
    )
    assert (metrics.answers, metrics.metrics) == (20, ["bleu"])
    assert metrics.seconds > 3 * samples.seconds
    own = outlook(
        asking(Evaluation(metrics=["bleu"], conversations=20, prompts=["a", "b"])),
        200,
        30,
        15,
        model,
        "cpu",
        8,
    )
    assert own.answers == 22
    assert (
        outlook(
            asking(Evaluation(times=0)),
            16,
            30,
            15,
            model,
            "cpu",
            8,
        ).evaluations
        == 0
    )
    assert (
        outlook(
            asking(Evaluation(samples=0)),
            0,
            30,
            15,
            model,
            "cpu",
            8,
        ).evaluations
        == 0
    )


def test_a_distillation_answers_all_that_is_held_out(model: Path) -> None:
    usual = outlook(asking(Evaluation()), 16, 30, 15, model, "cpu", 8)
    objective = '[objective]\nkind = "distill"\nsample_tokens = 64'
    writing = outlook(asking(Evaluation(), objective=objective), 16, 30, 15, model, "cpu", 8)
    # measured on two busy cores: 125 to 250 ms a token, for eight answers at once
    assert 5 * 64 * 0.08 < writing.seconds - usual.seconds < 5 * 64 * 0.3


def test_metrics_and_patience_need_held_out_conversations(model: Path) -> None:
    for settings in (Evaluation(metrics=["bleu"]), Evaluation(patience=2)):
        with pytest.raises(LuthierError, match="keeps none"):
            outlook(
                asking(settings, Heldout(share=0.0)),
                0,
                30,
                15,
                model,
                "cpu",
                8,
            )
