"""The experts of a mixture in an adapter, and in a model's files.

transformers has the matrices of a layer's experts as one parameter of three dimensions, and PEFT
(`target_parameters`) trains one A and one B for all of them: A (experts * rank, in) expert after
expert, B (out, rank * experts) rank after rank. A module with two such parameters is wrapped twice:
the one that it names first is inside. Files have each expert's matrices, gate and up apart, or all
of a layer in one tensor, under a name of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count, takewhile

from jobs.luthier_error import LuthierError
from models.merge.adapter_tensors import ModuleParts, refusal
from models.weights import TensorEntry

EXPERT_PARAMETERS = ("gate_up_proj", "up_proj", "down_proj")
"""As transformers names them, in a module's own order."""
WRAPPED = ".base_layer"
"""How PEFT names what a wrapper has inside, if that is a wrapper, too."""

# A parameter -> what files call an expert's matrices, one after the other along its rows.
_PARTS = {
    "gate_up_proj": (("gate_proj", "up_proj"), ("w1", "w3")),
    "up_proj": (("up_proj",),),
    "down_proj": (("down_proj",), ("w2",)),
}
# The same where all of a layer's experts are in one tensor that is not named as the parameter.
_WHOLE = {"gate_up_proj": "input_linear.weight", "down_proj": "output_linear.weight"}
_MODULES = ((".mlp.experts", ".block_sparse_moe.experts"),)
# Their parameters are (experts, in, out).
_TRANSPOSED = ("gpt_oss", "openai_privacy_filter")


@dataclass(frozen=True)
class Experts:
    """Which part of the change of a layer's experts a tensor takes: all `count` of them, or the
    rows `first` to `last` of the change of one."""

    count: int
    index: int | None = None
    first: int = 0
    last: int | None = None


@dataclass(frozen=True)
class ExpertChange:
    """What an adapter has for a tensor of the base. `name` is the parameter's in the model."""

    name: str
    parts: ModuleParts
    experts: Experts


def is_transposed(model_type: object) -> bool:
    return model_type in _TRANSPOSED


def layer_of(module: str) -> str:
    """The module that PEFT has wrapped, once or twice."""
    while module.endswith(WRAPPED):
        module = module.removesuffix(WRAPPED)
    return module


def are_experts(module: str, targets: list[str]) -> bool:
    """Whether a module of an adapter is a layer's experts, by its target_parameters."""
    layer = layer_of(module)
    return any(_names(target, f"{layer}.{name}") for target in targets for name in _PARTS)


def check_targets_used(targets: list[str], modules: Iterable[str]) -> None:
    """LuthierError if an adapter has nothing for a parameter that its target_parameters name."""
    layers = {layer_of(module) for module in modules}
    for target in targets:
        parameter = target.rpartition(".")[2]
        if not any(_names(target, f"{layer}.{parameter}") for layer in layers):
            raise refusal(
                f"target_parameters {target!r}",
                "the adapter has no tensors for it",
                "The adapter is damaged.",
            )


def expert_changes(
    modules: dict[str, ModuleParts], targets: list[str], tensors: dict[str, TensorEntry]
) -> dict[str, ExpertChange]:
    """By the name of a tensor of the base the experts' change that goes into it. `modules` are the
    adapter's of which the base has none, by their full names; LuthierError for what it cannot be
    of."""
    changes: dict[str, ExpertChange] = {}
    for layer in sorted({layer_of(module) for module in modules}):
        trained = [
            parameter
            for parameter in EXPERT_PARAMETERS
            if any(_names(target, f"{layer}.{parameter}") for target in targets)
        ]
        wrappers = [
            modules[name]
            for depth in reversed(range(len(EXPERT_PARAMETERS)))
            if (name := layer + WRAPPED * depth) in modules
        ]
        if len(trained) != len(wrappers):
            raise refusal(
                wrappers[0].any_entry().name,
                f"the adapter has {len(wrappers)} of this layer's parameters, but its"
                f" target_parameters name {len(trained)}",
                "The adapter is damaged.",
            )
        for parameter, parts in zip(trained, wrappers, strict=True):
            for name, experts in _places(layer, parameter, parts, tensors):
                changes[name] = ExpertChange(f"{layer}.{parameter}", parts, experts)
    return changes


def _names(target: str, parameter: str) -> bool:
    """Whether a name in target_parameters stands for this parameter, as PEFT finds it."""
    return parameter == target or parameter.endswith(f".{target}")


def _places(
    layer: str, parameter: str, parts: ModuleParts, tensors: dict[str, TensorEntry]
) -> Iterator[tuple[str, Experts]]:
    """The tensors of the base that hold a parameter, and which part of it each has."""
    names_of_all = [f"{layer}.{parameter}"]
    if parameter in _WHOLE:
        names_of_all.append(f"{layer.rpartition('.')[0]}.{_WHOLE[parameter]}")
    for name in names_of_all:
        if name in tensors:
            yield name, Experts(tensors[name].shape[0])
            return
    for module in [layer, *(layer.replace(usual, other) for usual, other in _MODULES)]:
        for names in _PARTS[parameter]:
            numbers = _numbers(module, names, tensors)
            if numbers:
                for index in numbers:
                    first = 0
                    for part in names:
                        name = f"{module}.{index}.{part}.weight"
                        last = first + tensors[name].shape[0]
                        yield name, Experts(len(numbers), index, first, last)
                        first = last
                return
    raise _nowhere(layer, parameter, parts)


def _numbers(module: str, names: tuple[str, ...], tensors: dict[str, TensorEntry]) -> list[int]:
    """The experts of a module that have all matrices of these names, from 0 on."""
    return list(
        takewhile(
            lambda index: all(f"{module}.{index}.{name}.weight" in tensors for name in names),
            count(),
        )
    )


def _nowhere(layer: str, parameter: str, parts: ModuleParts) -> LuthierError:
    return refusal(
        parts.any_entry().name,
        f"the model has no {parameter} of experts for {layer}",
        "The adapter belongs to another model, or the model's files name the experts in a way that"
        " Luthier does not support.",
    )
