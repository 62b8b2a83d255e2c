"""A model whose frozen weights are in float8, and one that goes there and back. For workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from jobs.luthier_error import LuthierError
from trainer.kernels.float8 import Float8Weight, is_wide
from trainer.kernels.float8_layers import give_back_layers, join_layers
from trainer.plan.methods import FLOAT8_CAPABILITY

if TYPE_CHECKING:
    from peft import PeftModel


def use_float8(model: PeftModel) -> int:
    """Put the frozen weights of the model's linear layers into float8, but not the head's and
    narrow ones, on this process's GPU if there is one, and compute Unsloth's layers together
    (trainer.kernels.float8_layers). How many weights they are. LuthierError on a GPU that has no
    float8."""
    device = (
        torch.device("cuda", torch.cuda.current_device())
        if torch.cuda.is_available()
        else torch.device("cpu")
    )
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < FLOAT8_CAPABILITY:
        name = torch.cuda.get_device_name(device)
        raise LuthierError(
            "This GPU does not support float8",
            f"The run was planned with float8, but this GPU is a {name}.",
            "Start a new run on this GPU.",
        )
    frozen = _named_frozen(model)
    join_layers(model)
    for _, module in frozen:
        if not isinstance(module.weight.data, Float8Weight):
            module.weight = nn.Parameter(
                Float8Weight.of(module.weight.data.to(device)), requires_grad=False
            )
    changed = [f"{name}.weight" for name, _ in frozen]
    # What is frozen, every rank has made of the same files. Unsloth has DDP leave out some buffers.
    ignored = getattr(model, "_ddp_params_and_buffers_to_ignore", None) or []
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, [*ignored, *changed])
    return len(changed)


class Products:
    """The products with a model's frozen weights, in 16 bits as it was loaded, and in float8 and
    back. `keeps`: whether memory suffices for the weights in both; otherwise there is no way
    back."""

    def __init__(self, model: PeftModel, *, keeps: bool) -> None:
        self.in_float8 = False
        self._model = model
        self._keeps = keeps
        self._is_torn = False
        self._others: list[tuple[nn.Module, nn.Parameter]] = []

    @property
    def can_return(self) -> bool:
        return not self.in_float8 or self._keeps

    @property
    def spare_bytes(self) -> int:
        """Of the weights that are kept and not computed with."""
        return sum(2 * weight.numel() for _, weight in self._others)

    def use(self, in_float8: bool) -> None:
        """Back in 16 bits they are the very weights that they were."""
        if in_float8 == self.in_float8:
            return
        if self._is_torn:
            raise ValueError("only some weights are in float8")
        if in_float8 and not self._others:
            self._convert()
            return
        if not self._others:
            raise ValueError("the weights in 16 bits are gone")
        changed: list[tuple[nn.Module, nn.Parameter]] = []
        for module, weight in self._others:
            if weight is not module.weight:
                changed.append((module, module.weight))
                module.weight = weight
        self._others, self.in_float8 = changed, in_float8

    def _convert(self) -> None:
        """What runs out of memory in the midst of it goes back, if it can."""
        before = [(module, module.weight) for module in _frozen(self._model)] if self._keeps else []
        try:
            use_float8(self._model)
        except BaseException:
            for module, weight in before:
                module.weight = weight
            give_back_layers(self._model)
            self.in_float8 = self._is_torn = not self._keeps
            raise
        self.in_float8, self._others = True, before

    def settle(self) -> None:
        """Keep only those that are computed with."""
        if not self.in_float8:
            give_back_layers(self._model)
        self._others, self._keeps = [], False


def frozen_bytes(model: PeftModel) -> int:
    """Of the weights that `use_float8` would change."""
    return sum(2 * module.weight.numel() for module in _frozen(model))


def _frozen(model: PeftModel) -> list[nn.Linear]:
    """The modules whose weights float8 is for."""
    return [module for _, module in _named_frozen(model)]


def _named_frozen(model: PeftModel) -> list[tuple[str, nn.Linear]]:
    head = model.get_output_embeddings()
    kept = {*head.modules()} if head is not None else set()
    return [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and module not in kept
        and is_wide(module.weight)
        and not module.weight.requires_grad
    ]
