"""A certificate, to be read: its verdict, the models that were compared, every check with its
figure and bound, and why it is not green."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.events import Key
from textual.widgets import Static

from models.certificate import Certificate, Check, Standing
from tui.shared.certificate_badge import badge, bound, figure, sign, thousands
from tui.shared.dialog import Dialog, DialogKeys
from tui.shared.key_line import KeyHint
from tui.shared.styles import DIALOGS
from workshop import number_format

_SCROLL_KEYS = {"up", "down", "pageup", "pagedown", "home", "end"}
_NOTHING = """No certificate was made of this model yet.

It proves that the trained, the merged and the served model are one: the same token ids, \
the same probabilities, \
the same stop tokens, the same bytes. It takes a minute or two, in a job of its own."""


class CertificateModal(Dialog[bool]):
    """Closes with True when a new certificate is wanted. The arrows scroll, any other key closes
    it."""

    CSS_PATH = DIALOGS

    def __init__(
        self,
        name: str,
        certificate: Certificate | None,
        standing: Standing,
        *,
        being_made: bool = False,
    ) -> None:
        super().__init__()
        self.model, self.certificate, self.standing, self.being_made = (
            name,
            certificate,
            standing,
            being_made,
        )

    def compose(self) -> ComposeResult:
        narrow, low = self.app.size.width < 100, self.app.size.height < 40
        with Vertical(
            classes="dialog -tall" if low and self.certificate is not None else "dialog -wide"
        ) as dialog:
            dialog.border_title = Content(f"Certificate of {self.model}")
            dialog.set_class(self.standing.verdict == "red", "-error")
            with VerticalScroll():
                yield Static(
                    _NOTHING
                    if self.certificate is None
                    else certificate_text(self.certificate, self.standing, units=not narrow)
                )
            again = "certify" if self.certificate is None else "certify again"
            offered = [] if self.being_made else [KeyHint("c", "c", again)]
            yield DialogKeys(*offered)

    def on_key(self, event: Key) -> None:
        if event.key in _SCROLL_KEYS:
            return
        event.stop()
        if event.key != "ctrl+q":
            self.dismiss(event.key == "c" and not self.being_made)


def certificate_text(written: Certificate, standing: Standing, *, units: bool) -> Content:
    tokens = thousands(written.sample["tokens"])
    when = (
        f"   {number_format.age(written.made)}, in {number_format.duration(written.seconds)}, on"
        f" {written.sample['turns']} turns, {tokens} tokens"
    )
    lines = [Content.assemble(badge(standing), (when, "$foreground-muted"))]
    lines += (
        [Content.assemble("\n", (standing.reason, "$warning"))]
        if standing.outdated and written.verdict != "red"
        else []
    )
    lines += [
        Content.assemble("\n", (fault.sentence, "$error" if fault.verdict == "red" else "$warning"))
        for fault in written.faults
    ]
    titles = f"{'model':<8}{'engine':<14}{'mean NLL':>9}{'tokens':>8}{'ended by a stop token':>24}"
    lines += [Content(""), Content.styled(titles, "$foreground-muted")]
    for column in written.columns:
        ended = f"{column.stopped} of {column.answers}" if column.answers else ""
        lines.append(
            Content(
                f"{column.model:<8}{column.engine:<14}{column.nll:>9.4f}{thousands(column.tokens):>8}{ended:>24}"
            )
        )
    lines += [
        Content(""),
        Content.styled(
            f"  {'check':<33}{'figure':>8}   {'green':<18}".rstrip(), "$foreground-muted"
        ),
    ]
    return Content("\n").join([*lines, *(_check(check, units=units) for check in written.checks)])


def _check(check: Check, *, units: bool) -> Content:
    glyph, colour, _ = sign(Standing(check.verdict))
    row = f" {check.name:<33}{figure(check):>8}   {bound(check):<18}"
    return Content.assemble(
        (glyph, colour), row, (check.unit if units else "", "$foreground-muted")
    )
