"""A certificate and its chapters in words: the claim as a sentence, a line a chapter, and each with
its checks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from textual.content import Content

from jobs.counting import counted
from models.certificate import SEVERITY, Certificate, Check, Verdict, worst
from models.chapters import ORDER, Chapter, ChapterKind, faults
from models.standing import NO_CERTIFICATE, Standing, of_chapter
from tui.shared.certificate_badge import badge, bound, figure, sign
from tui.shared.glyphs import glyphs
from tui.shared.row_table import Column, Row
from workshop import number_format
from workshop.chapters import MAKERS, Maker

IDENTITY = "identity"
"""The first line of the page: the certificate itself."""
Making = Literal["identity", "shipped", "guard", "recites", "drift"]
WORDS: dict[ChapterKind, str] = {
    "shipped": "shipped",
    "guard": "forgets",
    "recites": "recites",
    "drift": "drift",
}
_MUTED = "$foreground-muted"
_MARK = 2  # cells before the name of a check
_SIGNS: dict[Verdict, str] = {"green": "=", "amber": "~", "red": "≠"}
COLUMNS = (
    Column("", 1),
    Column("chapter", 9),
    Column("figure", 8, right=True),
    Column("in short"),
    Column("made", 10, right=True),
)


@dataclass(frozen=True)
class Proofs:
    """All that was proved or measured of a run's model, as its page shows it."""

    name: str
    """Of the run."""
    certificate: Certificate | None = None
    standing: Standing = NO_CERTIFICATE
    """Of the certificate and the chapters together."""
    chapters: Sequence[Chapter] = ()
    being_made: frozenset[str] = frozenset()
    """What jobs are making now."""
    damage: str = ""
    """What cannot be read of it."""
    of_certificate: Standing = field(default=NO_CERTIFICATE)


def claim(proofs: Proofs) -> Content:
    """ "trained = merged = served = shipped": what is not proved yet fades behind the others, what
    is disproved is red, and behind what is proved: "trained ≠ merged = served" would say that the
    served model is the merged one."""
    written = proofs.certificate
    merged, served = _split(written)
    shipped = [of_chapter(chapter) for chapter in proofs.chapters if chapter.kind == "shipped"]
    links = [
        ("merged", worst(check.verdict for check in merged) if merged else None),
        ("served", worst(check.verdict for check in served) if served else None),
        ("shipped", worst(of.verdict for of in shipped) if shipped else None),
    ]
    parts = [Content.styled("trained", "bold" if written is not None else _MUTED)]
    for name, verdict in sorted(links, key=lambda link: _distance(link[1])):
        if verdict is None:
            parts.append(Content.styled(f" {glyphs().dot} {name}", _MUTED))
            continue
        _, colour, _ = sign(Standing(verdict))
        parts.append(Content.assemble((f" {_SIGNS[verdict]} ", colour), (name, "bold")))
    return Content("").join(parts)


def _distance(verdict: Verdict | None) -> int:
    return len(SEVERITY) if verdict is None else SEVERITY.index(verdict)


def _split(written: Certificate | None) -> tuple[list[Check], list[Check]]:
    """The checks of the merged model, and all others."""
    checks = [] if written is None else written.checks
    merged = [check for check in checks if "merged" in check.name]
    return merged, [check for check in checks if check not in merged]


def rows(proofs: Proofs) -> list[Row]:
    """A line for the certificate and for each chapter, whether it is made or not."""
    lines = [_identity(proofs)]
    for kind in ORDER:
        of_kind = [chapter for chapter in proofs.chapters if chapter.kind == kind]
        lines += [_line(chapter) for chapter in of_kind] or [_unmade(maker_of(kind), proofs)]
    return lines


def maker_of(kind: ChapterKind) -> Maker:
    return next(maker for maker in MAKERS if maker.kind == kind)


def row_id(chapter: Chapter) -> str:
    return f"{chapter.kind} {chapter.subject}".strip()


def _identity(proofs: Proofs) -> Row:
    written = proofs.certificate
    if written is None and IDENTITY in proofs.being_made:
        return _row(IDENTITY, None, "identity", "", Content("being made"), Content(""))
    if written is None:
        return _row(IDENTITY, None, "identity", "", Content("not made yet"), _key("c"))
    agree = "Trained and served agree."
    if written.merged is not None:
        agree = "Trained, merged and served agree."
    compared = next((check for check in written.checks if check.name.endswith("log-probs")), None)
    return _row(
        IDENTITY,
        proofs.of_certificate,
        "identity",
        "" if compared is None else figure(compared),
        Content(proofs.of_certificate.reason or agree),
        Content.styled(number_format.age(written.made), _MUTED),
    )


def _line(chapter: Chapter) -> Row:
    standing = of_chapter(chapter)
    subject = chapter.subject.rstrip("/").rpartition("/")[2]
    check = next(iter(faults([chapter])), next(iter(chapter.checks), None))
    text = f"{subject}: {chapter.summary}" if subject else chapter.summary
    return _row(
        row_id(chapter),
        standing,
        WORDS[chapter.kind],
        "" if check is None else figure(check),
        Content(text),
        Content.styled(number_format.age(chapter.made), _MUTED),
    )


def _unmade(maker: Maker, proofs: Proofs) -> Row:
    key = _key(maker.key)
    if maker.kind in proofs.being_made:
        return _row(maker.kind, None, WORDS[maker.kind], "", Content("being measured"), Content(""))
    return _row(maker.kind, None, WORDS[maker.kind], "", Content(maker.question), key, faint=True)


def _key(key: str) -> Content:
    return Content.assemble((key, "bold $primary"), (" measures", _MUTED))


def _row(
    name: str,
    standing: Standing | None,
    title: str,
    amount: str,
    text: Content,
    last: Content,
    *,
    faint: bool = False,
) -> Row:
    glyph, colour, _ = sign(standing or NO_CERTIFICATE)
    mark = Content.styled(glyph, colour)
    title_text = Content.styled(title, _MUTED if standing is None else "")
    body = text.stylize(_MUTED) if standing is None or faint else text
    return Row(name, [mark, title_text, Content(amount), body, last])


def more(proofs: Proofs, line_id: str) -> Content:
    """What stands below the lines: the chosen one in full."""
    if proofs.damage:
        return Content.styled(proofs.damage, "$warning")
    if line_id == IDENTITY:
        if proofs.certificate is None:
            return _invitation(proofs, "c", NOT_MADE, "identity", "luthier certify {run}")
        agree = Content("Token ids, probabilities, stop tokens and bytes agree.")
        text = _in_short(proofs.of_certificate, proofs.certificate.faults) or agree
        return _and_being_made(text, IDENTITY, proofs)
    chapter = next((chapter for chapter in proofs.chapters if row_id(chapter) == line_id), None)
    if chapter is None:
        maker = maker_of(line_id)  # type: ignore[arg-type]
        return _invitation(
            proofs,
            maker.key,
            QUESTIONS[maker.kind],
            maker.kind,
            maker.command,
        )
    standing = of_chapter(chapter)
    text = _in_short(standing, faults([chapter])) or Content(chapter.summary)
    return _and_being_made(text, chapter.kind, proofs)


def _in_short(standing: Standing, checks: Sequence[Check]) -> Content:
    """The gravest fault; the page has no room for many."""
    text, further = _sentences(standing, checks[:1]), len(checks) - 1
    if further < 1:
        return text
    are = "is not green either" if further == 1 else "are not green either"
    words = f"\n{counted(further, 'further check')} {are}: enter shows them all."
    return Content.assemble(text, (words, _MUTED))


def _and_being_made(text: Content, kind: str, proofs: Proofs) -> Content:
    if kind not in proofs.being_made:
        return text
    return Content.assemble((_BEING_MADE_AGAIN, _MUTED), "\n", text)


def _invitation(proofs: Proofs, key: str, text: str, kind: str, command: str) -> Content:
    if kind in proofs.being_made:
        return Content.assemble(text, "\n", (_BEING_MADE, _MUTED))
    in_terminal = f"`{command.replace('{run}', proofs.name)}`"
    how = f"{key} or {in_terminal} measures it, in a job of its own."
    return Content.assemble(text, "\n", (how, _MUTED))


def _sentences(standing: Standing, checks: Iterable[Check]) -> Content:
    lines = [Content.styled(standing.reason, "$warning")] if standing.outdated else []
    lines += [
        Content.styled(check.sentence, "$error" if check.verdict == "red" else "$warning")
        for check in checks
    ]
    return Content("\n").join(lines)


NOT_MADE = (
    "The certificate proves that the trained, the merged and the served model are the same: the"
    " same token ids, probabilities, stop tokens and bytes. It takes a minute or two."
)
_BEING_MADE = "A job is making it now; Runs shows how far it is."
_BEING_MADE_AGAIN = "A job is making it again; Runs shows how far it is."
QUESTIONS: dict[ChapterKind, str] = {
    "shipped": "Whether an export, a GGUF file say, or a running server still is the model that was"
    " trained: measured beside the noise that the same format makes of the base.",
    "guard": "Small probes of instructions, arithmetic, facts, refusals, language and format, item"
    " by item against the base.",
    "recites": "How many training answers the tuned model completes word for word, and its base"
    " does not. Know it before you give the model away.",
    "drift": "How far the tuned model has moved from its base on prompts that have nothing to do"
    " with your data, sorted by topic.",
}


def certificate_text(written: Certificate, standing: Standing, *, units: bool) -> Content:
    """The certificate itself, with every check."""
    tokens = f"{written.sample['tokens']:,}"
    when = (
        f"   {number_format.age(written.made)}, in {number_format.duration(written.seconds)}, on"
        f" {counted(written.sample['turns'], 'turn')}, {tokens} tokens"
    )
    lines = [Content.assemble(badge(standing), (when, _MUTED))]
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
    lines += [Content(""), Content.styled(titles, _MUTED)]
    for column in written.columns:
        ended = f"{column.stopped} of {column.answers}" if column.answers else ""
        names = f"{column.model:<8}{column.engine:<14}"
        figures = f"{column.nll:>9.4f}{column.tokens:>8,}{ended:>24}"
        lines.append(Content(names + figures))
    return Content("\n").join([*lines, Content(""), *_table(written.checks, units=units)])


def chapter_text(chapter: Chapter, *, units: bool) -> Content:
    """A chapter with every check, and where the bounds come from."""
    standing = of_chapter(chapter)
    when = (
        f"   {number_format.age(chapter.made)}, in {number_format.duration(chapter.seconds)}, by"
        f" {chapter.job}"
    )
    lines = [Content.assemble(badge(standing), (when, _MUTED)), Content("")]
    lines.append(Content(chapter.summary))
    sentences = _sentences(standing, faults([chapter]))
    if sentences and sentences.plain != chapter.summary:
        lines += [Content(""), sentences]
    lines += [Content(""), *_table(chapter.checks, units=units)]
    if chapter.calibration:
        lines += [Content(""), Content.styled(chapter.calibration, _MUTED)]
    return Content("\n").join(lines)


def _table(checks: Sequence[Check], *, units: bool) -> list[Content]:
    title = f"  {'check':<33}{'figure':>8}   {'green':<18}".rstrip()
    return [Content.styled(title, _MUTED), *(_check(check, units=units) for check in checks)]


def _check(check: Check, *, units: bool) -> Content:
    glyph, colour, _ = sign(Standing(check.verdict))
    row = f" {check.name:<33}{figure(check):>8}   {bound(check):<18}"
    return Content.assemble((glyph, colour), row, (check.unit if units else "", _MUTED))
