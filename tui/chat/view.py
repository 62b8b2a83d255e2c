"""What the parts of the chat need of the screen that they are parts of."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from textual.screen import Screen
from textual.worker import Worker

from jobs.luthier_error import LuthierError
from tui.chat.prompt_box import PromptBox
from tui.chat.sides import ChatSides

if TYPE_CHECKING:
    from trainer.recipe_draft import RecipeDraft

T = TypeVar("T")


class ChatView(Protocol):
    """The widgets, how to have them drawn anew, and how to ask the user or a thread."""

    @property
    def prompt(self) -> PromptBox: ...

    @property
    def sides(self) -> ChatSides: ...

    def show_sides(self) -> None:
        """Draw everything anew: the session, or who can be asked, has changed."""

    def set_looks(self) -> None:
        """Draw those panes anew whose answers look different now."""

    def show_offered(self) -> None:
        """Show the chat, or what is to be done or waited for before one can begin."""

    def refresh_bindings(self) -> None:
        """Say anew what can be done."""

    def show_failure(self, error: LuthierError) -> None:
        """Show what went wrong."""

    def notify(
        self,
        message: str,
        *,
        severity: Literal["information", "warning", "error"] = ...,
        timeout: float | None = ...,
    ) -> None:
        """Say something to the user in passing."""

    def copy(self, text: str) -> None:
        """Put a text into the clipboard."""

    def open_dialog(
        self, dialog: Screen[T], answered: Callable[[T | None], None] | None = ...
    ) -> None:
        """Show a dialog; `answered` gets what it is dismissed with."""

    def plan_run(self, draft: RecipeDraft) -> None:
        """Plan a new run of a recipe that was begun here."""

    def in_thread(
        self,
        work: Callable[[], T],
        then: Callable[[T], object],
        group: str = ...,
        exclusive: bool = ...,
    ) -> None:
        """Run `work` in a thread, then `then` with what it returns."""

    def call_later(self, callback: Callable[..., Any], *args: Any) -> bool:
        """Call something where the screen's own messages are handled, from any thread."""

    def run_worker(
        self, work: Coroutine[Any, Any, None], *, group: str, exit_on_error: bool
    ) -> Worker[None]:
        """Run a coroutine beside everything else; what it raises is shown."""
