"""What writes the answers that a model learns from, and how a check proves that it has the model's
weights.

The model changes in every step, and its sampler must change with it. Where the sampler is the
module that is trained, nothing is copied; where it is a server, the weights travel. Loops that
sample from the base unseen have lost the weights on that way, so that every sampler answers two
questions at each sync: the fingerprint of the weights that it computed with, and the
log-probabilities that it has given to its own samples (trainer.run.weight_sync compares both).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from peft.tuners.tuners_utils import BaseTunerLayer

from trainer.evaluation.generation import Generator, Recorder
from trainer.run.run_trainer import unchanged_random_state

RECORDED = 4  # answers of a batch whose log-probabilities are recorded
_VALUES = 4096  # of a tensor that its fingerprint is made of


@dataclass(frozen=True)
class Answer:
    """The tokens of an answer with its stop token, if it has come to one; `log_probs` are those
    that the sampler gave them at temperature 1, where it was recorded."""

    tokens: list[int]
    stopped: bool
    log_probs: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class SampleSettings:
    """How answers are written: at most `longest` tokens, `rows` of them at a time."""

    stops: frozenset[int]
    longest: int
    temperature: float
    rows: int


class Sampler(Protocol):
    """Writes answers with the weights of the last sync."""

    title: str
    shared: bool
    """Whether it computes with the very module that is trained."""

    def sync(self, step: int) -> None:
        """Take the weights that the model has after so many steps."""
        ...

    def answers(
        self, prompts: Sequence[Sequence[int]], seed: int, stopping: Callable[[], bool]
    ) -> list[Answer]:
        """In the order of the prompts; the same for the same seed and weights. Raises
        EvaluationStopped."""
        ...

    def fingerprint(self) -> str:
        """Of the weights that the last answers were computed with (see `fingerprint`)."""
        ...


class TransformersSampler:
    """transformers' generate with the module that is trained, in its process. No weight is copied:
    what can go wrong is that the adapter is switched off while it writes, or that writing token by
    token computes something else than training does. The fingerprint is taken within the
    computation, of the layers that are switched on."""

    title = "transformers, in the training process"
    shared = True

    def __init__(
        self,
        model: Any,
        settings: SampleSettings,
        computing: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        self._model, self._rows, self._computing = model, settings.rows, computing
        self._fingerprint = ""
        recorder = Recorder(RECORDED, self._look)
        self._generator = Generator(
            settings.stops, settings.longest, settings.temperature, recorder
        )

    def sync(self, step: int) -> None:
        self._fingerprint = ""

    def answers(
        self, prompts: Sequence[Sequence[int]], seed: int, stopping: Callable[[], bool]
    ) -> list[Answer]:
        with unchanged_random_state(), self._computing():
            torch.manual_seed(seed)
            written = self._generator.answers(self._model, prompts, self._rows, stopping=stopping)
        return [
            Answer(
                [*answer.tokens, *([] if answer.stop is None else [answer.stop])],
                answer.stopped,
                answer.log_probs,
            )
            for answer in written
        ]

    def fingerprint(self) -> str:
        return self._fingerprint

    def _look(self) -> None:
        if not self._fingerprint:
            self._fingerprint = fingerprint(switched_on(self._model))


def seed_of(seed: int, purpose: str, step: int) -> int:
    """The seed of what is drawn at a step: the same whether or not the run was interrupted."""
    digest = hashlib.blake2b(f"{seed} {purpose} {step}".encode(), digest_size=7).digest()
    return int.from_bytes(digest)


# ---- fingerprints


def trained(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The weights that training changes, by their names as they are saved."""
    return {
        name.replace(".default", ""): parameter.detach()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def switched_on(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Those of them that a forward pass computes with now."""
    off = tuple(f"{name}." for name in _switched_off(model))
    return {name: tensor for name, tensor in trained(model).items() if not name.startswith(off)}


def _switched_off(model: torch.nn.Module) -> Iterator[str]:
    for name, module in model.named_modules():
        if isinstance(module, BaseTunerLayer) and (
            module.disable_adapters or "default" not in module.active_adapters
        ):
            yield name.replace(".default", "")


def fingerprint(weights: dict[str, torch.Tensor]) -> str:
    """12 hexadecimal digits of up to 4,096 values of each tensor, which a step changes all; "no
    adapter" of none."""
    if not weights:
        return "no adapter"
    digest = hashlib.blake2b(digest_size=6)
    for name, tensor in sorted(weights.items()):
        flat = tensor.flatten()
        values = flat[:: max(1, len(flat) // _VALUES)].float().cpu().numpy()
        digest.update(f"{name} {tuple(tensor.shape)}".encode() + values.tobytes())
    return digest.hexdigest()
