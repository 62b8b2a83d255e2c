"""What may be said of a run's model now: its certificate and the further chapters in short, for
wherever the model is named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jobs.luthier_error import LuthierError
from models import certificate, chapters
from models.certificate import SEVERITY, Certificate, Verdict, touched_since
from models.chapters import TITLES, Chapter, ChapterKind
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
    return _worst(of_certificate(run_directory), _of_chapters(run_directory))


def of_adapter(run_directory: Path) -> Standing:
    """The same of the run's adapter as it is served: what only its merged model or an export has
    does not count."""
    return _worst(
        of_certificate(run_directory, without_merged=True),
        _of_chapters(run_directory, without=("shipped",)),
    )


def _worst(first: Standing, of_chapters: Iterable[Standing]) -> Standing:
    severest = max([first, *of_chapters], key=_severity)
    return first if severest.verdict == "green" else severest


def _severity(candidate: Standing) -> int:
    return -1 if candidate.verdict is None else SEVERITY.index(candidate.verdict)


def of_certificate(run_directory: Path, *, without_merged: bool = False) -> Standing:
    """The certificate alone in short."""
    try:
        written = certificate.read(run_directory)
    except LuthierError as error:
        return Standing("amber", error.message, outdated=True)
    if written is None:
        return NO_CERTIFICATE
    if without_merged:
        written = _without_merged(written)
    reason = next(iter(written.reasons), "")
    touched = touched_since(written.files)
    if touched and written.verdict != "red":
        return Standing(
            "amber", f"{touched[0]} has changed since the certificate was made.", outdated=True
        )
    if (
        not without_merged
        and written.verdict == "green"
        and written.merged is None
        and (RunFolder(run_directory).merged / "config.json").is_file()
    ):
        return Standing(
            "amber",
            "The merged model is newer than the certificate, so the certificate does not cover it.",
            outdated=True,
        )
    return Standing(written.verdict, reason, outdated=bool(touched))


def _without_merged(of_run: Certificate) -> Certificate:
    merged = of_run.merged
    return replace(
        of_run,
        checks=[check for check in of_run.checks if not check.is_of_merged],
        files=[
            stamp
            for stamp in of_run.files
            if merged is None or not Path(stamp.path).is_relative_to(merged)
        ],
    )


def _of_chapters(run_directory: Path, without: Sequence[ChapterKind] = ()) -> Iterator[Standing]:
    try:
        written = chapters.read_all(run_directory)
    except LuthierError as error:
        yield Standing("amber", error.message, outdated=True)
        return
    yield from (of_chapter(chapter) for chapter in written if chapter.kind not in without)


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
