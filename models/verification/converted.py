"""What the papers of a model in another form claim: its bytes, and what it was converted from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from models.certificate import Check
from models.export.form_papers import IN_FOLDER, Papers
from models.export.manifest import Manifest
from models.hashing import file_hash, tree_hashes
from models.verification import papers as claims
from models.verification.files import file_checks
from models.verification.signature import SIGNATURE_FILE

_SHIPPED = "chapter, shipped"


def converted_claims(model: Path, papers: Papers) -> list[Callable[[], list[Check]]]:
    """A function for each claim, for a file or a folder."""
    return [
        lambda: _files(model, papers),
        lambda: claims.certificate_within(papers.record),
        lambda: claims.further_chapters(papers.chapters),
        lambda: _shipped(papers),
        lambda: claims.versions(papers.record),
    ]


def _files(model: Path, papers: Papers) -> list[Check]:
    if model.is_dir():
        present = tree_hashes(model, (IN_FOLDER, SIGNATURE_FILE))
        return file_checks(model, Manifest(papers.files), present)
    hash_ = file_hash(model)
    if hash_ in papers.files.values():  # whatever it is called now
        return file_checks(model.parent, Manifest({model.name: hash_}), {model.name: hash_})
    name = ", ".join(papers.files)
    if model.name in papers.files:
        sentence = f"{name} is not the file that was exported: it was changed or cut off since."
    else:
        sentence = f"These are the papers of {name}, and {model.name} is another file."
    return [Check("files, weights", "red", sentence, 1, 0, 0, "differences")]


def _shipped(papers: Papers) -> list[Check]:
    """Converting changes every weight: only a measurement says that the model is still the same."""
    if not papers.record.run or any(chapter.kind == "shipped" for chapter in papers.chapters):
        return []
    sentence = (
        f"Nobody measured whether it is still the model that was trained, as {papers.form}."
        " `luthier certify RUN --shipped PATH` does, where the run is."
    )
    return [Check(_SHIPPED, "amber", sentence)]
