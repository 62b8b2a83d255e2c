"""`luthier certify RUN --shipped PATH|URL`."""

from __future__ import annotations

from typing import Any

from jobs.luthier_error import LuthierError
from models import chapters
from models.runs import Run
from tui.commands.chapters import end_with, follow_chapter
from workshop.number_format import size


def certify(
    run: Run, shipped: str, server: tuple[str, str, str], show: bool, as_json: bool
) -> None:
    """`server`: which model of it, and where its key is. Exits with 1 if the chapter is red."""
    from serve.shipped.launch import certify_shipped
    from serve.shipped.subject import subject_named

    subject = subject_named(shipped)
    if not show:
        job = certify_shipped(run, subject, *server)
        follow_chapter(job, f"Certifying {subject.name}", detach=False, as_json=as_json)
    chapter = chapters.read(run.folder.path, "shipped", subject.name)
    if chapter is None:
        raise LuthierError(
            "Not certified yet",
            f"{run.id} has no certificate of {subject.name}.",
            "The same command without --show makes one.",
        )
    end_with(chapter, _beside(chapter.figures), as_json=as_json)


def _beside(figures: dict[str, Any]) -> str:
    """Size and speed."""
    parts = []
    if figures.get("bytes"):
        trained = figures.get("bytes_trained")
        share = f", {figures['bytes'] / trained:.0%} of the trained model" if trained else ""
        parts.append(f"{size(figures['bytes'])}{share}")
    if figures.get("tokens_per_second"):
        parts.append(f"{figures['tokens_per_second']:.0f} prompt tokens/s")
    return "; ".join(parts)
