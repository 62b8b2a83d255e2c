"""What a making will do, before it starts: its documents, who becomes what, what it may cost."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import ClassVar, get_args

import msgspec
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from tui.shared.dialog import Dialog, DialogKeys
from tui.shared.glyphs import glyphs
from tui.shared.key_line import KeyHint
from tui.shared.styles import DIALOGS
from workshop.making.order import Order, Role
from workshop.making.preview import Plan, SpeakerPlan

_NAME, _VALUE = 11, 57  # columns
_FRAME = 8  # rows of a dialog's border, padding, keys, and of what stays free around it
_EXCERPT = 132
_MUTED = "$foreground-muted"
_MOST_DOCUMENTS = 6
_SPEAKER, _BECOMES, _COUNT = 16, 11, 8  # columns of the speakers' table
_ROLE_STYLES: dict[str, str] = {"assistant": "bold", "user": "", "drop": _MUTED}


class MakingPlanModal(Dialog[Order | None]):
    """Dismissed with the order that is to start, in which every speaker has a role."""

    CSS_PATH = DIALOGS
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "start", priority=True),
        Binding("space", "turn", priority=True),
        Binding("pageup", "scroll('page_up')"),
        Binding("pagedown", "scroll('page_down')"),
    ]

    def __init__(self, order: Order, plan: Plan) -> None:
        super().__init__()
        self.order, self.plan = order, plan
        self.roles: dict[str, Role] = {
            speaker.name: _role_of(speaker) for speaker in plan.speakers if speaker.name
        }
        is_talk = order.making.recipe.method == "dialogue"
        self._asks_for_roles = is_talk and bool(self.roles)
        self._problem = plan.unclear if is_talk and not self.roles else ""
        """Why nothing can be made of these documents."""

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -run-plan") as dialog:
            names = ", ".join(document.file for document in self.plan.documents[:3])
            dialog.border_title = Content(f"The plan for {names}")
            with VerticalScroll(can_focus=not self._asks_for_roles):
                yield Static(_rows(self._facts()))
                if self._asks_for_roles:
                    yield Static(self._titles(), id="speaker-titles")
                    yield OptionList(id="speakers", compact=True)
                else:
                    yield Static(Content("\n").join(self._examples()), id="passage-examples")
            yield Static(Content.styled(self._problem, "$error"), id="form-error")
            hints = [] if self._problem else [KeyHint("enter", "enter", "start")]
            if self._asks_for_roles:
                hints.append(KeyHint("space", "space", "assistant, user or left out"))
            yield DialogKeys(*hints)

    def on_mount(self) -> None:
        self._show_speakers()

    def on_resize(self) -> None:
        """The keys stay in sight, however much there is to scroll."""
        self.query_one(VerticalScroll).styles.max_height = max(3, self.size.height - _FRAME)

    def action_start(self) -> None:
        if self._problem:
            return
        if self._asks_for_roles and (problem := self._missing_side()):
            self.query_one("#form-error", Static).update(Content.styled(problem, "$error"))
            return
        self.dismiss(msgspec.structs.replace(self.order, roles=self.roles))

    def action_turn(self) -> None:
        """The next role for the highlighted speaker."""
        index = self.query_one(OptionList).highlighted if self._asks_for_roles else None
        if index is not None:
            self._turn(index)

    def action_scroll(self, how: str) -> None:
        getattr(self.query_one(VerticalScroll), f"scroll_{how}")(animate=False)

    @on(OptionList.OptionSelected)
    def _clicked(self, event: OptionList.OptionSelected) -> None:
        self._turn(event.option_index)

    def _turn(self, index: int) -> None:
        name, order = [*self.roles][index], [*get_args(Role)]
        self.roles[name] = order[(order.index(self.roles[name]) + 1) % len(order)]
        self._show_speakers()
        self.query_one("#form-error", Static).update(Content(""))

    def _missing_side(self) -> str:
        for role in ("assistant", "user"):
            if role not in self.roles.values():
                return f"A conversation needs both sides: nobody is the {role}."
        return ""

    def _show_speakers(self) -> None:
        if not self._asks_for_roles:
            return
        options = self.query_one(OptionList)
        index = options.highlighted or 0
        options.set_options(
            Option(self._speaker_line(speaker)) for speaker in self.plan.speakers if speaker.name
        )
        options.highlighted = index

    def _titles(self) -> Content:
        titles = f"{'speaker':<{_SPEAKER}}{'becomes':<{_BECOMES}}{'turns':>{_COUNT - 2}}"
        return Content.styled(f"{titles}{'words':>{_COUNT}}  begins", _MUTED)

    def _speaker_line(self, speaker: SpeakerPlan) -> Content:
        role = self.roles[speaker.name]
        name = textwrap.shorten(speaker.name, _SPEAKER - 2, placeholder=glyphs().ellipsis)
        return Content.assemble(
            f"{name:<{_SPEAKER}}",
            (f"{'left out' if role == 'drop' else role:<{_BECOMES}}", _ROLE_STYLES[role]),
            f"{speaker.turns:>{_COUNT - 2},}{speaker.words:>{_COUNT},}  {speaker.first}",
        )

    def _facts(self) -> Iterator[tuple[str, str]]:
        plan, order = self.plan, self.order
        for document in plan.documents[:_MOST_DOCUMENTS]:
            unit = "turns" if self._asks_for_roles else "passages"
            parts = [
                document.file,
                document.kind,
                document.language,
                _count(document.passages, unit),
            ]
            yield "document", " · ".join(filter(None, parts))
            left_out = ", ".join(f"{name} {count:,}" for name, count in document.left_out.items())
            if left_out:
                yield "", f"left out: {left_out}"
        if (further := len(plan.documents) - _MOST_DOCUMENTS) > 0:
            yield "", f"and {further:,} more documents"
        if self.order.making.recipe.method != "dialogue":
            yield "passages", f"{plan.usable:,} of {plan.passages:,} can be used"
        if order.terms is not None:
            yield "asks", f"{order.terms.model} at {order.terms.address}"
            yield (
                "",
                f"about {_count(plan.requests, 'requests')}, at most {plan.most_tokens:,} tokens",
            )
            yield from self._cost()
        yield "into", order.out

    def _cost(self) -> Iterator[tuple[str, str]]:
        ceiling = self.order.terms.ceiling if self.order.terms else None
        if ceiling is None or not (self.plan.most_cost or ceiling.cost is not None):
            return
        limit = "no limit" if ceiling.cost is None else f"it stops before {ceiling.cost:g}"
        yield "cost", f"at most {self.plan.most_cost:g}; {limit}"
        if ceiling.cost is not None and ceiling.cost < self.plan.most_cost:
            yield "", "Passages may stay open; the same again with a higher limit continues."

    def _examples(self) -> Iterator[Content]:
        for index, example in enumerate(self.plan.examples[:2]):
            if index:
                yield Content("")
            yield Content.styled(example.location.in_words, _MUTED)
            yield Content(textwrap.shorten(example.text, _EXCERPT, placeholder=glyphs().ellipsis))


def _role_of(speaker: SpeakerPlan) -> Role:
    return speaker.role if speaker.role in get_args(Role) else "user"  # type: ignore[return-value]


def _count(number: int, unit: str) -> str:
    return f"{number:,} {unit.removesuffix('s') if number == 1 else unit}"


def _rows(facts: Iterator[tuple[str, str]]) -> Content:
    lines: list[Content] = []
    for name, value in facts:
        for number, text in enumerate(textwrap.wrap(value, _VALUE) or [""]):
            title = "" if number else name
            lines.append(Content.assemble((f"{title:<{_NAME}}", _MUTED), text))
    return Content("\n").join(lines)
