"""Compile the kernels that vLLM's first start on a GPU would wait for: `python -P -m
serve.kernel_build`.

vLLM draws tokens with FlashInfer's kernels (top-p and top-k), which come as sources: nvcc takes
two minutes for them, in the midst of a start and with all else done. Luthier has them compiled
when it is installed (tools/install), and otherwise beside the first start, whose imports and
torch.compile take as long. A vLLM that needs them meanwhile waits by FlashInfer's own lock.
"""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

from jobs import processes
from jobs.gpus import compute_capability
from serve.vllm_command import kernel_caches

_PACKAGE = "flashinfer-python"


def sampling_library() -> Path | None:
    """The compiled kernels of this home, for whichever GPU; None if there are none."""
    try:
        version = importlib.metadata.version(_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return None
    # flashinfer/jit/env.py: the version, the GPU's architectures, then a folder a module
    cache = Path(kernel_caches()["FLASHINFER_WORKSPACE_BASE"], ".cache", "flashinfer", version)
    return next(cache.glob("*/cached_ops/sampling/*.so"), None)


def start_build(variables: dict[str, str]) -> subprocess.Popen[bytes] | None:
    """Have them compiled by a process of its own, which ends with this one; None if they are."""
    if sampling_library() is not None:
        return None
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "serve.kernel_build"],
        stdin=subprocess.DEVNULL,
        env=variables,
        preexec_fn=processes.end_with_parent,
    )


def main() -> None:
    if sampling_library() is not None:
        return
    # FlashInfer reads both at its import. It would ask the GPU itself, and take memory of it while
    # vLLM measures what is free.
    architecture = ".".join(map(str, compute_capability()))
    os.environ.update(kernel_caches(), FLASHINFER_CUDA_ARCH_LIST=architecture)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    try:
        from flashinfer.jit.sampling import gen_sampling_module

        gen_sampling_module().build(need_lock=True)
    except Exception as error:  # noqa: BLE001 - vLLM compiles them itself then, or does without
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        sys.exit(f"FlashInfer's sampling kernels were not compiled beforehand: {first_line}")


if __name__ == "__main__":
    main()
