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
    the adapter as it is. `whole` is "merged", or "saved" where the run has trained every weight:
    its own model then stands in the place of a merged one, and has no receipt.
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
    whole: Literal["merged", "saved"] = "merged"


def checks(evidence: Evidence) -> list[Check]:
    """Every check, in the order in which a person reads them."""
    found = single.exact_bytes(evidence.changes)
    if evidence.has_merged and evidence.whole == "merged":
        found.append(single.merged_bytes(evidence.merged_changes))
    reference = evidence.reference
    if reference is None:
        reason = "The base model's weights are cut off: nothing more can be measured."
        return [*found, Check("base model", "red", reason)]
    if isinstance(reference.base, Broken):
        return [
            *found,
            Check(
                "base model",
                "red",
                f"transformers cannot run the base model: {reference.base.reason}.",
            ),
        ]
    return [
        *found,
        *_prompts(evidence, reference),
        *_models(evidence, reference, reference.base),
        *_endings(evidence),
    ]


def _prompts(evidence: Evidence, reference: Reference) -> list[Check]:
    found: list[Check] = []
    for what, rendered in (
        ("", evidence.rendered),
        (f", {evidence.whole}", evidence.merged_rendered),
    ):
        if rendered is None:
            continue
        made = [
            single.token_ids(evidence.samples, reference, rendered),
            single.probes(evidence.probes, reference, rendered),
        ]
        found += [_named(check, f"{check.name}{what}") for check in made if check is not None]
    found.append(single.stop_ids("base", evidence.samples, reference.stop_ids))
    if reference.merged is not None:
        found.append(single.stop_ids(evidence.whole, evidence.samples, reference.merged_stop_ids))
    return found


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
    found = [agreement.amount(measured.tokens), agreement.calibration(measured, resolution)]
    unit = agreement.noise(
        measured,
        resolution,
        (tuned.resolution or resolution) if isinstance(tuned, Scores) else resolution,
    )
    if tuned is None or isinstance(tuned, Broken):
        return [
            *found,
            agreement.effect("transformers", base, tuned or Broken("it was not tried"), unit, None),
        ]
    found.append(agreement.effect("transformers", base, tuned, unit, None))
    moved = agreement.difference(base, tuned).spread
    if evidence.tuned is not None:
        found.append(agreement.effect("vLLM", served, evidence.tuned.scores, unit, moved))
        if isinstance(evidence.tuned.scores, Scores):
            found += agreement.agreement(
                "vLLM + adapter", "vLLM with the adapter", tuned, evidence.tuned.scores, unit
            )
    elif not evidence.has_merged:
        found.append(
            Check(
                "vLLM + adapter",
                "amber",
                f"{evidence.unservable} Until then the tuned model cannot be served.",
            )
        )
    return [*found, *_merged(evidence, reference, tuned, unit)]


def _merged(evidence: Evidence, reference: Reference, tuned: Scores, unit: Noise) -> list[Check]:
    what = evidence.whole
    if not evidence.has_merged:
        return []
    if reference.merged is None:
        return [
            Check(
                f"{what} model",
                "red",
                f"The {what} model's weights are cut off: it cannot be loaded.",
            )
        ]
    found = agreement.agreement(
        f"{what}, transformers", f"the {what} model in transformers", tuned, reference.merged, unit
    )
    if evidence.merged is not None:
        found += agreement.agreement(
            f"{what}, vLLM", f"the {what} model in vLLM", tuned, evidence.merged.scores, unit
        )
    return found


def _endings(evidence: Evidence) -> list[Check]:
    base = evidence.base.answers if evidence.base is not None else []
    found = []
    for what, served in (("tuned", evidence.tuned), (evidence.whole, evidence.merged)):
        if served is not None and isinstance(served.scores, Scores):
            found += single.stopping(what, served.answers, base)
    return found


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
            (evidence.whole, reference.merged),
        ]
    )
    found = [
        Column(model, "transformers", round(scores.nll, 4), len(scores.first))
        for model, scores in rows
        if isinstance(scores, Scores)
    ]
    for model, served in (
        ("base", evidence.base),
        ("tuned", evidence.tuned),
        (evidence.whole, evidence.merged),
    ):
        if served is not None and isinstance(served.scores, Scores):
            stopped = sum(answer.stopped for answer in served.answers)
            nll, tokens = round(served.scores.nll, 4), len(served.scores.first)
            found.append(Column(model, "vLLM", nll, tokens, stopped, len(served.answers)))
    return found
