"""What a data set comes to: its rows by state, why they are not as they were, and how long its
samples are beside the context size."""

from __future__ import annotations

from itertools import zip_longest

from textual.content import Content
from textual.events import Resize
from textual.widgets import Static

from trainer.data.inspection import Lengths, Summary
from tui.data.ledger_table import state_sign
from tui.shared.glyphs import glyphs
from workshop import number_format

_BARS = 12
_COLUMN = 36  # cells that figures need
_GAP = 4


class DataOverview(Static):
    def __init__(self) -> None:
        super().__init__(id="overview")
        self._summary: Summary | None = None

    def show(self, summary: Summary) -> None:
        self._summary = summary
        self._redraw()

    def on_resize(self, event: Resize) -> None:
        self._redraw()

    def _redraw(self) -> None:
        if self._summary is not None and self.size.width:
            self.update(overview(self._summary, self.size.width))


def overview(summary: Summary, width: int) -> Content:
    """In two columns where they have room."""
    column = (width - _GAP) // 2 if width >= 2 * _COLUMN + _GAP else width
    left = [
        *_states(summary),
        Content(""),
        *_samples(summary),
        Content(""),
        *_problems(summary, column),
    ]
    right = _lengths(summary.lengths, summary.context, column) if summary.lengths.counts else []
    if column == width:
        return Content("\n").join([*_error(summary), *left, *right, *_checks(summary)])
    beside = [_beside(*pair, column) for pair in zip_longest(left, right, fillvalue=Content(""))]
    return Content("\n").join([*_error(summary), *beside, *_checks(summary)])


def _beside(left: Content, right: Content, column: int) -> Content:
    return Content.assemble(left.truncate(column, ellipsis=True, pad=True), " " * _GAP, right)


def _error(summary: Summary) -> list[Content]:
    """What stands against training on this data."""
    if summary.error is None:
        return []
    return [
        Content.styled(f"{glyphs().failed} {summary.error.title}", "bold $error"),
        Content(summary.error.message),
        Content(""),
    ]


def _checks(summary: Summary) -> list[Content]:
    """What the model's chat template cannot do."""
    warnings = [check for check in summary.checks if check.status != "ok"]
    lines = [Content(""), _title("chat template")] if warnings else []
    for check in warnings:
        sign = (glyphs().failed, "$error") if check.status == "fail" else ("!", "$warning")
        lines.append(
            Content.assemble(sign, f" {check.name}  ", (check.detail, "$foreground-muted"))
        )
    return lines


def _title(text: str) -> Content:
    return Content.styled(text, "$primary")


def _muted(text: str) -> Content:
    return Content.styled(text, "$foreground-muted")


def _states(summary: Summary) -> list[Content]:
    lines = [_muted(f"{'':<11}{'rows':>7}{'tokens':>9}")]
    for state, amount in summary.states.items():
        sign = state_sign(state)
        share = f"{100 * amount.rows / summary.rows:.1f} %" if summary.rows else ""
        figures_ = f"{amount.rows:>7,}{number_format.count(amount.tokens):>9}"
        lines.append(
            Content.assemble(
                sign.pad_right(11 - sign.cell_length),
                figures_,
                (f"{share:>9}", "$foreground-muted"),
            )
        )
    totals = f"{'  all':<11}{summary.rows:>7,}{number_format.count(summary.tokens):>9}"
    return [*lines, Content.styled(totals, "bold")]


def _problems(summary: Summary, width: int) -> list[Content]:
    if not summary.problems:
        return []
    lines = [_title("reasons")]
    for problem in summary.problems:
        rows = ", ".join(str(position["row"]) for position in problem.first[:3])
        first = (
            f"  row{'' if problem.rows == 1 else 's'}"
            f" {rows}{glyphs().ellipsis if problem.rows > 3 else ''}"
        )
        sign = state_sign(problem.state)[:1]
        line = Content.assemble(
            f"{problem.rows:>6,} ",
            sign,
            f" {problem.code}",
            (first, "$foreground-muted"),
        )
        lines.append(line.truncate(width, ellipsis=True))
    return [*lines, Content("")]


def _lengths(lengths: Lengths, context: int, width: int) -> list[Content]:
    """Neighbouring bins are put together until there are few enough; the context size is a line
    among them."""
    joined = max(1, -(-len(lengths.counts) // _BARS))
    counts = [sum(lengths.counts[at : at + joined]) for at in range(0, len(lengths.counts), joined)]
    step, most = lengths.width * joined, max(counts)
    room = max(4, width - 8 - 8)
    marked = False
    lines = [_title("tokens per sample")]
    for bucket, count in enumerate(counts):
        if not marked and bucket * step >= context:
            lines.append(_context_line(context, width))
            marked = True
        filled = max(1, round(room * count / most)) if count else 0
        bar = (glyphs().histogram * filled, "$error" if bucket * step >= context else "$primary")
        lines.append(
            Content.assemble(
                (f"{bucket * step:>7,} ", "$foreground-muted"),
                bar,
                f" {count:,}" if count else "",
            )
        )
    if not marked:
        far = len(counts) * step < context
        lines += [_muted(f"{glyphs().ellipsis:>7}")] if far else []
        lines.append(_context_line(context, width))
    lines.append(_muted(f"median {lengths.median:,}, longest {lengths.longest:,}"))
    return lines


def _context_line(context: int, width: int) -> Content:
    text = f"{context:>7,} "
    words = " context"
    rule = glyphs().bar_rest * max(0, width - len(text) - len(words) - 1)
    return Content.styled(f"{text}{rule}{words}", "$warning")


def _samples(summary: Summary) -> list[Content]:
    share = f" ({100 * summary.trained_tokens / summary.tokens:.0f} %)" if summary.tokens else ""
    unused = [name for reading in summary.formats for name in reading.unused]
    lost = (
        [_muted(f"{number_format.count(summary.lost)} tokens went into no sample")]
        if summary.lost
        else []
    )
    return [
        Content(f"{summary.train:,} samples to train, {summary.heldout:,} held out"),
        _muted(f"{number_format.count(summary.trained_tokens)} tokens{share} are trained"),
        *lost,
        *(
            [
                _muted(
                    f"unused: {', '.join(unused[:6])}{glyphs().ellipsis if len(unused) > 6 else ''}"
                )
            ]
            if unused
            else []
        ),
    ]
