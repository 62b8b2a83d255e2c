"""QLoRA: which merge is closer to the model that was trained, measured on held-out turns.

The trained model is the 4-bit base (its values as models.merge.nf4 makes them) with the adapter
beside it. An adapter learns to answer for that base's errors, so that merging it into the 16-bit
base can be nearer or farther; nobody can know without looking.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from jobs import foreign_json
from jobs.luthier_error import LuthierError
from models.merge.arithmetic import read_tensor
from models.merge.nf4 import Nf4
from models.merge.plan import MergePlan
from models.new_tokens import add_rows, new_tokens
from models.stored_sample import UNTRAINED

_POSITIONS = 512  # trained tokens compared; each costs a row of the vocabulary in memory
_LONGEST = 2048


@dataclass(frozen=True)
class Distance:
    """How far a merged model is from the trained one: the mean KL divergence (trained || merged) in
    nats a token, and its mean NLL."""

    kl: float
    nll: float


@dataclass(frozen=True)
class Comparison:
    """What was measured, over `tokens` held-out trained tokens. `closer` is a key of `merges`."""

    closer: str
    merges: dict[str, Distance]
    trained_nll: float
    tokens: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def compare(
    plan: MergePlan, merged: Mapping[str, Path], samples: Path, stopping: Callable[[], bool]
) -> Comparison | None:
    """Compare merged models with the trained one. `samples` has lines with input_ids and labels
    (-100: not trained). None if stopped."""
    turns = _read_samples(samples)
    reference = [*_log_probabilities(_trained(plan), turns, stopping)]
    if stopping():
        return None
    targets = torch.cat([labels[labels != UNTRAINED] for _, labels in turns])
    trained = torch.cat(reference)
    distances = {}
    for name, folder in merged.items():
        model = AutoModelForCausalLM.from_pretrained(
            str(folder), dtype=torch.bfloat16, local_files_only=True, use_safetensors=True
        )
        merged_says = torch.cat([*_log_probabilities(model, turns, stopping)])
        if stopping():
            return None
        kl = (trained.exp() * (trained - merged_says)).sum(-1).mean()
        distances[name] = Distance(float(kl), _nll(merged_says, targets))
        del model, merged_says
    closer = min(distances, key=lambda name: distances[name].kl)
    return Comparison(closer, distances, _nll(trained, targets), len(targets))


def _read_samples(path: Path) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Token ids and, shifted onto what predicts them, labels of as many samples as give _POSITIONS
    trained tokens."""
    samples, count = [], 0
    with path.open(encoding="utf-8") as file:
        for line in file:
            row = foreign_json.decode_object(line, path)
            foreign_json.check(
                {"input_ids": None, "labels": None, **row},
                {"input_ids": list[int], "labels": list[int]},
                path,
            )
            ids, labels = (torch.tensor(row[key][:_LONGEST]) for key in ("input_ids", "labels"))
            targets = labels.roll(-1)
            targets[-1] = UNTRAINED
            places = (targets != UNTRAINED).nonzero().flatten()
            targets[places[_POSITIONS - count :]] = UNTRAINED
            if len(places):
                samples.append((ids, targets))
                count += min(len(places), _POSITIONS - count)
            if count == _POSITIONS:
                break
    if not samples:
        raise LuthierError(
            "Nothing to measure on",
            f"{path} has no trained tokens.",
            "Choose --into base or --into dequantised yourself.",
        )
    return samples


def _trained(plan: MergePlan) -> PeftModel:
    """The model as training had it: 4-bit values, computed in bfloat16, and the adapter
    unmerged."""
    model = AutoModelForCausalLM.from_pretrained(
        str(plan.base), dtype=torch.bfloat16, local_files_only=True, use_safetensors=True
    )
    if tokens := new_tokens(plan.base, plan.adapter.directory):
        add_rows(model, tokens)
    parameters = dict(model.named_parameters())
    for piece in plan.pieces:
        if piece.quantised and piece.base is not None:
            weight = parameters.get(
                piece.name, parameters.get(f"{model.base_model_prefix}.{piece.name}")
            )
            if weight is None:
                raise LuthierError(
                    "This cannot be measured",
                    f"The model has no parameter {piece.name}.",
                    "Choose --into base or --into dequantised yourself.",
                )
            values = read_tensor(piece.base).float()
            Nf4.of(piece.base, read_tensor, torch.device("cpu")).through(values, 0)
            weight.data.copy_(values)
    return PeftModel.from_pretrained(model, str(plan.adapter.directory))


def _log_probabilities(
    model: Any, turns: list[tuple[torch.Tensor, torch.Tensor]], stopping: Callable[[], bool]
) -> list[torch.Tensor]:
    """Of every token of the vocabulary, at each place that predicts a trained token."""
    model.eval()
    log_probabilities = []
    with torch.inference_mode():
        for ids, labels in turns:
            if stopping():
                break
            logits = model(input_ids=ids[None]).logits[0]
            log_probabilities.append(logits[labels != UNTRAINED].float().log_softmax(-1))
    return log_probabilities


def _nll(log_probabilities: torch.Tensor, targets: torch.Tensor) -> float:
    return float(-log_probabilities.gather(1, targets[:, None]).mean())
