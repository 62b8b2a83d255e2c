"""On a GPU: the same model as on the CPU, but for the last bit of a product."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.merge.merging import merge
from models.merge.plan import plan_merge
from tests.models.merge import small

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]


@pytest.mark.parametrize("kind", ["untied", "gpt2"])
@pytest.mark.parametrize("dora", [False, True])
def test_as_on_the_cpu(kind: str, dora: bool, tmp_path: Path) -> None:
    base = small.save_base(kind, tmp_path / "base")
    targets = (
        ["c_attn", "c_proj", "wte"]
        if kind == "gpt2"
        else ["q_proj", "down_proj", "embed_tokens", "lm_head"]
    )
    adapter = small.save_adapter(base, tmp_path / "adapter", target_modules=targets, use_dora=dora)
    for device in ("cpu", "cuda"):
        merge(plan_merge(base, adapter), tmp_path / device, device=device)
    on_cpu, on_gpu = small.weights(tmp_path / "cpu"), small.weights(tmp_path / "cuda")
    assert on_cpu.keys() == on_gpu.keys()
    for name, values in on_cpu.items():
        torch.testing.assert_close(on_gpu[name], values, rtol=1e-6, atol=1e-6)
