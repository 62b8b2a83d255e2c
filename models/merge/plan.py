"""The plan of a merge, from headers alone: what each tensor of the merged model is made of, or why
that cannot be done exactly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.luthier_error import LuthierError
from models.adapters import Adapter, check_tensor_names, read_adapter
from models.base_names import name_in
from models.folder import ModelFolder
from models.merge.adapter_tensors import FLOATS, ModuleParts, adapter_parts, refusal
from models.merge.embeddings import is_output
from models.merge.experts import ExpertChange, are_experts, check_targets_used, expert_changes
from models.merge.planner import Into, Planner
from models.merge.tensor_recipes import Piece
from models.weights import TensorEntry, tensor_entries, weight_files

DTYPES = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}
# what unquantised models hold beside their weights: masks, positions
_ONLY_ONES = ("BOOL", "I64", "I32", "F64")


@dataclass(frozen=True)
class MergePlan:
    """The whole merge. `files` are the pieces of each weight file by name, in the base's order.

    `dtype` is a key of DTYPES, None for the base's own types. `tied` is what the config must say of
    tying, None for what it says already. `vocabulary` is the number of rows of the embeddings if it
    changes.
    """

    base: Path
    adapter: Adapter
    into: Into
    dtype: str | None
    files: dict[str, list[Piece]]
    config: dict[str, Any]
    tied: bool | None
    vocabulary: int | None

    @property
    def pieces(self) -> list[Piece]:
        return [piece for pieces in self.files.values() for piece in pieces]

    @property
    def written_bytes(self) -> int:
        return sum(piece.size for piece in self.pieces)


def plan_merge(
    base: Path, adapter_directory: Path, *, into: Into = "base", dtype: str | None = None
) -> MergePlan:
    """How to merge an adapter into a base model. LuthierError, with the name of the tensor, for
    what cannot be merged exactly."""
    if (adapter_directory / "adapter_model.bin").is_file() and not (
        adapter_directory / "adapter_model.safetensors"
    ).is_file():
        hint = "If you trust its source, load it with PEFT and save it again."
        raise LuthierError(
            "Pickled weights",
            f"{adapter_directory} contains adapter_model.bin, and pickles can run code.",
            hint,
        )
    adapter, config = read_adapter(adapter_directory), ModelFolder(base).config
    files = {path.name: tensor_entries(path) for path in weight_files(base)}
    tensors = {entry.name: entry for entries in files.values() for entry in entries}
    _check_quantisation(base, config, tensors)
    try:
        targets = adapter.config.get("target_parameters") or []
        modules, experts = _sorted_parts(base, targets, tensors, adapter_parts(adapter))
        planner = Planner(
            adapter.config,
            config,
            tensors,
            modules,
            into,
            DTYPES[dtype] if dtype else None,
            experts,
        )
        pieces = {
            name: [piece for entry in entries for piece in planner.pieces(entry)]
            for name, entries in files.items()
        }
        planner.check_all_used(base)
    except LuthierError:
        check_tensor_names(adapter, base)  # if it can say more of why
        raise
    every = [piece for module_pieces in pieces.values() for piece in module_pieces]
    return MergePlan(
        base, adapter, into, dtype, pieces, config, planner.tied, planner.vocabulary(every)
    )


def _check_quantisation(
    base: Path, config: dict[str, Any], tensors: dict[str, TensorEntry]
) -> None:
    odd = next(
        (entry for entry in tensors.values() if entry.dtype not in (*FLOATS, *_ONLY_ONES)), None
    )
    method = (config.get("quantization_config") or {}).get("quant_method")
    if odd is None and method is None:
        return
    tensor_name = odd.name if odd else next(iter(tensors), "")
    kind = f"{odd.dtype} ({method or 'quantised'})" if odd else f"of a model quantised by {method}"
    hint = (
        "Merge into the 16-bit model that it was made from: --base DIR (for QLoRA, --into"
        " dequantised derives the 4-bit values from that model)."
    )
    raise LuthierError(
        "The base is quantised",
        f"{tensor_name} in {base} is {kind}: it cannot hold the change exactly.",
        hint,
    )


def _sorted_parts(
    base: Path,
    targets: list[str],
    tensors: dict[str, TensorEntry],
    parts_of: dict[str, ModuleParts],
) -> tuple[dict[str, ModuleParts], dict[str, ExpertChange]]:
    """The adapter's parts by the base's own name of the module, and those of experts by the
    tensor that they change. `targets` are the adapter's target_parameters."""
    check_targets_used(targets, parts_of)
    with_parameters = {name.rpartition(".")[0] for name in tensors}
    beginnings = {".".join(name.split(".")[:3]) for name in tensors}
    modules, experts = {}, {}
    for name, parts in parts_of.items():
        # some checkpoints leave out the first part ("transformer.") of all names
        shorter = name.partition(".")[2]
        base_module = name_in(with_parameters, name) or name_in(
            {shorter} & with_parameters, shorter
        )
        layer = name_in(beginnings, name, lambda text: ".".join(text.split(".")[:3]))
        if layer is not None and are_experts(name, targets):
            experts[layer] = parts
        elif base_module is not None or is_output(name):
            modules[base_module or name] = parts
        else:
            hint = (
                "The adapter belongs to another model, or the checkpoint's names differ from the"
                " modules' names (fused experts). Luthier does not guess."
            )
            raise refusal(parts.any_entry().name, f"the model in {base} has no {name}", hint)
    return modules, expert_changes(experts, targets, tensors)
