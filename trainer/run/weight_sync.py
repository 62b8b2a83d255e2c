"""The check at each sync of weights: has the sampler what the trainer has?

Three comparisons, each of which finds what the others miss:

* the fingerprints of the weights: whatever is stale, missing or another run's
* the log-probabilities that the sampler gave its own samples, against those that the trainer gives
  them: whatever computes otherwise, whoever says which weights it holds
* how much of the adapter's effect on these tokens the sampler shows, in units of the effect: an
  adapter that is loaded but not applied stays under any bound in nats while the effect is small

Training that is off by a little here is not on-policy, and nothing else would say so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from torch.nn.functional import log_softmax

from jobs.luthier_error import LuthierError
from models.events import WeightSync
from trainer.run.sampling import Answer, Sampler, fingerprint, trained

# In nats a token, on average. In bfloat16, writing token by token and computing all at once differ
# by about 0.04 with the built-in model; in float32 by 1e-5.
BOUNDS = {"bfloat16": 0.15, "float32": 0.005}
LEAST_SHOWN = 0.5
_POWER = 8.0
"""How much larger the effect's square must be than that of rounding, so that a sampler with the
trained weights shows 15/16 of it, and one with the base's 1/16: both values are rounded
themselves."""
_FEWEST = 30  # tokens that say something of the effect
_ROWS, _TOKENS = 4, 256
_Recorded = tuple[list[int], list[int], list[float]]


@dataclass(frozen=True)
class Likelihoods:
    """Of the same sampled tokens, one value each. `base` is None where every weight is trained."""

    sampler: torch.Tensor
    trainer: torch.Tensor
    base: torch.Tensor | None

    @property
    def difference(self) -> float:
        return float((self.sampler - self.trainer).abs().mean())

    @property
    def effect(self) -> float | None:
        return None if self.base is None else float((self.trainer - self.base).abs().mean())

    @property
    def shown(self) -> float | None:
        """The share c of the effect that fits the sampler's values best: base + c * effect. None
        where the effect does not stand out from the rounding of two computations."""
        if self.base is None or len(self.sampler) < _FEWEST:
            return None
        effect, sampler_effect = self.trainer - self.base, self.sampler - self.base
        power = float(effect.square().mean())
        rounding = min(
            float((self.sampler - self.trainer).square().mean()),
            float(sampler_effect.square().mean()),
        )
        if not power > _POWER * rounding:
            return None
        return float((effect * sampler_effect).mean()) / power


def checked(
    model: Any,
    sampler: Sampler,
    prompts: list[list[int]],
    answers: list[Answer],
    step: int,
    compute_dtype: str,
) -> WeightSync:
    """What the comparisons say, of the first recorded answers."""
    recorded = [
        (prompt, answer.tokens, answer.log_probs)
        for prompt, answer in zip(prompts, answers, strict=True)
        if answer.log_probs
    ][:_ROWS]
    expected = fingerprint(trained(model))
    likelihoods = _likelihoods(model, recorded)
    bound, share = BOUNDS[compute_dtype], likelihoods.shown
    is_near = likelihoods.difference <= bound  # not where it is nan
    return WeightSync(
        step=step,
        sampler=sampler.title,
        shared=sampler.shared,
        ok=sampler.fingerprint() == expected
        and is_near
        and (share is None or share >= LEAST_SHOWN),
        trained=expected,
        sampled=sampler.fingerprint(),
        tokens=len(likelihoods.sampler),
        difference=_rounded(likelihoods.difference),
        bound=bound,
        effect=_rounded(likelihoods.effect),
        shown=_rounded(share),
        least=LEAST_SHOWN,
    )


def refusal(sync: WeightSync) -> LuthierError:
    """Of a check that has failed."""
    reasons = []
    if sync.sampled != sync.trained:
        reasons.append(
            f"it holds other weights (fingerprint {sync.sampled} against {sync.trained})"
        )
    if not _at_most(sync.difference, sync.bound):
        reasons.append(
            f"its log-probabilities of {sync.tokens} sampled tokens are off by {sync.difference}"
            f" nats on average (bound {sync.bound})"
        )
    if isinstance(sync.shown, float) and sync.shown < LEAST_SHOWN:
        reasons.append(
            f"it shows {max(sync.shown, 0.0):.0%} of what the adapter does to them (at least"
            f" {LEAST_SHOWN:.0%})"
        )
    return LuthierError(
        "The sampler does not have the student's weights",
        f"After step {sync.step}, {sync.sampler} sampled from another model than the one that is"
        f" trained: {'; '.join(reasons)}.",
        "The run stopped before it learned from these answers. Its last checkpoint is sound:"
        " `luthier resume` continues from it. If it fails there again, please report it.",
    )


def _at_most(value: Any, bound: Any) -> bool:
    return isinstance(value, float) and isinstance(bound, float) and value <= bound


def _likelihoods(model: Any, recorded: list[_Recorded]) -> Likelihoods:
    sampler = torch.tensor([value for _, _, values in recorded for value in values][:_TOKENS])
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            trainer = _log_probs(model, recorded)
            base = None
            if isinstance(model, PeftModel):
                with model.disable_adapter():
                    base = _log_probs(model, recorded)
    finally:
        model.train(was_training)
    return Likelihoods(sampler, trainer, base)


def _log_probs(model: Any, recorded: list[_Recorded]) -> torch.Tensor:
    """Each answer computed at once, by itself: no padding can hide a fault of the sampler's."""
    device = next(model.parameters()).device
    values = []
    for prompt, tokens, _ in recorded:
        row = torch.tensor([[*prompt, *tokens]], device=device)
        logits = model(input_ids=row, use_cache=False).logits[0, len(prompt) - 1 : -1]
        scores = log_softmax(logits.float(), dim=-1)
        values.append(scores.gather(1, row[0, len(prompt) :, None])[:, 0].cpu())
    return torch.cat(values)[:_TOKENS]


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.3g}")
