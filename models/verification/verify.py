"""What a folder's papers claim, each claim checked against the folder itself. Light, and needs
nothing but the folder: no home, no network, none of the machine that made it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jobs.luthier_error import LuthierError
from jobs.near import did_you_mean_file
from models.certificate import Check, Verdict, not_green, worst
from models.export.form_papers import BESIDE_FILE, IN_FOLDER, papers_path, read_papers
from models.export.manifest import MANIFEST_FILE, read_manifest
from models.export.model_record import RECORD_FILE, Record, read_record
from models.hashing import tree_hashes
from models.verification import papers
from models.verification.converted import converted_claims
from models.verification.files import file_checks
from models.verification.signature import SIGNATURE_FILE, check_signature


@dataclass(frozen=True)
class Verification:
    """An exported folder or file, and every claim that was checked."""

    path: Path
    record: Record
    checks: list[Check]

    @property
    def verdict(self) -> Verdict:
        return worst(check.verdict for check in self.checks)

    @property
    def faults(self) -> list[Check]:
        """The checks that are not green, the worst first."""
        return not_green(self.checks)

    def to_json(self) -> dict[str, Any]:
        return {
            "verdict": self.verdict,
            "file" if self.path.is_file() else "folder": str(self.path),
            "title": self.record.title,
            "kind": self.record.kind,
            "run": self.record.run,
            "checks": [asdict(check) for check in self.checks],
        }


def verify(path: Path, public_key: Path | None = None) -> Verification:
    """Check every claim about an exported folder, or a file with its papers beside it. LuthierError
    if it is no export, or its record cannot be read."""
    path = _model_of(path)
    in_other_form = read_papers(path)
    folder = path.parent if path.is_file() else path
    if in_other_form is not None:
        record, claims = in_other_form.record, converted_claims(path, in_other_form)
    elif path.is_dir():
        _point_to_files(path)
        record = read_record(path)
        claims = _claims(path, record)
    else:
        raise _without_papers(path)
    checks: list[Check] = []
    for claim in claims:
        try:
            checks += claim()
        except LuthierError as error:  # a paper that cannot be read
            checks.append(Check(error.title.lower(), "red", error.message))
    # a key that cannot be read is the user's: the folder is not to blame
    return Verification(path, record, [*checks, check_signature(folder, public_key)])


def _claims(folder: Path, record: Record) -> list[Callable[[], list[Check]]]:
    hashes = tree_hashes(folder, (MANIFEST_FILE, SIGNATURE_FILE))  # which speak of the others
    return [
        lambda: file_checks(folder, read_manifest(folder), hashes),
        lambda: papers.weights(record, hashes),
        lambda: papers.template(folder, record),
        lambda: papers.base(folder, record),
        lambda: papers.recipe(folder, record),
        lambda: papers.card(folder, record),
        lambda: papers.certificate(folder, record),
        lambda: papers.further_chapters(record.chapters or []),
        lambda: papers.versions(record),
    ]


def _model_of(path: Path) -> Path:
    """The model, where its papers are named in its place."""
    if path.is_file() and path.name == IN_FOLDER:
        return path.parent
    if path.is_file() and path.name.endswith(BESIDE_FILE):
        path = path.with_name(path.name.removesuffix(BESIDE_FILE))
    if not path.exists():
        raise LuthierError(
            "Nothing there",
            f"{path} does not exist.",
            did_you_mean_file(path)
            or "Name an exported folder or file; `luthier models export NAME --out FOLDER` makes"
            " one.",
        )
    return path


def _point_to_files(folder: Path) -> None:
    """A folder may be no export, and have files with papers in it."""
    with_papers = sorted(folder.glob(f"*{BESIDE_FILE}"))
    if with_papers and not (folder / RECORD_FILE).is_file():
        names = ", ".join(path.name.removesuffix(BESIDE_FILE) for path in with_papers[:3])
        raise LuthierError(
            "Not one model",
            f"{folder} is not an export itself, but has files with papers: {names}.",
            f"`luthier verify {folder / names.partition(', ')[0]}`",
        )


def _without_papers(file: Path) -> LuthierError:
    """Why a file alone says nothing."""
    folder, papers_name = file.parent, papers_path(file).name
    if (folder / RECORD_FILE).is_file() or (folder / IN_FOLDER).is_file():
        hint = f"It is part of an export: `luthier verify {folder}` checks all of it."
    else:
        hint = (
            f"Ask whoever gave it to you for {papers_name}. `luthier models export RUN --as FORM"
            " --out FILE` writes both."
        )
    strangers = sorted(path.name for path in folder.glob(f"*{BESIDE_FILE}"))
    beside = f" {', '.join(strangers[:3])} is about another file." if strangers else ""
    return LuthierError(
        "No papers",
        f"{file.name} has no {papers_name} beside it, in which an export says what it was made"
        f" of.{beside}",
        hint,
    )
