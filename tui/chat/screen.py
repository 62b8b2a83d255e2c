"""The chat: two to four models, asked the same thing and answering at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import on
from textual.binding import BindingType
from textual.widgets import Static

from serve.chats.turns import REFERENCE, ChatSettings, Conversation, Failed
from tui import actions
from tui.chat.chat_base import Looked
from tui.chat.chat_files import ChatFiles
from tui.chat.chat_run import ChatRun, SpeakerLoaded
from tui.chat.chat_turns import ChatTurns
from tui.chat.chat_votes import ChatVotes
from tui.chat.pane import AnswerEnded
from tui.chat.prompt_box import PromptBox
from workshop.chat import models
from workshop.chat.models import Offer
from workshop.chat.server import reachable
from workshop.chat.session import MOST_PANES
from workshop.job_list import JobRow


class ChatScreen(ChatTurns, ChatVotes, ChatFiles, ChatRun):
    place = "chat"
    CSS_PATH = "chat.tcss"
    AUTO_FOCUS = "#prompt"
    BINDINGS: ClassVar[list[BindingType]] = actions.bindings("chat")

    def on_mount(self) -> None:
        self.show_offered()
        self._look()
        self.journal.prepare()

    # Who can be asked

    def jobs_changed(self, rows: list[JobRow]) -> None:
        if not self.session.answering:
            self._look()
        if self.awaited is not None:
            self.show_awaited()

    def _look(self) -> None:
        known = self.reachable

        def look() -> Looked:
            import httpx  # noqa: F401  # half a second: before the first prompt, not within its time to the first token

            return Looked(reachable(self._find_server(), known))

        self.in_background(look, group="server", exclusive=True)

    def on_looked(self, message: Looked) -> None:
        if self.looked and message.reachable == self.reachable:
            return
        self.looked = True
        self.reachable = message.reachable
        if self.server is not None:
            for pane, default in zip(
                self.session.panes, self.server.default_speakers(), strict=False
            ):
                gone = (
                    pane.speaker is not None
                    and not pane.speaker.where
                    and pane.speaker not in self.server.speakers
                )
                if not pane.answers and (pane.speaker is None or gone):
                    pane.speaker = default
        self.show_offered()

    def show_offered(self) -> None:
        """The chat as soon as somebody can be asked, or once something was said; else what to do to
        get there."""
        offered = (
            bool(self.reachable) and any(pane.speaker for pane in self.session.panes)
        ) or not self.session.empty
        was_offered = self.sides.display
        self.set_class(not offered, "-no-server")
        self.query_one("#no-server", Static).update(self.nobody())
        if offered and not was_offered:
            self.prompt.focus()
        elif not offered:
            self.set_focus(None)  # what is hidden would still take the keys
        self.show_sides()

    # Asking

    @on(PromptBox.Submitted)
    def action_send(self) -> None:
        prompt = self.prompt.text.strip()
        if self.session.answering:
            self.notify("Still answering. esc stops it.", timeout=3)
        elif prompt and not self.reachable:
            self.notify(
                "No server is running. 3 opens Serve; the prompt stays here.", severity="warning"
            )
        elif prompt and not all(pane.speaker for pane in self.session.panes):
            self.notify("A pane has no model: m chooses one.", severity="warning")
        elif prompt:
            self._send(prompt)

    def _send(self, prompt: str) -> None:
        editing, replay, before = (
            self.editing,
            self.replay,
            (self.session.chat.id, *self.session.panes),
        )
        self.chosen_turn = ""
        if editing is not None:
            self.end_edit()
            asked = self.session.edit(editing, prompt)
        elif replay is not None and replay.next_turn is not None:
            if replay.begins and not self.session.empty:
                self.session.begin_chat()
            asked = self.session.send_turn(replay.take(prompt))
        else:
            asked = self.session.send(prompt)
        self.prompt.text = ""
        self.ask(asked)  # before anything is drawn
        if replay is not None or before != (self.session.chat.id, *self.session.panes):
            self.show_sides()
        else:
            self.set_looks()

    def action_retry(self) -> None:
        self._again(self.session.contestants)

    def action_retry_side(self) -> None:
        self._again([self.active])

    def _again(self, panes: list[Conversation]) -> None:
        self.ask(self.session.retry(panes))
        self.set_looks()

    @on(AnswerEnded)
    def answer_ended(self) -> None:
        """A prompt that brought nothing from anybody returns to the box, unless something new
        stands there."""
        if self.session.answering:
            return
        last = [pane.last for pane in self.session.contestants if pane.last is not None]
        nothing = [
            answer for answer in last if isinstance(answer.state, Failed) and not answer.answered
        ]
        if nothing and len(nothing) == len(self.session.contestants) and not self.prompt.text:
            self.prompt.text = nothing[0].turn.prompt
            self.prompt.move_cursor(self.prompt.document.end)
        if not self.offer_room():
            self.offer_next()
        self.refresh_bindings()

    # Stopping

    def action_stop(self) -> None:
        self.stop_all()

    def action_stop_side(self) -> None:
        self.sides.active_pane.stop()

    def step_back(self) -> bool:
        if self.session.answering:
            self.stop_all()
            return True
        if self.editing is not None:
            self.end_edit()
            return True
        if isinstance(self.focused, PromptBox):
            self.sides.active_pane.transcript.focus()
            return True
        if self.chosen_turn:
            self.choose_turn("")
            return True
        return super().step_back()

    # Panes and models

    def on_descendant_focus(self) -> None:
        self.refresh_bindings()

    def action_write(self) -> None:
        self.prompt.focus()

    def action_view(self) -> None:
        self.sides.toggle_alone()

    def action_left(self) -> None:
        self.sides.go(-1)

    def action_right(self) -> None:
        self.sides.go(1)

    def action_model(self) -> None:
        self._pick_model(self.sides.active)

    def action_add(self) -> None:
        self._pick_model(len(self.session.panes))

    def _pick_model(self, position: int) -> None:
        from tui.chat.endpoint_form import EndpointForm
        from tui.chat.model_picker import ModelPicker

        picker = ModelPicker(self.reachable)

        def chosen(offer: Offer | None) -> None:
            if picker.wants_endpoint:
                self.app.push_screen(EndpointForm(), lambda name: self._look() if name else None)
            elif offer is not None:
                self._take_offer(position, offer)

        self.app.push_screen(picker, chosen)

    def _take_offer(self, position: int, offer: Offer) -> None:
        server = self.server
        if offer.load is None or server is None:
            self.on_speaker_loaded(SpeakerLoaded(position, offer.speaker, server))
            return
        self.notify(f"The server loads {offer.speaker.model}.", timeout=3)

        def load() -> SpeakerLoaded:
            speaker = models.load(offer, server)
            return SpeakerLoaded(position, speaker, self._find_server())

        self.in_background(load, group="load")

    def action_remove(self) -> None:
        self.session.remove_pane(self.active)
        self.sides.active = max(0, self.sides.active - 1)
        self.show_sides()
        self.sides.active_pane.transcript.focus()

    def action_settings(self) -> None:
        from tui.chat.settings_form import ChatSettingsModal

        self.app.push_screen(
            ChatSettingsModal(self.session.settings),
            lambda chosen: self.use_settings(chosen) if chosen else None,
        )

    def use_settings(self, settings: ChatSettings) -> None:
        self.session.use_settings(settings)
        self.show_sides()

    def action_clear(self) -> None:
        came_back = self.session.empty
        self.session.clear()
        self.chosen_turn = ""
        self.notify(
            (
                "The last chat is back."
                if came_back
                else "New chat. Again, while it is empty, brings the last one back."
            ),
            timeout=4,
        )
        self.show_sides()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what can be done now is bound and shown."""
        check = self._checks.get(action)
        return super().check_action(action, parameters) if check is None else check()

    @property
    def _checks(self) -> dict[str, Callable[[], bool]]:
        session, pane = self.session, self.active
        writing = isinstance(self.focused, PromptBox)
        on_side = self.sides.has_focused_side
        quiet = not session.answering
        ready = bool(self.reachable) and quiet
        model = pane.speaker != REFERENCE
        answered = pane.last is not None and not pane.answering
        return {
            "send": lambda: ready and writing,
            "write": lambda: not writing and self.sides.display,
            "stop": lambda: session.answering,
            "stop_side": lambda: on_side and pane.answering,
            "retry": lambda: ready and not on_side and not session.empty,
            "retry_side": lambda: bool(self.reachable) and on_side and model and answered,
            "vote": lambda: quiet and not session.empty and len(session.contestants) > 1,
            "blind": lambda: quiet and on_side and len(session.contestants) > 1,
            "model": lambda: (
                quiet and not writing and not session.chat.blind and (model or not on_side)
            ),
            "add": lambda: (
                quiet
                and not writing
                and not session.chat.blind
                and len(session.panes) < MOST_PANES
                and self.sides.display
            ),
            "remove": lambda: (
                quiet and on_side and not session.chat.blind and len(session.panes) > 1
            ),
            "edit": lambda: ready and on_side and pane.last is not None,
            "correct": lambda: quiet and on_side and model and answered and not session.chat.blind,
            "continue": lambda: quiet and on_side and answered and len(session.panes) > 1,
            "lens": lambda: (
                quiet and not session.empty and not session.chat.blind and self.server is not None
            ),
            "differences": lambda: quiet and not session.empty and len(session.panes) > 1,
            "fold": lambda: on_side and not session.empty,
            "previous_turn": lambda: on_side and pane.last is not None,
            "next_turn": lambda: on_side and pane.last is not None,
            "previous_version": lambda: quiet and on_side and self.other_version(-1) is not None,
            "next_version": lambda: quiet and on_side and self.other_version(1) is not None,
            "left": lambda: on_side and len(session.panes) > 1,
            "right": lambda: on_side and len(session.panes) > 1,
            "copy": lambda: not writing and not session.empty,
            "copy_side": lambda: on_side and pane.last is not None,
            "settings": lambda: quiet and self.sides.display,
            "view": lambda: self.sides.display,
            "clear": lambda: session.can_clear,
            "chats": lambda: quiet,
            "replay": lambda: ready,
            "skip": lambda: quiet and self.replay is not None,
            "export": lambda: not session.empty and quiet,
        }
