"""The panes of the chat: side by side as many as are readable, four of them in a square, the rest
as tabs."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from textual import on
from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.content import Content
from textual.events import Resize
from textual.widgets import Static

from serve.chats.turns import Conversation
from tui.chat.painting import Painting
from tui.chat.pane import AnswerEnded, ChatPane, FirstTextCame
from tui.shared.certificate_badge import badge, warning
from tui.shared.glyphs import glyphs
from workshop.chat.server import Reachable
from workshop.chat.session import MOST_PANES, ChatSession

_FOOTER_SECONDS = 0.1
"""The footer follows a question so late that the first token, should it come at once, is first."""
NARROWEST = 36  # cells of a pane beside others
_LOWEST = 10  # rows of a pane above others

Shape = Literal["row", "square"]


def arrange(count: int, width: int, height: int, active: int, alone: bool) -> tuple[range, Shape]:
    """Which panes are shown, and how. The active one always is."""
    if alone or count == 1:
        return range(active, active + 1), "row"
    fitting = max(1, min(count, width // NARROWEST))
    if count == 4 and fitting < 4 and width >= 2 * NARROWEST and height >= 2 * _LOWEST:
        return range(4), "square"
    first = min(max(0, active - fitting + 1), count - fitting)
    return range(first, first + fitting), "row"


class ChatSides(Vertical):
    """The panes, and which of them are shown."""

    def __init__(self, session: ChatSession) -> None:
        super().__init__(id="sides")
        self._session = session
        self.all_panes = [ChatPane(position, session) for position in range(MOST_PANES)]
        self.count = 2
        self.active = 1
        """The pane that had the focus last: the one that the actions for one pane mean."""
        self.alone = False
        """Only the active pane is shown."""
        self._tabs = Static(id="tabs")
        self._painting: Painting | None = None

    def compose(self) -> ComposeResult:
        yield self._tabs
        with Container(id="panes"):
            yield from self.all_panes

    def on_mount(self) -> None:
        self._painting = Painting(self, lambda: self.panes)

    def on_resize(self, event: Resize) -> None:
        self._arrange()

    def on_descendant_focus(self) -> None:
        self.active = next(
            (pane.position for pane in self.panes if pane.transcript.has_focus), self.active
        )

    @property
    def panes(self) -> list[ChatPane]:
        return self.all_panes[: self.count]

    @property
    def active_pane(self) -> ChatPane:
        return self.all_panes[self.active]

    @property
    def has_focused_side(self) -> bool:
        return any(pane.transcript.has_focus for pane in self.panes)

    @property
    def conversation(self) -> Conversation:
        """What stands in the active pane."""
        return self._session.panes[self.active]

    def show(self) -> None:
        """Everything anew: after a model was chosen, a pane added, or a conversation begun."""
        session, reachable = self._session, self._session.reachable
        self.count = len(session.panes)
        self.active = min(self.active, self.count - 1)
        for pane, conversation in zip(self.panes, session.panes, strict=True):
            pane.show(
                conversation,
                _before(session, conversation, reachable),
                reachable.context_length(conversation.speaker),
            )
            pane.title_text = _title(session, pane)
            pane.border_title = _marked(session, pane, reachable)
        self._arrange()

    def toggle_alone(self) -> None:
        """The active pane alone, or all."""
        self.alone = not self.alone
        had_focus = self.has_focused_side
        self._arrange()
        if had_focus:
            self.active_pane.transcript.focus()

    def go(self, step: int) -> None:
        """To the pane beside the active one, also if it was hidden."""
        self.active = (self.active + step) % self.count
        self._arrange()
        self.active_pane.transcript.focus()

    def _arrange(self) -> None:
        if not self.size.width:
            return
        visible, shape = arrange(
            self.count, self.size.width, self.size.height, self.active, self.alone
        )
        for pane in self.all_panes:
            pane.display = pane.position in visible
        self.query_one("#panes").set_class(shape == "square", "-square")
        self._tabs.display = len(visible) < self.count
        if self._tabs.display:
            styles = [
                "$foreground bold" if pane.position in visible else "$foreground-muted"
                for pane in self.panes
            ]
            tabs = [
                Content.styled(pane.title_text, style)
                for pane, style in zip(self.panes, styles, strict=True)
            ]
            self._tabs.update(Content("   ").join(tabs))

    # Answers

    def ask(self, conversations: Collection[Conversation]) -> None:
        """Have the last turn of these conversations answered, all at once."""
        for pane, conversation in zip(self.all_panes, self._session.panes, strict=False):
            if conversation in conversations:
                pane.ask(conversation)
        if self._painting is not None:
            self._painting.begin()
        self.set_timer(_FOOTER_SECONDS, self.screen.refresh_bindings)

    def stop_all(self) -> None:
        for pane in self.panes:
            pane.stop()

    @on(FirstTextCame)
    @on(AnswerEnded)
    def paint(self, message: FirstTextCame | AnswerEnded) -> None:
        if self._painting is not None:
            self._painting.paint(message.pane)


def _title(session: ChatSession, pane: ChatPane) -> str:
    signs = (glyphs().running, glyphs().eval_point, glyphs().mark, glyphs().diamond)
    return f"{signs[pane.position]} {session.name(pane.conversation)}"


def _marked(session: ChatSession, pane: ChatPane, reachable: Reachable) -> Content:
    """The title, with the model's certificate where that is red: it stays in sight, but tells
    nobody who is who in a blind chat."""
    standing = reachable.standing(pane.conversation.speaker)
    if standing.verdict != "red" or session.chat.blind:
        return Content(pane.title_text)
    return Content.assemble(pane.title_text, "  ", badge(standing))


def _certificates(
    session: ChatSession, conversation: Conversation, reachable: Reachable
) -> Content:
    """What the certificate says of the pane's model; in a blind chat, the warnings of all that take
    part."""
    if session.chat.blind and conversation in session.contestants:
        speakers = sorted(
            (pane.speaker for pane in session.contestants if pane.speaker),
            key=lambda speaker: speaker.label,
        )
        warnings = [warning(speaker.model, reachable.standing(speaker)) for speaker in speakers]
        return Content("\n").join(text for text in warnings if text)
    standing = reachable.standing(conversation.speaker)
    if standing.verdict is None:
        return Content("")
    name = session.name(conversation)
    return warning(name, standing) or Content.assemble("certificate ", badge(standing))


def _before(session: ChatSession, conversation: Conversation, reachable: Reachable) -> Content:
    """What an empty pane says."""
    kind = conversation.speaker.what if conversation.speaker else ""
    if session.chat.blind and conversation in session.contestants:
        among = sorted(pane.speaker.label for pane in session.contestants if pane.speaker)
        name, kind = "?", f"one of {', '.join(among)}"
    else:
        name = session.name(conversation)
    speaker = Content.from_markup("[b]$name[/]\n[$foreground-muted]$kind[/]", name=name, kind=kind)
    certificates = _certificates(session, conversation, reachable)
    return Content("\n\n").join([speaker, certificates]) if certificates else speaker
