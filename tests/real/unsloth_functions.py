"""`python -m tests.real.unsloth_functions`: Unsloth's own loss of all positions against that of the
scored ones, and that its models are given ours. A process of its own, for Unsloth must be imported
before transformers."""

from __future__ import annotations

import os

os.environ["UNSLOTH_COMPILE_DISABLE"] = "1"  # a compiler would take longer than all else here

import trainer.run.unsloth_environment  # noqa: F401

# isort: split
import torch
from unsloth.models import llama, mistral

from models.stored_sample import UNTRAINED
from trainer.kernels.rotation import use_rotation
from trainer.kernels.scored_rows import scored_positions, scoring, use_scored_rows

TOKENS, WIDTH, VOCABULARY = 96, 32, 130


def main() -> None:
    usual_loss, usual_rotation = llama.unsloth_fused_ce_loss, llama.fast_rope_embedding
    for _ in range(2):  # a second model of the process
        use_scored_rows()
        use_rotation()
    for module in (llama, mistral):
        assert module.unsloth_fused_ce_loss.__wrapped__ is usual_loss
        assert module.fast_rope_embedding.__wrapped__ is usual_rotation

    generator = torch.Generator().manual_seed(4)
    hidden = torch.randn(1, TOKENS, WIDTH, generator=generator)
    head = torch.randn(VOCABULARY, WIDTH, generator=generator)
    labels = torch.randint(0, VOCABULARY, (1, TOKENS), generator=generator)
    labels[0, torch.rand(TOKENS, generator=generator) < 0.6] = UNTRAINED
    unlabelled = torch.full_like(labels, UNTRAINED)  # what fills a rank's last batch
    for each in (labels, unlabelled):
        expected = loss_and_gradient(hidden, head, each)
        with scoring(scored_positions(each, 16)):
            scored = loss_and_gradient(hidden, head, each)
        torch.testing.assert_close(scored, expected)
        assert bool(expected[1].any()) == (each is labels)


def loss_and_gradient(
    hidden: torch.Tensor, head: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    leaf = hidden.clone().requires_grad_()
    loss = llama.unsloth_fused_ce_loss(
        trainer=None,
        hidden_states=leaf,
        lm_head_weight=head,
        lm_head_bias=None,
        labels=labels,
        n_items=torch.tensor(29),
        torch_compile=False,
    )
    loss.backward()
    assert leaf.grad is not None
    return loss.detach(), leaf.grad


if __name__ == "__main__":
    main()
