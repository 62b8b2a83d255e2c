"""The chat: two models of one server, asked the same thing and answering at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual import getters, on
from textual.binding import BindingType
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from serve.client import stream_chat
from tui import actions, chat_export
from tui.chat_server import ChatServer, newest_server
from tui.chat_session import ChatSession, ChatSettings, Conversation, Failed, Streamer
from tui.chat_text import settings_line
from tui.joblist import JobRow
from tui.screens.base import LuthierScreen
from tui.widgets.chat_pane import AnswerEnded
from tui.widgets.chat_sides import ChatSides
from tui.widgets.prompt_box import PromptBox

_NO_SERVER = """[b]No server is running[/]

Base and tuned models talk here, side by side, once one is.

[$primary]3[/] opens Serve: start one there, and come back with [$primary]4[/]."""


@dataclass
class ServerFound(Message):
    """The servers were looked at. None: none is ready."""

    server: ChatServer | None


class ChatScreen(LuthierScreen):
    """`find_server` and `stream` are what it talks to; tests and the picture bring their own."""

    place = "chat"
    CSS_PATH = "chat.tcss"
    AUTO_FOCUS = "#prompt"
    BINDINGS: ClassVar[list[BindingType]] = actions.bindings("chat")
    prompt = getters.query_one("#prompt", PromptBox)
    sides = getters.query_one("#sides", ChatSides)

    def __init__(self, find_server: Callable[[], ChatServer | None] = newest_server, stream: Streamer = stream_chat) -> None:
        super().__init__()
        self.session = ChatSession()
        self.server: ChatServer | None = None
        self.looked = False
        self._find_server = find_server
        self._stream = stream

    def compose_body(self) -> Iterable[Widget]:
        yield Static(id="no-server")
        yield ChatSides(self.session)
        yield PromptBox()

    def on_mount(self) -> None:
        super().on_mount()
        self._show_server()
        self._look_for_server()

    # The server

    def jobs_changed(self, rows: list[JobRow]) -> None:
        if not self.session.answering:
            self._look_for_server()

    def _look_for_server(self) -> None:
        def look() -> ServerFound:
            import httpx  # noqa: F401  # half a second: before the first prompt, not within its time to the first token

            return ServerFound(self._find_server())

        self.in_background(look, group="server", exclusive=True)

    def on_server_found(self, message: ServerFound) -> None:
        if self.looked and message.server == self.server:
            return
        self.looked = True
        self.server = message.server
        if self.server is not None:
            for side, default in zip(self.session.sides, self.server.default_models(), strict=True):
                if not side.turns and side.model not in self.server.models:
                    side.model = default
        self._show_server()

    def _show_server(self) -> None:
        """The chat as soon as there is a server, or once something was said; else what to do to get one."""
        offered = self.server is not None or not self.session.empty
        was_offered = self.sides.display
        self.set_class(not offered, "-no-server")
        self.query_one("#no-server", Static).update(_NO_SERVER if self.looked else "Looking for a server…")
        if offered and not was_offered:
            self.prompt.focus()
        self._show_sides()

    def _show_sides(self) -> None:
        self.sides.show(self.session, self.server.tuned if self.server else (), self.server.standings if self.server else None)
        self.prompt.border_subtitle = Content(settings_line(self.session.settings))
        self.refresh_bindings()

    @property
    def _active(self) -> Conversation:
        return self.session.sides[self.sides.active]

    # Asking

    @on(PromptBox.Submitted)
    def action_send(self) -> None:
        prompt = self.prompt.text.strip()
        if self.session.answering:
            self.notify("Still answering. esc stops it.", timeout=3)
        elif prompt and self.server is None:
            self.notify("No server is running. 3 opens Serve; the prompt stays here.", severity="warning")
        elif prompt:
            self.prompt.text = ""
            self.session.send(prompt)
            self._ask(self.session.sides)

    def action_retry(self) -> None:
        self._ask(self.session.retry(self.session.sides))

    def action_retry_side(self) -> None:
        self._ask(self.session.retry([self._active]))

    def _ask(self, conversations: Iterable[Conversation]) -> None:
        """Have the last turn of these conversations answered, all at once."""
        assert self.server is not None  # check_action offers it only then
        for side, conversation in enumerate(self.session.sides):
            if conversation in conversations:
                turn = conversation.turns[-1]
                self.sides.ask(side, self._stream(self.server.endpoint, turn.model, conversation.messages(), turn.settings.sampling))
        self.set_timer(0.1, self.refresh_bindings)  # the footer is drawn after the first token, should that come at once

    @on(AnswerEnded)
    def give_prompt_back(self) -> None:
        """A prompt that brought nothing from either side returns to the box, unless something new stands there."""
        turns = [side.last for side in self.session.sides if side.last is not None]
        nothing = [turn for turn in turns if isinstance(turn.state, Failed) and not turn.answered]
        if len(nothing) == len(self.session.sides) and not self.prompt.text:
            self.prompt.text = nothing[0].prompt
            self.prompt.move_cursor(self.prompt.document.end)
        self.refresh_bindings()

    # Stopping

    def action_stop(self) -> None:
        for pane in self.sides.panes:
            pane.stop()

    def action_stop_side(self) -> None:
        self.sides.active_pane.stop()

    def step_back(self) -> bool:
        if self.session.answering:
            self.action_stop()
            return True
        if isinstance(self.focused, PromptBox):
            self.sides.active_pane.transcript.focus()
            return True
        return super().step_back()

    # The rest of what can be done

    def on_descendant_focus(self) -> None:
        self.refresh_bindings()

    def action_write(self) -> None:
        self.prompt.focus()

    def action_view(self) -> None:
        self.sides.next_view()

    def action_next_model(self) -> None:
        assert self.server is not None  # check_action offers it only then
        self._active.model = self.server.model_after(self._active.model)
        self._show_sides()

    def action_settings(self) -> None:
        from tui.widgets.chat_settings import ChatChoice, ChatSettingsModal

        def take(choice: ChatChoice | None) -> None:
            if choice is not None:
                for side, model in zip(self.session.sides, choice.models, strict=True):
                    side.model = model
                self.use_settings(choice.settings)

        left, right = self.session.sides
        models = self.server.models if self.server else ()
        self.app.push_screen(ChatSettingsModal(models, ChatChoice((left.model, right.model), self.session.settings)), take)

    def use_settings(self, settings: ChatSettings) -> None:
        self.session.settings = settings
        self._show_sides()

    def action_clear(self) -> None:
        came_back = self.session.empty
        self.session.clear()
        self.notify("The last chat is back." if came_back else "New chat. Again, while it is empty, brings the last one back.", timeout=4)
        self._show_sides()

    def action_copy(self) -> None:
        answers = [(side.model, side.last.text) for side in self.session.sides if side.last is not None]
        self._copy("\n\n".join(f"## {model}\n\n{text}" for model, text in answers), "both answers")

    def action_copy_side(self) -> None:
        if self._active.last is not None:
            self._copy(self._active.last.text, f"the answer of {self._active.last.model}")

    def _copy(self, text: str, what: str) -> None:
        self.app.copy_to_clipboard(text)
        self.notify(f"Copied {what}.", timeout=3)

    def action_export(self) -> None:
        from tui.widgets.path_modal import PathModal

        def told(path: Path | None) -> None:
            if path is not None:
                self.notify(f"Written to {path}.")

        hint = "A name in .md is for reading, one in .jsonl for data: one conversation a line, as training reads it."
        proposed = Path.cwd() / chat_export.default_name()
        self.app.push_screen(PathModal("Export this chat", proposed, hint, lambda path: chat_export.export(self.session, path)), told)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what can be done now is bound and shown."""
        check = self._checks.get(action)
        return super().check_action(action, parameters) if check is None else check()

    @property
    def _checks(self) -> dict[str, Callable[[], bool]]:
        session, side = self.session, self._active
        writing = isinstance(self.focused, PromptBox)
        on_side = self.sides.has_focused_side
        ready = self.server is not None and not session.answering
        return {
            "send": lambda: ready and writing,
            "write": lambda: not writing and (self.server is not None or not session.empty),
            "stop": lambda: session.answering,
            "stop_side": lambda: on_side and side.answering,
            "retry": lambda: ready and not on_side and not session.empty,
            "retry_side": lambda: self.server is not None and on_side and bool(side.turns) and not side.answering,
            "next_model": lambda: on_side and not side.answering and self.server is not None and len(self.server.models) > 1,
            "copy": lambda: not on_side and not session.empty,
            "copy_side": lambda: on_side and side.last is not None,
            "settings": lambda: self.server is not None and not session.answering,
            "view": lambda: self.server is not None or not session.empty,
            "clear": lambda: session.can_clear,
            "export": lambda: not session.empty and not session.answering,
        }
