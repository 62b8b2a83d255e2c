"""A step with float8 layers computed together, against Unsloth's functions and 16 bits: in one
process, on 8B shapes of Llama 3 with random weights and fewer layers.

    python -P bench/gpu/layers.py --tokenizer MODEL [--layers 16]      # about 90 s on a GPU
    python -P bench/gpu/layers.py --tokenizer MODEL --layers 2 --tiny  # on a CPU: that it runs

One JSON line a way and batch: seconds a step, settled, with the optimizer's; `host`, until the host
has launched it. Ways: "16 bits"; "float8", product by product; "together", layers computed together
(trainer.kernels.float8_layers), with torch's attention; "flash4", the same with FlashAttention 4.
Needs the repository's root on PYTHONPATH.
"""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

BATCHES = {  # tokens of each conversation
    "8 of 2048": [2048] * 4 + [1400, 900, 600, 444],
    "16 of 512": [512] * 14 + [400, 475],
    "2": [1700, 1074],
    "1": [1275],
}
TINY = {"3": [40, 20, 30], "2": [30, 20]}
WARM, COUNTED = 3, 6
VOCABULARY = 128256


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    import trainer.run.unsloth_environment  # noqa: F401  # first: see there

    # isort: split
    import torch

    from trainer.kernels import varlen
    from trainer.kernels.float8_layers import Projections
    from trainer.kernels.float8_model import use_float8

    step = Step(options.tokenizer, options.layers, tiny=options.tiny)
    dispatch: Any = SimpleNamespace()  # Unsloth's, which on a CPU has no kernel to be lent
    if torch.cuda.is_available():
        dispatch = importlib.import_module("unsloth.utils.attention_dispatch")
    with replaced(varlen, "kernel_for", lambda *_: varlen.torch_kernel):
        step.measure("16 bits")
        use_float8(step.model)
        with replaced(Projections, "usable_for", lambda *_: False):
            step.measure("float8")
        varlen.lend_to_unsloth(dispatch)
        step.measure("together")
    with replaced(varlen, "_FLASH4_TOKENS", 0):
        step.measure("flash4")


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    usual = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, usual)


class Step:
    """A model with a fresh adapter, and what a step of its training does."""

    def __init__(self, tokenizer: Path, layers: int, *, tiny: bool) -> None:
        import torch
        from unsloth import FastLanguageModel

        self._gpu = torch.cuda.is_available()
        self._device = "cuda" if self._gpu else "cpu"
        self._batches, self._layers = TINY if tiny else BATCHES, layers
        self._vocabulary = 512 if tiny else VOCABULARY
        with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
            self._write(Path(folder), tokenizer, tiny=tiny)
            model, _ = FastLanguageModel.from_pretrained(
                folder,
                max_seq_length=2048,
                dtype=torch.bfloat16,
                load_in_4bit=False,
                load_in_16bit=True,
                use_gradient_checkpointing=False,
                local_files_only=True,
                use_exact_model_name=True,
            )
        self.model = FastLanguageModel.get_peft_model(
            model, r=16, lora_alpha=16, lora_dropout=0, use_gradient_checkpointing=False
        )
        self.model.train()
        self._trained = [weight for weight in self.model.parameters() if weight.requires_grad]
        self._optimizer = torch.optim.AdamW(self._trained, lr=1e-5, fused=self._gpu)

    def _write(self, folder: Path, tokenizer: Path, *, tiny: bool) -> None:
        import torch
        from transformers import AutoModelForCausalLM, LlamaConfig

        hidden, inner, heads, key_heads = (512, 768, 8, 4) if tiny else (4096, 14336, 32, 8)
        config = LlamaConfig(
            hidden_size=hidden,
            intermediate_size=inner,
            num_hidden_layers=self._layers,
            num_attention_heads=heads,
            num_key_value_heads=key_heads,
            vocab_size=self._vocabulary,
            max_position_embeddings=8192,
            rope_theta=500000.0,
            tie_word_embeddings=False,
            bos_token_id=1,
            eos_token_id=2,
        )
        torch.set_default_dtype(torch.bfloat16)
        with torch.device(self._device):
            AutoModelForCausalLM.from_config(config).save_pretrained(folder, max_shard_size="4GB")
        torch.set_default_dtype(torch.float32)
        for path in [*tokenizer.glob("*token*"), *tokenizer.glob("*.jinja")]:
            shutil.copy(path, folder)

    def measure(self, way: str) -> None:
        for name, lengths in self._batches.items():
            batch = self._batch(lengths)
            tokens = batch["input_ids"].numel()
            try:
                host, seconds = self._timed(partial(self._step, batch))
            except Exception as error:  # noqa: BLE001 - the other ways and batches go on
                print(json.dumps({"way": way, "batch": name, "failed": repr(error)[:300]}))
                continue
            figures = {
                "tokens": tokens,
                "seconds": round(seconds, 4),
                "host": round(host, 4),
                "tokens_per_second": round(tokens / seconds),
            }
            print(
                json.dumps({"way": way, "layers": self._layers, "batch": name, **figures}),
                flush=True,
            )

    def _timed(self, work: Callable[[], None]) -> tuple[float, float]:
        for _ in range(WARM):
            work()
        self._wait()
        began = time.monotonic()
        for _ in range(COUNTED):
            work()
        host = time.monotonic() - began
        self._wait()
        return host / COUNTED, (time.monotonic() - began) / COUNTED

    def _wait(self) -> None:
        import torch

        if self._gpu:
            torch.cuda.synchronize()

    def _step(self, batch: dict[str, Any]) -> None:
        import torch

        with torch.autocast(self._device, torch.bfloat16):
            items = torch.tensor(1000, device=self._device)
            self.model(**batch, num_items_in_batch=items).loss.backward()
        torch.nn.utils.clip_grad_norm_(self._trained, 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad()

    def _batch(self, lengths: list[int]) -> dict[str, Any]:
        """One row, filled up to a multiple of 16 tokens; every other token is trained, about."""
        import torch

        filler = -sum(lengths) % 16
        lengths = [*lengths, filler] if filler else lengths
        drawn = torch.Generator().manual_seed(sum(lengths))
        ids = torch.randint(3, self._vocabulary, (1, sum(lengths)), generator=drawn)
        labels = ids.masked_fill(torch.rand(ids.shape, generator=drawn) < 0.5, -100)
        batch = {
            "input_ids": ids,
            "labels": labels,
            "position_ids": torch.cat([torch.arange(length) for length in lengths])[None],
            "packed_seq_lengths": torch.tensor(lengths, dtype=torch.int32),
        }
        return {name: tensor.to(self._device) for name, tensor in batch.items()}


if __name__ == "__main__":
    main()
