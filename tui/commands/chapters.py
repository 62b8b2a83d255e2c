"""The further chapters of a certificate in the terminal."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any

from rich.text import Text

from jobs.job import Job
from models import chapters
from models.chapters import Chapter, ChapterKind
from models.runs import Run
from models.standing import Standing, of_chapter
from tui.commands.output import out, print_json, styled, talk
from tui.commands.progress import follow_to_end
from tui.commands.verdicts import COLOURS, figure_table
from tui.shared.certificate_badge import sign
from tui.shared.certificate_words import WORDS
from workshop.number_format import age, duration


def follow_chapter(job: Job, title: str, *, detach: bool, as_json: bool) -> None:
    """Wait for the job of a chapter, unless it is to run by itself."""
    if detach:
        print_json({"id": job.id}) if as_json else talk.print(job.id)
        return
    follow_to_end(job, title, "The same command continues from there.")


def print_chapter(run: Run, kind: ChapterKind, *, as_json: bool) -> None:
    """A chapter that was just made; ends the command with status 1 if it is red."""
    chapter = chapters.read(run.folder.path, kind)
    assert chapter is not None  # its job is done
    end_with(chapter, as_json=as_json)


def end_with(chapter: Chapter, beside: str = "", *, as_json: bool) -> None:
    """Print a chapter, `beside` below its summary; end the command with status 1 if it is red."""
    if as_json:
        print_json(to_json(chapter))
    else:
        show(chapter, beside)
    if chapter.verdict == "red":
        sys.exit(1)


def to_json(chapter: Chapter) -> dict[str, Any]:
    reasons = [check.sentence for check in chapters.faults([chapter])]
    fields = {"outdated": chapter.outdated, "reasons": reasons, **asdict(chapter)}
    return {"verdict": chapter.verdict, **fields}


def show(chapter: Chapter, beside: str = "") -> None:
    standing = of_chapter(chapter)
    glyph, _, word = sign(standing)
    colour = COLOURS[standing.verdict or "amber"]
    subject = f" {chapter.subject}" if chapter.subject else ""
    out.print(
        Text.assemble(
            (f"{glyph} {WORDS[chapter.kind]}{subject}", f"bold {colour}"), f"  {chapter.summary}"
        )
    )
    if beside:
        out.print(Text(f"  {beside}"))
    out.print(f"  {word}, measured {age(chapter.made)} in {duration(chapter.seconds)}", style="dim")
    if chapter.outdated:
        out.print(styled("  [yellow]! outdated:[/] its files have changed since."))
    out.print(figure_table(chapter.checks))
    out.print("")
    for fault in chapters.faults([chapter]):
        glyph, _, _ = sign(Standing(fault.verdict))
        out.print(Text.assemble((glyph, COLOURS[fault.verdict]), f" {fault.sentence}"))
    if chapter.calibration:
        out.print(chapter.calibration, style="dim")
