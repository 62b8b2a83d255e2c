"""The job that merges: `python -P -m models.merge_worker JOB_DIRECTORY`."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from jobs.luthier_error import LuthierError
from jobs.worker import WorkerContext, run_worker
from models.folder import ModelFolder
from models.merge.launch import MergeSettings
from models.merge.plan import MergePlan, plan_merge
from models.merge.planner import Into
from models.merge.receipt import Receipt, write

_TELL_SECONDS = 0.5
_LIBRARIES_SECONDS = 2.0
_TEMPLATE_SECONDS = 10.0


def main(context: WorkerContext) -> dict[str, Any] | None:
    """Plan, merge, tell. None if it was stopped: then nothing is left of it."""
    settings = MergeSettings(**context.settings)
    plans = {
        into: plan_merge(
            Path(settings.base), Path(settings.adapter), into=into, dtype=settings.dtype
        )
        for into in settings.ways
    }
    size = sum(plan.written_bytes for plan in plans.values())
    context.phase("loading the libraries", seconds_left=_LIBRARIES_SECONDS + size / 5e8)
    from models.merge.stream import Stopped

    try:
        merge_receipt = (
            _merge_closer(context, settings, plans)
            if settings.into == "closer"
            else _merge(context, settings, plans[settings.into])
        )
    except Stopped:
        return None
    if merge_receipt is None:
        return None
    keys = (
        "into",
        "changed",
        "copied",
        "largest_change",
        "tied",
        "stop_token_ids",
        "measured",
        "seconds",
    )
    return {
        "path": settings.out,
        "bytes": size // len(plans),
        **{key: getattr(merge_receipt, key) for key in keys},
    }


def _merge(
    context: WorkerContext, settings: MergeSettings, plan: MergePlan, name: str | None = None
) -> Receipt:
    from models.merge.merging import merge

    def stops(folder: Path) -> list[int]:
        """What training ended answers with: by the order or the adapter's card, else what the chat
        template closes a turn with."""
        trained = settings.stop_ids
        if trained is None:
            trained = ModelFolder(Path(settings.adapter)).card.stop_ids
        if trained is not None:
            return trained
        context.phase("reading the chat template", seconds_left=_TEMPLATE_SECONDS)
        return template_stops(folder)

    return merge(
        plan,
        Path(settings.out),
        device=settings.device,
        run=settings.run,
        stops=stops,
        progress=_Progress(context, plan.written_bytes),
        stopping=context.stopping.is_set,
        replace=settings.replace,
        name=name,
    )


def _merge_closer(
    context: WorkerContext, settings: MergeSettings, plans: dict[Into, MergePlan]
) -> Receipt | None:
    """Make both merges, measure, and keep the one that is closer to the trained model. None if it
    was stopped."""
    assert settings.samples is not None
    out = Path(settings.out)
    places = {into: out.with_name(f".{out.name}.into-{into}") for into in plans}
    try:
        receipt_of = {
            into: _merge(
                context, replace(settings, out=str(places[into]), replace=True), plan, out.name
            )
            for into, plan in plans.items()
        }
        context.phase("measuring which is closer to the trained model", seconds_left=60.0)
        from models.merge.merging import put_in_place
        from models.merge.qlora_choice import compare

        comparison = compare(
            plans["dequantised"],
            {str(into): path for into, path in places.items()},
            Path(settings.samples),
            context.stopping.is_set,
        )
        if comparison is None:
            return None
        closer: Into = "base" if comparison.closer == "base" else "dequantised"
        receipt = replace(receipt_of[closer], measured=comparison.to_json())
        write(places[closer], receipt)
        if out.exists() and not settings.replace:
            raise LuthierError(
                "Something is already there",
                f"{out} exists.",
                "Choose another --out, or add --force to replace it.",
            )
        put_in_place(places[closer], out)
        return receipt
    finally:
        for path in places.values():
            shutil.rmtree(path, ignore_errors=True)


def template_stops(folder: Path) -> list[int]:
    """The tokens that end an answer by a model's own chat template; none if it has no template, or
    one that cannot be probed."""
    from models.preflight import check_template
    from models.template import load_tokenizer

    if not ModelFolder(folder).has_tokenizer:
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
            self._context.phase(
                "merging", done=done, total=self._total, unit="bytes", seconds_left=round(left, 1)
            )


if __name__ == "__main__":
    run_worker(main)
