"""The server at work, from its /metrics: who waits, how quick it is, how full its cache is."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import monotonic

from textual.content import Content
from textual.message import Message

from jobs.luthier_error import LuthierError
from serve.client import Endpoint, metrics_text
from serve.metrics import Delay, Live, Look, between, look
from tui.shared.glyphs import glyphs
from tui.shared.steady_text import SteadyText
from workshop import number_format

SECONDS = 1.0
"""Between two looks at a server that works."""
IDLE_TICKS = 5
"""How many times as long a pause a server gets that does nothing, or does not answer."""
_TIMEOUT = 3.0
_BAR = 14
_LABEL = 13


@dataclass
class Looked(Message):
    """What /metrics told; None if it could not be asked."""

    endpoint: Endpoint
    look: Look | None


class LivePanel(SteadyText):
    """Asks while it can be seen, and only then. What has no figure yet says so."""

    def __init__(self) -> None:
        super().__init__(classes="panel")
        self.border_title = "now"
        self._endpoint: Endpoint | None = None
        self._before: Look | None = None
        self._first_token: Delay | None = None
        self._between_tokens: Delay | None = None
        self._asking = False
        self._ticks_to_go = 1

    def on_mount(self) -> None:
        self.set_interval(SECONDS, self.tick)

    def turn_to(self, endpoint: Endpoint | None) -> None:
        """Show this server, or nothing."""
        self.display = endpoint is not None
        if endpoint == self._endpoint:
            return
        self._endpoint, self._before, self._first_token, self._between_tokens = (
            endpoint,
            None,
            None,
            None,
        )
        self._show(None)
        self.ask()

    def tick(self) -> None:
        self._ticks_to_go -= 1
        if self._ticks_to_go <= 0:
            self.ask()

    def ask(self) -> None:
        if self._endpoint is None or self._asking or not self.screen.is_current:
            return
        self._asking, endpoint = True, self._endpoint
        self.run_worker(lambda: self._ask(endpoint), thread=True, group="live", exit_on_error=False)

    def _ask(self, endpoint: Endpoint) -> None:
        try:
            figures = look(asyncio.run(metrics_text(endpoint, _TIMEOUT)), monotonic())
        except (LuthierError, ValueError):  # busy, or just ended: its state tells which
            figures = None
        self.post_message(Looked(endpoint, figures))

    def on_looked(self, message: Looked) -> None:
        self._asking = False
        if message.endpoint != self._endpoint:
            return
        before, now = self._before, message.look
        is_working = now is not None and (before is None or now.values != before.values)
        self._ticks_to_go = 1 if is_working else IDLE_TICKS
        if now is None:
            return
        if before is not None:
            self._show(between(before, now))
        self._before = now

    def _show(self, live: Live | None) -> None:
        """Delays stay as they were while nothing is answered: muted, for they are of before."""
        if live is not None:
            self._first_token = live.first_token or self._first_token
            self._between_tokens = live.between_tokens or self._between_tokens
        fresh = live is not None and live.running > 0
        lines = [
            _pair(
                "running",
                "" if live is None else str(live.running),
                "waiting",
                "" if live is None else str(live.waiting),
            ),
            _pair(
                "tokens out",
                _rate(None if live is None else live.tokens_out),
                "in",
                _rate(None if live is None else live.tokens_in),
            ),
            Content.assemble(
                (f"{'cache':<{_LABEL}}", "$foreground-muted"),
                _bar(0.0 if live is None else live.cache),
            ),
            _delay("first token", self._first_token, fresh),
            _delay("per token", self._between_tokens, fresh),
        ]
        answering = ", ".join(live.adapters) if live is not None else ""
        lines.append(
            Content.assemble(
                (f"{'tuned model':<{_LABEL}}", "$foreground-muted"),
                Content(answering or "idle").truncate(22, ellipsis=True),
            )
        )
        self.update(Content("\n").join(lines))


def _pair(name: str, value: str, other: str, other_value: str) -> Content:
    dot = glyphs().dot
    return Content.assemble(
        (f"{name:<{_LABEL}}", "$foreground-muted"),
        f"{value or dot:<8}",
        (f"{other:<8}", "$foreground-muted"),
        f"{other_value or dot:>6}",
    )


def _rate(tokens: float | None) -> str:
    return "" if tokens is None else f"{number_format.count(round(tokens))}/s"


def _bar(share: float) -> Content:
    full = (
        min(_BAR, round(share * _BAR)) if share < 0.005 else max(1, min(_BAR, round(share * _BAR)))
    )
    signs = glyphs()
    return Content.assemble(
        (signs.bar_full * full, "$primary"),
        (signs.bar_rest * (_BAR - full), "$foreground-muted"),
        f"{share * 100:>6.0f} %",
    )


def _delay(name: str, delay: Delay | None, fresh: bool) -> Content:
    """The mean, and what 95 of 100 keep."""
    label = (f"{name:<{_LABEL}}", "$foreground-muted")
    if delay is None:
        return Content.assemble(label, ("no answer yet", "$foreground-muted"))
    high = "" if delay.high is None else f"95 % in {_seconds(delay.high)}"
    return Content.assemble(
        label,
        (f"{_seconds(delay.mean):<8}", "" if fresh else "$foreground-muted"),
        (f"{high:>14}", "$foreground-muted"),
    )


def _seconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
