"""Attention of flat batches: Luthier's function, and Unsloth with it, against
scaled_dot_product_attention of each conversation alone.

    python -P bench/gpu/attention.py             # on a GPU; on the CPU it shows that it runs
    python -P bench/gpu/attention.py engines     # what each engine's forward pass gets

One JSON line each. Errors are the largest difference to the same in 32 bits, over the largest
value; `segments` is the error of bfloat16 itself, conversation by conversation, which is as good as
it gets. Needs the repository's root on PYTHONPATH.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

LENGTHS = [1335, 70, 2048, 512, 1, 900, 1800, 333]
# heads, heads of keys, size, window
SHAPES = [(32, 8, 128, None), (32, 32, 64, None), (16, 2, 128, 100), (9, 3, 64, None)]
REPEATS = 20


def main() -> None:
    import torch

    from trainer.kernels import varlen as kernels
    from trainer.kernels.attention import by_conversation

    gpu = torch.cuda.is_available()
    device, scale = ("cuda", 1) if gpu else ("cpu", 16)
    lengths = [-(-length // scale) for length in LENGTHS]
    borders = torch.tensor(
        [0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32, device=device
    )
    for heads, key_heads, size, window in SHAPES:
        torch.manual_seed(0)
        sizes = ((heads, size), (key_heads, size), (key_heads, size), (heads, size))
        query, key, value, incoming = (
            torch.randn(1, heads, sum(lengths), width, device=device) for heads, width in sizes
        )

        segments = partial(_segments, lengths, window)

        def flat(query: Any, key: Any, value: Any, window: int | None = window) -> Any:
            options = {
                "sliding_window": window,
                "cu_seq_lens_q": borders,
                "max_length_q": max(lengths),
            }
            return by_conversation(torch.nn.Module(), query, key, value, None, **options)[0]

        exact = _with_gradients(segments, (query, key, value), incoming)
        halves = tuple(tensor.bfloat16() for tensor in (query, key, value))
        ways: dict[str, Callable[..., Any]] = {"luthier": flat, "segments": segments}
        if "unsloth" in sys.argv[1:] and gpu:
            ways["unsloth"] = _unsloth(lengths, borders, window, kernels.varlen)
        if gpu:
            ways["torch"] = _by_torch(kernels, flat)
        figures: dict[str, Any] = {
            "device": device,
            "torch": torch.__version__,
            "heads": heads,
            "key_heads": key_heads,
            "size": size,
        }
        for name, way in ways.items():
            answer = _with_gradients(way, halves, incoming.bfloat16())
            errors = [
                float((tensor.float() - other).abs().max() / other.abs().max())
                for tensor, other in zip(answer, exact, strict=True)
            ]
            figures[name] = {
                "errors": [round(error, 5) for error in errors],
                "ms": _milliseconds(way, halves, incoming.bfloat16()),
            }
        print(json.dumps({**figures, "window": window, "tokens": sum(lengths)}), flush=True)


def _segments(lengths: list[int], window: int | None, *rows: Any) -> Any:
    import torch

    groups = rows[0].shape[1] // rows[1].shape[1]
    query, key, value = rows[0], *(tensor.repeat_interleave(groups, dim=1) for tensor in rows[1:])
    answers = []
    for parts in zip(
        *(tensor.split(lengths, dim=2) for tensor in (query, key, value)), strict=True
    ):
        places = torch.arange(parts[0].shape[2], device=query.device)
        back = places[:, None] - places[None, :]
        mask = (back >= 0) & (back < (window or len(places)))
        answers.append(torch.nn.functional.scaled_dot_product_attention(*parts, attn_mask=mask))
    return torch.cat(answers, dim=2).transpose(1, 2)


def _by_torch(kernels: Any, flat: Callable[..., Any]) -> Callable[..., Any]:
    """Luthier's function with torch's kernel, whatever it has quickest."""

    def by_torch(*rows: Any) -> Any:
        quickest = kernels.kernel_for
        kernels.kernel_for = lambda *_: kernels.torch_kernel
        try:
            return flat(*rows)
        finally:
            kernels.kernel_for = quickest

    return by_torch


def _unsloth(
    lengths: list[int], borders: Any, window: int | None, varlen: Callable[..., Any]
) -> Callable[..., Any]:
    """Unsloth's own function for packed rows, as its attention layers call it, with the kernel that
    the engine lends it."""
    import torch
    from unsloth.utils import attention_dispatch

    attention_dispatch._TORCH_VARLEN_ATTN, attention_dispatch._LEAN_VARLEN = varlen, False
    info = (torch.tensor(lengths, dtype=torch.int32, device=borders.device), borders, max(lengths))

    def way(query: Any, key: Any, value: Any) -> Any:
        groups = query.shape[1] // key.shape[1]
        options = {"n_groups": groups, "is_causal": True, "sliding_window": window, "scale": None}
        return attention_dispatch._torch_varlen_packed(query, key, value, info, **options)

    return way


def _with_gradients(way: Callable[..., Any], rows: tuple[Any, ...], incoming: Any) -> list[Any]:
    """The answer and the gradients of queries, keys and values."""
    import torch

    leaves = [row.detach().clone().requires_grad_() for row in rows]
    answer = way(*leaves)
    return [answer.detach(), *torch.autograd.grad(answer, leaves, incoming.transpose(1, 2))]


def _milliseconds(way: Callable[..., Any], rows: tuple[Any, ...], incoming: Any) -> float:
    """Forward and backward."""
    import torch

    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    _with_gradients(way, rows, incoming)
    wait()
    began = time.perf_counter()
    for _ in range(REPEATS):
        _with_gradients(way, rows, incoming)
    wait()
    return round((time.perf_counter() - began) / REPEATS * 1000, 2)


def engines() -> None:
    """What tests/real/test_engines.py asserts on a CPU, as figures. A worker is a process of its
    own: no fork may have a GPU."""
    import os

    os.environ["LUTHIER_HOME"] = tempfile.mkdtemp()
    from tests.real.forks import Forks, events
    from trainer.plan.engines import installed

    for engine in sorted(installed()):
        runs = Forks(Path(tempfile.mkdtemp()), engine)
        job = runs.make(epochs=2, global_batch=8, micro_batch=4, dropout=0.0, evaluations=1)
        runs.close()
        order = {"job": str(job.directory), "faults": [["watch_forward", "forward.json"]]}
        command = [
            sys.executable,
            "-P",
            "-c",
            f"from tests.real import forking; forking._work({order!r})",
            engine,
        ]
        if subprocess.run(command, stdout=sys.stderr, check=False).returncode:
            print(
                json.dumps(
                    {"engine": engine, "failed": (job.directory / "output.log").read_text()[-2000:]}
                ),
                flush=True,
            )
            continue
        recorded = SimpleNamespace(**json.loads((job.directory / "forward.json").read_text()))
        labels_by_ids = {
            tuple(row["input_ids"]): row["labels"]
            for row in map(json.loads, (job.directory / "data" / "train.jsonl").open())
        }
        is_same = [labels_by_ids.get(tuple(ids)) for ids in recorded.ids] == recorded.labels
        figures = {
            "labels_are_luthiers": is_same,
            "others": max(recorded.others),
            "own": min(recorded.own),
            "alone": max(recorded.alone),
        }
        print(
            json.dumps(
                {
                    "engine": engine,
                    **figures,
                    "losses": [event["loss"] for event in events(job, "step")],
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    if "unsloth" in sys.argv[1:]:
        import unsloth  # noqa: F401  # before torch and transformers
    if "engines" in sys.argv[1:]:
        engines()
    else:
        main()
