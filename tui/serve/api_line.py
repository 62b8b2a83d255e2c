"""The fine-tuning API in one line of the serve screen: whether it runs, where, and its key."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from jobs.foreign_json import Damaged
from jobs.state import Failed, Running
from tui.key_bindings import key_of
from tui.shared.glyphs import glyphs
from tui.shared.job_actions import confirm_stop
from tui.shared.messages import JobsChanged
from tui.shared.screen import LuthierScreen
from tui.shared.steady_text import SteadyText
from workshop.job_list import JobRow

_MUTED = "$foreground-muted"


class ApiLine(SteadyText):
    """What the newest API of the home does."""

    def __init__(self) -> None:
        super().__init__(id="api-line")
        self._row: JobRow | None = None

    def on_mount(self) -> None:
        self.jobs_changed([])

    def jobs_changed(self, rows: Sequence[JobRow]) -> None:
        apis = [row for row in rows if row.kind == "api"]
        self._row = next((row for row in apis if row.alive), apis[0] if apis else None)
        self.update(self._line())

    def toggle(self) -> None:
        """Start the API, or ask whether to stop it."""
        screen = self.screen
        assert isinstance(screen, LuthierScreen)
        if self._row is not None and self._row.alive:
            confirm_stop(screen, self._row.job)
        else:
            screen.in_background(_start, group="api")

    def _line(self) -> Content:
        from workshop.api.plan import ApiPlan

        row, key = self._row, (key_of("serve.api"), "$primary")
        label = (f"{'API':<11}", _MUTED)
        if row is None or not row.alive:
            failed = row is not None and isinstance(row.state, Failed)
            state = ("failed", "$error") if failed else ("off", _MUTED)
            offer = " starts it: programs fine-tune through OpenAI's client"
            return Content.assemble(label, state, "   ", key, (offer, _MUTED))
        if not isinstance(row.state, Running):
            return Content.assemble(label, (glyphs().starting, "$warning"), " starting or ending")
        try:
            plan = ApiPlan.from_json(row.job.spec.settings)
        except Damaged as error:
            return Content.assemble(label, (error.message, "$error"))
        sign = (glyphs().running, "$success")
        where, meaning = f" {plan.base_url}", ("   programs fine-tune here   ", _MUTED)
        return Content.assemble(label, sign, where, meaning, key, (" stops it", _MUTED))


def _start() -> JobsChanged:
    from workshop.api.launch import start_api

    started = start_api()
    return JobsChanged(f"The fine-tuning API starts at {started.base_url}.")
