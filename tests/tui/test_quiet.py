"""What is polled is painted only where it has changed."""

from __future__ import annotations

import pytest
from textual.content import Content
from textual.geometry import Region

from jobs.job import Job
from serve.metrics import look
from tests.fakes.openai_server import IDLE_METRICS
from tests.tui import folders
from tests.tui.driving import ready, until
from tui.app import LuthierApp
from tui.serve.live_panel import IDLE_TICKS, LivePanel, Looked
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


async def look_again(app: LuthierApp, pilot: object) -> None:
    rows = app.rows
    app.read_jobs()
    await until(pilot, lambda: app.rows is not rows)  # type: ignore[arg-type]
    for _ in range(3):
        await pilot.pause()  # type: ignore[attr-defined]


@pytest.mark.parametrize("place", ["runs", "models", "serve"])
async def test_a_look_that_finds_nothing_new_paints_nothing(
    place: str, made: dict[str, Job], monkeypatch: pytest.MonkeyPatch
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
    made: dict[str, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = LuthierApp()
    async with app.run_test(size=(100, 24)) as pilot:
        await ready(pilot)
        table = app.screen.query_one("#jobs", RowTable)
        painted = Painted(app, monkeypatch)
        folders.steps(made["halting"], 30, 100, ago=30)
        folders.write(made["pirate"], folders.event("step", 1, step=345, total=800, loss=0.5))
        await look_again(app, pilot)
        index = table.options.get_option_index(made["pirate"].id)
        assert {region.height for region in painted.regions} == {1}
        assert table.options.region.y + index in {region.y for region in painted.regions}
        assert "345/800" in str(table.options.get_option_at_index(index).prompt)


async def test_an_age_is_painted_when_its_words_change(
    made: dict[str, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = LuthierApp()
    async with app.run_test(size=(100, 24)) as pilot:
        await ready(pilot)
        table = app.screen.query_one("#jobs", RowTable)
        line = table.options.region.y + table.options.get_option_index(made["captain"].id)
        painted = Painted(app, monkeypatch)
        monkeypatch.setattr(number_format, "now", lambda: folders.NOW + 2)
        await look_again(app, pilot)
        assert line not in {region.y for region in painted.regions}
        monkeypatch.setattr(number_format, "now", lambda: folders.NOW + 3600)
        await look_again(app, pilot)
        assert line in {region.y for region in painted.regions}


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
    made: dict[str, Job], monkeypatch: pytest.MonkeyPatch
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
