"""The two panes of the chat: side by side, or one alone with both names as tabs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.timer import Timer

from models.certificate import NO_CERTIFICATE, Standing
from serve.client import Delta, Finished
from tui.certificate_badge import badge, warning
from tui.chat_session import ChatSession
from tui.glyphs import glyphs
from tui.widgets.chat_pane import ChatPane

FLUSH_SECONDS = 0.25
_VIEWS = ("", "-left", "-right")


class ChatSides(Horizontal):
    """`active` is the side that had the focus last: the one that the actions for one side mean."""

    def __init__(self, session: ChatSession) -> None:
        super().__init__(id="sides")
        self.panes = [ChatPane(side, conversation) for side, conversation in enumerate(session.sides)]
        self.active = 1
        self._flush: Timer | None = None
        self._standings: Mapping[str, Standing] = {}

    def compose(self) -> ComposeResult:
        yield from self.panes

    def on_mount(self) -> None:
        # One timer for both: what has come to either is painted in one go.
        self._flush = self.set_interval(FLUSH_SECONDS, self._show_progress, pause=True)

    def on_descendant_focus(self) -> None:
        self.active = next((pane.side for pane in self.panes if pane.transcript.has_focus), self.active)

    @property
    def active_pane(self) -> ChatPane:
        return self.panes[self.active]

    @property
    def has_focused_side(self) -> bool:
        return any(pane.transcript.has_focus for pane in self.panes)

    def show(self, session: ChatSession, tuned: Collection[str], standings: Mapping[str, Standing] | None = None) -> None:
        """Everything anew: after a model was chosen, or a conversation begun. A model with a red certificate is introduced with why."""
        self._standings = standings or {}
        for pane, conversation in zip(self.panes, session.sides, strict=True):
            what = "tuned model" if conversation.model in tuned else "base model"
            before = Content.from_markup("[b]$model[/]\n[$foreground-muted]$what[/]", model=conversation.model, what=what)
            standing = self._standings.get(conversation.model, NO_CERTIFICATE)
            said = warning(conversation.model, standing) or badge(standing)
            pane.show(conversation, Content("\n\n").join([before, said]) if said else before)
        self._show_titles()

    def next_view(self) -> None:
        """Both sides, then the left one alone, then the right one."""
        shown = next((view for view in _VIEWS if self.has_class(view)), "")
        view = _VIEWS[(_VIEWS.index(shown) + 1) % len(_VIEWS)]
        had_focus = self.has_focused_side
        self.set_classes(view)
        if view:
            self.active = _VIEWS.index(view) - 1
        if had_focus:
            self.active_pane.transcript.focus()
        self._show_titles()

    def _show_titles(self) -> None:
        """A pane is titled with its model; one that is alone, with both, like tabs."""
        signs = (glyphs().running, glyphs().eval_point)
        titles = [self._title(sign, pane.conversation.model) for sign, pane in zip(signs, self.panes, strict=True)]
        alone = bool(self.classes & set(_VIEWS))
        for side, pane in enumerate(self.panes):
            other = titles[1 - side].stylize("$foreground-muted not bold")
            tabs = [titles[0], other] if side == 0 else [other, titles[1]]
            pane.border_title = Content("   ").join(tabs) if alone else titles[side]

    def _title(self, sign: str, model: str) -> Content:
        """The model's name, with its certificate where that is red: it stays in sight."""
        standing = self._standings.get(model, NO_CERTIFICATE)
        return Content.assemble(f"{sign} {model}", "  ", badge(standing)) if standing.verdict == "red" else Content(f"{sign} {model}")

    def ask(self, side: int, answer: AsyncIterator[Delta | Finished]) -> None:
        """Let `answer` flow into the last turn of a side."""
        self.panes[side].ask(answer)
        if self._flush is not None:
            self._flush.resume()

    def _show_progress(self) -> None:
        answering = [pane for pane in self.panes if pane.conversation.answering]
        for pane in answering:
            pane.show_progress()
        if not answering and self._flush is not None:
            self._flush.pause()
