"""The kernels that are compiled before vLLM needs them, with a FlashInfer and an nvidia-smi of few
lines."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from serve.kernel_build import sampling_library, start_build

CHECKOUT = Path(__file__).parents[2]
VERSION = "0.7.0"
SAMPLING = f"""
import os
from pathlib import Path
class Spec:
    def build(self, need_lock):
        assert need_lock and os.environ["CUDA_VISIBLE_DEVICES"] == ""
        architecture = os.environ["FLASHINFER_CUDA_ARCH_LIST"].replace(".", "") + "a"
        base = Path(os.environ["FLASHINFER_WORKSPACE_BASE"], ".cache", "flashinfer", "{VERSION}")
        folder = base / architecture / "cached_ops" / "sampling"
        folder.mkdir(parents=True)
        (folder / "sampling.so").touch()
def gen_sampling_module():
    return Spec()
"""
NVIDIA_SMI = """#!/bin/sh
echo "0, NVIDIA H200, 9.0"
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, luthier_home: Path) -> Path:
    """A folder of packages with that FlashInfer, and a GPU."""
    files = {
        "packages/flashinfer/__init__.py": "",
        "packages/flashinfer/jit/__init__.py": "",
        "packages/flashinfer/jit/sampling.py": SAMPLING,
        f"packages/flashinfer_python-{VERSION}.dist-info/METADATA": (
            f"Metadata-Version: 2.1\nName: flashinfer-python\nVersion: {VERSION}\n"
        ),
        "bin/nvidia-smi": NVIDIA_SMI,
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "bin" / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    return tmp_path / "packages"


def test_they_are_compiled_once_without_the_gpu(installed: Path, luthier_home: Path) -> None:
    assert sampling_library() is None
    variables = {**os.environ, "PYTHONPATH": f"{installed}{os.pathsep}{CHECKOUT}"}
    build = start_build(variables)
    assert build is not None and build.wait(30) == 0
    library = sampling_library()
    assert library is not None and library.is_relative_to(luthier_home / "cache")
    assert library.parts[-4] == "90a"
    assert start_build(variables) is None
    again = [sys.executable, "-P", "-m", "serve.kernel_build"]
    subprocess.run(again, env=variables, check=True)  # it would fail on the folder that is there


def test_those_of_another_version_are_not_these(installed: Path, luthier_home: Path) -> None:
    other = luthier_home / "cache" / ".cache" / "flashinfer" / "0.6.9" / "90a"
    (other / "cached_ops" / "sampling").mkdir(parents=True)
    (other / "cached_ops" / "sampling" / "sampling.so").touch()
    assert sampling_library() is None


def test_a_failure_is_one_line_in_the_server_s_log(installed: Path) -> None:
    """vLLM compiles them itself then, or does without: its log has no traceback but its own."""
    (installed / "flashinfer" / "jit" / "sampling.py").write_text(
        "def gen_sampling_module():\n    raise RuntimeError('Could not find nvcc\\nand more')\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-m", "serve.kernel_build"],
        env={**os.environ, "PYTHONPATH": f"{installed}{os.pathsep}{CHECKOUT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == (
        "FlashInfer's sampling kernels were not compiled beforehand: Could not find nvcc\n"
    )
