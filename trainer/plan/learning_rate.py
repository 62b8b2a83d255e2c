"""The learning rate that a method, an adapter and a model's size call for. Light.

LoRA, at Luthier's 16 conversations a step: 2e-4 up to 20 billion parameters and 1e-4 above, as
QLoRA chose for 7B and 13B and for 33B and 65B (Dettmers et al. 2023, arXiv:2305.14314); Unsloth's
guide, too, begins at 2e-4. Smaller models want more: tinker-cookbook's sweep
(recipes/chat_sl/results/sft_sweep.md, 128 conversations a step) found 1e-3 best for 1B and 3B and
3e-4 for Llama's 8B to 70B, and its earlier formula, 5e-4 * (2000 / hidden size) ** 0.781, gives
1.3e-3 for the built-in model's 576: here 5e-4 below 1 billion.

Full fine-tuning wants a tenth: LoRA's best rate is about ten times that of full fine-tuning, and
nearly independent of the rank where the scaling is alpha / r ("LoRA Without Regret", Thinking
Machines Lab 2025, which holds alpha at 32). Two rules are derived from that rather than published.
An adapter that acts more strongly than alpha 32 at alpha / r (by a larger alpha, or by `rslora`,
whose scaling is sqrt(r) times as strong) gets a smaller rate by the root of it, since both of its
matrices move. LoRA+ (arXiv:2402.12354), whose rate of B is `plus_ratio` times that of A, keeps the
geometric mean of the two where it was. DoRA (arXiv:2402.09353) was trained at LoRA's rates.

Preferences want far less, since each step moves likelihoods that fine-tuning has already settled.
DPO was trained at 1e-6 (Rafailov et al. 2023), Zephyr's at 5e-7 (Tunstall et al. 2023), KTO's
between 5e-7 and 5e-6 (Ethayarajh et al. 2024), all of whole models of about 7B, for which the rule
above has 2e-5: here a twentieth. ORPO, which fine-tunes at the same time, was trained at 8e-6 (Hong
et al. 2024): here a half. On-policy distillation was trained at 1e-4 by LoRA on 8B
(tinker-cookbook, recipes/distillation): here a half, too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from trainer.objective import Kind
from trainer.recipe import Lora, Recipe, short_value

_UNKNOWN_SIZE = 7_000_000_000
# LoRA's rate for models of fewer parameters than this.
_LORA_RATES = ((1e9, 5e-4), (20e9, 2e-4), (math.inf, 1e-4))
_FULL_SHARE = 0.1
_OBJECTIVE_SHARES: dict[Kind, float] = {
    "sft": 1.0,
    "dpo": 0.05,
    "kto": 0.05,
    "orpo": 0.5,
    "distill": 0.5,
}
_ALPHA = 32.0
# A rate is unusual below a tenth of the one for its method, or above five times of it.
_LOWEST, _HIGHEST = 0.1, 5.0


@dataclass(frozen=True)
class LearningRate:
    """`reason` says why it is this one where the recipe leaves it open, `warning` what speaks
    against the recipe's own; "" for none."""

    value: float
    reason: str = ""
    warning: str = ""

    @property
    def highest(self) -> float:
        """The highest usual one, where this is what "auto" chose."""
        return _HIGHEST * self.value


def learning_rate(recipe: Recipe, parameters: int | None) -> LearningRate:
    """For a base model of so many parameters; None if nobody knows."""
    usual, reason = _usual(recipe, parameters)
    objective = recipe.objective
    if objective.kind != "sft":
        share = _OBJECTIVE_SHARES[objective.kind]
        usual = float(f"{share * usual:.2g}")
        reason = f"{objective.title} uses {share:g} of the rate of fine-tuning, which is {reason}"
    asked = recipe.train.learning_rate
    if asked == "auto":
        return LearningRate(usual, f"Learning rate {short_value(usual)}: {reason}.")
    low, high = _LOWEST * usual, _HIGHEST * usual
    if low * 0.999 <= asked <= high * 1.001:
        return LearningRate(asked)
    side = "above" if asked > high else "below"
    method = _METHODS[recipe.train.method]
    if objective.kind != "sft":
        method = f"{objective.title} by {method}"
    size = "this model" if parameters is None else f"a model of {_billions(parameters)} parameters"
    warning = (
        f"train.learning_rate = {short_value(asked)} is {side} the usual range for {method} of"
        f' {size}, {short_value(low)} to {short_value(high)}. "auto" would choose'
        f" {short_value(usual)}."
    )
    return LearningRate(asked, warning=warning)


_METHODS = {"lora": "LoRA", "full": "full fine-tuning"}


def _usual(recipe: Recipe, parameters: int | None) -> tuple[float, str]:
    """The rate to take, and why as a clause."""
    count = _UNKNOWN_SIZE if parameters is None else parameters
    of_lora = next(rate for limit, rate in _LORA_RATES if count < limit)
    size = "models of 7 billion parameters (this model's size is unknown)"
    if parameters is not None:
        size = f"a model of {_billions(parameters)} parameters"
    if recipe.train.method == "full":
        return (
            _FULL_SHARE * of_lora,
            f"full fine-tuning uses a tenth of LoRA's {short_value(of_lora)} for {size}",
        )
    strength = _strength(recipe.lora)
    clauses = [f"usual for LoRA on {size}, whatever the rank"]
    rate = of_lora
    if strength > _ALPHA:
        rate /= math.sqrt(strength / _ALPHA)
        clauses.append(
            f"lowered from {short_value(of_lora)} because this adapter acts as strongly as alpha"
            f" {strength:.0f} (32 is usual)"
        )
    if recipe.lora.plus_ratio > 1:
        rate /= math.sqrt(recipe.lora.plus_ratio)
        clauses.append(f"of A, and {recipe.lora.plus_ratio:g} times as much of B (LoRA+)")
    return float(f"{rate:.2g}"), "; ".join(clauses)


def _strength(lora: Lora) -> float:
    """The alpha that would act as strongly at alpha / r."""
    return lora.alpha * math.sqrt(lora.r) if lora.rslora else float(lora.alpha)


def _billions(parameters: int) -> str:
    return (
        f"{parameters / 1e9:.1f} billion"
        if parameters >= 1e9
        else f"{parameters / 1e6:.0f} million"
    )
