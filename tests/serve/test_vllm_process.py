"""Where an engine is forked and where not, in processes with a vLLM and a torch of a few lines."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from serve import planning
from serve.log import died_of_fork
from serve.plan import ServerPlan
from serve.planning import ServeOptions, make_plan
from serve.vllm_command import environment
from serve.vllm_plugin import or_driver
from serve.vllm_process import START_METHOD, answered_by_fork

CHECKOUT = Path(__file__).parents[2]
TORCH = """
ready = False
def is_initialized():
    return ready
def _lazy_init():
    global ready
    ready = True
def get_device_properties():
    from torch import cuda
    cuda._lazy_init()
"""
ENTRY = """
import os, sys, threading
from torch import cuda
from serve.vllm_process import answered_by_fork
print(answered_by_fork(None)(lambda: "asked a fork"), threading.active_count(), "thread")
if "touch" in sys.argv:
    cuda.get_device_properties()
    cuda.get_device_properties()
try:
    import torchao
except ImportError:
    print("no torchao")
child = os.fork()
if child == 0:
    cuda.get_device_properties()
    print("forked", sys.argv[1:], flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""


def plan_of(base: Path, monkeypatch: pytest.MonkeyPatch, **options: object) -> ServerPlan:
    monkeypatch.setattr(planning, "default_device", lambda: "gpu")
    return make_plan(base, "builtin", [], "127.0.0.1", None, ServeOptions(**options))  # type: ignore[arg-type]


def run(folder: Path, *arguments: str, method: str = "fork") -> tuple[str, str]:
    files = {
        "torch/__init__.py": "from torch import cuda",
        "torch/cuda.py": TORCH,
        "torchao.py": "print('torchao is here')",
        "vllm/__init__.py": "import torch",
        "vllm/entry.py": ENTRY,
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "serve.vllm_process", "vllm.entry", *arguments],
        env={**os.environ, "PYTHONPATH": f"{folder}:{CHECKOUT}", START_METHOD: method},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout, done.stderr


def test_a_process_to_be_forked_has_no_torchao_and_says_who_touches_the_gpu(
    tmp_path: Path,
) -> None:
    printed, errors = run(tmp_path, "--model", "x")
    assert printed == "asked a fork 1 thread\nno torchao\nforked ['--model', 'x']\n"
    assert "CUDA" not in errors  # the engine may
    _, errors = run(tmp_path, "touch")
    assert errors.count("CUDA is initialised by") == 1
    assert "in get_device_properties" in errors and "entry.py" in errors


def test_one_that_spawns_is_left_alone(tmp_path: Path) -> None:
    printed, _ = run(tmp_path, method="spawn")
    assert "torchao is here" in printed and "no torchao" not in printed


def test_who_is_forked(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(START_METHOD, raising=False)
    plan = plan_of(base, monkeypatch)
    assert environment(plan, "job")[START_METHOD] == "fork"
    assert START_METHOD not in environment(replace(plan, device="cpu"), "job")
    needs_it = replace(plan, extra_args=["--quantization=torchao"])
    assert environment(needs_it, "job")[START_METHOD] == "spawn"
    monkeypatch.setenv(START_METHOD, "spawn")
    assert environment(plan, "job")[START_METHOD] == "spawn"


def test_a_model_that_torchao_has_quantised_keeps_it(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(START_METHOD, raising=False)
    plan = plan_of(base, monkeypatch)
    config = json.loads((base / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "torchao"}
    (base / "config.json").write_text(json.dumps(config))
    assert environment(plan, "job")[START_METHOD] == "spawn"


def test_a_driver_that_another_library_has_initialised_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert or_driver(lambda: True)()
    question = or_driver(lambda: False)
    assert not question()
    monkeypatch.setattr("serve.vllm_plugin.driver_is_initialised", lambda: True)
    assert question()


def test_a_fork_answers_and_leaves_this_process_as_it_was() -> None:
    def never(function: object) -> object:
        raise AssertionError("the fork has failed")

    calls: list[int] = []

    def ask() -> int:
        calls.append(1)
        return os.getpid()

    assert answered_by_fork(never)(ask) != os.getpid()
    assert not calls


@pytest.mark.parametrize("way", ["raises", "is killed", "hangs"])
def test_where_the_fork_fails_the_answer_is_had_elsewhere(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve.vllm_process._LONGEST_ANSWER", 1)

    def ask() -> str:
        if way == "raises":
            raise ImportError("no such model")
        if way == "is killed":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(30)
        return "never"

    assert answered_by_fork(lambda function: "elsewhere")(ask) == "elsewhere"


@pytest.mark.heavy
@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_the_driver_says_whether_it_was_initialised(tmp_path: Path) -> None:
    """A driver of two functions, which answers before its cuInit as NVIDIA's does."""
    library = tmp_path / "libcuda.so.1"
    (tmp_path / "driver.c").write_text(
        "static int ready; int cuInit(int flags) { ready = 1; return 0; }"
        "int cuDeviceGetCount(int *count) { return ready ? 0 : 3; }"
    )
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o", library, "driver.c"],
        cwd=tmp_path,
        check=True,
    )
    program = (
        "import ctypes; from serve.vllm_process import driver_is_initialised as asked\n"
        f"print(asked()); driver = ctypes.CDLL({str(library)!r}); print(asked())\n"
        "driver.cuInit(0); print(asked())"
    )
    answers = subprocess.run(
        [sys.executable, "-P", "-c", program],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answers.stdout.split() == ["False", "False", "True"]


def test_what_a_forked_engine_says(tmp_path: Path) -> None:
    log = tmp_path / "output.log"
    log.write_text(
        "(EngineCore pid=9) RuntimeError: Cannot re-initialize CUDA in forked subprocess. To use"
        " CUDA with multiprocessing, you must use the 'spawn' start method\n"
    )
    assert died_of_fork(log, 0)
    assert not died_of_fork(log, log.stat().st_size)
