"""What the evaluations of a run come to, for its plan. Light."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jobs.luthier_error import LuthierError
from trainer.recipe import Recipe

# Greedy decoding with transformers, measured: SmolLM2-135M in bfloat16 on one core of a server
# takes 64 ms a token for up to three answers at once and 156 ms for sixteen. For a GPU these are
# taken, not measured: most of a token's time is the library's own there.
_CPU_BYTES_A_SECOND = 4.5e9
_CPU_BYTES_A_SECOND_BATCHED = 40e9
_GPU_BYTES_A_SECOND = 2e12
_GPU_SECONDS_A_TOKEN = 0.04


@dataclass(frozen=True)
class Outlook:
    """What the evaluations of a run come to."""

    evaluations: int
    """The one before the first step counts too."""
    heldout: int
    """Conversations that each evaluation measures the loss on."""
    answers: int
    """Questions that each evaluation asks."""
    answer_tokens: int
    metrics: list[str]
    seconds: float
    """What all the answers of the run take at most, about."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def rows_at_once(global_batch: int, micro_batch: int) -> int:
    """How many answers a distillation writes at a time: without gradients and with a cache, more
    fit than are trained."""
    return min(global_batch, 4 * micro_batch)


def outlook(
    recipe: Recipe,
    held_out: int,
    steps: int,
    steps_per_epoch: int,
    model: Path,
    device: str,
    micro_batch: int,
) -> Outlook:
    """LuthierError where the recipe asks for what needs held-out conversations and has none."""
    settings, heldout = recipe.evaluation, recipe.heldout
    needs = "patience" if settings.patience else ""
    needs = "metrics" if settings.metrics else needs
    if needs and heldout.is_off:
        message = f"evaluation.{needs} needs them, but [heldout] keeps none."
        raise LuthierError(
            "No held-out conversations",
            message,
            f"Raise heldout.share and heldout.at_most, or leave out {needs}.",
        )
    if needs and steps and not held_out:
        message = (
            f"evaluation.{needs} needs them, but there are too few conversations to hold any out:"
            " Luthier holds out at most a quarter."
        )
        raise LuthierError("No held-out conversations", message, f"Add data, or leave out {needs}.")
    evaluations = (
        len(settings.steps(steps, steps_per_epoch))
        if steps and (held_out or settings.prompts)
        else 0
    )
    scored = min(settings.conversations, held_out) if settings.metrics else 0
    samples = 0 if scored else min(settings.samples, held_out)
    if settings.prompts:
        samples = len(settings.prompts)
    answers = scored + samples if evaluations else 0
    size = sum(path.stat().st_size for path in model.glob("*.safetensors"))

    def writing(number: int, tokens: int, rows: int) -> float:
        """The seconds that so many answers take, so many at a time."""
        a_token = _GPU_SECONDS_A_TOKEN + size / _GPU_BYTES_A_SECOND
        if device == "cpu":
            a_token = (
                size / _CPU_BYTES_A_SECOND + min(number, rows) * size / _CPU_BYTES_A_SECOND_BATCHED
            )
        return math.ceil(number / rows) * tokens * a_token

    seconds = evaluations * writing(answers, settings.answer_tokens, micro_batch)
    if recipe.objective.kind == "distill":
        rows = rows_at_once(recipe.train.global_batch, micro_batch)
        seconds += evaluations * writing(held_out, recipe.objective.sample_tokens, rows)
    return Outlook(
        evaluations,
        held_out,
        answers,
        settings.answer_tokens,
        list(settings.metrics),
        round(seconds, 1),
    )
