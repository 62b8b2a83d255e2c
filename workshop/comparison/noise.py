"""Two runs that differ in their seed alone: how far such runs lie apart is the unit in which any
other difference is read."""

from __future__ import annotations

from jobs.foreign_json import Damaged
from jobs.luthier_error import LuthierError
from models.runs import Run
from trainer.resume import recorded

_SEED = "train.seed"
_SHOWN = 40  # characters of a value


def check_noise(run: str, other: str) -> list[str]:
    """What beside the seed differs between the recipes of two runs, for whoever reads the report.
    LuthierError if they are one run, or have one seed."""
    first, second = (Run.named(text.partition("@")[0]) for text in (run, other))
    if first.id == second.id:
        raise LuthierError(
            "A run is not its own noise",
            f"--noise needs another run than {first.id}, of the same recipe with another seed.",
            _hint(first.id),
        )
    recipe, other_recipe = _recipe(first), _recipe(second)
    if recipe.get(_SEED) is not None and recipe.get(_SEED) == other_recipe.get(_SEED):
        raise LuthierError(
            "The seeds are the same",
            f"{first.id} and {second.id} both have the seed {recipe[_SEED]}, so they say nothing"
            " about what seeds change.",
            _hint(first.id),
        )
    return [
        f"{key} ({str(recipe.get(key))[:_SHOWN]}, {str(other_recipe.get(key))[:_SHOWN]})"
        for key in sorted(recipe.keys() | other_recipe.keys())
        if key != _SEED and recipe.get(key) != other_recipe.get(key)
    ]


def _recipe(run: Run) -> dict[str, object]:
    """Every key of its recipe with its value; nothing of a run that has recorded none."""
    try:
        return dict(recorded(run.folder.path)["recipe"])
    except (OSError, Damaged):
        return {}


def _hint(run: str) -> str:
    return f"`luthier reproduce {run} --another-seed` trains such a run."
