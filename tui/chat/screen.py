"""The chat: two to four models, asked the same thing and answering at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.binding import BindingType
from textual.content import Content
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Static, TextArea

from jobs.job import Job
from jobs.luthier_error import LuthierError
from serve.chats.journal import Journal
from serve.chats.store import Record
from serve.chats.turns import REFERENCE, ChatSettings
from serve.client import stream_chat
from tui import key_bindings
from tui.chat import slash_commands
from tui.chat.asking import Asking
from tui.chat.files import Files
from tui.chat.marking import Marking
from tui.chat.pane import AnswerEnded
from tui.chat.prompt_box import PromptBox
from tui.chat.replaying import Replaying
from tui.chat.run_server import RunServer
from tui.chat.saving import Saving, warning
from tui.chat.sides import ChatSides
from tui.chat.slash import SlashList
from tui.chat.speakers import Speakers
from tui.chat.text import dotted, settings_line
from tui.chat.transcript import Transcript
from tui.chat.versions import Versions
from tui.chat.view import T
from tui.chat.voting import Voting
from tui.shared.action import Action, Handler
from tui.shared.editor import edited
from tui.shared.mode import BLIND, LENS, REPLAY, Mode
from tui.shared.screen import LuthierScreen
from workshop.chat.server import ChatServer, newest_server
from workshop.chat.session import MOST_PANES, ChatSession
from workshop.chat.streams import Streamer
from workshop.job_list import JobRow

if TYPE_CHECKING:
    from trainer.recipe_draft import RecipeDraft


class ChatScreen(LuthierScreen):
    """The session, the widgets that show it, and the parts that do something with it.
    `find_server` and `stream` are what it talks to; tests and the picture bring their own."""

    place = "chat"
    CSS_PATH = "chat.tcss"
    AUTO_FOCUS = "#prompt"
    BINDINGS: ClassVar[list[BindingType]] = key_bindings.bindings("chat")

    def __init__(
        self,
        find_server: Callable[[], ChatServer | None] = newest_server,
        stream: Streamer = stream_chat,
    ) -> None:
        super().__init__()
        self.journal = Journal(lambda problem: self.call_later(self._show_problem, problem))
        self.session = ChatSession(Record(self.journal), stream)
        self.sides = ChatSides(self.session)
        self.prompt = PromptBox(slash_commands.completed)
        self.slash_list = SlashList()
        self.versions = Versions(self.session, self)
        self.replaying = Replaying(self.session, self)
        self.asking = Asking(self.session, self, self.versions, self.replaying)
        self.voting = Voting(self.session, self)
        self.marking = Marking(self.session, self, self.versions)
        self.files = Files(self.session, self, self.versions)
        self.speakers = Speakers(self.session, self, find_server)
        self.run_server = RunServer(self.session, self, self.speakers)
        self._saving = Saving(self.session, lambda: self.app.exit())
        self.handlers = {**self._chat_handlers(), **self._side_handlers()}

    def compose_body(self) -> Iterable[Widget]:
        yield self.run_server.status_text
        yield self.sides
        yield Static(id="unsaved")
        yield self.slash_list
        yield self.prompt

    def on_mount(self) -> None:
        self.show_offered()
        self.speakers.look()
        self._saving.begin()

    def on_unmount(self) -> None:
        self._saving.end()

    def jobs_changed(self, rows: list[JobRow]) -> None:
        if not self.session.answering:
            self.speakers.look()
        self.run_server.jobs_changed(rows)

    def expect(self, run: Job, against: Job | None = None) -> None:
        """Have the tuned model of this run speak beside its base, or beside that of another run, as
        soon as that can be."""
        self.run_server.expect(run, against)

    def choose_speaker(self) -> None:
        """Have the user choose who speaks in the active pane."""
        self.speakers.pick(self.sides.active)

    # What is shown

    def show_offered(self) -> None:
        """The chat as soon as somebody can be asked, or once something was said; else what to do to
        get there."""
        if not self.sides.is_mounted:
            return
        session = self.session
        can_ask = bool(session.reachable) and any(pane.speaker for pane in session.panes)
        is_offered, was_offered = can_ask or not session.empty, self.sides.display
        self.set_class(not is_offered, "-no-server")
        self.run_server.show_status()
        if is_offered and not was_offered:
            self.prompt.focus()
        elif not is_offered:
            self.set_focus(None)  # what is hidden would still take the keys
        self.show_sides()

    def show_sides(self) -> None:
        """Draw everything again: the session, or who can be asked, has changed."""
        self.set_looks()
        self.sides.show()
        parts = [self.replaying.progress, settings_line(self.session.settings)]
        self.prompt.border_subtitle = Content(dotted([part for part in parts if part]))
        self.show_mode(self._mode)
        self.refresh_bindings()

    @property
    def _mode(self) -> Mode | None:
        """What changes the meaning of all that is shown, the strongest first."""
        if self.session.chat.blind:
            return BLIND
        if self.replaying.replay is not None:
            return REPLAY
        return LENS if self.marking.is_lens else None

    def set_looks(self) -> None:
        """Set how each pane draws its answers, and draw those again whose look has changed."""
        for position, conversation in enumerate(self.session.panes):
            transcript = self.sides.all_panes[position].transcript
            look = replace(
                transcript.look,
                hidden=self.session.chat.blind,
                chosen_turn=self.versions.chosen_turn,
                notes=self.versions.notes(conversation),
                versions=self.versions.labels(conversation),
            )
            transcript.use_look(look)

    def _show_problem(self, problem: LuthierError | None) -> None:
        """Chats cannot be written down, or (None) can be again."""
        line = self.query_one("#unsaved", Static)
        line.display = problem is not None
        if problem is not None:
            line.update(warning(problem))
        else:
            self.notify("The chat is saved again.", timeout=4)

    def unsaved(self) -> str:
        return self._saving.unsaved()

    # What the parts ask for

    def show_failure(self, error: LuthierError) -> None:
        self.app.show_failure(error)

    def copy(self, text: str) -> None:
        self.app.copy_to_clipboard(text)

    def plan_run(self, draft: RecipeDraft) -> None:
        self.app.call_later(self.app.journey.plan_draft, draft)

    def open_dialog(
        self, dialog: Screen[T], answered: Callable[[T | None], None] | None = None
    ) -> None:
        def closed(answer: T | None) -> None:
            if answered is not None:
                answered(answer)
            if self.sides.display:
                self.prompt.focus()  # what is typed next is meant for it, and acts on nothing

        self.app.push_screen(dialog, closed)

    # What happens

    @on(PromptBox.Submitted)
    def prompt_submitted(self, message: PromptBox.Submitted) -> None:
        if not slash_commands.is_command(message.text):
            self.asking.send()
        elif (action := slash_commands.command_of(message.text)) is None:
            self.notify(slash_commands.unknown(message.text), severity="warning")
        else:
            self.prompt.text = ""
            self.set_focus(self.sides.active_pane.transcript)  # as if its key were pressed
            self.call_after_refresh(self._perform, action)

    async def _perform(self, action: Action) -> None:
        """Run a command of the prompt, which then has the focus again."""
        await self.app.perform(action)
        if self.is_current and self.sides.display:
            self.prompt.focus()

    @on(TextArea.Changed, "#prompt")
    def prompt_changed(self) -> None:
        self.slash_list.follow(self.prompt)

    @on(AnswerEnded)
    def answer_ended(self) -> None:
        self.asking.answers_ended()

    @on(Transcript.TurnClicked)
    def turn_clicked(self, message: Transcript.TurnClicked) -> None:
        self.versions.choose(message.turn_id)

    def on_descendant_focus(self) -> None:
        self.refresh_bindings()

    def step_back(self) -> bool:
        if self.session.answering:
            self.sides.stop_all()
            return True
        if self.asking.editing is not None:
            self.asking.end_edit()
            return True
        if isinstance(self.focused, PromptBox):
            self.sides.active_pane.transcript.focus()
            return True
        if self.versions.chosen_turn:
            self.versions.choose("")
            return True
        return super().step_back()

    # What can be done

    def _chat_handlers(self) -> dict[str, Handler]:
        """What is done with the whole chat."""
        session, sides, asking = self.session, self.sides, self.asking

        def is_writing() -> bool:
            return isinstance(self.focused, PromptBox)

        def is_quiet() -> bool:
            return not session.answering

        def can_ask() -> bool:
            return bool(session.reachable) and is_quiet()

        def has_answers() -> bool:
            return is_quiet() and not session.empty

        def is_shown() -> bool:
            return sides.display

        def can_choose() -> bool:
            """Who speaks can be chosen: it would tell who is who."""
            return is_quiet() and not is_writing() and not session.chat.blind

        return {
            "talk": Handler(
                self.run_server.talk, lambda: not is_shown() and self.run_server.can_talk
            ),
            "send": Handler(asking.send, lambda: can_ask() and is_writing()),
            "commands": Handler(
                lambda: sides.active_pane.transcript.focus(),
                lambda: is_writing() and is_quiet() and asking.editing is None,
            ),
            "write": Handler(self.prompt.focus, lambda: not is_writing() and is_shown()),
            "stop": Handler(sides.stop_all, lambda: session.answering),
            "vote": Handler(
                self.voting.vote,
                lambda: has_answers() and len(session.contestants) > 1,
                keeps_key=lambda: session.answering,
            ),
            "retry": Handler(
                lambda: asking.retry(session.contestants),
                lambda: can_ask() and not sides.has_focused_side and not session.empty,
            ),
            "lens": Handler(
                self.marking.toggle_lens,
                lambda: (
                    has_answers()
                    and not session.chat.blind
                    and session.reachable.server is not None
                ),
            ),
            "differences": Handler(
                self.marking.toggle_differences, lambda: has_answers() and len(session.panes) > 1
            ),
            "model": Handler(
                lambda: self.speakers.pick(sides.active),
                lambda: (
                    can_choose()
                    and (sides.conversation.speaker != REFERENCE or not sides.has_focused_side)
                ),
            ),
            "add": Handler(
                lambda: self.speakers.pick(len(session.panes)),
                lambda: can_choose() and len(session.panes) < MOST_PANES and is_shown(),
            ),
            "statistics": Handler(self.voting.show_statistics),
            "copy": Handler(self.files.copy_all, lambda: not is_writing() and not session.empty),
            "settings": Handler(self._open_settings, lambda: is_quiet() and is_shown()),
            "view": Handler(sides.toggle_alone, is_shown),
            "clear": Handler(self._clear, lambda: session.can_clear),
            "chats": Handler(self.files.choose_chat, is_quiet),
            "replay": Handler(self.replaying.toggle, can_ask),
            "skip": Handler(
                self.replaying.skip, lambda: is_quiet() and self.replaying.replay is not None
            ),
            "export": Handler(self.files.export, has_answers),
            "editor": Handler(self._edit_prompt, lambda: is_shown() and is_quiet()),
        }

    def _side_handlers(self) -> dict[str, Handler]:
        """What is done with the pane that has the focus."""
        session, sides, versions = self.session, self.sides, self.versions

        def has_side() -> bool:
            return sides.has_focused_side

        def has_quiet_side() -> bool:
            return has_side() and not session.answering

        def has_turn() -> bool:
            return has_side() and sides.conversation.last is not None

        def has_answer() -> bool:
            return has_turn() and not sides.conversation.answering

        def has_model_answer() -> bool:
            return has_answer() and sides.conversation.speaker != REFERENCE

        def has_others() -> bool:
            return has_side() and len(session.panes) > 1

        return {
            "stop_side": Handler(
                lambda: sides.active_pane.stop(),
                lambda: has_side() and sides.conversation.answering,
            ),
            "retry_side": Handler(
                lambda: self.asking.retry([sides.conversation]),
                lambda: bool(session.reachable) and has_model_answer(),
            ),
            "edit": Handler(
                self.asking.edit,
                lambda: bool(session.reachable) and has_turn() and not session.answering,
            ),
            "correct": Handler(
                versions.correct,
                lambda: has_quiet_side() and has_model_answer() and not session.chat.blind,
            ),
            "continue": Handler(
                versions.continue_all,
                lambda: has_quiet_side() and has_answer() and len(session.panes) > 1,
            ),
            "fold": Handler(self.marking.fold, lambda: has_side() and not session.empty),
            "previous_turn": Handler(partial(versions.step, -1), has_turn),
            "next_turn": Handler(partial(versions.step, 1), has_turn),
            "previous_version": Handler(
                partial(versions.show, -1),
                lambda: has_quiet_side() and versions.other(-1) is not None,
            ),
            "next_version": Handler(
                partial(versions.show, 1),
                lambda: has_quiet_side() and versions.other(1) is not None,
            ),
            "left": Handler(partial(sides.go, -1), has_others),
            "right": Handler(partial(sides.go, 1), has_others),
            "remove": Handler(
                self.speakers.remove,
                lambda: has_quiet_side() and has_others() and not session.chat.blind,
            ),
            "blind": Handler(
                self.voting.toggle_blind,
                lambda: has_quiet_side() and len(session.contestants) > 1,
            ),
            "copy_side": Handler(self.files.copy_one, has_turn),
            "copy_code": Handler(self.files.copy_code, lambda: has_turn() and self.files.has_code),
        }

    def _open_settings(self) -> None:
        from tui.chat.settings_form import ChatSettingsModal

        def use(settings: ChatSettings | None) -> None:
            if settings:
                self.use_settings(settings)

        self.open_dialog(ChatSettingsModal(self.session.settings), use)

    def _edit_prompt(self) -> None:
        text = edited(self.app, self.prompt.text)
        if text is not None:
            self.prompt.write(text)
        self.prompt.focus()

    def use_settings(self, settings: ChatSettings) -> None:
        self.session.use_settings(settings)
        self.show_sides()

    def _clear(self) -> None:
        """Begin a new chat, or bring the last one back into an empty one."""
        if self.session.empty:
            message = "The last chat is back."
        else:
            message = "New chat. Again, while it is empty, brings the last one back."
        self.session.clear()
        self.marking.end()
        self.versions.chosen_turn = ""
        self.notify(message, timeout=4)
        self.show_sides()
