"""The demo: the sample data that comes with Luthier, and the recipe that trains on it."""

from __future__ import annotations

from trainer.examples import CAPTAIN
from trainer.recipe import Recipe, load


def demo_recipe() -> Recipe:
    return load(CAPTAIN / "recipe.toml")
