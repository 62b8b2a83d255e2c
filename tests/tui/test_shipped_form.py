"""The dialog that certifies an export of a run's model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from jobs.job import Job
from jobs.spec import Spec
from models import chapters
from tests.tui import folders
from tests.tui.certificates import chapter
from tests.tui.driving import ready, screen_text, until
from tui.app import LuthierApp
from tui.shared.shipped_form import ShippedForm


def export(run: Job, out: Path, number: int = 30, **settings: Any) -> Job:
    """A GGUF file of the run's merged model, and the job that wrote it."""
    out.write_bytes(b"GGUF")
    job = folders.make_job(f"q8-0-{number}", number, age=100, kind="export")
    order = {"model": str(run.directory / "merged"), "out": str(out), "form": "gguf:q8_0"}
    order["name"] = f"{run.spec.name}/merged"
    Spec(
        "export", job.spec.name, "models.conversion_worker", settings={**order, **settings}
    ).replace(job.directory)
    folders.begin(job, 100)
    folders.write(
        job,
        folders.event("result", 90, path=str(out), bytes=4),
        folders.event("exited", 90, code=0, stopped=False, swept=0),
    )
    return job


async def open_form(pilot: Pilot[None], *moves: str) -> ShippedForm:
    app = await ready(pilot)
    app.open_run(next(row.job for row in app.rows or [] if row.name == "captain"))
    await until(pilot, lambda: "t certificate" in screen_text(app))
    await pilot.press("t")
    await until(pilot, lambda: "shipped" in screen_text(app))
    await pilot.press(*moves, "s")
    await until(pilot, lambda: isinstance(app.screen, ShippedForm))
    await pilot.pause()
    form = app.screen
    assert isinstance(form, ShippedForm)
    return form


async def test_the_newest_export_is_filled_in_and_certified(
    jobs_by_name: dict[str, Job], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders: list[Spec] = []
    folders.orders(jobs_by_name["captain"], {"model": "builtin", "slots": ["cpu"]})

    def submitted(spec: Spec) -> Job:
        orders.append(spec)
        return jobs_by_name["captain"]

    monkeypatch.setattr("serve.shipped.launch.submit", submitted)
    export(jobs_by_name["captain"], home / "captain.gguf", 30)
    export(jobs_by_name["captain"], home / "adapter.gguf", 31, what="adapter")
    export(jobs_by_name["captain"], home / "gone.gguf", 32)
    (home / "gone.gguf").unlink()
    async with LuthierApp().run_test(size=(80, 24)) as pilot:
        form = await open_form(pilot)
        assert form.field("shipped").value == str(home / "captain.gguf")
        await pilot.press("enter")
        await until(pilot, lambda: bool(orders))
    assert orders[0].module == "serve.shipped.worker"
    assert orders[0].settings["shipped"] == str(home / "captain.gguf")
    assert orders[0].settings["kind"] == "gguf"
    assert orders[0].settings["run"] == str(jobs_by_name["captain"].directory)


async def test_what_was_certified_is_filled_in_to_be_certified_again(
    jobs_by_name: dict[str, Job], home: Path
) -> None:
    run, address = jobs_by_name["captain"], "http://localhost:9999/v1"
    export(run, home / "captain.gguf", 30)
    job = folders.make_job("captain-shipped", 31, age=100, kind="certify")
    order = {"run": str(run.directory), "model": "builtin", "shipped": address, "kind": "server"}
    folders.orders(job, order | {"served_model": "mine", "key_env": "MY_KEY"})
    of_server = replace(chapter("shipped", "green"), subject=address, job=job.id)
    chapters.write(run.directory, of_server)
    async with LuthierApp().run_test(size=(80, 24)) as pilot:
        form = await open_form(pilot, "down")
        values = [form.field(key).value for key in ("shipped", "model", "key")]
        assert values == [address, "mine", "MY_KEY"]


async def test_what_cannot_be_certified_is_refused_in_the_form(
    jobs_by_name: dict[str, Job],
) -> None:
    async with LuthierApp().run_test(size=(80, 24)) as pilot:
        form = await open_form(pilot)
        assert form.field("shipped").value == ""
        await pilot.press("enter")
        await until(pilot, lambda: "needed: a file, a folder" in screen_text(pilot.app))
        form.field("shipped").query_one(Input).value = "/nowhere/captain.gguf"
        await pilot.press("enter")
        await until(pilot, lambda: "Nothing there." in screen_text(pilot.app))
