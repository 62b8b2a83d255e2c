"""From what was measured to the certificate's checks and columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from models.certificate import Check, Column
from serve.certificate import agreement
from serve.certificate import checks as single
from serve.certificate.agreement import Noise
from serve.certificate.measured import Broken, Reference, Rendered, Scores, Served
from serve.certificate.turns import Probe, Sample


@dataclass
class Evidence:
    """What is known of a run's model. None stands for what was not measured, because something
    before it was broken or is not there.

    `changes` are the differing files by part (None: the run recorded no hashes), `merged_changes`
    those of the merged model (None: it has no receipt). `unservable` says why vLLM does not take
    the adapter as it is. `merged_name` is "merged", or "saved" where the run has trained every
    weight: its own model then stands in the place of a merged one, and has no receipt.
    """

    samples: Sequence[Sample]
    probes: Sequence[Probe]
    changes: dict[str, list[str]] | None
    has_merged: bool
    merged_changes: list[str] | None = None
    reference: Reference | None = None
    rendered: Rendered | None = None
    base: Served | None = None
    tuned: Served | None = None
    unservable: str = ""
    merged: Served | None = None
    merged_rendered: Rendered | None = None
    merged_name: Literal["merged", "saved"] = "merged"


def checks(evidence: Evidence) -> list[Check]:
    """Every check, in the order in which a person reads them."""
    judged = single.exact_bytes(evidence.changes)
    if evidence.has_merged and evidence.merged_name == "merged":
        judged.append(single.merged_bytes(evidence.merged_changes))
    reference = evidence.reference
    if reference is None:
        reason = "The base model's weights are cut off: nothing more can be measured."
        return [*judged, Check("base model", "red", reason)]
    if isinstance(reference.base, Broken):
        return [
            *judged,
            Check(
                "base model",
                "red",
                f"transformers cannot run the base model: {reference.base.reason}.",
            ),
        ]
    return [
        *judged,
        *_prompts(evidence, reference),
        *_models(evidence, reference, reference.base),
        *_endings(evidence),
    ]


def _prompts(evidence: Evidence, reference: Reference) -> list[Check]:
    judged: list[Check] = []
    for suffix, rendered in (
        ("", evidence.rendered),
        (f", {evidence.merged_name}", evidence.merged_rendered),
    ):
        if rendered is None:
            continue
        prompt_checks = [
            single.token_ids(evidence.samples, reference, rendered),
            single.probes(evidence.probes, reference, rendered),
        ]
        judged += [
            _named(check, f"{check.name}{suffix}") for check in prompt_checks if check is not None
        ]
    judged.append(single.stop_ids("base", evidence.samples, reference.stop_ids))
    if reference.merged is not None:
        judged.append(
            single.stop_ids(evidence.merged_name, evidence.samples, reference.merged_stop_ids)
        )
    return judged


def _models(evidence: Evidence, reference: Reference, base: Scores) -> list[Check]:
    """Base against base, the adapter's effect, and every implementation of the tuned model against
    transformers with PEFT."""
    served = evidence.base.scores if evidence.base is not None else None
    if served is None or isinstance(served, Broken):
        reason = served.reason if isinstance(served, Broken) else "it was not started"
        return [Check("base against base", "red", f"vLLM cannot run the base model: {reason}")]
    measured = agreement.difference(base, served)
    resolution = base.resolution or 0.0
    tuned = reference.tuned
    judged = [agreement.amount(measured.tokens), agreement.calibration(measured, resolution)]
    unit = agreement.noise(
        measured,
        resolution,
        (tuned.resolution or resolution) if isinstance(tuned, Scores) else resolution,
    )
    if tuned is None or isinstance(tuned, Broken):
        return [
            *judged,
            agreement.effect("transformers", base, tuned or Broken("it was not tried"), unit, None),
        ]
    judged.append(agreement.effect("transformers", base, tuned, unit, None))
    moved = agreement.difference(base, tuned).spread
    if evidence.tuned is not None:
        judged.append(agreement.effect("vLLM", served, evidence.tuned.scores, unit, moved))
        if isinstance(evidence.tuned.scores, Scores):
            judged += agreement.agreement(
                "vLLM + adapter", "vLLM with the adapter", tuned, evidence.tuned.scores, unit
            )
    elif not evidence.has_merged:
        judged.append(
            Check(
                "vLLM + adapter",
                "amber",
                f"{evidence.unservable} Until then the tuned model cannot be served.",
            )
        )
    return [*judged, *_merged(evidence, reference, tuned, unit)]


def _merged(evidence: Evidence, reference: Reference, tuned: Scores, unit: Noise) -> list[Check]:
    kind = evidence.merged_name
    if not evidence.has_merged:
        return []
    if reference.merged is None:
        return [
            Check(
                f"{kind} model",
                "red",
                f"The {kind} model's weights are cut off: it cannot be loaded.",
            )
        ]
    judged = agreement.agreement(
        f"{kind}, transformers", f"the {kind} model in transformers", tuned, reference.merged, unit
    )
    if evidence.merged is not None:
        judged += agreement.agreement(
            f"{kind}, vLLM", f"the {kind} model in vLLM", tuned, evidence.merged.scores, unit
        )
    return judged


def _endings(evidence: Evidence) -> list[Check]:
    base = evidence.base.answers if evidence.base is not None else []
    judged = []
    for kind, served in (("tuned", evidence.tuned), (evidence.merged_name, evidence.merged)):
        if served is not None and isinstance(served.scores, Scores):
            judged += single.stopping(kind, served.answers, base)
    return judged


def _named(check: Check, name: str) -> Check:
    return Check(
        name,
        check.verdict,
        check.sentence,
        check.figure,
        check.threshold,
        check.red,
        check.unit,
        check.at_least,
    )


def columns(evidence: Evidence) -> list[Column]:
    """The NLL of each model in each engine, and how its answers ended."""
    reference = evidence.reference
    rows = (
        []
        if reference is None
        else [
            ("base", reference.base),
            ("tuned", reference.tuned),
            (evidence.merged_name, reference.merged),
        ]
    )
    table = [
        Column(model, "transformers", round(scores.nll, 4), len(scores.first))
        for model, scores in rows
        if isinstance(scores, Scores)
    ]
    for model, served in (
        ("base", evidence.base),
        ("tuned", evidence.tuned),
        (evidence.merged_name, evidence.merged),
    ):
        if served is not None and isinstance(served.scores, Scores):
            stopped = sum(answer.stopped for answer in served.answers)
            nll, tokens = round(served.scores.nll, 4), len(served.scores.first)
            table.append(Column(model, "vLLM", nll, tokens, stopped, len(served.answers)))
    return table
