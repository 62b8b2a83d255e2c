"""What the log of a real vLLM 0.32 tells: `recorded/` holds excerpts, shortened on the right."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from serve.log import Phases, is_second_hand, last_words, missing_module, root_cause

RECORDED = Path(__file__).parent / "recorded"
PHASES = ["reading the model's config", "starting the engine", "loading the weights", "warming up"]


def test_phases_of_a_start() -> None:
    phases = Phases(RECORDED / "start.log", 0)
    assert [phase.name for phase in phases.read()] == PHASES
    assert phases.read() == []


@given(cuts=st.lists(st.integers(min_value=0, max_value=(RECORDED / "start.log").stat().st_size)))
def test_phases_do_not_depend_on_where_a_write_ends(cuts: list[int]) -> None:
    whole = (RECORDED / "start.log").read_bytes()
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "output.log"
        log.write_bytes(b"of the attempt before: Starting to load model x\n")
        phases, found = Phases(log, log.stat().st_size), []
        for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(whole)], strict=True):
            with log.open("ab") as file:
                file.write(whole[start:end])
            found += [phase.name for phase in phases.read()]
    assert found == PHASES


def test_last_words_tell_what_happened() -> None:
    words = last_words(RECORDED / "engine-killed.log")
    assert words[-1] == "INFO:     Finished server process [5585]"
    assert "[shutdown] MPClient: engine core exited unexpectedly; starting cleanup" in last_words(
        RECORDED / "engine-killed.log", 20
    )
    assert any(line.startswith("vllm.v1.engine.exceptions.EngineDeadError") for line in words)
    assert not any("leaked" in line or "File " in line or "pid=" in line for line in words)


def test_the_cause_is_not_what_a_bystander_says(tmp_path: Path) -> None:
    # kill -9 leaves no error but the bystanders'
    assert root_cause(RECORDED / "engine-killed.log", 0) is None
    log = tmp_path / "output.log"
    log.write_text(
        "ValueError: of the attempt before\n(EngineCore pid=7) ERROR [core.py:1750] ValueError:"
        " Free memory on device is less than desired GPU memory utilization\n(APIServer pid=5)"
        " RuntimeError: Engine core initialization failed. See root cause above. Failed core"
        " proc(s): {}\n"
    )
    assert (
        root_cause(log, 0)
        == "ValueError: Free memory on device is less than desired GPU memory utilization"
    )
    assert root_cause(log, log.stat().st_size) is None
    # what a client hears of it: the certificate then takes the cause from the log
    assert is_second_hand("EngineCore encountered an issue. See stack trace (above)")
    assert not is_second_hand("The model `tuned` does not exist.")


def test_the_cause_of_a_refused_config_is_what_stands_below(tmp_path: Path) -> None:
    """vLLM asks a process of its own what a model's class can, and tells of its failure alone."""
    log = tmp_path / "output.log"
    log.write_text(
        "(APIServer pid=8068) ERROR [registry.py:1120] ModuleNotFoundError: No module named"
        " 'torchvision'\npydantic_core._pydantic_core.ValidationError: 1 validation error for"
        " ModelConfig\n  Value error, Model architectures ['Qwen3_5ForCausalLM'] failed to be"
        " inspected. Please check the logs for more details. [type=value_error, input_value=...]\n"
    )
    cause = root_cause(log, 0)
    assert cause == "ModuleNotFoundError: No module named 'torchvision'"
    assert missing_module(cause) == "torchvision"
    log.write_text(
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig\n"
        "  Value error, max_model_len (9000) is too large. [type=value_error, input_value=...]\n"
    )
    cause = root_cause(log, 0)
    assert cause == "ValidationError: Value error, max_model_len (9000) is too large."
    assert missing_module(cause) == ""


def test_the_cause_is_what_was_raised_not_what_a_warning_quotes(tmp_path: Path) -> None:
    log = tmp_path / "output.log"
    worker = "(Worker pid=1672) ERROR 11-29 21:11:16 [multiproc_executor.py:1063] "
    warning = (
        "(APIServer pid=1635) WARNING 11-29 21:11:05 [system_utils.py:255] Found ulimit of 20000."
        " This can cause fd limit errors like `OSError: [Errno 24] Too many open files`.\n"
    )
    asserted = (
        f'{worker}    assert self.scoring_func == "softmax"\n'
        f"{worker}           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n"
    )
    log.write_text(f"{warning}{asserted}{worker}AssertionError\n")
    assert root_cause(log, 0) == 'AssertionError: assert self.scoring_func == "softmax"'
    log.write_text(
        f"{warning}{worker}torch._dynamo.exc.Unsupported: Data-dependent assertion failed\n"
        f"{asserted}(EngineCore pid=1663) RuntimeError: Worker failed with error 'Data-dependent\n"
    )
    assert root_cause(log, 0) == "Unsupported: Data-dependent assertion failed"
    config = f"{worker}with config: {{'mode': <CompilationMode.NONE: 0>, 'backend': 'inductor'}}"
    log.write_text(f"{warning}{config}\n")
    assert root_cause(log, 0) is None
