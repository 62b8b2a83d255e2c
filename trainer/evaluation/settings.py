"""The recipe's section [evaluation]: when to evaluate, what to measure, what to ask. Light."""

from __future__ import annotations

import math
from typing import Annotated, Literal, get_args

import msgspec

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
    """`every` is a number of steps or "epoch" and takes the place of `times`, which spreads
    evaluations evenly; the last one is at the end.

    `metric` says which evaluation is the best; `patience` (0: off) is how many in a row may pass
    without one that is better by more than `min_improvement`. `metrics` are computed on the answers
    to `conversations` held-out prompts; `samples` of those, or the user's own `prompts`, are told
    as they are. An answer has at most `answer_tokens` tokens.
    """

    times: Count = 4
    every: Count | Literal["epoch"] = 0
    metric: Value = "loss"
    patience: Count = 0
    min_improvement: Annotated[float, msgspec.Meta(ge=0.0)] = 0.0
    metrics: list[Metric] = []
    conversations: Annotated[int, msgspec.Meta(ge=1)] = 50
    samples: Count = 3
    prompts: list[str] = []
    answer_tokens: Annotated[int, msgspec.Meta(ge=1)] = 128

    def __post_init__(self) -> None:
        if self.metric not in self.values:
            source = next(name for name, values in VALUES.items() if self.metric in values)
            raise ValueError(f'metric "{self.metric}" is not computed: add "{source}" to metrics')
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
