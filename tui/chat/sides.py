"""The panes of the chat: side by side as many as are readable, four of them in a square, the rest
as tabs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Literal

from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.content import Content
from textual.events import Resize
from textual.timer import Timer
from textual.widgets import Static

from serve.chats.store import Record
from serve.chats.turns import Answer, Conversation
from serve.client import Delta, Finished
from tui.chat.answer_rows import Look
from tui.chat.pane import ChatPane
from tui.shared.certificate_badge import badge, warning
from tui.shared.glyphs import glyphs
from workshop.chat.server import Reachable
from workshop.chat.session import MOST_PANES, ChatSession

FLUSH_SECONDS = 0.25
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
    """`active` is the pane that had the focus last: the one that the actions for one pane mean."""

    def __init__(self, record: Record) -> None:
        super().__init__(id="sides")
        self.all_panes = [ChatPane(position, record) for position in range(MOST_PANES)]
        self.count = 2
        self.active = 1
        self.alone = False
        self._tabs = Static(id="tabs")
        self._flush: Timer | None = None

    def compose(self) -> ComposeResult:
        yield self._tabs
        with Container(id="panes"):
            yield from self.all_panes

    def on_mount(self) -> None:
        # One timer for all: what has come to any is painted in one go.
        self._flush = self.set_interval(FLUSH_SECONDS, self._show_progress, pause=True)

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

    def show(self, session: ChatSession, reachable: Reachable) -> None:
        """Everything anew: after a model was chosen, a pane added, or a conversation begun."""
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

    def look(self, draw: Callable[[Conversation, Look], Look | None]) -> None:
        """Draw the panes whose look `draw` gives anew."""
        for pane in self.panes:
            look = draw(pane.conversation, pane.transcript.look)
            if look is not None:
                pane.transcript.look = look
                pane.transcript.redraw()

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
        shown, shape = arrange(
            self.count, self.size.width, self.size.height, self.active, self.alone
        )
        for pane in self.all_panes:
            pane.display = pane.position in shown
        self.query_one("#panes").set_class(shape == "square", "-square")
        self._tabs.display = len(shown) < self.count
        if self._tabs.display:
            styles = [
                "$foreground bold" if pane.position in shown else "$foreground-muted"
                for pane in self.panes
            ]
            tabs = [
                Content.styled(pane.title_text, style)
                for pane, style in zip(self.panes, styles, strict=True)
            ]
            self._tabs.update(Content("   ").join(tabs))

    def ask(
        self,
        position: int,
        conversation: Conversation,
        stream: Callable[[Answer], AsyncIterator[Delta | Finished]],
    ) -> None:
        """Let what `stream` brings flow into the last answer of a pane's conversation."""
        self.all_panes[position].ask(conversation, stream)
        if self._flush is not None:
            self._flush.resume()

    def _show_progress(self) -> None:
        answering = [pane for pane in self.panes if pane.conversation.answering]
        for pane in answering:
            pane.show_progress()
        if not answering and self._flush is not None:
            self._flush.pause()


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
        return Content("\n").join(
            said for one in speakers if (said := warning(one.model, reachable.standing(one)))
        )
    standing = reachable.standing(conversation.speaker)
    return warning(session.name(conversation), standing) or badge(standing)


def _before(session: ChatSession, conversation: Conversation, reachable: Reachable) -> Content:
    """What an empty pane says."""
    what = conversation.speaker.what if conversation.speaker else ""
    if session.chat.blind and conversation in session.contestants:
        among = sorted(pane.speaker.label for pane in session.contestants if pane.speaker)
        name, what = "?", f"one of {', '.join(among)}"
    else:
        name = session.name(conversation)
    who = Content.from_markup("[b]$name[/]\n[$foreground-muted]$what[/]", name=name, what=what)
    said = _certificates(session, conversation, reachable)
    return Content("\n\n").join([who, said]) if said else who
