"""Products with frozen weights in float8 against bfloat16: seconds and error, by the shapes of an
8B and a 1B model's layers.

    python -P bench/gpu/float8.py [--tokens 8192]

One JSON line a shape: milliseconds of the product in bfloat16, of Luthier's in float8
(trainer.kernels.float8) with the quantising of its input, and of that quantising alone, by the
kernel and by compiled torch; errors relative to float32, of bfloat16, float8 and 4 bits
(bitsandbytes' nf4).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit

sys.path.insert(0, str(Path(__file__).parents[2]))

from trainer.kernels.float8 import Float8Weight, quantise, quantise_by_torch

SHAPES = [
    (4096, 4096),
    (1024, 4096),
    (14336, 4096),
    (4096, 14336),
    (2048, 2048),
    (512, 2048),
    (8192, 2048),
    (2048, 8192),
]


def milliseconds(work: Callable[..., object], *arguments: object, times: int = 30) -> float:
    for _ in range(5):
        work(*arguments)
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(times):
        work(*arguments)
    end.record()
    torch.cuda.synchronize()
    return round(float(start.elapsed_time(end)) / times, 4)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=int, default=8192)
    options = parser.parse_args()
    print(
        json.dumps(
            {
                "gpu": torch.cuda.get_device_name(),
                "torch": torch.__version__,
                "tokens": options.tokens,
            }
        ),
        flush=True,
    )
    compiled = torch.compile(quantise_by_torch, dynamic=True)
    for outputs, inputs in SHAPES:
        weight = torch.randn(outputs, inputs, device="cuda", dtype=torch.bfloat16) / inputs**0.5
        inputs_to_weight = torch.randn(options.tokens, inputs, device="cuda", dtype=torch.bfloat16)
        frozen, four = (
            Float8Weight.of(weight),
            dequantize_4bit(*quantize_4bit(weight, quant_type="nf4")),
        )
        exact = inputs_to_weight.float() @ weight.float().t()
        products = {
            "bfloat16": inputs_to_weight @ weight.t(),
            "float8": inputs_to_weight @ frozen.t(),
            "4 bits": inputs_to_weight @ four.t(),
        }
        took = {
            "bfloat16": milliseconds(torch.matmul, inputs_to_weight, weight.t()),
            "float8": milliseconds(torch.matmul, inputs_to_weight, frozen.t()),
            "quantising": milliseconds(quantise, inputs_to_weight),
            "quantising, compiled": milliseconds(compiled, inputs_to_weight),
        }
        errors = {
            name: round(float((product.float() - exact).norm() / exact.norm()), 4)
            for name, product in products.items()
        }
        ratio = round(took["bfloat16"] / took["float8"], 2)
        print(
            json.dumps(
                {
                    "outputs": outputs,
                    "inputs": inputs,
                    "ms": took,
                    "times as fast": ratio,
                    "errors": errors,
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
