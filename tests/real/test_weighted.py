"""The loss of weighted messages. TRL is imported when a test runs: each process of the fast tests
looks into this file too."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.stored_sample import UNTRAINED

pytestmark = pytest.mark.real


def loss(weights: list[float], trained: int | None = None) -> float:
    import torch

    from trainer.run.weighted import weighted_loss

    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(1, 5, 11, generator=generator)
    labels = torch.tensor([[UNTRAINED, 3, UNTRAINED, 4, 5]])
    return float(weighted_loss(logits, labels, torch.tensor([weights]), trained))


def test_of_weight_one_it_is_the_usual_loss() -> None:
    import torch

    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(1, 5, 11, generator=generator)
    usual = torch.nn.functional.cross_entropy(
        logits[0, :-1], torch.tensor([3, UNTRAINED, 4, 5]), ignore_index=UNTRAINED
    )
    assert abs(loss([0, 1, 0, 1, 1]) - float(usual)) < 1e-6


@settings(deadline=None)
@given(st.floats(0, 4), st.floats(0, 4))
def test_it_is_linear_in_the_weights_and_counts_trained_tokens(one: float, other: float) -> None:
    separate = one * loss([0, 1, 0, 0, 0]) + other * loss([0, 0, 0, 1, 1])
    assert abs(loss([0, one, 0, other, other]) - separate) < 1e-4
    assert abs(loss([0, one, 0, other, other], trained=6) - separate / 2) < 1e-4


def test_weights_are_padded_as_labels_are() -> None:
    from trainer.run.weighted import WeightCollator

    examples = [
        {"input_ids": [1, 2, 3], "labels": [UNTRAINED, 2, 3], "weights": [0.0, 0.5, 0.5]},
        {"input_ids": [1], "labels": [UNTRAINED], "weights": [0.0]},
    ]
    batch = WeightCollator(pad_token_id=0)(examples)
    assert batch["weights"].tolist() == [[0.0, 0.5, 0.5], [0.0, 0.0, 0.0]]
    assert batch["labels"].shape == batch["weights"].shape
