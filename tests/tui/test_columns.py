"""Columns that are set by hand hold what stands in them."""

from __future__ import annotations

from jobs.job import Job
from models.events import Ledger
from tests.tui.driving import text_of
from tests.tui.test_run_screen import open_run
from tui.app import LuthierApp
from tui.key_bindings import ACTIONS
from tui.runs.data_totals import _rows
from tui.shared.help_modal import _KEYS, _TEXT_COLUMN, _lines

_HALF_OF_80 = 36  # cells beside the samples


def test_no_key_and_no_title_of_the_help_runs_into_the_next_column() -> None:
    for action in ACTIONS:
        line = str(_lines(action, 200)[0])
        keys, title, text = line[:_KEYS], line[_KEYS:_TEXT_COLUMN], line[_TEXT_COLUMN:]
        assert keys.endswith(" ") and keys.strip() == " ".join(action.key_names)
        assert title.endswith(" ") and title.strip() == action.title
        assert action.help.startswith(text)


def test_the_totals_of_a_run_s_data_fit_beside_its_samples_at_80_columns() -> None:
    ledger = Ledger(
        rows={"kept": 123_456, "repaired": 0, "split": 0, "dropped": 7},
        tokens={"kept": 123_456_789},
        total_rows=123_463,
        total_tokens=123_456_789,
    )
    lines = [str(line) for line in _rows(ledger)]
    assert "123.5 M" in lines[1] and lines[1].endswith("100.0 %")
    assert max(map(len, lines)) <= _HALF_OF_80


async def test_its_title_fits_a_new_width_before_the_next_poll(
    jobs_by_name: dict[str, Job],
) -> None:
    app = LuthierApp()
    async with app.run_test(size=(120, 35)) as pilot:
        screen = await open_run(pilot, app, jobs_by_name["captain"])
        assert screen._poll is not None
        screen._poll.stop()
        for width, has_step in ((60, False), (120, True), (80, False), (200, True)):
            await pilot.resize_terminal(width, 35)
            await pilot.pause()
            title = text_of(app, "#run-title")
            assert ("step 300" in title) is has_step, (width, title)
            assert len(title) <= width - 4
