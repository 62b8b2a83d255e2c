"""What tests of screens do again and again."""

from __future__ import annotations

from collections.abc import Callable

from textual.app import App
from textual.pilot import Pilot
from textual.widget import Widget
from textual.widgets import OptionList, Static

from tui.app import LuthierApp
from tui.shared.row_table import RowTable


async def until(pilot: Pilot[None], true: Callable[[], bool]) -> None:
    """Wait until something has become so; the test's own time limit ends a wait in vain."""
    while not true():
        await pilot.pause(0.02)


async def ready(pilot: Pilot[None]) -> LuthierApp:
    """The app, once it has read the jobs and its screen has shown them."""
    app = pilot.app
    assert isinstance(app, LuthierApp)
    await until(pilot, lambda: app.rows is not None)
    await pilot.pause()
    return app


def text_of(app: App[None], selector: str) -> str:
    widget = app.screen.query_one(selector, Static)
    return str(widget.visual)


def screen_text(app: App[None]) -> str:
    """Everything that is on the screen, line by line."""
    return "\n".join(
        "".join(segment.text for segment in strip)
        for strip in app.screen._compositor.render_strips()
    )


def lines_of(table: RowTable) -> list[str]:
    return [str(option.prompt) for option in table.query_one(OptionList).options]


def visible(widget: Widget) -> bool:
    return widget.display and widget.region.height > 0
