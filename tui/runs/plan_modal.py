"""What a run will do, before it starts: its settings and why, its memory, and what would fit on
which card."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from trainer.plan.memory.cards import card, what_if
from trainer.plan.plan import Plan
from trainer.recipe import Recipe
from tui.runs import memory_text, plan_text
from tui.runs.memory_text import Line
from tui.shared.dialog import Dialog, DialogKeys
from tui.shared.key_line import KeyHint
from tui.shared.styles import DIALOGS

_NAME, _VALUE = 10, 58  # columns
_FRAME = 8  # rows of a dialog's border, padding, keys, and of what stays free around it
_STYLES = {
    "": "",
    "dim": "$foreground-muted",
    "bold": "bold",
    "good": "$success",
    "blue": "$secondary",
    "green": "$success",
    "amber": "$primary",
    "red": "$error",
    "yellow": "$warning",
}


class RunPlanModal(Dialog[bool]):
    """Dismissed with whether the run shall start. `m` turns to what would fit where, and back."""

    CSS_PATH = DIALOGS
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "answer(True)"),
        Binding("m", "turn"),
        Binding("up", "scroll('up')"),
        Binding("down", "scroll('down')"),
        Binding("pageup", "scroll('page_up')"),
        Binding("pagedown", "scroll('page_down')"),
    ]

    def __init__(self, recipe: Recipe, plan: Plan, of_sweep: str = "") -> None:
        super().__init__()
        self.recipe, self.plan, self.of_sweep = recipe, plan, of_sweep
        self._cards = False

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -run-plan") as dialog:
            dialog.border_title = Content(f"The plan of {self.recipe.name}")
            with VerticalScroll():
                yield Static(id="run-plan")
            yield DialogKeys(*self._hints())

    def on_mount(self) -> None:
        self._show()

    def on_resize(self) -> None:
        """The keys stay in sight, however much there is to scroll."""
        self.query_one(VerticalScroll).styles.max_height = max(3, self.size.height - _FRAME)

    def action_answer(self, start: bool) -> None:
        self.dismiss(start)

    def action_turn(self) -> None:
        self._cards = not self._cards
        self._show()
        self.query_one(VerticalScroll).scroll_home(animate=False)

    def action_scroll(self, how: str) -> None:
        getattr(self.query_one(VerticalScroll), f"scroll_{how}")(animate=False)

    def _hints(self) -> list[KeyHint]:
        return [
            KeyHint("enter", "enter", "start"),
            KeyHint("m", "m", "the plan" if self._cards else "what fits where"),
        ]

    def _show(self) -> None:
        lines = (
            memory_text.cards(self.recipe, what_if(self.recipe, self.plan))
            if self._cards
            else [*self._plan()]
        )
        self.query_one("#run-plan", Static).update(Content("\n").join(map(content_of, lines)))
        self.query_one(DialogKeys).show(self._hints())

    def _plan(self) -> Iterator[Line]:
        plan = self.plan
        rows = {
            "sweep": self.of_sweep,
            "model": plan.model,
            "objective": plan_text.objective(plan),
            "data": plan_text.data(plan),
            "engine": plan_text.engine(plan),
            "settings": plan_text.settings(plan),
            "batch": plan_text.batch(plan),
            "length": plan_text.length(plan),
        }
        for name, value in rows.items():
            for number, text in enumerate(textwrap.wrap(value, _VALUE)):
                yield [(f"{'' if number else name:<{_NAME}}", "dim"), (text, "")]
        yield from _section("before you start", memory_text.warnings(plan))
        yield from _section(memory_text.TITLE, memory_text.parts(plan, card()))
        yield from _section("why", memory_text.reasons(plan))
        yield from _section(memory_text.trials_title(plan), memory_text.trials(plan))
        yield from _section("predicted", memory_text.choices(plan))


def _section(title: str, lines: Iterable[Line]) -> Iterator[Line]:
    lines = [*lines]
    if lines:
        yield []
        yield [(title, "dim")]
        yield from lines


def content_of(line: Line) -> Content:
    """A line of `memory_text` in the theme's colours."""
    return Content.assemble(*((text, _STYLES[role]) for text, role in line))
