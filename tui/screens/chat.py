"""The chat: two models of one server, asked the same thing and answering at once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Static
from textual.worker import Worker, WorkerState

from serve.client import Delta, Finished, stream_chat
from tui import actions, chat_export
from tui.chat_server import ChatServer, newest_server
from tui.chat_session import ChatSession, ChatSettings, Conversation, Failed, Streamer, Turn, receive
from tui.chat_text import settings_line
from tui.failures import readable
from tui.glyphs import glyphs
from tui.joblist import JobRow
from tui.screens.base import LuthierScreen
from tui.widgets.chat_pane import ChatPane
from tui.widgets.prompt_box import PromptBox
from tui.widgets.transcript import Transcript

FLUSH_SECONDS = 0.25
_VIEWS = ("", "-left", "-right")


@dataclass
class ServerFound(Message):
    """The servers were looked at. None: none is ready."""

    server: ChatServer | None


@dataclass
class FirstTextCame(Message):
    side: int


@dataclass
class AnswerEnded(Message):
    side: int


class ChatScreen(LuthierScreen):
    """`find_server` and `stream` are what it talks to; tests and the picture bring their own."""

    place = "chat"
    CSS_PATH = "chat.tcss"
    AUTO_FOCUS = "#prompt"
    BINDINGS: ClassVar[list[BindingType]] = actions.bindings("chat")

    def __init__(self, find_server: Callable[[], ChatServer | None] = newest_server, stream: Streamer = stream_chat) -> None:
        super().__init__()
        self.session = ChatSession()
        self.server: ChatServer | None = None
        self._find_server = find_server
        self._stream = stream
        self.looked = False
        self._active_side = 1
        self._workers: list[Worker[None] | None] = [None, None]
        self._flush: Timer | None = None

    def compose_body(self) -> Iterable[Widget]:
        yield Static(id="no-server")
        with Horizontal(id="sides"):
            for side, conversation in enumerate(self.session.sides):
                yield ChatPane(side, conversation)
        yield PromptBox()

    def on_mount(self) -> None:
        super().on_mount()
        self._flush = self.set_interval(FLUSH_SECONDS, self._show_progress, pause=True)
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
        was_offered = self.query_one("#sides").display
        self.set_class(not offered, "-no-server")
        said = (
            "Looking for a server…"
            if not self.looked
            else "[b]No server is running[/]\n\nBase and tuned models talk here, side by side, once one is.\n\n"
            "[$primary]3[/] opens Serve: start one there, and come back with [$primary]4[/]."
        )
        self.query_one("#no-server", Static).update(said)
        if offered and not was_offered:
            self._prompt.focus()
        self._show_sides()

    @property
    def _prompt(self) -> PromptBox:
        return self.query_one("#prompt", PromptBox)

    def _pane(self, side: int) -> ChatPane:
        return self.query_one(f"#side-{side}", ChatPane)

    def _show_sides(self) -> None:
        """Everything anew: after a model was chosen, or a conversation begun."""
        for side, conversation in enumerate(self.session.sides):
            self._pane(side).show(conversation, self._before(conversation))
        self._show_titles()
        self._prompt.border_subtitle = Content(settings_line(self.session.settings))
        self.refresh_bindings()

    def _show_titles(self) -> None:
        """A pane is titled with its model; one that is alone, with both, like tabs."""
        signs = (glyphs().running, glyphs().eval_point)
        titles = [Content(f"{sign} {side.model}") for sign, side in zip(signs, self.session.sides, strict=True)]
        alone = bool(self.query_one("#sides").classes & set(_VIEWS))
        for side in (0, 1):
            other = titles[1 - side].stylize("$foreground-muted not bold")
            tabs = [titles[0], other] if side == 0 else [other, titles[1]]
            self._pane(side).border_title = Content("   ").join(tabs) if alone else titles[side]

    def _before(self, conversation: Conversation) -> Content:
        tuned = self.server is not None and conversation.model in self.server.tuned
        what = "tuned model" if tuned else "base model"
        return Content.from_markup("[b]$model[/]\n[$foreground-muted]$what[/]", model=conversation.model, what=what)

    # Asking

    @on(PromptBox.Submitted)
    def action_send(self) -> None:
        prompt = self._prompt.text.strip()
        if self.session.answering:
            self.notify("Still answering. esc stops it.", timeout=3)
        elif prompt and self.server is None:
            self.notify("No server is running. 3 opens Serve; the prompt stays here.", severity="warning")
        elif prompt:
            self._prompt.text = ""
            self.session.send(prompt)
            self._ask(self.session.sides)

    def action_retry(self) -> None:
        self._ask(self.session.retry(self.session.sides))

    def action_retry_side(self) -> None:
        self._ask(self.session.retry([self.session.sides[self._active_side]]))

    def _ask(self, conversations: Iterable[Conversation]) -> None:
        """Have the last turn of these conversations answered, all at once."""
        assert self.server is not None and self._flush is not None
        for side, conversation in enumerate(self.session.sides):
            if conversation in conversations:
                turn = conversation.turns[-1]
                answer = self._stream(self.server.endpoint, turn.model, conversation.messages(), turn.settings.sampling)
                work = self._receive(side, turn, answer)
                self._workers[side] = self.run_worker(work, group=f"side-{side}", exclusive=True, exit_on_error=False)
                self._pane(side).transcript.follow()
                self._pane(side).show_state(conversation)
        self._flush.resume()
        self.refresh_bindings()

    async def _receive(self, side: int, turn: Turn, answer: AsyncIterator[Delta | Finished]) -> None:
        try:
            await receive(turn, answer, lambda: self.post_message(FirstTextCame(side)))
        finally:
            self.post_message(AnswerEnded(side))

    def on_first_text_came(self, message: FirstTextCame) -> None:
        self._pane(message.side).show_state(self.session.sides[message.side])

    def _show_progress(self) -> None:
        for side, conversation in enumerate(self.session.sides):
            if conversation.answering:
                self._pane(side).show_state(conversation)

    def on_answer_ended(self, message: AnswerEnded) -> None:
        self._pane(message.side).show_state(self.session.sides[message.side])
        if not self.session.answering and self._flush is not None:
            self._flush.pause()
            self._give_prompt_back()
        self.refresh_bindings()

    def _give_prompt_back(self) -> None:
        """A prompt that brought nothing from either side returns to the box, unless something new stands there."""
        turns = [side.last for side in self.session.sides]
        if not self._prompt.text and all(turn is not None and isinstance(turn.state, Failed) and not turn.answered for turn in turns):
            assert turns[0] is not None
            self._prompt.text = turns[0].prompt
            self._prompt.move_cursor(self._prompt.document.end)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """An answer that ended in an error nobody foresaw is one that failed; all other work is shown as everywhere."""
        if event.worker in self._workers and event.state is WorkerState.ERROR and event.worker.error is not None:
            turn = self.session.sides[self._workers.index(event.worker)].turns[-1]
            turn.state = Failed(readable(event.worker.error))
        else:
            super().on_worker_state_changed(event)

    # Stopping

    def action_stop(self) -> None:
        self._stop(0, 1)

    def action_stop_side(self) -> None:
        self._stop(self._active_side)

    def _stop(self, *sides: int) -> None:
        for side in sides:
            worker = self._workers[side]
            if self.session.sides[side].answering and worker is not None:
                self.session.sides[side].turns[-1].halt()
                worker.cancel()
                self.post_message(AnswerEnded(side))  # a worker that is cancelled before its first step says nothing

    def step_back(self) -> bool:
        if self.session.answering:
            self.action_stop()
            return True
        if isinstance(self.focused, PromptBox):
            self._pane(self._active_side).transcript.focus()
            return True
        return super().step_back()

    # The rest of what can be done

    def on_descendant_focus(self) -> None:
        for side in (0, 1):
            if self._pane(side).transcript.has_focus:
                self._active_side = side
        self.refresh_bindings()

    def action_write(self) -> None:
        self._prompt.focus()

    def action_view(self) -> None:
        """Both sides, then the left one alone, then the right one."""
        sides = self.query_one("#sides")
        shown = next((view for view in _VIEWS if sides.has_class(view)), "")
        following = _VIEWS[(_VIEWS.index(shown) + 1) % len(_VIEWS)]
        sides.set_classes(following)
        if following:
            self._active_side = _VIEWS.index(following) - 1
            if not self._prompt.has_focus:
                self._pane(self._active_side).transcript.focus()
        self._show_titles()

    def action_next_model(self) -> None:
        assert self.server is not None
        side = self.session.sides[self._active_side]
        side.model = self.server.model_after(side.model)
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
        side = self.session.sides[self._active_side]
        assert side.last is not None
        self._copy(side.last.text, f"the answer of {side.model}")

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
        session, side = self.session, self.session.sides[self._active_side]
        writing = isinstance(self.focused, PromptBox)
        on_side = isinstance(self.focused, Transcript)
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
