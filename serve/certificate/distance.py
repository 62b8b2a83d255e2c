"""How far models are from each other on the same text: `python -P -m serve.certificate.distance
ORDERS SCORES`. Each reads the held-out turns (teacher forcing) in transformers, one after the
other, in a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from models import foreign
from models.attention import implementation
from models.folder import ModelFolder
from serve.certificate.measured import Broken, Scored, Scores, write
from serve.certificate.models_apart import Apart, ModelsApart
from serve.certificate.teacher_forcing import scores


def main(orders_path: Path, out: Path) -> None:
    orders = foreign.read(orders_path, ModelsApart)
    scored = {name: _scored(orders, folder) for name, folder in orders.models.items()}
    first = scored[orders.first]
    if isinstance(first, Broken):
        write(out, Apart(first.reason))
        return
    broken = [
        f"{name}: {of_model.reason}"
        for name, of_model in scored.items()
        if isinstance(of_model, Broken)
    ]
    whole = {name: of_model for name, of_model in scored.items() if isinstance(of_model, Scores)}
    write(
        out,
        Apart(
            "; ".join(broken),
            len(first.log_probabilities),
            {name: of_model.nll for name, of_model in whole.items()},
            {name: _apart(first, of_model) for name, of_model in whole.items()},
        ),
    )


def _apart(first: Scores, other: Scores) -> float:
    """The mean distance of the tokens' log-probabilities, in nats."""
    pairs = zip(first.log_probabilities, other.log_probabilities, strict=True)
    return fmean(abs(before - after) for before, after in pairs)


def _scored(orders: ModelsApart, folder: str) -> Scored:
    is_adapter = ModelFolder(Path(folder)).is_adapter
    whole_model = Path(orders.base if is_adapter else folder)
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            str(whole_model),
            dtype=torch.bfloat16,
            local_files_only=True,
            attn_implementation=implementation(whole_model, "sdpa"),
            use_safetensors=True,
        ).to(orders.device)
        if is_adapter:
            model = PeftModel.from_pretrained(model, folder, torch_device=orders.device)
        return scores(model.eval(), orders.device, orders.samples, lambda _: None)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError) as error:
        return Broken((str(error).strip().splitlines() or [type(error).__name__])[0][:300])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
