"""Training a local model on the answers that a rescue has kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from trainer.data_recipe import recipe_of_data
from trainer.launch import train
from workshop.rescue.kept import ANSWERS_FILE
from workshop.rescue.order import Order


def train_on(order: Order, result: dict[str, Any]) -> str:
    """The id of the run that it starts; empty where answers are missing that may still come.
    `result` has the figures of a rescue."""
    if not result["rows"] or result["at_ceiling"] or result["failed"]:
        return ""
    folder = Path(order.out)
    recipe = recipe_of_data(folder / ANSWERS_FILE, order.base)
    return train(msgspec.structs.replace(recipe, name=folder.name[:60] or "rescue")).id
