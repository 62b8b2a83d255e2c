"""From what was measured to the certificate's checks, in their order, and its columns.

Each check is a function of measured values; those that compare two implementations are in
`serve.certificate.agreement`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from models.certificate import SEVERITY, Check, Column, Verdict
from models.provenance import ADAPTER, MODEL
from serve.certificate import agreement
from serve.certificate.agreement import Noise, at_most
from serve.certificate.measured import Answer, Broken, Reference, Rendered, Scores, Served
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


def all_checks(evidence: Evidence) -> list[Check]:
    """Every check, in the order in which a person reads them."""
    judged = exact_bytes(evidence.changes)
    if evidence.has_merged and evidence.merged_name == "merged":
        judged.append(merged_bytes(evidence.merged_changes))
    reference = evidence.reference
    if reference is None:
        reason = "The base model's weights are cut off, so nothing more can be measured."
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
            token_ids(evidence.samples, reference, rendered),
            probes(evidence.probes, reference, rendered),
        ]
        judged += [
            _named(check, f"{check.name}{suffix}") for check in prompt_checks if check is not None
        ]
    judged.append(stop_ids("base", evidence.samples, reference.stop_ids))
    if reference.merged is not None:
        judged.append(stop_ids(evidence.merged_name, evidence.samples, reference.merged_stop_ids))
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
    if tuned is None or isinstance(tuned, Broken):
        unit = agreement.noise(measured, resolution, resolution)
        return [
            *judged,
            agreement.effect("transformers", base, tuned or Broken("it was not tried"), unit, None),
        ]
    moved = agreement.difference(base, tuned)
    unit = agreement.noise_of(base, served, tuned)
    judged.append(agreement.effect("transformers", base, tuned, unit, None))
    if evidence.tuned is not None:
        in_vllm = agreement.effect("vLLM", served, evidence.tuned.scores, unit, moved.spread)
        instead = evidence.merged is not None and isinstance(evidence.merged.scores, Scores)
        ignored = in_vllm.verdict == "red" and judged[-1].verdict == "green"
        judged.append(_served_merged(in_vllm) if ignored and instead else in_vllm)
        if isinstance(evidence.tuned.scores, Scores) and not (ignored and instead):
            judged += agreement.agreement(
                _ADAPTER_IN_VLLM, "vLLM with the adapter", tuned, evidence.tuned.scores, unit
            )
    elif not evidence.has_merged:
        judged.append(
            Check(
                _ADAPTER_IN_VLLM,
                "amber",
                f"{evidence.unservable} Until then the tuned model cannot be served.",
            )
        )
    return [*judged, *_with_way_out(_merged(evidence, reference, tuned, unit), judged)]


def _served_merged(effect: Check) -> Check:
    """What vLLM does not do with the adapter, where there is a merged model to serve in its
    place."""
    sentence = f"{effect.sentence} Luthier serves the merged model instead."
    return replace(effect, verdict="amber", sentence=sentence)


def _with_way_out(merged: list[Check], judged: Sequence[Check]) -> list[Check]:
    """Where the served adapter agrees with the trained model and the merged model does not, its
    gravest fault says what can be served."""
    adapter = [check for check in judged if check.name.startswith(_ADAPTER_IN_VLLM)]
    fault = max(merged, key=lambda check: SEVERITY.index(check.verdict), default=None)
    is_adapter_green = bool(adapter) and all(check.verdict == "green" for check in adapter)
    if fault is None or fault.verdict == "green" or not is_adapter_green:
        return merged
    sentence = f"{fault.sentence} vLLM with the adapter agrees: serve the adapter instead."
    return [replace(fault, sentence=sentence) if check is fault else check for check in merged]


def _merged(evidence: Evidence, reference: Reference, tuned: Scores, unit: Noise) -> list[Check]:
    kind = evidence.merged_name
    if not evidence.has_merged:
        return []
    if reference.merged is None:
        return [
            Check(
                f"{kind} model",
                "red",
                f"The {kind} model's weights are cut off, so it cannot be loaded.",
            )
        ]
    judged = agreement.agreement(
        f"{kind}, transformers", f"The {kind} model in transformers", tuned, reference.merged, unit
    )
    if evidence.merged is not None:
        judged += agreement.agreement(
            f"{kind}, vLLM", f"The {kind} model in vLLM", tuned, evidence.merged.scores, unit
        )
    return judged


def _endings(evidence: Evidence) -> list[Check]:
    base = evidence.base.answers if evidence.base is not None else []
    judged = []
    for kind, served in (("tuned", evidence.tuned), (evidence.merged_name, evidence.merged)):
        if served is not None and isinstance(served.scores, Scores):
            learnt = learnt_to_stop(evidence.samples, evidence.reference)
            judged += stopping(kind, served.answers, base, learnt)
    return judged


def learnt_to_stop(samples: Sequence[Sample], reference: Reference | None) -> float | None:
    """Of the held-out answers, the share at whose end the trained model, in transformers, would
    choose the stop token; None where no turn has an end of its own."""
    if reference is None or not isinstance(reference.tuned, Scores):
        return None
    tokens = [
        (sample.input_ids[position], position in {turn.end - 1 for turn in sample.turns})
        for sample in samples
        for position in sample.scored
    ]
    chosen = [
        first == token
        for (token, is_end), first in zip(tokens, reference.tuned.first, strict=True)
        if is_end
    ]
    return sum(chosen) / len(chosen) if chosen else None


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


_ADAPTER_IN_VLLM = "vLLM + adapter"
_FEW_STOPS = 0.5  # answers have room for twice their reference: of a trained model most end before
_ENOUGH_ANSWERS = 4


def token_ids(samples: Sequence[Sample], reference: Reference, server: Rendered) -> Check:
    """The prompts that training recorded, the same made anew, and the server's: all three must be
    the same ids."""
    recorded = [sample.input_ids[: turn.start] for sample in samples for turn in sample.turns]
    unequal, grown, dated, refusal = 0, 0, 0, ""
    for was, rendered, served in zip(recorded, reference.prompts, server.prompts, strict=True):
        if served == was:
            continue
        if isinstance(served, str):
            refusal = refusal or served
            unequal += 1
        elif served == rendered and reference.dated:
            dated += 1
        elif served == rendered and served[: len(was)] == was:
            grown += 1
        else:
            unequal += 1
    total, name = len(recorded), "token ids"
    if not total:
        return Check(
            name,
            "amber",
            "Every token was trained, so no turn has a separate prompt to compare.",
        )
    figure = unequal + grown + dated
    if unequal:
        verdict, sentence = _other_prompts(
            unequal, total, refusal, made_anew=reference.prompts == server.prompts
        )
    elif dated:
        verdict, sentence = (
            "amber",
            (
                f"{dated} of {total} prompts differ by the date that the chat template writes into"
                " them."
            ),
        )
    elif grown:
        verdict = "amber"
        sentence = (
            f"In {grown} of {total} prompts the server begins the answer with tokens that"
            " training left out (a thinking scaffold)."
        )
    else:
        verdict, sentence = (
            "green",
            f"For all {total} prompts the server produces exactly the token ids of training.",
        )
    return Check(name, verdict, sentence, figure, 0, 0, f"of {total} prompts")


def _other_prompts(
    unequal: int, total: int, refusal: str, *, made_anew: bool
) -> tuple[Verdict, str]:
    if refusal:
        return (
            "red",
            f"The server refuses {unequal} of {total} prompts of the training data: {refusal}",
        )
    if made_anew:
        return (
            "red",
            (
                f"{unequal} of {total} prompts differ from the token ids of training: the chat"
                " template or the tokenizer has changed since, and the model never saw such"
                " prompts."
            ),
        )
    return (
        "red",
        (
            f"{unequal} of {total} prompts differ from the token ids of training: vLLM renders"
            " them differently from the trainer."
        ),
    )


def probes(asked: Sequence[Probe], reference: Reference, server: Rendered) -> Check | None:
    """Conversations of sorts that the held-out ones have not: trainer and server must render them
    alike, or both refuse."""
    if not asked:
        return None
    differing = []
    for probe, rendered, served in zip(asked, reference.probes, server.probes, strict=True):
        if (None if isinstance(served, str) else served) != rendered:
            differing.append(probe.name)
    names = ", ".join(probe.name for probe in asked)
    if differing:
        sentence = (
            "Trainer and server produce different token ids for conversations with"
            f" {', '.join(differing)}."
        )
    else:
        sentence = (
            f"Trainer and server also agree on features that the held-out turns lack: {names}."
        )
    return Check(
        "token ids, probes",
        "red" if differing else "green",
        sentence,
        len(differing),
        0,
        0,
        f"of {len(asked)} conversations",
    )


def stop_ids(model: str, samples: Sequence[Sample], listed: Sequence[int] | Broken) -> Check:
    """Every stop token that was trained must be one that the server ends an answer at, by the
    model's own files."""
    trained = {sample.input_ids[turn.end - 1] for sample in samples for turn in sample.turns}
    unknown = sorted(trained if isinstance(listed, Broken) else trained - set(listed))
    if isinstance(listed, Broken):
        sentence = (
            f"The stop tokens of the {model} model cannot be read: {listed.reason.rstrip('.')}."
        )
    elif unknown:
        sentence = (
            f"Training taught the model to end with token {', '.join(map(str, unknown))}, but the"
            f" {model} model lists only {', '.join(map(str, listed)) or 'none'} as stop tokens"
            " (generation_config.json, or config.json where that is missing; eos_token): answers"
            " would not end there."
        )
    else:
        sentence = (
            "Every stop token that was trained"
            f" ({', '.join(map(str, sorted(trained))) or 'none'}) is also listed by the {model}"
            " model."
        )
    return Check(
        f"stop tokens, {model}",
        "red" if unknown or isinstance(listed, Broken) else "green",
        sentence,
        len(unknown),
        0,
        0,
        "unknown",
    )


def _stopping_verdict(share: float, count: int) -> Verdict:
    """Of so many answers this share ends with a stop token."""
    if share >= _FEW_STOPS:
        return "green"
    return "amber" if share > 0 or count < _ENOUGH_ANSWERS else "red"


def stopping(
    kind: str, answers: Sequence[Answer], base: Sequence[Answer], learnt: float | None
) -> list[Check]:
    """How generated answers end. `base` are the base model's, for comparison; `learnt` is the share
    of held-out answers that the trained model would end, in transformers."""
    name = f"stopping, {kind}"
    if not answers:
        return [
            Check(
                name,
                "amber",
                "No held-out turn is short enough to generate, so Luthier did not test how"
                " answers end.",
            )
        ]
    past = [answer for answer in answers if answer.ran_past is not None]
    checks = []
    if past:
        went_on = (
            f"{len(past)} of {len(answers)} answers of the {kind} model went on after the stop"
            f" token {past[0].ran_past}"
        )
        sentence = f"{went_on}: the server does not know it."
        checks.append(
            Check(
                f"{name}, past the end",
                "red",
                sentence,
                len(past),
                0,
                0,
                f"of {len(answers)} answers",
            )
        )
    share = sum(answer.stopped for answer in answers) / len(answers)
    of_base = sum(answer.stopped for answer in base) / len(base) if base else 0.0
    verdict = _stopping_verdict(share, len(answers))
    beside = f" (base: {of_base:.0%})" if base else ""
    sentence = (
        f"{share:.0%} of the answers of the {kind} model end with a stop token, the others by"
        f" length{beside}."
    )
    if verdict == "red" and not past and learnt is not None and learnt < _FEW_STOPS:
        verdict = "amber"
        sentence = (
            f"No answer of the {kind} model ends with a stop token{beside}. The server is not the"
            " cause: in transformers, too, the trained model would end only"
            f" {learnt:.0%} of the held-out answers. Train it longer, or on more answers."
        )
    elif verdict == "red":
        sentence = (
            f"No answer of the {kind} model ends with a stop token, although each had room for"
            f" twice its reference{beside}."
        )
    elif verdict == "amber":
        sentence = (
            f"Only {share:.0%} of the answers of the {kind} model end with a stop token within"
            f" twice their reference{beside}."
        )
    checks.append(
        Check(name, verdict, sentence, round(share, 3), _FEW_STOPS, 0, "of answers", at_least=True)
    )
    return checks


def exact_bytes(changes: dict[str, list[str]] | None) -> list[Check]:
    """The files that training started from and made, by their hashes; None: the run recorded
    none."""
    if changes is None:
        sentence = (
            "This run recorded no hashes (an earlier version made it), so Luthier cannot show"
            " that its files are unchanged."
        )
        return [Check("exact bytes", "amber", sentence)]
    checks = []
    for part, differing in changes.items():
        is_of_run = part in (ADAPTER, MODEL)
        good = (
            f"The {part} is byte for byte what the run made."
            if is_of_run
            else f"The {part} is byte for byte what the run used."
        )
        bad = (
            f"The {part} is not what the run {'made' if is_of_run else 'was trained on'}:"
            f" {'; '.join(differing[:3])}."
        )
        verdict = at_most(len(differing), 0, 0)
        checks.append(
            Check(
                f"exact bytes, {part}",
                verdict,
                bad if differing else good,
                len(differing),
                0,
                0,
                "differences",
            )
        )
    return checks


def merged_bytes(differing: list[str] | None) -> Check:
    """The merged model against its receipt; None: it has none."""
    name = "exact bytes, merged"
    if differing is None:
        return Check(
            name,
            "amber",
            "The merged model has no receipt, so Luthier cannot show what it was made of."
            " `luthier merge` writes one.",
        )
    if differing:
        return Check(
            name,
            "red",
            f"The merged model is not what the merge wrote: {'; '.join(differing[:3])}.",
            len(differing),
            0,
            0,
            "differences",
        )
    return Check(
        name,
        "green",
        "The merged model is byte for byte what the merge wrote, made from this run's adapter.",
        0,
        0,
        0,
        "differences",
    )
