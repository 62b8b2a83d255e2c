"""What a run comes to, in words: its rows, its length, memory, time and how it will be served."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from textwrap import wrap

from textual.content import Content

from jobs.counting import counted
from jobs.memory import main_memory
from trainer.data.inspection import Summary
from trainer.data.ledger import describe
from trainer.data.refused_data import ProposedChange
from trainer.key_values import as_text
from trainer.plan.memory.cards import card
from trainer.plan.plan import Plan
from trainer.recipe import Recipe
from tui.data.ledger_table import state_sign
from tui.key_bindings import key_of
from tui.new_run.first_rows import FirstRow
from tui.runs import memory_text, plan_text
from tui.runs.plan_modal import content_of
from tui.shared.glyphs import glyphs
from workshop.number_format import duration, size
from workshop.runs.forecast import Speed, forecast

_NAME = 9  # cells of a row's name
_LONGEST_BAR = 60
_MOST_REASONS = 4
_TWO_COLUMNS = 60  # cells that the parts of the memory need


@dataclass(frozen=True)
class Outlook:
    """What a recipe comes to on this machine."""

    recipe: Recipe
    plan: Plan
    speed: Speed | None
    alone: list[str]
    """Why what is trained will be served as a model of its own; empty for an adapter beside its
    base."""
    runs: int = 1
    """Of a sweep how many; the plan is its first one's."""
    first_rows: Sequence[FirstRow] = ()


def outlook_lines(
    outlook: Outlook, summary: Summary | None, looking: str, width: int, *, roomy: bool
) -> Content:
    """`summary` is what a look at the data has counted; before it has, `looking` says what it
    does."""
    room = _room(width)
    sections = (
        ("rows", _rows(outlook.plan, summary, looking, room)),
        ("length", _length(outlook, room)),
        ("memory", _memory(outlook.plan, room, roomy=roomy)),
        ("time", _time(outlook, summary, room)),
        ("served", _served(outlook, room)),
        ("note", _warnings(outlook.plan, room)),
    )
    return _laid_out(sections, roomy=roomy)


def proposal_lines(
    proposal: ProposedChange, number: int, count: int, width: int, *, roomy: bool
) -> Content:
    """What a recipe that cannot be planned could say instead; `number` is that of the proposal,
    from 1, of `count`."""
    room = _room(width)
    lines = [Content(line) for line in wrap(f"{proposal.title}.", room)]
    for key, value in proposal.values.items():
        text = "no longer set" if value is None else as_text(value)
        first, *others = wrap(f"{key} {text}", room, subsequent_indent="  ")
        name = Content.styled(key, "$foreground-muted")
        lines.append(name + Content.styled(first.removeprefix(key), "$success"))
        lines += [Content.styled(line, "$success") for line in others]
    accept, another = key_of("new_run.accept"), key_of("new_run.another")
    keys = f"{accept} makes this change"
    if count > 1:
        keys += f", {another} shows another proposal ({number} of {count})"
    lines += [Content.styled(line, "$foreground-muted") for line in wrap(f"{keys}.", room)]
    return _laid_out([("proposal", [*lines, *([] if roomy else [Content("")])])], roomy=roomy)


def _room(width: int) -> int:
    return max(20, width - _NAME - 1)


def _laid_out(sections: Iterable[tuple[str, Iterable[Content]]], *, roomy: bool) -> Content:
    """Each section's name stands before its first line."""
    lines: list[Content] = []
    for name, contents in sections:
        for number, content in enumerate(contents):
            head = (f"{'' if number else name:<{_NAME}} ", "$foreground-muted")
            lines.append(Content.assemble(head, content))
        if roomy and lines and lines[-1]:
            lines.append(Content(""))
    return Content("\n").join(lines)


def _rows(plan: Plan, summary: Summary | None, looking: str, room: int) -> Iterator[Content]:
    if summary is None:
        yield Content(plan_text.data(plan)).truncate(room, ellipsis=True)
        if looking:
            yield Content.styled(looking, "$foreground-muted").truncate(room, ellipsis=True)
        return
    states = [
        Content.assemble(f"{amount.rows:,} ", state_sign(state))
        for state, amount in summary.states.items()
        if amount.rows
    ]
    yield Content("   ").join(states)
    for problem in summary.problems[:_MOST_REASONS]:
        text = f"{problem.rows:>6,}  {describe(problem.code)}"
        yield Content.styled(text, "$foreground-muted").truncate(room, ellipsis=True)
    if len(summary.problems) > _MOST_REASONS:
        hidden_count = len(summary.problems) - _MOST_REASONS
        text = f"        and {hidden_count} more reasons"
        yield Content.styled(text, "$foreground-muted")
    trained = f"{counted(summary.train, 'sample')} to train, {summary.heldout:,} held out"
    share = 100 * summary.trained_tokens / summary.tokens if summary.tokens else 0
    tokens = f"{summary.trained_tokens:,} of {summary.tokens:,} tokens are trained ({share:.0f} %)"
    for text in (trained, tokens):
        yield Content.styled(text, "$foreground-muted").truncate(room, ellipsis=True)
    if summary.error is not None:
        yield Content.styled(f"{glyphs().failed} {summary.error.title}", "bold $error")
        yield from _wrapped(f"{summary.error.message} {summary.error.hint}", room)


def _length(outlook: Outlook, room: int) -> Iterator[Content]:
    if outlook.runs > 1:
        yield Content(f"a sweep of {outlook.runs} runs; this is the first one")
    yield from _wrapped(plan_text.length(outlook.plan), room)


def _memory(plan: Plan, room: int, *, roomy: bool) -> Iterator[Content]:
    there = card() or main_memory()
    lines = memory_text.parts(plan, there, min(_LONGEST_BAR, room))
    if not lines:
        yield Content.styled(
            "not predicted: the model's config does not give its shape", "$foreground-muted"
        )
    for number, line in enumerate(lines):
        if number == 0:  # the number of tokens stands in the whole plan
            yield Content.assemble(
                (size(sum(plan.memory.values())), "bold"),
                (f" {memory_text.TITLE} ", "$foreground-muted"),
                (f"of {size(there)}", "bold"),
                (", predicted", "$foreground-muted"),
            ).truncate(room, ellipsis=True)
            continue
        if number < 2 or (roomy and room >= _TWO_COLUMNS):
            yield content_of(line).truncate(room, ellipsis=True)


def _time(outlook: Outlook, summary: Summary | None, room: int) -> Iterator[Content]:
    times = forecast(outlook.plan, outlook.speed, summary.tokens if summary is not None else 0)
    yield Content.styled(plan_text.time_in_all(times), "bold").truncate(room, ellipsis=True)
    for part in times.parts:
        seconds = glyphs().dot if part.seconds is None else duration(max(1.0, part.seconds))
        figures = f"{seconds:>9}  {part.name:<20} "
        about = part.about
        if len(figures) + len(about) > room:  # without the date of the run that it was measured in
            about = about.partition(",")[0]
        yield Content.assemble(figures, (about, "$foreground-muted")).truncate(room, ellipsis=True)


def _served(outlook: Outlook, room: int) -> Iterator[Content]:
    if outlook.alone:
        for why in outlook.alone:
            yield from _wrapped(f"as a model of its own. {why}", room)
        return
    yield from _wrapped("beside its base, as an adapter; nothing to merge", room)
    if outlook.recipe.certify:
        yield from _wrapped("then certified: the served model is the trained one", room)


def _warnings(plan: Plan, room: int) -> Iterator[Content]:
    for warning in plan.warnings:
        for line in wrap(warning, room):
            yield Content.styled(line, "$warning")


def _wrapped(text: str, room: int) -> Iterator[Content]:
    yield from (Content(line) for line in wrap(text, room))
