"""What is typed ahead is handled in its order. Textual gives each key to what has the focus when it
arrives, though the key before it may be about to move the focus or open a dialog, and lets a
priority key overtake the text before it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from textual.events import Key, Paste
from textual.message import Message
from textual.screen import Screen
from textual.widget import Widget

if TYPE_CHECKING:
    from textual.app import App

_LONGEST_WAIT = 2.0
"""Seconds that a key waits for the one before it."""
_LOOK_AGAIN = 0.05


@dataclass
class KeyHandled(Message):
    """Takes the way of a key, behind it: once it arrives at the app, everybody on that way is done
    with the key."""

    to: Widget
    screen: Screen[Any]
    """The one in front when the key came."""
    since: float


class KeyOrder:
    """One for the app. `handle` is what Textual does with a key."""

    def __init__(self, app: App[None], handle: Callable[[Key | Paste], Awaitable[None]]) -> None:
        self._app, self._handle = app, handle
        self._under_way: KeyHandled | None = None
        self._waiting: deque[Key | Paste] = deque()

    async def take(self, event: Key | Paste) -> None:
        self._waiting.append(event)
        if self._is_busy():
            if len(self._waiting) == 1:
                self._app.set_timer(_LOOK_AGAIN, self._look_again)
        else:
            await self._handle_waiting()

    async def arrived(self, message: KeyHandled) -> None:
        if message is self._under_way:
            self._under_way = None
            self._await_screen(message.screen)
            await self._handle_waiting()

    async def _handle_waiting(self) -> None:
        while self._waiting and self._under_way is None and self._app.screen_stack:
            event, screen = self._waiting.popleft(), self._app.screen
            receiver = self._app.focused or screen
            await self._handle(event)
            if event.is_forwarded:
                self._follow(receiver, screen)
            else:
                self._await_screen(screen)

    def _await_screen(self, before: Screen[Any]) -> None:
        """A screen that was opened by a key has its focus only once it is composed."""
        if self._app.screen_stack and self._app.screen is not before:
            self._follow(self._app.screen, self._app.screen)

    def _follow(self, receiver: Widget, screen: Screen[Any]) -> None:
        message = KeyHandled(receiver, screen, time.monotonic())
        self._under_way = message if receiver.post_message(message) else None

    def _is_busy(self) -> bool:
        """What has closed meanwhile passes nothing on."""
        handled = self._under_way
        is_lost = handled is not None and (
            not handled.to.is_attached or time.monotonic() - handled.since > _LONGEST_WAIT
        )
        if is_lost:
            self._under_way = None
        return self._under_way is not None

    async def _look_again(self) -> None:
        if self._is_busy():
            self._app.set_timer(_LOOK_AGAIN, self._look_again)
        else:
            await self._handle_waiting()
