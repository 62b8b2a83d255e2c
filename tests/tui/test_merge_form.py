"""Merging from the Models screen: what is said before, what is refused, how far it is, and how it
is stopped."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Select

from jobs import job as jobs
from jobs.home import models_directory
from jobs.job import Job
from jobs.spec import Spec
from models.merge import launch
from tests.models.merge.headers import write_adapter, write_base
from tests.tui import folders
from tests.tui.driving import lines_of, ready, text_of, until
from tests.tui.lock_holder import held
from tui.app import LuthierApp
from tui.models.merge_form import MergeModal
from tui.models.screen import ModelsScreen
from tui.shared.confirm_modal import ConfirmModal
from tui.shared.row_table import RowTable

Compare = Callable[..., bool]
GIGABYTES_FREE = 40


@pytest.fixture(autouse=True)
def disk(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A disk whose free bytes are the last of these."""
    free = [GIGABYTES_FREE * 10**9]
    monkeypatch.setattr(
        shutil,
        "disk_usage",
        lambda folder: shutil._ntuple_diskusage(10**12, 10**12 - free[-1], free[-1]),
    )
    return free


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, jobs_by_name: dict[str, Job]) -> list[Spec]:
    """The jobs that would have been started."""
    specs: list[Spec] = []

    def submit(spec: Spec) -> Job:
        specs.append(spec)
        return jobs_by_name["builtin"]

    monkeypatch.setattr(launch, "submit", submit)
    return specs


def sound(jobs_by_name: dict[str, Job], bits: int = 16, **config: Any) -> Job:
    """The base and the run captain as they are on a disk, small."""
    shutil.rmtree(models_directory() / "builtin")
    base = write_base(models_directory() / "builtin")
    (base / "tokenizer.json").write_text("{}")
    (base / "card.json").write_text(json.dumps({"source": "hub:acme/base"}))  # as the adapter says
    run = jobs_by_name["captain"]
    shutil.rmtree(run.directory / "adapter")
    write_adapter(run.directory / "adapter", **config)
    (run.directory / "adapter" / "card.json").write_text(
        json.dumps({"base_bits": bits, "stop_ids": [2]})
    )
    set_spec(run, settings={"model": "builtin", "model_directory": str(base), "slots": []})
    return run


def set_spec(job: Job, **values: Any) -> None:
    path = job.directory / "spec.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


async def test_an_adapter_that_says_it_is_of_another_base_is_noted(
    jobs_by_name: dict[str, Job],
) -> None:
    run = sound(jobs_by_name, base_model_name_or_path="acme/Other-1B")
    async with LuthierApp("models").run_test(size=(140, 40)) as pilot:
        form = await opened(pilot, run.id)
        await until(pilot, lambda: bool(outlook(form)))
        assert "names acme/Other-1B as its base, not" in outlook(form)


async def opened(pilot: Pilot[None], name: str) -> MergeModal:
    """The form for the model of that name."""
    app = await ready(pilot)
    screen = app.screen
    assert isinstance(screen, ModelsScreen)
    await until(pilot, lambda: any(model.name == name for model in screen.models))
    await pilot.pause()
    screen.query_one("#models", RowTable).highlight(name)
    await pilot.pause()
    await pilot.press("m")
    assert isinstance(app.screen, MergeModal)
    return app.screen


def outlook(form: MergeModal) -> str:
    return " ".join(text_of(form.app, "#merge-outlook").split())


def problem(form: MergeModal) -> str:
    return " ".join(text_of(form.app, "#form-error").split())


def choose(form: MergeModal, key: str, value: object) -> None:
    form.query_one(f"#merge-{key}", Select).value = value


async def test_it_says_what_it_writes_and_merges_into_the_runs_folder(
    jobs_by_name: dict[str, Job], asked: list[Spec]
) -> None:
    run = sound(jobs_by_name)
    app = LuthierApp("models")
    async with app.run_test(size=(80, 24)) as pilot:
        form = await opened(pilot, run.id)
        await until(pilot, lambda: bool(outlook(form)))
        assert outlook(form) == f"Writes 2 kB to /home/luthier/{run.id}/merged; 40.0 GB are free."
        assert not form.query("#merge-into")  # it was not trained beside 4-bit values
        choose(form, "dtype", "bfloat16")
        await until(pilot, lambda: outlook(form).startswith("Writes 872 B"))
        await pilot.press("ctrl+s")
        await until(pilot, lambda: app.screen is not form)
    (spec,) = asked
    assert (spec.kind, spec.name, spec.then) == ("merge", "merge-captain", [])
    merge = launch.MergeSettings(**spec.settings)
    assert (merge.run, merge.out, merge.dtype, merge.replace) == (
        run.id,
        str(run.directory / "merged"),
        "bfloat16",
        False,
    )


async def test_a_certified_run_is_certified_anew_and_the_model_may_have_a_name(
    jobs_by_name: dict[str, Job], asked: list[Spec]
) -> None:
    run = sound(jobs_by_name)
    set_spec(run, then=[{"kind": "certify", "name": "c", "module": "m"}])
    app = LuthierApp("models")
    async with app.run_test(size=(80, 24)) as pilot:
        form = await opened(pilot, run.id)
        form.field("name").query_one(Input).value = "pirates/all"
        await until(pilot, lambda: "cannot be the name of a model" in problem(form))
        form.field("name").query_one(Input).value = "sailor"
        await until(pilot, lambda: bool(outlook(form)))
        assert "/home/luthier/models/sailor" in outlook(form) and outlook(form).endswith(
            "Then the run is certified again."
        )
        assert problem(form) == ""
        await pilot.press("ctrl+s")
        await until(pilot, lambda: app.screen is not form)
    assert (
        asked[0].settings["out"] == str(models_directory() / "sailor") and len(asked[0].then) == 1
    )


async def test_what_is_there_stays_unless_it_is_to_be_replaced(
    jobs_by_name: dict[str, Job], asked: list[Spec]
) -> None:
    run = sound(jobs_by_name)
    folders.base_model(run.directory / "merged")
    app = LuthierApp("models")
    async with app.run_test(size=(80, 24)) as pilot:
        form = await opened(pilot, run.id)
        await until(pilot, lambda: "Something is already there." in problem(form))
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "Something is already there." in problem(form))
        assert app.screen is form and asked == []
        choose(form, "replace", True)
        await until(pilot, lambda: bool(outlook(form)) and problem(form) == "")
        await pilot.press("ctrl+s")
        await until(pilot, lambda: app.screen is not form)
    assert asked[0].settings["replace"] is True


async def test_of_a_base_of_4_bits_it_asks_into_what(
    jobs_by_name: dict[str, Job], asked: list[Spec]
) -> None:
    run = sound(jobs_by_name, bits=4)
    app = LuthierApp("models")
    async with app.run_test(size=(80, 24)) as pilot:
        form = await opened(pilot, run.id)
        await until(pilot, lambda: bool(outlook(form)))
        choose(form, "into", "closer")
        await until(pilot, lambda: "There are no held-out turns" in problem(form))
        (run.directory / "data").mkdir()
        (run.directory / "data" / "heldout.jsonl").touch()
        choose(form, "into", "dequantised")
        await until(pilot, lambda: bool(outlook(form)))
        choose(form, "into", "closer")
        await until(pilot, lambda: "While both are measured they take" in outlook(form))
        await pilot.press("ctrl+s")
        await until(pilot, lambda: app.screen is not form)
    assert asked[0].settings["into"] == "closer"


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda run, disk: disk.append(10**6), "Not enough disk space. The merge takes 0.1 GB"),
        (
            lambda run, disk: write_base(
                models_directory() / "builtin", quantization_config={"quant_method": "gptq"}
            ),
            "The base is quantised.",
        ),
        (
            lambda run, disk: (models_directory() / "builtin" / "config.json").unlink(),
            "The base model is not here. captain was trained on",
        ),
        (
            lambda run, disk: write_adapter(run.directory / "adapter", init_lora_weights="pissa"),
            "init_lora_weights",
        ),
        (
            lambda run, disk: write_adapter(run.directory / "adapter", use_dora=True),
            "contradicts the magnitude vectors",
        ),
    ],
    ids=["no room", "quantised", "no base", "pissa", "damaged"],
)
async def test_what_cannot_be_merged_is_refused_in_the_form(
    jobs_by_name: dict[str, Job],
    asked: list[Spec],
    disk: list[int],
    spoil: Callable[[Job, list[int]], object],
    told: str,
) -> None:
    run = sound(jobs_by_name)
    spoil(run, disk)
    app = LuthierApp("models")
    async with app.run_test(size=(80, 24)) as pilot:
        form = await opened(pilot, run.id)
        await until(pilot, lambda: told in problem(form))
        assert outlook(form) == ""
        await pilot.press("ctrl+s")
        await pilot.pause()
        await until(pilot, lambda: told in problem(form))
        assert app.screen is form and asked == []


async def test_an_imported_adapter_gets_a_name_among_the_models(
    jobs_by_name: dict[str, Job], asked: list[Spec]
) -> None:
    sound(jobs_by_name)
    write_adapter(models_directory() / "parrot", base_model_name_or_path="org/builtin")
    (models_directory() / "builtin" / "card.json").write_text(
        json.dumps({"repository": "org/builtin", "source": "hub:org/builtin"})
    )
    app = LuthierApp("models")
    async with app.run_test(size=(80, 24)) as pilot:
        form = await opened(pilot, "parrot")
        assert form.field("name").value == "parrot-merged"
        await until(pilot, lambda: bool(outlook(form)))
        await pilot.press("ctrl+s")
        await until(pilot, lambda: app.screen is not form)
    settings = asked[0].settings
    assert (settings["base"], settings["adapter"], settings["run"]) == (
        str(models_directory() / "builtin"),
        str(models_directory() / "parrot"),
        None,
    )


def under_way(jobs_by_name: dict[str, Job], ago: float = 20) -> Job:
    """A merge of the run captain, half-way."""
    run = jobs_by_name["captain"]
    job = folders.make_job("merge-captain", 11, ago, kind="merge")
    settings = {
        "base": str(models_directory() / "builtin"),
        "adapter": f"{run.directory}/adapter",
        "run": run.id,
    }
    set_spec(job, settings={**settings, "out": f"{run.directory}/merged"})
    folders.begin(job, ago)
    folders.write(
        job,
        folders.event(
            "phase", 1, name="merging", done=134_500_000, total=269_000_000, unit="bytes"
        ),
    )
    return job


async def test_a_merge_is_seen_on_its_way_and_stopped(
    jobs_by_name: dict[str, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped: list[str] = []
    monkeypatch.setattr(jobs, "stop", lambda job, now=False: stopped.append(job.id))
    job = under_way(jobs_by_name)
    with held(job):
        app = LuthierApp("models")
        async with app.run_test(size=(80, 24)) as pilot:
            await ready(pilot)
            screen = app.screen
            assert isinstance(screen, ModelsScreen)
            await until(pilot, lambda: bool(screen.arriving))
            await pilot.pause()
            assert [
                " ".join(line.split()) for line in lines_of(screen.query_one("#models", RowTable))
            ][-1] == ("merge-captain builtin + captain ◔ 50%")
            # of a model that is whole there is nothing to stop
            assert screen.check_action("stop", ()) is False
            await pilot.press("end")
            detail = " ".join(text_of(app, "ModelDetail Static").split())
            assert (
                "now merging" in detail
                and "134.5 MB of 269.0 MB" in detail
                and "s stops it" in detail
            )
            assert screen.check_action("merge", ()) is False
            await pilot.press("s")
            assert isinstance(app.screen, ConfirmModal) and "merge-captain" in app.screen.question
            await pilot.press("y")
            await until(pilot, lambda: stopped == [job.id])


@pytest.mark.parametrize("size", [(80, 24), (140, 40)], ids=["80x24", "140x40"])
def test_picture(
    jobs_by_name: dict[str, Job], snap_compare: Compare, size: tuple[int, int]
) -> None:
    run = sound(jobs_by_name, bits=4)
    set_spec(run, then=[{"kind": "certify", "name": "c", "module": "m"}])

    async def prepare(pilot: Pilot[None]) -> None:
        form = await opened(pilot, run.id)
        await until(pilot, lambda: bool(outlook(form)))

    assert snap_compare(LuthierApp("models"), terminal_size=size, run_before=prepare)
