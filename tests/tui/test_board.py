"""The board, and what is said of the machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from jobs.job import Job
from jobs.machine import GpuLoad, Machine, Meter
from tests.tui import folders
from tests.tui.certificates import certified
from tests.tui.driving import ready, screen_text, until
from tui.app import LuthierApp
from tui.board.lists import ended_lines, queue_lines
from tui.board.screen import BoardScreen
from tui.runs.run_screen import RunScreen
from tui.runs.run_view import RunView
from tui.screens import TABS
from tui.shared.machine_text import machine_lines, strain
from workshop import number_format
from workshop.job_list import read_rows

MACHINE = Machine(2.0, 0.42, 20_000_000_000, 25_000_000_000, 10 << 30, 100 << 30, 0.5)
GPU = GpuLoad(0, "NVIDIA H200", 0.97, 61 << 30, 141 << 30, 412.3, 700.0, 64.0)


def test_the_machine_is_told_in_steps() -> None:
    lines = [line.plain for line in machine_lines(MACHINE, [GPU], 60)]
    assert lines == [line.plain for line in machine_lines(replace(MACHINE, cpu=0.39), [GPU], 60)]
    assert "40 % of 2 cores" in lines[0] and "20.0 of 25.0 GB" in lines[1]
    assert "96.6 GB free" in lines[2] and "95 % of H200" in lines[3]
    assert "410 of 700 W, 64 °C" in lines[4]
    quiet = replace(GPU, busy=None, watts=None)
    text = "\n".join(line.plain for line in machine_lines(replace(MACHINE, cpu=None), [quiet], 60))
    assert "W" not in text and "cores" not in text
    assert all(line.cell_length <= 20 for line in machine_lines(MACHINE, [GPU], 20))


def test_the_bars_of_the_machine_are_equally_long() -> None:
    lines = [line.plain for line in machine_lines(MACHINE, [GPU], 120)]
    assert len({line.rindex("━") + line[line.rindex("━") :].count("─") for line in lines}) == 1
    assert max(len(line) for line in lines) == 120


def test_a_starved_machine_is_said_to_be_so() -> None:
    assert not strain(MACHINE, narrow=False)
    starved = replace(MACHINE, load=5.2, memory_used=24_000_000_000)
    assert strain(starved, narrow=False).plain == "! load 5 on 2 cores, 1.0 GB memory free"


def test_the_meter_tells_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # conftest's own machine
    meter = Meter()
    sum(number * number for number in range(300_000))
    machine = meter.read()
    assert machine.cores >= 1 and machine.memory_total > 1 << 28
    assert machine.cpu is None or 0 <= machine.cpu <= 1
    assert machine.memory_used is None or 0 < machine.memory_used < machine.memory_total


def test_gpus_that_tell_little_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from jobs.machine import gpu_loads

    program = tmp_path / "nvidia-smi"
    program.write_text(
        "#!/bin/sh\necho '0, NVIDIA H200, 97, 62464, 144384, 412.31, 700.00, 64'\n"
        "echo '1, Old, [N/A], 10, 100, [Not Supported], [N/A], 40'\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    first, second = gpu_loads()
    assert (first.busy, first.watts, first.memory_used) == (0.97, 412.31, 62464 << 20)
    assert (second.busy, second.watts, second.most_watts) == (None, None, None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert [gpu.name for gpu in gpu_loads()] == ["Old"]


@pytest.mark.parametrize("width", [36, 60, 100])
def test_no_line_is_longer_than_its_panel(jobs_by_name: dict[str, Job], width: int) -> None:
    rows = read_rows({})
    for lines in (queue_lines(rows, width, 3), ended_lines(rows, width, 9)):
        assert all(line.cell_length <= width for line in lines)
    assert "and 2 more" in queue_lines(rows, width, 3)[-1].plain
    assert "Nothing runs" in queue_lines([], width, 3)[0].plain


async def test_the_board_draws_the_run_that_goes_on_and_opens_it(
    jobs_by_name: dict[str, Job],
) -> None:
    app = LuthierApp("board")
    async with app.run_test(size=(140, 40)) as pilot:
        await ready(pilot)
        screen = app.screen
        assert isinstance(screen, BoardScreen) and screen.run is not None
        assert screen.run.name == "pirate"
        await until(pilot, lambda: "loss of pirate" in screen_text(app))
        text = screen_text(app)
        assert "40 % of 2 cores" in text and "captain-server" in text and "340/800" in text
        await pilot.press("tab")
        assert screen.query_one(RunView).tracks[0].job.spec.name != "pirate"
        await pilot.press("enter")
        assert isinstance(app.screen, RunScreen)


async def test_figures_that_have_no_room_are_followed(
    jobs_by_name: dict[str, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = LuthierApp("board")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await until(pilot, lambda: app.screen.query_one(RunView).record.has_points)
        assert isinstance(app.screen, BoardScreen)
        monkeypatch.setattr(number_format, "now", lambda: folders.NOW + 5)
        app.screen.advance()
        await pilot.resize_terminal(140, 40)
        await until(pilot, lambda: "10 m 04 s" in screen_text(app))


async def test_an_empty_home_has_a_board_too(home: Path) -> None:
    app = LuthierApp("board")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        text = screen_text(app)
        assert "Nothing runs, nothing waits." in text and "No server runs." in text
        await pilot.press("enter", "tab", "v")
        assert app.current_mode == "serve"


@pytest.mark.heavy
@pytest.mark.parametrize("width", [60, 80, 100, 120, 140, 200])
async def test_the_header_has_room_for_the_state_and_names_its_screen(
    jobs_by_name: dict[str, Job], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    starved = replace(MACHINE, load=5.0)
    monkeypatch.setattr(Meter, "read", lambda meter: starved)
    app = LuthierApp("board")
    async with app.run_test(size=(width, 24)) as pilot:
        await ready(pilot)
        header = screen_text(app).splitlines()[0]
        state = "serving captain-server" if width == 200 else "serving"
        assert "◆ Luthier" in header and "7 Board" in header and "! load 5" in header
        assert header.rstrip().endswith(state)
        names = [each.title for each in TABS if f" {each.title} " in header]
        assert len(names) == len(TABS) or width < 140
        # from the last one on they are shortened
        others = [name for name in names if name != "Board"]
        assert others == [each.title for each in TABS if each.title != "Board"][: len(others)]
        for _ in range(2):  # a narrower window, and back
            await pilot.resize_terminal(70, 24)
            assert "7 Board" in screen_text(app).splitlines()[0]
            await pilot.resize_terminal(width, 24)
            await pilot.pause()
        assert screen_text(app).splitlines()[0] == header


def test_a_done_run_shows_its_verdict_where_its_loss_has_no_room(
    jobs_by_name: dict[str, Job],
) -> None:
    certified(jobs_by_name["captain"])
    (row,) = [row for row in read_rows({}) if row.name == "captain"]
    widths = {width: str(ended_lines([row], width, 3)[0]) for width in (80, 46)}
    assert "✓ green  eval loss 1." in widths[80]
    assert "✓ green" in widths[46] and "eval" not in widths[46] and "…" not in widths[46]
