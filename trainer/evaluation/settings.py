"""The recipe's section [evaluation]: when to evaluate, what to measure, what to ask. Light."""

from __future__ import annotations

import math
from typing import Annotated, Literal, get_args

import msgspec

from trainer.key_facts import key

Metric = Literal["exact_match", "bleu", "chrf", "rouge", "label_accuracy"]
Value = Literal[
    "loss",
    "exact_match",
    "bleu",
    "chrf",
    "rouge1",
    "rouge2",
    "rougeL",
    "label_accuracy",
    "label_macro_f1",
]
# Which metric of `metrics` computes which values.
VALUES: dict[Metric, tuple[Value, ...]] = {
    "exact_match": ("exact_match",),
    "bleu": ("bleu",),
    "chrf": ("chrf",),
    "rouge": ("rouge1", "rouge2", "rougeL"),
    "label_accuracy": ("label_accuracy", "label_macro_f1"),
}
Count = Annotated[int, msgspec.Meta(ge=0)]


class Evaluation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When to evaluate, what to measure, what to ask, and which evaluation is the best."""

    times: Annotated[
        Count,
        key(
            "how many evaluations, spread evenly over the run, the last one at its end, with one"
            " more before the first step; 0: none"
        ),
    ] = 4
    every: Annotated[
        Count | Literal["epoch"],
        key('instead of `times`: after every this many steps, or `"epoch"`, and at the end'),
    ] = 0
    metric: Annotated[
        Value,
        key(
            'what decides which evaluation is best: `"loss"`, or `"exact_match"`, `"bleu"`,'
            ' `"chrf"`, `"rouge1"`, `"rouge2"`, `"rougeL"`, `"label_accuracy"`,'
            ' `"label_macro_f1"` if `metrics` includes it'
        ),
    ] = "loss"
    patience: Annotated[
        Count,
        key(
            "early stopping: end the run after this many evaluations in a row without"
            " improvement; 0: off"
        ),
    ] = 0
    min_improvement: Annotated[float, key("an improvement must be larger than this", ge=0.0)] = 0.0
    metrics: Annotated[
        list[Metric],
        key(
            'computed on answers to held-out prompts: `"exact_match"`, `"bleu"`,'
            ' `"chrf"`, `"rouge"`, `"label_accuracy"`'
        ),
    ] = []
    conversations: Annotated[
        int, key("how many held-out conversations are answered for the metrics", ge=1)
    ] = 50
    samples: Annotated[
        Count, key("how many held-out prompts are answered for you to read; 0: none")
    ] = 3
    prompts: Annotated[list[str], key("your own prompts, answered instead of held-out ones")] = []
    answer_tokens: Annotated[int, key("the longest answer, in tokens", ge=1)] = 128

    def __post_init__(self) -> None:
        if self.metric not in self.values:
            source = next(name for name, values in VALUES.items() if self.metric in values)
            raise ValueError(f'metric "{self.metric}" is not computed. Add "{source}" to metrics')
        if self.patience and not (self.times or self.every):
            raise ValueError("patience needs evaluations: set times or every")
        if not all(prompt.strip() for prompt in self.prompts):
            raise ValueError("one of the prompts is empty")

    @property
    def values(self) -> tuple[Value, ...]:
        """The names of everything an evaluation computes."""
        return ("loss", *(value for metric in self.metrics for value in VALUES[metric]))

    def steps(self, total: int, steps_per_epoch: int) -> frozenset[int]:
        """The steps after which a run of `total` steps is evaluated: 0, which is the base, and the
        last one among them; or none at all."""
        if self.every == "epoch":
            return frozenset({0, total, *range(steps_per_epoch, total, steps_per_epoch)})
        if self.every:
            return frozenset({0, total, *range(self.every, total, self.every)})
        return frozenset(
            {0, *(math.ceil(total * part / self.times) for part in range(1, self.times + 1))}
            if self.times
            else ()
        )


def higher_is_better(value: Value) -> bool:
    return value != "loss"


assert set(get_args(Metric)) == set(VALUES)
