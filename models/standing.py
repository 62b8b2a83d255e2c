"""What may be said of a run's model now: its certificate and the further chapters in short, for
wherever the model is named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jobs.luthier_error import LuthierError
from models import certificate, chapters
from models.certificate import SEVERITY, Verdict, touched_since
from models.chapters import TITLES, Chapter
from models.run_folder import RunFolder


@dataclass(frozen=True)
class Standing:
    """`verdict` is None where nothing vouches for the model; `reason` is the first one, "" when
    green."""

    verdict: Verdict | None
    reason: str = ""
    outdated: bool = False


NO_CERTIFICATE = Standing(None)


def standing(run_directory: Path) -> Standing:
    """The worst of a run's certificate and its chapters. One whose files were touched since is at
    best amber: it speaks of files that are no more. Chapters alone make no model green: they do not
    say that it is the one that was trained."""
    first = of_certificate(run_directory)
    severest = max([first, *_of_chapters(run_directory)], key=_severity)
    return first if severest.verdict == "green" else severest


def _severity(candidate: Standing) -> int:
    return -1 if candidate.verdict is None else SEVERITY.index(candidate.verdict)


def of_certificate(run_directory: Path) -> Standing:
    """The certificate alone in short."""
    try:
        written = certificate.read(run_directory)
    except LuthierError as error:
        return Standing("amber", error.message, outdated=True)
    if written is None:
        return NO_CERTIFICATE
    reason = next(iter(written.reasons), "")
    touched = touched_since(written.files)
    if touched and written.verdict != "red":
        return Standing(
            "amber", f"{touched[0]} has changed since the certificate was made.", outdated=True
        )
    if (
        written.verdict == "green"
        and written.merged is None
        and (RunFolder(run_directory).merged / "config.json").is_file()
    ):
        return Standing(
            "amber",
            "The merged model is newer than the certificate, so the certificate does not cover it.",
            outdated=True,
        )
    return Standing(written.verdict, reason, outdated=bool(touched))


def _of_chapters(run_directory: Path) -> Iterator[Standing]:
    try:
        written = chapters.read_all(run_directory)
    except LuthierError as error:
        yield Standing("amber", error.message, outdated=True)
        return
    for chapter in written:
        yield of_chapter(chapter)


def of_chapter(chapter: Chapter) -> Standing:
    """A chapter in short; its reason names it."""
    title = TITLES[chapter.kind]
    touched = touched_since(chapter.files)
    if touched and chapter.verdict != "red":
        return Standing(
            "amber", f"{title}: {touched[0]} has changed since it was measured.", outdated=True
        )
    reason = next((f"{title}: {fault.sentence}" for fault in chapters.faults([chapter])), "")
    return Standing(chapter.verdict, reason, outdated=bool(touched))
