"""A look at an uploaded file before it is accepted: the data pipeline's own reader and policies,
all that needs no tokenizer. Light."""

from __future__ import annotations

from pathlib import Path

import msgspec

from jobs.luthier_error import LuthierError
from trainer.data.formats import Mapping
from trainer.data.ledger import Stops, describe
from trainer.data.policies import Policies, SpecialTexts
from trainer.data.reading import Reader, formats_seen
from workshop.api.errors import ApiError, in_sentences

_ENOUGH_BYTES = 16_000_000
"""Of a longer file the beginning is looked at; the run itself goes through all of it."""
_FIRST_ROWS = 10


class Problem(msgspec.Struct):
    """Rows that are left out for one reason."""

    code: str
    """The ledger's reason."""
    meaning: str
    rows: int = 0
    first: list[int] = []
    """The first of them, counted from 0."""
    detail: str = ""
    """What is wrong with the first one."""

    def __str__(self) -> str:
        numbers = ", ".join(map(str, self.first))
        further = f" and {self.rows - len(self.first)} more" if self.rows > len(self.first) else ""
        detail = f" ({self.detail.rstrip('.')})" if self.detail else ""
        which = "row" if self.rows == 1 else "rows"
        return f"{which} {numbers}{further}: {self.meaning}{detail}"


class FileCheck(msgspec.Struct):
    """What the rows of a file come to."""

    format: str = ""
    """How they are read, in words."""
    rows: int = 0
    conversations: int = 0
    problems: list[Problem] = []
    is_complete: bool = True
    """Whether all of the file was looked at."""

    @property
    def details(self) -> str | None:
        """Which rows are left out, and why; None if none is."""
        if not self.problems:
            return None
        sentences = "; ".join(map(str, self.problems))
        left_out = sum(problem.rows for problem in self.problems)
        return f"{left_out} of {self.rows} rows are left out (counted from 0): {sentences}."


def check_file(path: Path, filename: str) -> FileCheck:
    """Read the rows. ApiError where nothing can be trained on, or where a policy says stop, with
    the rows and the reasons."""
    check, policies = FileCheck(), Policies()
    reader, stops = Reader(Mapping(), policies, SpecialTexts()), Stops(policies)
    problems: dict[str, Problem] = {}
    read = 0

    def progress(done: int) -> None:
        nonlocal read
        read = done

    reader.enough = lambda: read > _ENOUGH_BYTES
    try:
        for row in reader.rows(str(path), progress):
            check.rows += 1
            if row.messages is not None:
                check.conversations += 1
            elif row.reasons and row.carrier is None:
                stops.add(filename, row.row, row.reasons, row.detail)
                _note(problems, row.reasons[-1], row.row, row.detail)
            if read > _ENOUGH_BYTES and check.conversations:
                check.is_complete = False
                break
    except LuthierError as error:
        raise _invalid(in_sentences(error).replace(str(path), filename)) from None
    check.problems = list(problems.values())
    if (stopped := stops.error()) is not None:
        raise _invalid(f"{stopped.title}: {stopped.message}\n{check.details}")
    if not check.conversations:
        raise _invalid(f"No row can be trained on. {check.details or 'The file has no rows.'}")
    check.format = "; ".join(seen_format["reason"] for seen_format in formats_seen(reader.formats))
    return check


def _note(problems: dict[str, Problem], code: str, row: int, detail: str) -> None:
    problem = problems.setdefault(code, Problem(code, describe(code), detail=detail, first=[]))
    problem.rows += 1
    if len(problem.first) < _FIRST_ROWS:
        problem.first.append(row)


def _invalid(message: str) -> ApiError:
    return ApiError(400, "invalid_file_format", message, "file")
