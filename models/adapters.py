"""PEFT adapters: what their config says, and whether vLLM takes them as they are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.luthier_error import LuthierError
from models.base_names import name_in
from models.folder import ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE, ModelFolder
from models.run_folder import MERGED_FOLDER, MODEL_FOLDER
from models.vllm_models import refused_layers, why_no_adapters
from models.weights import tensor_shapes

# What stands in the names of tensors that other classes, libraries or versions have saved, and what
# PEFT writes there.
_ADDED_TO_NAMES = (
    (".language_model.", "."),
    ("base_model.model.base_model.model.", "base_model.model."),
    (".default.weight", ".weight"),
    ("._orig_mod.", "."),
    (".module.", "."),
)
# The ranks that vLLM's --max-lora-rank allows.
_RANK_LIMITS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
# Initialisations that change the base weights, so that the saved adapter means nothing on the
# untouched base.
_BASE_CHANGING_INITIALISATIONS = ("pissa", "olora", "corda", "loftq")


@dataclass(frozen=True)
class Adapter:
    """An adapter directory in PEFT's layout. `rank` is the largest over all modules."""

    directory: Path
    base: str
    rank: int
    config: dict[str, Any]


def read_adapter(directory: Path) -> Adapter:
    """Read adapter_config.json. LuthierError if the directory is no whole LoRA adapter."""
    config_path, weights = directory / ADAPTER_CONFIG_FILE, directory / ADAPTER_WEIGHTS_FILE
    for path in (config_path, weights):
        if not path.is_file():
            raise LuthierError(
                "Not an adapter",
                f"{directory} has no {path.name}.",
                "Give the folder that PEFT's save_pretrained wrote.",
            )
    config = ModelFolder(directory).adapter_config
    if "r" not in config:
        raise LuthierError(
            "Unreadable adapter",
            f"{config_path} is damaged: it lacks 'r'.",
            "Save the adapter again.",
        )
    rank = max([config["r"], *(config.get("rank_pattern") or {}).values()])
    if config.get("peft_type") != "LORA":
        raise LuthierError(
            "Not a LoRA adapter",
            f"{config_path} has the peft_type {config.get('peft_type')!r}.",
            "vLLM serves only LoRA adapters.",
        )
    return Adapter(directory, str(config.get("base_model_name_or_path") or ""), rank, config)


def lora_rank_limit(rank: int) -> int:
    """The smallest --max-lora-rank of vLLM that lets `rank` in. LuthierError above 512."""
    for limit in _RANK_LIMITS:
        if rank <= limit:
            return limit
    raise LuthierError(
        "Rank too high",
        f"vLLM serves LoRA up to rank {_RANK_LIMITS[-1]}; this adapter has rank {rank}.",
        "Merge it before serving.",
    )


class MustBeMerged(LuthierError):
    """A sound adapter that vLLM does not take as it is, or not beside this base."""

    def __init__(self, message: str) -> None:
        super().__init__(
            "This adapter must be merged first",
            message,
            "`luthier serve RUN` merges a run and serves the merged model; `luthier merge` merges"
            " any other adapter.",
        )


def check_servable(adapter: Adapter, base_directory: Path) -> None:
    """LuthierError if vLLM would refuse the adapter or if it belongs to a model of another
    shape."""
    hindrance = why_no_adapters(base_directory)
    if hindrance:
        raise MustBeMerged(f"{hindrance}: {adapter.directory} cannot be loaded beside its base.")
    reasons = _refusals(adapter.config) + _new_stops(adapter.directory, base_directory)
    if reasons:
        raise MustBeMerged(
            f"vLLM serves only plain LoRA, but {adapter.directory} has {', '.join(reasons)}."
        )
    lora_rank_limit(adapter.rank)
    _check_shapes(adapter, base_directory)
    if refused := refused_layers(base_directory, _layers(adapter)):
        raise MustBeMerged(
            f"vLLM has {', '.join(refused)} in parts, and {adapter.directory} has it whole."
        )


def _layers(adapter: Adapter) -> set[str]:
    """The names of the layers that it changes, without where they are."""
    return {
        module.rpartition(".")[2]
        for name in tensor_shapes(adapter.directory / ADAPTER_WEIGHTS_FILE)
        if (module := name.partition(".lora_")[0]) != name
    }


def _refusals(config: dict[str, Any]) -> list[str]:
    """What vLLM's peft_helper refuses (facts: vLLM 0.32, section 3 of the stack notes)."""
    reasons = [
        key
        for key in (
            "use_dora",
            "modules_to_save",
            "trainable_token_indices",
            "lora_bias",
            "layer_replication",
            "target_parameters",
        )
        if config.get(key)
    ]
    if config.get("bias", "none") != "none":
        reasons.append(f"bias={config['bias']!r}")
    initialisation = str(config.get("init_lora_weights", "")).lower()
    if initialisation.startswith(_BASE_CHANGING_INITIALISATIONS):
        reasons.append(f"init_lora_weights={initialisation!r}")
    return reasons


def _new_stops(adapter: Path, base: Path) -> list[str]:
    """Why the adapter must be merged, if it was taught to end its answers with tokens at which a
    server of its base would not stop."""
    if not ModelFolder(adapter).has_tokenizer:
        return []
    trained = ModelFolder(adapter).card.stop_ids or []
    unknown = sorted(set(trained) - ModelFolder(base).stop_ids)
    return (
        [
            f"answers that end with token {', '.join(map(str, unknown))}, which the base does not"
            " list as a stop token"
        ]
        if unknown
        else []
    )


def _check_shapes(adapter: Adapter, base_directory: Path) -> None:
    """Every lora_A must fit the base weight of its module: A is (r, in), the weight (out, in); B is
    (out, r)."""
    check_tensor_names(adapter, base_directory)
    base = _base_shapes(base_directory)
    if not base:
        _ = ModelFolder(base_directory).config  # that it is a model at all
    misfit = _misfit(tensor_shapes(adapter.directory / ADAPTER_WEIGHTS_FILE), base)
    if misfit:
        raise LuthierError(
            "The adapter belongs to another model",
            f"{misfit}, in {base_directory}. The adapter was trained on"
            f" {adapter.base or 'an unnamed model'}.",
            "Serve it with the model it was trained on.",
        )


def check_tensor_names(adapter: Adapter, base_directory: Path) -> None:
    """LuthierError if the adapter fits the model but for what another library or version has put
    into the names of its tensors."""
    base, shapes = (
        _base_shapes(base_directory),
        tensor_shapes(adapter.directory / ADAPTER_WEIGHTS_FILE),
    )
    if not _misfit(shapes, base):
        return
    for added, proper in _ADDED_TO_NAMES:
        renamed = {name.replace(added, proper, 1): shape for name, shape in shapes.items()}
        if renamed.keys() != shapes.keys() and not _misfit(renamed, base):
            words = added.removesuffix(proper).strip(".")
            message = (
                f"They all fit the model in {base_directory} once {words!r} is removed from their"
                f" names: {min(shapes)}."
            )
            hint = (
                "Another library or version saved this adapter. Rename the tensors, or save it"
                " again from that model with PEFT's save_pretrained."
            )
            raise LuthierError("The adapter's tensors have other names", message, hint)


def other_base(adapter: Adapter, base_directory: Path) -> str:
    """A note where the adapter says that it was trained on another model, whose shapes fit this one
    all the same; "" if it does not."""
    if not adapter.base:
        return ""
    resolved = base_directory.resolve()
    cached = [
        part.removeprefix("models--").replace("--", "/")
        for part in resolved.parts
        if part.startswith("models--")
    ]
    base = ModelFolder(base_directory)
    original = str(base.config.get("_name_or_path") or "")
    base_names = [
        str(base_directory),
        str(resolved),
        base.shown_card.repository,
        original,
        *cached,
    ]
    if _bare_name(adapter.base) in {_bare_name(name) for name in base_names if name}:
        return ""
    return (
        f"{adapter.directory} names {adapter.base} as its base, not {base_directory}: its shapes"
        " may fit only by chance."
    )


def _bare_name(model: str) -> str:
    """A model's name whoever publishes it, wherever it lies and however its weights are stored; a
    run's own model with its run."""
    path = Path(model.rstrip("/"))
    name = (
        f"{path.parent.name}/{path.name}"
        if path.name in (MERGED_FOLDER, MODEL_FOLDER)
        else path.name
    )
    return re.sub(r"(-unsloth)?-bnb-4bit$", "", name.lower())


def _base_shapes(directory: Path) -> dict[str, list[int]]:
    return {
        name: shape
        for path in directory.glob("*.safetensors")
        for name, shape in tensor_shapes(path).items()
    }


def _misfit(shapes: dict[str, list[int]], base: dict[str, list[int]]) -> str:
    """The first of the adapter's tensors for which the base model has no place, in words; "" if
    there is none."""
    for name, shape in shapes.items():
        module, _, part = name.removeprefix("base_model.model.").rpartition(".lora_")
        if part not in ("A.weight", "B.weight"):
            if part.startswith(("A.", "B.")):
                return f"{name} is not the name of a part of a LoRA layer"
            continue
        base_module = name_in(base, module, "{}.weight".format)
        weight = None if base_module is None else base[f"{base_module}.weight"]
        side, of_adapter = (1, shape[-1]) if part.startswith("A") else (0, shape[0])
        if weight is None:
            return f"the model has no {module}"
        if weight[side] != of_adapter:
            return f"{module} has size {weight[side]} in the model, but {of_adapter} in the adapter"
    return ""
