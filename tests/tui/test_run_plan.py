"""The plan of a run, before it starts: on the command line and in the app."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from textual.pilot import Pilot

from jobs.gpus import Gpu
from jobs.home import models_directory
from jobs.job import Job
from tests.trainer.shapes import llama
from tests.tui import folders
from tests.tui.driving import ready, screen_text, until
from trainer.plan import plan, repair, trials
from trainer.plan.memory import cards
from trainer.recipe import Recipe, load
from tui.app import LuthierApp
from tui.commands.train import plan as plan_command
from tui.new_run.data_look import DataLook
from tui.new_run.screen import NewRunScreen
from tui.runs import plan_text
from tui.runs.plan_modal import RunPlanModal
from tui.runs.run_screen import RunScreen
from workshop.runs.forecast import Speed, forecast

H200 = Gpu(0, "NVIDIA H200", 143_771 << 20, 143_771 << 20)


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> list[Gpu]:
    """The machine's GPUs: an H200, until a test says otherwise."""
    found = [H200]
    for module in (plan, repair, cards):
        monkeypatch.setattr(module, "gpus", lambda: found)
    monkeypatch.setattr(plan, "compute_capability", lambda: (9, 0))
    # whatever the tests are run with
    monkeypatch.setattr("trainer.plan.engines.installed", lambda: {"trl"})
    # a look at the data is a job of its own
    monkeypatch.setattr(DataLook, "job_for", lambda recipe: (None, False))
    return found


@pytest.fixture
def recipe(home: Path) -> Path:
    llama(models_directory() / "llama-8b")
    rows = [f"{number} why " + "and " * 900 for number in range(240)]
    lines = [
        json.dumps(
            {
                "messages": [
                    {"role": "user", "content": "Hm?"},
                    {"role": "assistant", "content": text},
                ]
            }
        )
        for text in rows
    ]
    (home / "data.jsonl").write_text("\n".join(lines))
    path = home / "captain.toml"
    path.write_text('model = "llama-8b"\ndata = ["data.jsonl"]\n')
    return path


def told(recipe: Path, *options: str) -> str:
    answer = CliRunner().invoke(plan_command, [str(recipe), *options], catch_exceptions=False)
    assert answer.exit_code == 0
    return answer.stdout


def test_the_command_shows_settings_memory_reasons_and_what_was_tried(recipe: Path) -> None:
    shown = told(recipe)
    for part in (
        "TRL on one GPU",
        "16-bit base with float8 products",
        "weights",
        "activations",
        "of 150.8 GB at the peak",
        "predicted",
        "fewer bits",
    ):
        assert part in shown
    assert "No gradient checkpointing: the run fits without it" in shown


def with_figures(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a run of this recipe that has tried settings."""
    with monkeypatch.context() as patch:
        patch.setenv("LUTHIER_TRIALS", "always")
        planned = plan.make_plan(load(recipe))
    assert planned.trials is not None
    figures = [(21_284.0, 66_300_000_000, ""), (16_123.0, 66_200_000_000, "")]
    figures += [(0.0, 0, "out of memory")] * (len(planned.trials.contenders) - 2)
    tried = [
        replace(trial, tokens_per_second=speed, peak=peak, tokens=8300, outcome=outcome)
        for trial, (speed, peak, outcome) in zip(planned.trials.contenders, figures, strict=True)
    ]
    trials.remember(trials.finished(planned.trials, tried, "20261129-0930-captain-7f3a", 7.2))


def test_the_command_shows_what_is_to_be_measured_and_then_the_figures(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short run tries nothing, and has what an earlier one has measured."""
    assert "to be measured" not in told(recipe)
    monkeypatch.setenv("LUTHIER_TRIALS", "always")
    assert "to be measured" in told(recipe) and "the run measures:" in told(recipe)
    monkeypatch.delenv("LUTHIER_TRIALS")
    with_figures(recipe, monkeypatch)
    printed = " ".join(told(recipe).split())
    assert "float8, 8 at a time 21,284 66.3 GB" in printed and "out of memory" in printed
    assert "run 20261129-0930-captain-7f3a, in 7 s" in printed
    assert "16-bit base with float8 products" in printed
    monkeypatch.setenv("LUTHIER_TRIALS", "never")
    assert "21,284" not in told(recipe)


def test_the_plan_says_how_long_it_takes_part_by_part(recipe: Path) -> None:
    outlook = {"evaluations": 5, "answers": 3, "seconds": 100.0}
    run_plan = plan.make_plan(load(recipe))
    counted = replace(run_plan, evaluation=outlook, steps=1200, global_batch=8)
    first = ": starting 14 s (libraries, data), base answers 20 s (at most), "
    later = ", 4 more evaluations 1 m 20 s (at most)"
    assert plan_text.time_parts(forecast(counted, None)) == (
        f"about 1 m 54 s, plus 1,200 steps{first}1,200 steps (measured in training){later}"
    )
    speed = Speed("captain, 2 h ago", 0.5, 4, None)
    assert plan_text.time_parts(forecast(counted, speed)) == (
        f"about 21 m 54 s{first}1,200 steps 20 m 00 s (as fast as captain, 2 h ago){later}"
    )
    few = replace(counted, conversations=6, heldout=2)  # in steps of 8
    assert "1,200 steps 10 m 00 s" in plan_text.time_parts(forecast(few, speed))
    uncounted = replace(counted, steps=0, evaluation={})  # of data on the hub
    assert plan_text.time_in_all(forecast(uncounted, speed)) == "about 14 s, plus the steps"
    printed = " ".join(told(recipe).split())
    assert plan_text.time_parts(forecast(run_plan, None))[:30] in printed


def test_what_would_i_need_is_answered_without_a_gpu(recipe: Path, machine: list[Gpu]) -> None:
    machine.clear()
    shown = told(recipe, "--memory")
    assert "TRL on the CPU" in shown and "With Unsloth, padding-free, LoRA r 16." in shown
    row = next(
        line.split() for line in shown.splitlines() if line.split()[:2] == ["4-bit", "offloaded"]
    )
    # nothing on 8 GB, something on 12, more on 16
    assert row[2] == "·" and int(row[4]) > int(row[3]) > 0
    assert "141 here" not in " ".join(shown.split())
    found = json.loads(told(recipe, "--memory", "--json"))
    assert (
        found["cards"]["here"] is None
        and found["choices"] == []
        and sum(found["memory"].values()) > 16e9
    )
    assert {row["base_bits"] for row in found["cards"]["rows"]} == {16, 8, 4}
    (qlora,) = [
        row
        for row in found["cards"]["rows"]
        if (row["base_bits"], row["gradient_checkpointing"]) == (4, "unsloth")
    ]
    assert qlora["largest_micro_batch"]["8 GB"] == 0 < qlora["largest_micro_batch"]["12 GB"]
    assert {"conversations", "length", "peak", "needs"} == set(qlora["batches"][0])


def test_the_card_at_hand_is_one_of_them(recipe: Path) -> None:
    found = json.loads(told(recipe, "--memory", "--json"))
    assert found["cards"]["here"] == H200.total
    assert all(
        row["largest_micro_batch"]["here"] >= row["largest_micro_batch"]["141 GB"]
        for row in found["cards"]["rows"]
    )
    assert found["choices"][0]["verdict"] == "chosen" and found["reasons"]


def test_what_speaks_against_the_plan_is_said_before_the_start(
    recipe: Path, machine: list[Gpu], home: Path
) -> None:
    assert "before you start" not in told(recipe)
    machine.clear()
    line = {
        "messages": [
            {"role": "user", "content": "Hm?"},
            {"role": "assistant", "content": "and " * 5000},
        ]
    }
    (home / "data.jsonl").write_text(json.dumps(line))
    recipe.write_text(
        'model = "llama-8b"\ndata = ["data.jsonl"]\n[train]\nlearning_rate = 1.0\nmax_length ='
        " 8192\n"
    )
    shown = " ".join(told(recipe).split())
    assert (
        "before you start ! train.learning_rate = 1 is above the usual range for LoRA of a model of"
        " 8.0 billion parameters" in shown
    )
    assert "`luthier serve` takes 4,096 on this machine" in shown
    warnings = json.loads(told(recipe, "--json"))["warnings"]
    assert any("learning_rate" in warning for warning in warnings) and any(
        "luthier serve" in warning for warning in warnings
    )


async def test_the_dialog_says_so_too(recipe: Path) -> None:
    recipe.write_text('model = "llama-8b"\ndata = ["data.jsonl"]\n[train]\nlearning_rate = 1.0\n')
    app = LuthierApp()
    async with app.run_test(size=(140, 40)) as pilot:
        await open_plan(pilot, recipe)
        assert "before you start" in screen_text(
            app
        ) and "train.learning_rate = 1 is above" in screen_text(app)


def test_a_model_that_does_not_tell_its_shape_has_no_table(recipe: Path) -> None:
    folders.base_model(models_directory() / "odd")
    recipe.write_text('model = "odd"\ndata = ["data.jsonl"]\n')
    assert "cannot be predicted" in told(recipe, "--memory")


# ---- in the app


async def open_plan(pilot: Pilot[None], recipe: Path) -> RunPlanModal:
    app = await ready(pilot)
    await pilot.press("n")
    assert isinstance(app.screen, NewRunScreen)
    app.screen.form.input("recipe").value = str(recipe)
    await until(pilot, lambda: "whole plan" in screen_text(app) and "memory" in screen_text(app))
    await pilot.press("ctrl+o")
    await until(pilot, lambda: isinstance(app.screen, RunPlanModal))
    await pilot.pause()
    assert isinstance(app.screen, RunPlanModal)
    return app.screen


async def test_the_plan_opens_turns_and_starts_the_run(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Recipe] = []

    def train(recipe: Recipe, run_plan: plan.Plan | None = None) -> Job:
        started.append(recipe)
        return folders.make_job(recipe.name, 1, age=0)

    monkeypatch.setattr("trainer.launch.train", train)
    app = LuthierApp()
    async with app.run_test(size=(140, 40)) as pilot:
        await open_plan(pilot, recipe)
        assert "all kept" in screen_text(app) and "of 150.8 GB at the peak" in screen_text(app)
        await pilot.press("m")
        assert "by the card's GB" in screen_text(app) and "here" in screen_text(app)
        await pilot.press("m", "escape")
        await until(pilot, lambda: isinstance(app.screen, NewRunScreen))
        assert not started
        await open_plan_again(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
    assert [one.name for one in started] == ["captain"]


async def open_plan_again(pilot: Pilot[None]) -> None:
    await pilot.press("ctrl+o")
    await until(pilot, lambda: isinstance(pilot.app.screen, RunPlanModal))


async def test_a_plan_that_cannot_be_made_leaves_the_form_and_says_why(recipe: Path) -> None:
    recipe.write_text('model = "none"\ndata = ["data.jsonl"]\n')
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("n")
        assert isinstance(app.screen, NewRunScreen)
        app.screen.form.input("recipe").value = str(recipe)
        await until(pilot, lambda: "No such model" in screen_text(app))
        assert app.screen.form.wrong == ["model"]


async def test_the_keys_stay_in_sight(recipe: Path) -> None:
    app = LuthierApp()
    async with app.run_test(size=(80, 40)) as pilot:
        await open_plan(pilot, recipe)
        for height in (40, 36, 30, 24):
            await pilot.resize_terminal(80, height)
            await pilot.pause()
            text = screen_text(app)
            assert "esc close" in text and ("recomputed" in text) == (height == 40)
            await pilot.press("pagedown", "pagedown")
            assert "fewer bits" in screen_text(app) and "esc close" in screen_text(app)
            await pilot.press("home")


@pytest.mark.parametrize("size", [(80, 24), (140, 40)], ids=["80x24", "140x40"])
@pytest.mark.parametrize(
    "view",
    ["plan", *(pytest.param(view, marks=pytest.mark.heavy) for view in ("cards", "measured"))],
)
def test_picture(
    recipe: Path,
    snap_compare: Callable[..., bool],
    monkeypatch: pytest.MonkeyPatch,
    view: str,
    size: tuple[int, int],
) -> None:
    if view == "measured":
        with_figures(recipe, monkeypatch)

    async def prepare(pilot: Pilot[None]) -> None:
        app = await ready(pilot)
        app.push_screen(RunPlanModal(load(recipe), plan.make_plan(load(recipe))))
        await until(pilot, lambda: "esc close" in screen_text(app))
        if view == "measured":
            await pilot.press("pagedown", "pagedown")
        if view == "cards":
            await pilot.press("m")

    assert snap_compare(LuthierApp(), terminal_size=size, run_before=prepare)


def test_the_command_plans_a_run_of_the_built_in_model_before_it_is_prepared(home: Path) -> None:
    row = (
        '{"messages": [{"role": "user", "content": "Hm?"}, {"role": "assistant", "content": "A."}]}'
    )
    data = home / "mine.jsonl"
    data.write_text(f"{row}\n" * 40)
    result = CliRunner().invoke(plan_command, [str(data)])
    assert result.exit_code == 0, result.output
    assert "hot-loaded" in result.output
