"""What a run leaves: an adapter, or, where every weight was trained, a model. Both are whole or
absent."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from jobs import foreign_json
from jobs.files import flush_folder, write_json
from jobs.job import Job
from models.card import Card, write_card
from models.folder import ModelFolder
from models.run_folder import RunFolder
from models.weights import tensor_entries, weight_files
from trainer.plan.plan import Plan
from trainer.run.checkpoints import Checkpoint
from trainer.run.tokens_and_template import own_tokenizer

_ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors", "README.md")


def save_adapter(
    run: Job, plan: Plan, checkpoint: Checkpoint, which: str, stop_ids: Iterable[int]
) -> Path:
    """The checkpoint's adapter, in PEFT's layout, with the run's own tokenizer if it has one. Its
    card says what a merge must know: the bits of the base that it was trained on, and what answers
    end with."""

    def write(folder: Path) -> None:
        files = [checkpoint.path / name for name in _ADAPTER_FILES]
        for path in [*files, *own_tokenizer(run.directory)]:
            if path.is_file():
                shutil.copyfile(path, folder / path.name)
        write_card(folder, _card(run, plan, checkpoint, which, stop_ids))

    return _whole(RunFolder(run.directory).adapter, write)


def save_model(
    run: Job, plan: Plan, checkpoint: Checkpoint, which: str, stop_ids: Iterable[int]
) -> Path:
    """The checkpoint's model, in the base's own types, with what else a server needs of the base or
    of the run."""
    from models.merge.config_files import copy_companions, write_stops

    base = Path(plan.model_directory)

    def write(folder: Path) -> None:
        copy_companions(base, checkpoint.path, folder)
        _write_weights(checkpoint.path, base, folder)
        _write_config(base, checkpoint.path, folder)
        write_stops(folder, stop_ids)
        base_card = ModelFolder(base).card
        card = replace(
            _card(run, plan, checkpoint, which, stop_ids),
            name=run.spec.name,
            title=f"{base_card.title or base.name}, trained by {run.id}",
            source="trained",
            license=base_card.license,
            base=plan.model_directory,
        )
        write_card(folder, card)

    return _whole(RunFolder(run.directory).model, write)


def _card(
    run: Job, plan: Plan, checkpoint: Checkpoint, which: str, stop_ids: Iterable[int]
) -> Card:
    return Card(
        run=run.id,
        step=checkpoint.step,
        which=which,
        base=plan.model,
        base_directory=plan.model_directory,
        base_bits=plan.compute.base_bits,
        stop_ids=list(stop_ids),
    )


def _write_config(base: Path, trained: Path, folder: Path) -> None:
    """The base's config; new tokens have made the vocabulary larger."""
    from models.merge.config_files import set_vocabulary_size

    model = ModelFolder(base)
    config, size = model.config, ModelFolder(trained).vocabulary_size
    if size is not None and size != model.vocabulary_size:
        set_vocabulary_size(config, size)
    write_json(folder / "config.json", config)


def _write_weights(trained: Path, base: Path, folder: Path) -> None:
    """A checkpoint's weights in the base's own types: training kept them in float32, or in bfloat16
    where the recipe says so. File by file, so that one of them is in memory at a time."""
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    from models.merge.config_files import INDEX

    dtypes = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}
    types = {
        entry.name: dtypes.get(entry.dtype, torch.bfloat16)
        for path in weight_files(base)
        for entry in tensor_entries(path)
    }
    size = 0
    for path in weight_files(trained):
        with safe_open(path, framework="pt") as file:
            tensors = {
                name: file.get_tensor(name).to(types.get(name, torch.bfloat16))
                for name in file.keys()  # noqa: SIM118 - no mapping
            }
        size += sum(tensor.nbytes for tensor in tensors.values())
        save_file(tensors, folder / path.name, metadata={"format": "pt"})
    if (trained / INDEX).is_file():
        where = foreign_json.read_object(trained / INDEX)["weight_map"]
        (folder / INDEX).write_text(
            json.dumps({"metadata": {"total_size": size}, "weight_map": where}, indent=2),
            encoding="utf-8",
        )


def _whole(target: Path, write: Callable[[Path], None]) -> Path:
    """A folder under another name until everything in it is written and on the disk."""
    partial = target.with_name(f".{target.name}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir()
        write(partial)
        flush_folder(partial, lock="")
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)  # room for the event that says why
        raise
    return target
