"""What was exported of a run's model."""

from __future__ import annotations

from collections.abc import Iterable

from jobs.job import Job
from jobs.luthier_error import LuthierError
from jobs.state import Done
from models.export.launch import written_by
from serve.shipped.subject import subject_named
from workshop.job_list import JobRow


def newest_export(rows: Iterable[JobRow], run: Job) -> str:
    """The newest export of a run that can be certified and still is where it was written; "" if
    there is none. `rows` are newest first, as `read_rows` has them."""
    for row in rows:
        paths = written_by(row.job) if row.kind == "export" else None
        if paths is None or not isinstance(row.state, Done):
            continue
        source, out = paths
        if not source.is_relative_to(run.directory):
            continue
        try:
            return subject_named(str(out)).name
        except LuthierError:  # it was moved, or is an adapter
            continue
    return ""
