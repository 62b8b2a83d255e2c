"""What is polled is painted only where it has changed."""

from __future__ import annotations

import pytest
from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.content import Content
from textual.geometry import Region
from textual.pilot import Pilot
from textual.strip import Strip

from jobs.job import Job
from serve.metrics import look
from tests.fakes.openai_server import IDLE_METRICS
from tests.tui import folders
from tests.tui.driving import ready, screen_text, until
from tests.tui.lock_holder import held
from tui.app import LuthierApp
from tui.serve.live_panel import IDLE_TICKS, LivePanel, Looked
from tui.shared.changed_cells import changed_cells
from tui.shared.row_table import RowTable
from tui.shared.steady_text import SteadyText
from workshop import number_format

SIZE = (100, 40)


class Painted:
    """The regions of the screen that are painted from now on."""

    def __init__(self, app: LuthierApp, monkeypatch: pytest.MonkeyPatch) -> None:
        self.regions: list[Region] = []
        compositor = app.screen._compositor
        update_widgets, reflow = compositor.update_widgets, compositor.reflow

        def updated(widgets: set[object]) -> None:
            update_widgets(widgets)  # type: ignore[arg-type]
            self.regions += compositor._dirty_regions

        def reflowed(*arguments: object, **options: object) -> object:
            self.regions.append(Region(0, 0, *SIZE))
            return reflow(*arguments, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(compositor, "update_widgets", updated)
        monkeypatch.setattr(compositor, "reflow", reflowed)

    async def once_any(self, pilot: Pilot[None]) -> list[Region]:
        """A text is on the screen before the screen's timer paints it."""
        await until(pilot, lambda: bool(self.regions))
        return self.regions


async def look_again(app: LuthierApp, pilot: Pilot[None]) -> None:
    rows = app.rows
    app.read_jobs()
    await until(pilot, lambda: app.rows is not rows)
    for _ in range(3):
        await pilot.pause()


@pytest.mark.parametrize("place", ["runs", "models", "serve"])
async def test_a_look_that_finds_nothing_new_paints_nothing(
    place: str, jobs_by_name: dict[str, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = LuthierApp(place)
    async with app.run_test(size=SIZE) as pilot:
        await ready(pilot)
        await look_again(app, pilot)
        painted = Painted(app, monkeypatch)
        await look_again(app, pilot)
        assert painted.regions == []


@pytest.mark.parametrize("place", ["runs", "models", "serve"])
async def test_an_empty_home_paints_nothing_again(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = LuthierApp(place)
    async with app.run_test(size=SIZE) as pilot:
        await ready(pilot)
        await look_again(app, pilot)
        painted = Painted(app, monkeypatch)
        await look_again(app, pilot)
        assert painted.regions == []


async def test_a_row_that_changes_is_painted_alone(
    jobs_by_name: dict[str, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = LuthierApp()
    async with app.run_test(size=(100, 24)) as pilot:
        await ready(pilot)
        table = app.screen.query_one("#jobs", RowTable)
        painted = Painted(app, monkeypatch)
        folders.steps(jobs_by_name["halting"], 30, 100, ago=30)
        folders.write(
            jobs_by_name["pirate"], folders.event("step", 1, step=345, total=800, loss=0.5)
        )
        await look_again(app, pilot)
        index = table.options.get_option_index(jobs_by_name["pirate"].id)
        line = table.options.region.y + index
        await until(pilot, lambda: line in {region.y for region in painted.regions})
        assert {region.height for region in painted.regions} == {1}
        assert "345/800" in str(table.options.get_option_at_index(index).prompt)


async def test_an_age_is_painted_when_its_words_change(
    jobs_by_name: dict[str, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = LuthierApp()
    async with app.run_test(size=(100, 24)) as pilot:
        await ready(pilot)
        table = app.screen.query_one("#jobs", RowTable)
        line = table.options.region.y + table.options.get_option_index(jobs_by_name["captain"].id)
        painted = Painted(app, monkeypatch)
        monkeypatch.setattr(number_format, "now", lambda: folders.NOW + 2)
        await look_again(app, pilot)
        assert line not in {region.y for region in painted.regions}
        monkeypatch.setattr(number_format, "now", lambda: folders.NOW + 3600)
        await look_again(app, pilot)
        await until(pilot, lambda: line in {region.y for region in painted.regions})


@pytest.mark.parametrize("screen", ["chat", "serve"])
async def test_of_a_server_that_starts_only_the_seconds_are_painted(
    screen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = folders.make_job("captain", 1, age=100, kind="server")
    folders.begin(job, 100)
    folders.write(job, folders.event("phase", 95, name="loading the weights"))
    with held(job):
        app = LuthierApp(screen)
        async with app.run_test(size=SIZE) as pilot:
            await ready(pilot)
            await until(pilot, lambda: "loading the weights" in screen_text(app))
            await look_again(app, pilot)
            painted = Painted(app, monkeypatch)
            monkeypatch.setattr(number_format, "now", lambda: folders.NOW + 1)
            await look_again(app, pilot)
            assert all(region.area < 10 for region in await painted.once_any(pilot))


async def test_of_a_look_at_data_only_what_moves_is_painted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = folders.make_job("rows", 1, age=100, kind="inspect")
    folders.orders(job, {"sources": ["rows.jsonl"]})
    folders.begin(job, 100)
    folders.write(job, folders.event("phase", 95, name="tokenising"))
    with held(job):
        app = LuthierApp("data")
        async with app.run_test(size=SIZE) as pilot:
            await ready(pilot)
            folders.write(job, folders.event("step", 50, step=20, total=100))
            await until(pilot, lambda: "20 %" in screen_text(app))
            await look_again(app, pilot)
            painted = Painted(app, monkeypatch)
            await look_again(app, pilot)
            assert painted.regions == []
            folders.write(job, folders.event("step", 40, step=21, total=100))
            await until(pilot, lambda: "21 %" in screen_text(app))
            assert {region.height for region in await painted.once_any(pilot)} == {1}


@pytest.mark.parametrize(
    ("before", "after", "cells"),
    [
        ("1 m 09 s", "1 m 10 s", (4, 2)),
        ("1 m 09 s", "1 m 09 s", None),
        ("9 s", "10 s", (0, 4)),  # all behind it has moved
        ("日 1", "日 2", (0, 4)),  # half a wide character cannot be painted
    ],
)
def test_the_cells_that_change(before: str, after: str, cells: tuple[int, int] | None) -> None:
    region = changed_cells(Strip([Segment(before)]), Strip([Segment(after)]), 3)
    assert region == (None if cells is None else Region(cells[0], 3, cells[1], 1))


def test_a_colour_that_changes_is_painted() -> None:
    red, green = Style(color="red"), Style(color="green")
    before = Strip([Segment("run "), Segment("failed", red)])
    after = Strip([Segment("run "), Segment("fail", red), Segment("ed", green)])
    assert changed_cells(before, after, 0) == Region(8, 0, 2, 1)


def cells(app: LuthierApp) -> list[list[tuple[str, Style | None]]]:
    """The screen's rows, as a terminal has them once all is painted: the second cell of a wide
    character is empty."""
    return [
        [
            (part, segment.style)
            for segment in strip
            for character in segment.text
            for part in (character, *[""] * (cell_len(character) - 1))
        ]
        for strip in app.screen._compositor.render_strips()
    ]


async def test_a_text_in_the_middle_is_painted_where_it_changes_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a terminal shows that paints only these regions is the whole new text."""
    app = LuthierApp()
    async with app.run_test(size=SIZE) as pilot:
        await ready(pilot)
        text = SteadyText(Content("one\ntwo"), classes="empty")
        await app.screen.mount(text)
        text.styles.height = 12
        await pilot.pause()
        painted = Painted(app, monkeypatch)
        terminal = cells(app)
        for changed in ("one\ntwo.", "one\ntwelve", "three\ntwo\nthree", "日\ntwo\nthree", "two"):
            painted.regions.clear()
            text.update(Content(changed))
            regions = await painted.once_any(pilot)
            await pilot.pause()
            screen = cells(app)
            for region in regions:
                for y in region.line_range:
                    for x in region.column_range:
                        terminal[y][x] = screen[y][x]
            assert terminal == screen, changed
            assert all(region.height == 1 for region in regions)


async def test_a_text_is_the_same_only_with_its_colours() -> None:
    app = LuthierApp()
    async with app.run_test(size=SIZE) as pilot:
        await ready(pilot)
        text = SteadyText(Content.styled("one", "$error"))
        await app.screen.mount(text)
        text.update(Content.styled("one", "$success"))
        shown = text.content
        assert isinstance(shown, Content) and shown.spans[0].style == "$success"
        text.update(Content.styled("one", "$success"))
        assert text.content is shown


async def test_an_idle_server_is_asked_less_often(
    jobs_by_name: dict[str, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    async def metrics(endpoint: object, seconds: float) -> str:
        asked.append(len(asked))
        return IDLE_METRICS

    monkeypatch.setattr("tui.serve.live_panel.metrics_text", metrics)
    monkeypatch.setattr("tui.serve.live_panel.SECONDS", 3600.0)
    app = LuthierApp("serve")
    async with app.run_test(size=SIZE) as pilot:
        await ready(pilot)
        panel = app.screen.query_one(LivePanel)
        await until(pilot, lambda: panel.display and len(asked) == 1)
        endpoint = panel._endpoint
        assert endpoint is not None
        for at in (1.0, 2.0):
            panel.post_message(Looked(endpoint, look(IDLE_METRICS, at)))
            await pilot.pause()
        for _ in range(IDLE_TICKS - 1):
            panel.tick()
        assert not panel._asking
        panel.tick()
        assert panel._asking
        await until(pilot, lambda: len(asked) == 2)
        busy = IDLE_METRICS.replace(
            'generation_tokens_total{engine="0",model_name="base"} 0.0',
            'generation_tokens_total{engine="0",model_name="base"} 9.0',
        )
        await until(pilot, lambda: not panel._asking)
        panel.post_message(Looked(endpoint, look(busy, 1e9)))
        await pilot.pause()
        panel.tick()
        assert panel._asking
