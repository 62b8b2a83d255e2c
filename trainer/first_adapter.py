"""A run that starts from an adapter: which one that is, and its copy in the run's folder. Light."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec

from jobs.files import expanded, flush_folder
from jobs.luthier_error import LuthierError
from models import registry
from models.adapters import Adapter, MustBeMerged, check_servable, read_adapter
from models.folder import ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE
from models.run_folder import RunFolder
from models.runs import Run
from trainer.recipe import Lora, Recipe, Tokens


def settled(recipe: Recipe) -> Recipe:
    """The recipe with the folder of its first adapter, if it has one, and that adapter's own
    [lora]. LuthierError if training cannot start from it."""
    if not recipe.start_from:
        return recipe
    if recipe.train.method == "full":
        raise LuthierError(
            "Full fine-tuning has no adapter",
            f'train.method = "full" trains every weight, but start_from = "{recipe.start_from}".',
            "Leave out one of the two. `luthier merge` makes a model of an adapter and its base.",
        )
    if recipe.tokens != Tokens():
        raise LuthierError(
            "No new tokens on a trained adapter",
            f'[tokens] adds to the base model, but start_from = "{recipe.start_from}" was trained'
            " without that.",
            "Leave out [tokens], or merge the adapter first and start from the merged model.",
        )
    folder = _folder(recipe)
    adapter = read_adapter(folder)
    _check(adapter, recipe)
    config = adapter.config
    targets = config.get("target_modules", "all-linear")
    lora = Lora(
        r=int(config["r"]),
        alpha=round(float(config.get("lora_alpha", config["r"]))),
        dropout=float(config.get("lora_dropout") or 0.0),
        targets=sorted(targets) if isinstance(targets, list) else "all-linear",
        rslora=bool(config.get("use_rslora")),
        dora=bool(config.get("use_dora")),
        plus_ratio=recipe.lora.plus_ratio,
    )
    return msgspec.structs.replace(recipe, start_from=str(folder), lora=lora)


def copied(run: Path, recipe: Recipe) -> Recipe:
    """The recipe with the run's own copy of its first adapter, which outlives the original. Made
    once."""
    if not recipe.start_from:
        return recipe
    copy = RunFolder(run).first_adapter
    if not copy.is_dir():
        partial = copy.with_name(f".{copy.name}-{os.getpid()}")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        for name in (ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE):
            shutil.copyfile(Path(recipe.start_from) / name, partial / name)
        flush_folder(partial, lock="")
        try:
            partial.rename(copy)
        except OSError:  # another rank was quicker
            shutil.rmtree(partial, ignore_errors=True)
    return msgspec.structs.replace(recipe, start_from=str(copy))


def _folder(recipe: Recipe) -> Path:
    """Of an adapter by its path, or of a run's. LuthierError if the recipe trains another base."""
    path = expanded(recipe.start_from)
    if path.is_dir():
        return path.absolute()
    run = Run.named(recipe.start_from)
    folder = run.adapter()
    base = registry.resolve(recipe.model)
    # a home that was moved has the model elsewhere than where the run found it
    has_moved = recipe.model == run.base_name and not run.base.is_dir()
    if base.resolve() != run.base.resolve() and not has_moved:
        raise _other_base(run, recipe, base)
    return folder


def _other_base(run: Run, recipe: Recipe, base: Path) -> LuthierError:
    """By their names, and where these are the same by their folders."""
    by_name = recipe.model != run.base_name
    first, second = (run.base_name, recipe.model) if by_name else (str(run.base), str(base))
    return LuthierError(
        "The adapter belongs to another base model",
        f"{run.id} was trained on {first}, but this recipe's model is {second}.",
        f'Write model = "{first}".',
    )


def _check(adapter: Adapter, recipe: Recipe) -> None:
    if adapter.config.get("trainable_token_indices") or adapter.config.get("modules_to_save"):
        raise LuthierError(
            "Training cannot start from this adapter",
            f"{adapter.directory} has new tokens, or layers that were trained whole.",
            "Merge it first (`luthier merge`), and start from the merged model.",
        )
    try:
        check_servable(adapter, registry.resolve(recipe.model))
    except MustBeMerged:
        return  # it fits; only vLLM cannot take it as it is
