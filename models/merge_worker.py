"""The job that merges: `python -P -m models.merge_worker JOB_DIRECTORY`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from jobs.errors import LuthierError
from jobs.worker import WorkerContext, run_worker
from models.merge.launch import MergeSettings
from models.merge.plan import plan_merge

_TELL_SECONDS = 0.5
_LIBRARIES_SECONDS = 2.0
_TEMPLATE_SECONDS = 10.0


def main(context: WorkerContext) -> dict[str, Any] | None:
    """Plan, merge, tell. None if it was stopped: then nothing is left of it."""
    settings = MergeSettings(**context.settings)
    plan = plan_merge(Path(settings.base), Path(settings.adapter), into=settings.into, dtype=settings.dtype)
    context.phase("loading the libraries", seconds_left=_LIBRARIES_SECONDS + plan.written_bytes / 5e8)
    from models.merge.merging import merge
    from models.merge.stream import Stopped

    def stops(folder: Path) -> list[int]:
        """What training ended answers with: the run's record, else what the chat template closes a turn with."""
        if settings.stop_ids is not None:
            return settings.stop_ids
        context.phase("reading the chat template", seconds_left=_TEMPLATE_SECONDS)
        return template_stops(folder)

    try:
        receipt = merge(
            plan,
            Path(settings.out),
            device=settings.device,
            run=settings.run,
            stops=stops,
            progress=_Progress(context, plan.written_bytes),
            stopping=context.stopping.is_set,
            replace=settings.replace,
        )
    except Stopped:
        return None
    return {
        "path": settings.out,
        "bytes": plan.written_bytes,
        "changed": receipt.changed,
        "copied": receipt.copied,
        "largest_change": receipt.largest_change,
        "tied": receipt.tied,
        "stop_token_ids": receipt.stop_token_ids,
        "seconds": receipt.seconds,
    }


def template_stops(folder: Path) -> list[int]:
    """The tokens that end an answer by a model's own chat template; none if it has no template, or one that cannot be probed."""
    from models.preflight import check_template
    from models.template import load_tokenizer

    if not (folder / "tokenizer_config.json").is_file():
        return []
    try:
        return list(check_template(load_tokenizer(folder), folder).stop_ids)
    except LuthierError:
        return []


class _Progress:
    """Tells of bytes written, twice a second at most."""

    def __init__(self, context: WorkerContext, total: int) -> None:
        self._context, self._total = context, total
        self._began = self._told = time.monotonic()

    def __call__(self, done: int) -> None:
        now = time.monotonic()
        if now - self._told >= _TELL_SECONDS and done:
            self._told = now
            left = (now - self._began) * (self._total - done) / done
            self._context.phase("merging", done=done, total=self._total, seconds_left=round(left, 1))


if __name__ == "__main__":
    run_worker(main)
