"""Products with frozen weights in float8: how near they are in one product, in a model's gradients,
in runs of both engines."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jobs.job import Job
from tests.real.forks import Forks, events, outcome
from tests.real.tiny import write_tiny_model

if TYPE_CHECKING:
    import torch
    from peft import PeftModel

pytestmark = pytest.mark.real

SETTINGS: dict[str, Any] = {
    "epochs": 1,
    "global_batch": 8,
    "micro_batch": 4,
    "dropout": 0.0,
    "evaluations": 1,
    "every_steps": 3,
    "learning_rate": 1e-3,
}
FLOAT8 = {"train": "float8 = true"}


def apart(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found.float() - wanted.float()).norm() / wanted.float().norm())


def matrix(rows: int, columns: int, seed: int) -> torch.Tensor:
    """With rows of very different sizes, as a model's have."""
    import torch

    drawn = torch.Generator().manual_seed(seed)
    sizes = torch.logspace(-3, 3, rows)[torch.randperm(rows, generator=drawn)]
    return (torch.randn(rows, columns, generator=drawn) * sizes[:, None]).bfloat16()


def test_a_row_is_quantised_by_its_own_largest_number() -> None:
    import torch

    from trainer.kernels.float8 import quantise

    numbers = matrix(40, 64, 1)
    numbers[3], numbers[4, 5], numbers[6, 7] = 0.0, float("inf"), float("nan")
    widened = quantise(numbers).widened()
    plain = [row for row in range(40) if row not in (3, 4, 6)]
    errors = (widened - numbers).float().abs()[plain]
    largest = numbers.float().abs().amax(1, keepdim=True)[plain]
    # Half a step of three bits, or of the smallest numbers that e4m3 has; and bfloat16's own
    # rounding.
    assert bool(
        (
            errors <= numbers.float().abs()[plain] * (2**-4 + 2**-8) + largest / 448 * 2**-10 * 1.01
        ).all()
    )
    assert not widened[3].any()
    assert widened[4].isnan().any() and widened[6].isnan().any(), "what is broken must be seen"
    assert torch.equal(
        quantise(numbers[plain] * 1024).values.float(), quantise(numbers[plain]).values.float()
    )


def test_every_way_to_multiply_with_a_weight_is_a_product_in_float8() -> None:
    """As PEFT, Unsloth's kernels and autograd write it, forward and backward."""
    import torch
    from torch.nn.functional import linear

    from trainer.kernels.float8 import Float8Weight, quantise

    weight, inputs, bias = (
        matrix(256, 512, 2) / 100,
        matrix(48, 512, 3),
        torch.randn(256).bfloat16(),
    )
    gradient = torch.randn(48, 256).bfloat16()
    frozen = torch.nn.Parameter(Float8Weight.of(weight), requires_grad=False)
    exact = quantise(inputs).widened().float() @ quantise(weight).widened().float().t()
    back = quantise(gradient).widened().float() @ quantise(weight.t()).widened().float().t()
    assert apart(inputs @ frozen.t(), exact) < 0.01
    assert apart(exact, inputs.float() @ weight.float().t()) < 0.05
    assert (
        apart(linear(inputs.view(2, 24, 512), frozen, bias).view(48, 256), exact + bias.float())
        < 0.01
    )
    into = torch.empty(48, 256).bfloat16()
    assert torch.matmul(inputs, frozen.t(), out=into) is into
    assert apart(into, exact) < 0.01
    assert (
        apart(torch.ones(48, 256).bfloat16().addmm_(inputs, frozen.t(), alpha=0.5), 1 + exact / 2)
        < 0.01
    )
    assert apart(gradient @ frozen, back) < 0.01
    leaf = inputs.clone().requires_grad_()
    linear(leaf, frozen).backward(gradient)
    assert leaf.grad is not None
    assert apart(leaf.grad, back) < 0.01
    assert apart(frozen + 0, weight) < 0.04, "what is no product is computed in bfloat16"
    with pytest.raises(TypeError, match="would change"):
        frozen.data.mul_(2)


@pytest.mark.parametrize("mode", ["no_grad", "inference_mode"])
def test_a_token_at_a_time(mode: str) -> None:
    """Unsloth generates in inference mode, where other operations come by than in training, and
    into parts of buffers."""
    import torch
    from torch.nn.functional import linear

    from trainer.kernels.float8 import Float8Weight

    weight, bias = matrix(256, 512, 4) / 100, torch.randn(256).bfloat16()
    frozen = torch.nn.Parameter(Float8Weight.of(weight), requires_grad=False)
    inputs = matrix(3, 512, 5).view(3, 1, 512)
    with getattr(torch, mode)():
        wanted = inputs @ frozen.t()
        assert apart(wanted, inputs @ weight.t()) < 0.05
        assert torch.equal(linear(inputs, frozen), wanted)
        assert apart(linear(inputs, frozen, bias), wanted + bias) < 0.01
        buffer = torch.zeros(3, 1, 300).bfloat16()
        torch.matmul(inputs, frozen.t(), out=buffer[:, :, :256])
        assert torch.equal(buffer[:, :, :256], wanted)
        assert not buffer[:, :, 256:].any()
    inputs.requires_grad_()
    linear(inputs, frozen).sum().backward()  # training goes on with it
    assert inputs.grad is not None


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_a_models_loss_and_gradients_are_nearly_the_same(family: str) -> None:
    """Nearer than those of QLoRA's 4 bits; the head, narrow layers and what is trained stay as they
    are."""
    import torch

    from trainer.kernels.float8 import Float8Weight
    from trainer.kernels.float8_model import use_float8

    def loss(model: PeftModel) -> torch.Tensor:
        ids = torch.randint(0, 500, (4, 64), generator=torch.Generator().manual_seed(1))
        found: torch.Tensor = model(input_ids=ids, labels=ids).loss
        return found

    def gradients(model: PeftModel) -> torch.Tensor:
        model.zero_grad()
        loss(model).backward()
        return torch.cat(
            [
                weight.grad.float().flatten()
                for weight in model.parameters()
                if weight.grad is not None
            ]
        )

    model = adapted(family)
    exact, wanted = float(loss(model)), gradients(model)
    assert use_float8(model) == 2 * 5
    changed = {
        name for name, weight in model.named_parameters() if isinstance(weight.data, Float8Weight)
    }
    assert not [
        name
        for name in changed
        if "lora_" in name or "lm_head" in name or ".k_proj" in name or "embed" in name
    ]
    assert not [
        name
        for name, weight in model.named_parameters()
        if weight.requires_grad and "lora_" not in name
    ]
    assert float(loss(model)) == pytest.approx(exact, abs=0.01)
    found = gradients(model)
    assert float(torch.cosine_similarity(found, wanted, dim=0)) > 0.99
    assert apart(found, wanted) < 0.12


def adapted(family: str) -> PeftModel:
    """A random model with an adapter that already changes it; keys and values are narrow."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(3)
    sizes = {
        "hidden_size": 512,
        "intermediate_size": 768,
        "num_hidden_layers": 2,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
    }
    config = AutoConfig.for_model(family, vocab_size=512, **sizes)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    tuned: PeftModel = get_peft_model(
        model,
        LoraConfig(
            r=8, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM"
        ),
    )
    return tuned


@pytest.fixture(scope="module")
def wide(forks: Forks) -> Path:
    return write_tiny_model(forks.folder / "wide-enough", hidden=256)


def run(engine: Forks, sections: dict[str, str], **settings: Any) -> Job:
    job = engine.make(sections, **{**SETTINGS, **settings})
    assert engine.work(job) == 0, (job.directory / "output.log").read_text()[-3000:]
    return job


def losses(job: Job, kind: str = "step") -> list[float]:
    return [event["loss"] for event in events(job, kind)]


def test_both_engines_learn_the_same_in_float8(forks: Forks, unsloth: Forks, wide: Path) -> None:
    exact, ours, theirs = (
        run(forks, {}, model=wide),
        run(forks, FLOAT8, model=wide),
        run(unsloth, FLOAT8, model=wide),
    )
    assert losses(ours) != losses(exact)
    assert losses(ours)[-1] < losses(ours)[0] - 0.3
    assert losses(ours) == [pytest.approx(loss, abs=0.05) for loss in losses(exact)]
    assert losses(theirs) == [pytest.approx(loss, abs=0.05) for loss in losses(ours)]
    assert losses(ours, "eval") == [pytest.approx(loss, abs=0.05) for loss in losses(exact, "eval")]
    assert len(events(ours, "sample")) == len(events(exact, "sample")) > 0
    plan = next(iter(events(ours, "plan")))
    why = "Float8 products with the frozen weights, because the recipe says so."
    assert plan["float8"] and {"key": "train.float8", "text": why} in plan["reasons"]


def test_stopped_it_goes_on_exactly(forks: Forks, wide: Path) -> None:
    sections = {"train": 'float8 = true\ngradient_checkpointing = "standard"'}
    whole = run(forks, sections, model=wide, dropout=0.1)
    stopped = forks.make(sections, **{**SETTINGS, "model": wide, "dropout": 0.1})
    assert forks.work(stopped, ["stop_in", ["step", 4]]) == 0
    assert forks.work(stopped) == 0
    assert outcome(stopped) == outcome(whole)


@pytest.mark.parametrize("engine", ["forks", "unsloth"])
def test_two_ranks_are_the_same_experiment(
    engine: str, wide: Path, request: pytest.FixtureRequest
) -> None:
    """Each has quantised the weights itself; DDP leaves them alone."""
    forks = request.getfixturevalue(engine)
    one, two = (
        run(forks, FLOAT8, model=wide),
        run(forks, FLOAT8, model=wide, ranks=2, micro_batch=2),
    )
    assert losses(two) == [pytest.approx(loss, abs=0.02) for loss in losses(one)]


def test_what_ddp_was_told_to_leave_out_stays_out() -> None:
    """Unsloth's buffers in main memory, which NCCL cannot send."""
    from trainer.kernels.float8_model import use_float8

    model = adapted("llama")
    model._ddp_params_and_buffers_to_ignore = ["rotary.inv_freq"]
    count = use_float8(model)
    assert model._ddp_params_and_buffers_to_ignore[0] == "rotary.inv_freq"
    assert len(model._ddp_params_and_buffers_to_ignore) == 1 + count


@pytest.mark.parametrize("scaling", [1.0, 2.0])
def test_layers_computed_together_are_the_same_layers(scaling: float) -> None:
    """What Unsloth would compute projection by projection: the same outputs, and gradients as near
    as float8 is (its error in one product is 0.04)."""
    import copy

    import torch

    from trainer.kernels.float8_layers import Projections, gated, projected
    from trainer.kernels.float8_model import use_float8

    joined = adapted("llama")
    for module in joined.modules():
        if isinstance(getattr(module, "scaling", None), dict):
            module.scaling["default"] = scaling
    separate = copy.deepcopy(joined)
    use_float8(separate)
    ours, theirs = (model.base_model.model.model.layers[0] for model in (joined, separate))
    attention, mlp = ours.self_attn, ours.mlp
    together = Projections((attention.q_proj, attention.o_proj))
    wide, narrow = Projections((mlp.gate_proj, mlp.up_proj)), Projections((mlp.down_proj,))
    inputs = torch.randn(1, 48, 512, generator=torch.Generator().manual_seed(2)).bfloat16()

    def outcome(model: PeftModel, outputs: Any) -> list[torch.Tensor]:
        model.zero_grad()
        leaf = inputs.clone().requires_grad_()
        actual = outputs(leaf)
        drawn = torch.Generator().manual_seed(5)
        (actual.float() * torch.randn(actual.shape, generator=drawn)).sum().backward()
        assert leaf.grad is not None
        of_weights = [weight.grad for weight in model.parameters() if weight.grad is not None]
        return [actual.detach(), leaf.grad, *of_weights]

    def both(leaf: torch.Tensor) -> torch.Tensor:
        return torch.cat((theirs.self_attn.q_proj(leaf), theirs.self_attn.o_proj(leaf)), -1)

    pairs = (
        (outcome(joined, lambda leaf: projected(leaf, together)), outcome(separate, both)),
        (outcome(joined, lambda leaf: gated(leaf, wide, narrow)), outcome(separate, theirs.mlp)),
    )
    for results, expected in pairs:
        assert len(results) == len(expected) > 5
        assert max(apart(*each) for each in zip(results, expected, strict=True)) < 0.04


def test_unsloths_layers_are_taken_over_and_given_back() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.real.joined_layers"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_back_from_float8_the_weights_are_the_very_same() -> None:
    """What trials switch to and fro; what is not kept, or fails midway, says so."""
    import torch
    from torch import nn

    from trainer.kernels import float8_model
    from trainer.kernels.float8_model import Products

    class Layers(nn.Sequential):  # type: ignore[misc]
        def get_output_embeddings(self) -> Any:
            return self[2]

    def layers() -> Any:
        layers = Layers(nn.Linear(256, 512), nn.Linear(512, 256), nn.Linear(256, 300)).bfloat16()
        return layers.requires_grad_(False)

    model, inputs = layers(), matrix(16, 256, 3) * 0.01
    before = {name: (weight, weight.clone()) for name, weight in model.named_parameters()}
    exact = model(inputs)
    products = Products(model, keeps=True)
    products.use(True)
    in_float8 = model(inputs)
    assert 0.01 < apart(in_float8, exact) < 0.1 and products.spare_bytes == 4 * 256 * 512
    for is_float8, result in ((False, exact), (True, in_float8), (False, exact)):
        products.use(is_float8)
        assert torch.equal(model(inputs), result)
    for name, weight in model.named_parameters():
        assert weight is before[name][0] and torch.equal(weight, before[name][1])
    products.use(True)
    products.settle()
    assert not products.can_return and products.spare_bytes == 0

    def runs_out(model: Any) -> int:
        model[0].weight = nn.Parameter(torch.zeros(512, 256).bfloat16(), requires_grad=False)
        raise torch.OutOfMemoryError("CUDA out of memory.")

    for keeps in (True, False):
        model = layers()
        first, products = model[0].weight, Products(model, keeps=keeps)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(float8_model, "use_float8", runs_out)
            with pytest.raises(torch.OutOfMemoryError):
                products.use(True)
        assert (model[0].weight is first) == keeps == products.can_return
        if not keeps:
            with pytest.raises(ValueError, match="only some"):
                products.use(False)
