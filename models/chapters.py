"""The certificate's further chapters: what a model won and lost against its base, what is shipped,
what it recites. Each is `chapters/NAME.json` in the run's folder, written whole by a job of its
own.

serve makes them; everybody reads them here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from jobs.files import write_json
from jobs.foreign_json import Damaged
from jobs.luthier_error import LuthierError
from models import foreign
from models.certificate import Check, Stamp, Verdict, not_green, touched_since, worst
from models.run_folder import RunFolder

ChapterKind = Literal["guard", "shipped", "recites", "drift"]
ORDER: tuple[ChapterKind, ...] = ("shipped", "guard", "recites", "drift")
"""As a page shows them."""
TITLES: dict[ChapterKind, str] = {
    "shipped": "What is shipped",
    "guard": "What it won and lost",
    "recites": "What it recites",
    "drift": "Where it drifted",
}
"""What a chapter is called where its reason stands alone."""


@dataclass(frozen=True)
class Chapter:
    """One question about a run's model, and the checks that answer it.

    A run has one chapter of each kind and `subject`; a new one replaces it. `made` is in unix
    seconds.
    """

    kind: ChapterKind
    subject: str
    """What it is about where a run may have several of the kind: the export's folder, say. "" where
    it is about the run's own model."""
    summary: str
    """One sentence for a person, with the figure that matters most."""
    made: float
    seconds: float
    job: str
    """The job that made it; its folder has the details."""
    checks: list[Check]
    calibration: str = ""
    """Where the bounds come from, in one sentence."""
    figures: dict[str, Any] = field(default_factory=dict)
    """What the chapter's own view shows beside the checks."""
    versions: dict[str, str] = field(default_factory=dict)
    files: list[Stamp] = field(default_factory=list)
    """The files that it speaks of, as they were."""
    format: int = 1

    @property
    def verdict(self) -> Verdict:
        return worst(check.verdict for check in self.checks)

    @property
    def outdated(self) -> bool:
        return bool(touched_since(self.files))


def write(run_directory: Path, chapter: Chapter) -> Path:
    path = RunFolder(run_directory).chapters / f"{_file_name(chapter.kind, chapter.subject)}.json"
    path.parent.mkdir(exist_ok=True)
    write_json(path, {"verdict": chapter.verdict, **asdict(chapter)})
    return path


def read_all(run_directory: Path) -> list[Chapter]:
    """A run's chapters as a page shows them, the newest of a kind first. LuthierError if one of
    them is damaged."""
    chapters = [read_file(path) for path in RunFolder(run_directory).chapters.glob("*.json")]
    return sorted(chapters, key=lambda chapter: (ORDER.index(chapter.kind), -chapter.made))


def read(run_directory: Path, kind: ChapterKind, subject: str = "") -> Chapter | None:
    path = RunFolder(run_directory).chapters / f"{_file_name(kind, subject)}.json"
    try:
        return read_file(path)
    except FileNotFoundError:
        return None


def faults(chapters: Iterable[Chapter]) -> list[Check]:
    """The checks that are not green, the worst first."""
    return not_green([check for chapter in chapters for check in chapter.checks])


def read_file(path: Path) -> Chapter:
    """FileNotFoundError where there is none; LuthierError if it is damaged."""
    try:
        return foreign.read(path, Chapter)
    except Damaged as error:
        raise LuthierError(
            "Unreadable chapter of a certificate",
            f"{path} is damaged: {error.reason}.",
            "Remove the file, and make the chapter again.",
        ) from error


def _file_name(kind: ChapterKind, subject: str) -> str:
    """A subject may be a path: its readable letters, and a hash that keeps two of them apart."""
    if not subject:
        return kind
    letters = re.sub(r"[^A-Za-z0-9]+", "-", subject)[-40:].strip("-")
    return f"{kind}-{letters}-{hashlib.sha256(subject.encode()).hexdigest()[:8]}"
