"""The probes: Luthier's own, which come with it, and files of the user's. Light."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec

from jobs.foreign_json import Damaged
from jobs.luthier_error import LuthierError
from models import foreign
from models.regression_guard import ALL, FAMILIES, TEXT
from workshop.regression import public_tasks
from workshop.regression.expectation import Expect

_FOLDER = Path(__file__).parent / "probes"
_Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9_.-]{0,39}$")]


class Probe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One prompt, and what an answer to it must be like."""

    id: str
    family: _Name
    prompt: Annotated[str, msgspec.Meta(min_length=1)]
    expect: Expect
    system: str = ""
    max_tokens: Annotated[int, msgspec.Meta(ge=1, le=32_768)] = 64

    @property
    def messages(self) -> list[dict[str, str]]:
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, {"role": "user", "content": self.prompt}]


class Passage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A piece of plain text, whose loss is measured."""

    id: str
    text: Annotated[str, msgspec.Meta(min_length=2)]


def luthiers_probes() -> list[Probe]:
    return [
        probe
        for family in FAMILIES
        for probe in foreign.Decoder(Probe).lines(_FOLDER / f"{family}.jsonl")
    ]


def passages() -> list[Passage]:
    return [*foreign.Decoder(Passage).lines(_FOLDER / "text.jsonl")]


def read_probes(path: Path, limit: int | None = None) -> tuple[list[Probe], int]:
    """The probes of a file: rows of Luthier's own form, or of IFEval, GSM8K or MMLU-Pro. The number
    behind them counts rows of IFEval with instructions that Luthier cannot check.

    LuthierError names the first row that is none.
    """
    probes: list[Probe] = []
    skipped = 0
    for number, row in enumerate(_rows(path), start=1):
        where = f"{path}, line {number}"
        try:
            converted = public_tasks.as_probe(row, number)
            if converted is None:
                skipped += 1
            else:
                probes.append(foreign.convert(converted, Probe, where))
        except Damaged as error:
            hint = "docs/guard.md shows the form of a probe."
            raise LuthierError("Not a probe", f"{error.where}: {error.reason}.", hint) from None
        if len(probes) == limit:
            break
    _check(path, probes, skipped)
    return probes, skipped


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        return [*foreign.Decoder(dict[str, Any]).lines(path)]
    except Damaged as error:
        hint = "A file of probes is JSON Lines: docs/guard.md shows the form."
        message = f"{error.where}: {error.reason}."
        raise LuthierError("Not a file of probes", message, hint) from None
    except OSError as error:
        message = f"{path}: {error.strerror}."
        raise LuthierError("File not readable", message, "Check the path.") from None


def _check(path: Path, probes: list[Probe], skipped: int) -> None:
    if not probes:
        why = f": Luthier can check none of its {skipped} rows" if skipped else ""
        raise LuthierError("No probes", f"{path} has no probes{why}.", "Choose another file.")
    reserved = next((probe for probe in probes if probe.family in (ALL, TEXT)), None)
    if reserved is not None:
        message = f"{path}: {reserved.id} is of the family {reserved.family}, which Luthier uses."
        raise LuthierError("A reserved name", message, "Give the family another name.")
    ids = [(probe.family, probe.id) for probe in probes]
    twice = next((key for key in ids if ids.count(key) > 1), None) if len(ids) < 5000 else None
    if twice is not None:
        message = f"{path}: the family {twice[0]} has two probes with the id {twice[1]}."
        raise LuthierError("Two probes of one id", message, "Give each probe an id of its own.")
