"""Which answer is better? A line at the bottom, so that the answers stay in sight; the reason is
asked for after the vote."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, Static

from serve.chats.store import Verdict
from tui.shared.dialog import Dialog, DialogKeys
from tui.shared.key_line import KeyHint


@dataclass(frozen=True)
class Judgement:
    """`letter` is the pane's that is better, or worse, than all others; none for a tie and for both
    bad."""

    verdict: Verdict
    letter: str | None


@dataclass(frozen=True)
class Explained:
    """What is said after a vote."""

    reason: str
    shows_votes: bool = False


class VoteModal(Dialog[Explained]):
    """`cast` is called at once with the judgement, which is therefore never lost; the modal gives
    back the reason, if one is written, and whether all votes are to be shown.

    `names` are those of the answers by the letters of their panes, in order.
    """

    CSS_PATH = "modals.tcss"
    AUTO_FOCUS = ""

    def __init__(self, names: dict[str, str], cast: Callable[[Judgement], None]) -> None:
        super().__init__()
        self.names = names
        self._cast = cast
        self._judged = False

    def compose(self) -> ComposeResult:
        with Vertical(id="vote") as bar:
            bar.border_title = "Which answer is better?"
            yield Static(id="vote-said")
            yield Input(placeholder="why? (enter alone: no reason)", id="vote-reason", compact=True)
            yield DialogKeys(*self._hints())

    def _hints(self) -> list[KeyHint]:
        praise = "is better" if len(self.names) == 2 else "is best"
        better = [
            KeyHint(letter.lower(), letter.lower(), f"{name} {praise}")
            for letter, name in self.names.items()
        ]
        worst = [KeyHint("A", "A..", "is worst")] if len(self.names) > 2 else []
        both = "both" if len(self.names) == 2 else "all"
        return [
            *better,
            *worst,
            KeyHint("t", "t", "tie"),
            KeyHint("x", "x", f"{both} bad"),
        ]

    def on_key(self, event: events.Key) -> None:
        if self._judged:
            if event.key == "f9":
                event.stop()
                self.dismiss(Explained(self._reason, shows_votes=True))
            return
        character = event.character or ""
        if character.upper() in self.names and character:
            worst = character.isupper() and len(self.names) > 2
            self._judge(Judgement("worse" if worst else "better", character.upper()))
        elif character in ("t", "="):
            self._judge(Judgement("tie", None))
        elif character in ("x", "0"):
            self._judge(Judgement("bad", None))
        else:
            return
        event.stop()
        event.prevent_default()

    def _judge(self, judgement: Judgement) -> None:
        self._judged = True
        self._cast(judgement)
        if judgement.letter is not None:
            verdict = judgement.verdict if len(self.names) == 2 else _SUPERLATIVE[judgement.verdict]
            sentence = f"{self.names[judgement.letter]} is {verdict}."
        else:
            sentence = "A tie." if judgement.verdict == "tie" else "None is good."
        self.query_one("#vote").border_title = "Voted"
        self.query_one("#vote-said", Static).update(Content.styled(sentence, "bold"))
        self.add_class("-judged")
        self.query_one(DialogKeys).show(
            [
                KeyHint("enter", "enter", "keep the reason"),
                KeyHint("f9", "f9", "votes and training"),
            ]
        )
        self.query_one(Input).focus()

    @on(Input.Submitted)
    def take(self, event: Input.Submitted) -> None:
        self.dismiss(Explained(self._reason))

    @property
    def _reason(self) -> str:
        return self.query_one(Input).value.strip()


_SUPERLATIVE = {"better": "best", "worse": "worst"}
