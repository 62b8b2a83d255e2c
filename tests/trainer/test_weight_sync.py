"""The check at a sync on a tiny model, and the losses of distillation: what they measure, and what
they find."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = [pytest.mark.heavy, pytest.mark.xdist_group("torch")]

PROMPTS = [[1, 300, 5, 7], [1, 300, 9], [1, 300, 11, 12, 13], [1, 300, 20], [1, 300, 21, 22]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """With an adapter that has learned a little."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from tests.real.tiny import write_tiny_model

    torch.manual_seed(0)
    folder = write_tiny_model(tmp_path_factory.mktemp("tiny") / "model")
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    adapted = get_peft_model(base, LoraConfig(r=4, target_modules="all-linear", lora_dropout=0.5))
    strengthen(adapted, 0.02)
    return adapted


def strengthen(model: Any, deviation: float) -> None:
    import torch

    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data = torch.randn(parameter.shape) * deviation


def sampler(model: Any) -> Any:
    from contextlib import nullcontext

    from trainer.run.sampling import SampleSettings, TransformersSampler

    return TransformersSampler(model, SampleSettings(frozenset([2]), 24, 1.0, 3), nullcontext)


def sync(model: Any, chosen_sampler: Any, answers: Any) -> Any:
    from trainer.run.weight_sync import checked

    return checked(model, chosen_sampler, PROMPTS, answers, 3, "float32")


def never() -> bool:
    return False


def test_the_same_seed_writes_the_same_answers_and_disturbs_nothing(model: Any) -> None:
    import torch

    model.train()
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    model_sampler = sampler(model)
    first, again, other = (model_sampler.answers(PROMPTS, seed, never) for seed in (7, 7, 8))
    assert first == again != other
    assert torch.equal(before, torch.random.get_rng_state())
    assert model.training
    assert all(1 <= len(answer.tokens) <= 24 for answer in first)
    assert all(answer.stopped == (answer.tokens[-1] == 2) for answer in first)
    recorded = [answer for answer in first if answer.log_probs]
    assert recorded
    assert all(len(answer.log_probs) == len(answer.tokens) for answer in recorded)


def test_a_sampler_with_the_trained_weights_passes(model: Any) -> None:
    model_sampler = sampler(model)
    model_sampler.sync(3)
    result = sync(model, model_sampler, model_sampler.answers(PROMPTS, 7, never))
    assert result.ok
    assert result.sampled == result.trained
    assert result.difference < 1e-4 < result.effect
    assert result.shown == pytest.approx(1, abs=0.01)


def test_weights_of_an_earlier_step_are_found(model: Any) -> None:
    model_sampler = sampler(model)
    model_sampler.sync(3)
    answers = model_sampler.answers(PROMPTS, 7, never)
    strengthen(model, 0.02)
    result = sync(model, model_sampler, answers)
    assert not result.ok
    assert result.sampled != result.trained


def test_an_adapter_that_is_not_applied_is_found_both_ways(model: Any) -> None:
    """Also where it is said to be applied: far below the bound of the distance."""
    from trainer.run.weight_sync import LEAST_SHOWN, refusal

    strengthen(model, 0.0003)
    model_sampler = sampler(model)
    model_sampler.sync(3)
    with model.disable_adapter():
        answers = model_sampler.answers(PROMPTS, 7, never)
    result = sync(model, model_sampler, answers)
    assert result.sampled == "no adapter"
    assert not result.ok
    model_sampler.fingerprint = lambda: result.trained
    lying = sync(model, model_sampler, answers)
    assert lying.sampled == lying.trained
    assert lying.difference < lying.bound
    assert lying.shown < LEAST_SHOWN
    assert not lying.ok
    assert "0% of what the adapter does" in refusal(lying).message
    strengthen(model, 0.02)


def test_without_an_effect_the_share_says_nothing(model: Any) -> None:
    import torch

    from trainer.run.weight_sync import Likelihoods

    values = torch.randn(50)
    assert Likelihoods(values, values, values).shown is None

    def rounded() -> Any:
        return values + 0.04 * torch.randn(50)

    # an effect that is no larger than rounding, as of the first steps
    assert all(Likelihoods(rounded(), rounded(), rounded()).shown is None for _ in range(50))
    few = values[:20]
    assert Likelihoods(few, few, few + 1).shown is None
    assert Likelihoods(values, values, None).shown is None
    assert Likelihoods(values, values, None).effect is None


def test_the_divergence_is_the_exact_one_and_ignores_padded_heads() -> None:
    import torch
    from torch.distributions import Categorical, kl_divergence

    from trainer.run.distillation import divergence

    student, teacher = torch.randn(5, 40), torch.randn(5, 44)
    expected = kl_divergence(Categorical(logits=student), Categorical(logits=teacher[:, :40]))
    assert torch.allclose(divergence(student, teacher), expected, atol=1e-6)
    assert float(divergence(student, student).abs().max()) < 1e-6


def test_the_estimate_has_the_divergence_as_its_mean_and_its_gradient() -> None:
    """Over many samples of the student's."""
    import torch
    from torch.nn.functional import log_softmax

    from trainer.run.distillation import divergence, estimate

    torch.manual_seed(0)
    logits, teacher = torch.randn(6, requires_grad=True), torch.randn(6)
    draws = 200_000
    tokens = torch.distributions.Categorical(logits=logits).sample((draws,))
    scores = log_softmax(teacher, -1)[tokens]
    estimated = estimate(logits.expand(draws, -1), tokens, scores).mean()
    (gradient,) = torch.autograd.grad(estimated, logits)
    exact = divergence(logits[None], teacher[None]).mean()
    (exact_gradient,) = torch.autograd.grad(exact, logits)
    assert float(estimated) == pytest.approx(float(exact), abs=0.02)
    assert torch.allclose(gradient, exact_gradient, atol=0.02)


def test_a_turn_is_one_of_those_that_are_trained() -> None:
    import random

    from trainer.run.distillation import _turn

    ids, labels = list(range(10)), [-100, -100, 2, 3, -100, -100, 6, 7, 8, -100]
    rows = {
        (len(row.prompt), tuple(row.answer))
        for row in (_turn(ids, labels, random.Random(seed)) for seed in range(20))
    }
    assert rows == {(2, (2, 3)), (6, (6, 7, 8))}


def test_each_step_has_a_seed_of_its_own() -> None:
    from trainer.run.sampling import seed_of

    assert seed_of(1, "answers", 2) == seed_of(1, "answers", 2)
    assert len({seed_of(seed, "answers", step) for seed in range(5) for step in range(5)}) == 25


def test_rounding_does_not_hide_a_base_nor_blame_a_student() -> None:
    """Whatever the effect is: a sampler with the base's weights never passes by its share, and one
    with the trained weights never fails."""
    import torch

    from trainer.run.weight_sync import LEAST_SHOWN, Likelihoods

    torch.manual_seed(0)
    decided = 0
    for effect in (0.01, 0.05, 0.1, 0.2, 0.5):
        for _ in range(200):
            base = torch.randn(96)
            student = base + effect * torch.randn(96)

            def rounded(values: torch.Tensor) -> torch.Tensor:
                return values + 0.04 * torch.randn(96)

            of_student = Likelihoods(rounded(student), rounded(student), rounded(base)).shown
            of_base = Likelihoods(rounded(base), rounded(student), rounded(base)).shown
            assert of_student is None or of_student > LEAST_SHOWN
            assert of_base is None or of_base < LEAST_SHOWN
            decided += of_student is not None and of_base is not None
    assert decided > 300
