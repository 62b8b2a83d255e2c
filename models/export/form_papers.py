"""The papers of a model that was exported in another form: `papers.json` in its folder, or
`NAME.gguf.papers.json` beside its file. All in one, since they travel beside one."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from jobs.files import write_json
from jobs.foreign_json import Damaged
from jobs.luthier_error import LuthierError
from models import foreign
from models.chapters import Chapter
from models.export.formats import Form
from models.export.model_record import Record, public_chapter
from models.hashing import file_hash, tree_hashes

IN_FOLDER = "papers.json"
BESIDE_FILE = ".papers.json"


@dataclass(frozen=True)
class Papers:
    """What a converted model was made of, and which bytes it had."""

    form: str
    """As `--as` has it: "gguf:q8_0"."""
    files: dict[str, str]
    """The hash of each file by its name."""
    record: Record
    chapters: list[Chapter] = field(default_factory=list)
    """The record's, and that of the file itself once `certify --shipped` made it."""
    format: int = 1

    def to_json(self) -> dict[str, Any]:
        record = self.record.to_json()
        record.pop("chapters", None)
        chapters = [public_chapter(chapter) for chapter in self.chapters]
        return {**asdict(self), "record": record, "chapters": chapters}


def papers_of(record: Record, form: Form, model: Path, name: str) -> Papers:
    """`model` will have this name, which it does not have yet."""
    hashes = {name: file_hash(model)} if model.is_file() else tree_hashes(model)
    return Papers(str(form), hashes, replace(record, chapters=None), record.chapters or [])


def papers_path(model: Path) -> Path:
    """Where the papers of this file or folder lie."""
    return model / IN_FOLDER if model.is_dir() else model.with_name(model.name + BESIDE_FILE)


def write_papers(path: Path, papers: Papers) -> None:
    write_json(path, papers.to_json())


def read_papers(model: Path) -> Papers | None:
    """None where there are none. LuthierError if they are damaged."""
    path = papers_path(model)
    try:
        return foreign.read(path, Papers)
    except FileNotFoundError:
        return None
    except Damaged as error:
        raise LuthierError(
            "Unreadable papers",
            f"{path} is damaged: {error.reason}.",
            "Get another copy of it, or export the model again.",
        ) from error


def add_chapter(model: Path, chapter: Chapter) -> None:
    """A certificate of this file or folder, where it has papers. The earlier one goes."""
    papers = read_papers(model)
    if papers is None:
        return
    kept_chapters = [each for each in papers.chapters if each.kind != chapter.kind]
    write_papers(papers_path(model), replace(papers, chapters=[*kept_chapters, chapter]))
