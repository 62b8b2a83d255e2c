"""A log as a person reads it: noise folded, figures in words, and the file as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.job import Job
from tests.tui import folders
from tests.tui.driving import screen_text, until
from tests.tui.test_run_record import record_of
from tests.tui.test_run_screen import open_run
from tui.app import LuthierApp
from tui.runs.log_words import in_words
from tui.serve import log_words as server_log_words
from tui.shared.log_search import LogSearch
from tui.shared.log_view import LogView
from tui.shared.readable_log import ReadableLog

# as vLLM 0.32 and the trainer of 2026-11-28 have left them
_NOISE = [
    "/lib/vllm/triton_utils/dispatcher.py:138: FutureWarning: `torch.distributed.reduce_op` is old",
    '  if hasattr(value, "__dict__"):',
    "[W1128 22:32:25.540377043 utils.cpp:68] Warning: NUMA binding: Using MEMBIND policy",
    "Loading weights:   0%|          | 0/20 [00:00<?, ?it/s]\rLoading weights: 100%|####| 20/20"
    " [00:00<00:00, 23347.09it/s]",
]
_LEAKS = [
    "nanobind: leaked 64 types!",
    ' - leaked type "triton._C.libtriton.ir.location"',
    " - ... skipped remainder",
    "nanobind: this is likely caused by a reference counting issue in the binding code.",
    "See https://nanobind.readthedocs.io/en/latest/refleaks.html",
]
_STEP = (
    "{'loss': '4.861', 'grad_norm': '6.029', 'learning_rate': '0.009619', 'num_tokens': '351',"
    " 'epoch': '0.25'}"
)


_END = [
    "(APIServer pid=9) INFO 11-29 22:28:47 [launcher.py:254] [shutdown] API server: shutdown"
    " triggered",
    "(EngineCore pid=4) INFO 11-29 22:28:47 [core.py:1499] [shutdown] EngineCore: exiting",
    "(APIServer pid=9) ERROR 11-29 22:28:47 [async_llm.py:906] AsyncLLM output_handler failed.",
    "(APIServer pid=9) ERROR 11-29 22:28:47 [async_llm.py:906] Traceback (most recent call last):",
    "(APIServer pid=9) ERROR 11-29 22:28:47 [async_llm.py:906] vllm.v1.engine.exceptions"
    ".EngineDeadError: EngineCore encountered an issue.",
]


def shown(log: ReadableLog) -> list[str]:
    while log.extend():
        pass
    return log.lines(0, len(log))


def test_what_vllm_complains_of_when_it_was_asked_to_stop_is_noise(tmp_path: Path) -> None:
    path, crash = tmp_path / "output.log", _END[2:]
    again = "INFO:     Started server process [10]"
    path.write_text("\n".join([*crash, *_END, "INFO:     Shutting down", again, crash[0]]) + "\n")
    log = ReadableLog(path, server_log_words.in_words)
    assert shown(log) == [
        "22:28:47  error: AsyncLLM output_handler failed.",
        "22:28:47  error: Traceback (most recent call last):",
        "22:28:47  error: vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an"
        " issue.",
        "22:28:47  [shutdown] API server: shutdown triggered",
        "4 lines of library noise (i shows them)",
        "Shutting down",
        "Started server process [10]",
        "22:28:47  error: AsyncLLM output_handler failed.",
    ]
    log.raw = True
    assert log.lines(0, 8) == [*crash, *_END]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (_END[0], "22:28:47  [shutdown] API server: shutdown triggered"),
        ("(Worker_TP0 pid=7) WARNING 11-28 01:02:03 [utils.py:5] slow", "01:02:03  warning: slow"),
        ('INFO:     127.0.0.1:5 - "GET /v1/models" 200', '127.0.0.1:5 - "GET /v1/models" 200'),
        ("ERROR:    Exception in ASGI application", "error: Exception in ASGI application"),
        ("Traceback (most recent call last):", "Traceback (most recent call last):"),
        ("(APIServer pid=9) what it printed", "(APIServer pid=9) what it printed"),
    ],
)
def test_a_server_s_line_says_when_and_what(line: str, words: str) -> None:
    assert server_log_words.in_words(line) == words


def test_known_noise_is_folded_and_the_file_is_one_switch_away(tmp_path: Path) -> None:
    path = tmp_path / "output.log"
    lines = ["first", *_NOISE, "  an indented line of its own", *_LEAKS, "last"]
    path.write_text("\n".join(lines) + "\n")
    log = ReadableLog(path)
    assert shown(log) == [
        "first",
        "4 lines of library noise (i shows them)",
        "  an indented line of its own",
        "5 lines of library noise (i shows them)",
        "last",
    ]
    log.raw = True
    assert len(log) == len(lines) and log.line(6) == _LEAKS[0]
    assert path.read_bytes().decode() == "\n".join(lines) + "\n"


def test_a_fold_grows_with_its_log_and_a_torn_line_waits(tmp_path: Path) -> None:
    path = tmp_path / "output.log"
    path.write_text("first\n" + _LEAKS[0] + "\n" + _LEAKS[1])
    log = ReadableLog(path)
    assert shown(log) == ["first", "1 line of library noise (i shows it)", _LEAKS[1]]
    with path.open("a") as file:
        file.write("\nlast\n")
    assert shown(log) == ["first", "2 lines of library noise (i shows them)", "last"]
    search = LogSearch(log, "last")
    assert search.extend() and list(search.lines) == [2]


@pytest.mark.parametrize(
    "line",
    [
        "RuntimeError: out of memory",
        "ValueError: /data/a.py:3 is no data",
        "the model leaked types",
        "  12%| of the rows are empty",
        "WARNING 11-28 22:32:13 [cpu.py:224] Triton is not installed.",
    ],
)
def test_what_a_user_must_see_is_never_noise(tmp_path: Path, line: str) -> None:
    path = tmp_path / "output.log"
    path.write_text(line + "\n")
    assert shown(ReadableLog(path)) == [line]


def test_a_step_is_said_in_words() -> None:
    steps = [
        folders.event(
            "step", 9, step=1, total=8, epoch=0.125, loss=6.3781, tokens_per_second=900.0
        ),
        folders.event("step", 8, step=2, total=8, epoch=0.25, loss=4.8607, tokens_per_second=812.4),
    ]
    record = record_of(*steps)
    assert in_words(_STEP, record) == "step 2   loss 4.861   rate 9.6e-3   812 tokens/s"
    # of an earlier attempt, whose steps were taken again with another loss
    other = _STEP.replace("4.861", "4.9")
    assert in_words(other, record) == "epoch 0.25   loss 4.900   rate 9.6e-3"
    evaluation = "{'eval_loss': '3.29', 'eval_runtime': '15.2', 'epoch': '1'}"
    assert in_words(evaluation, record) == "evaluation   loss 3.290   15 s"
    for line in ("{'loss': 'oh'}", "{'other': 1}", "loss 3", "{'loss': '1'}"):
        assert in_words(line, record) == line


async def test_i_shows_the_raw_log_of_a_run(jobs_by_name: dict[str, Job]) -> None:
    with jobs_by_name["pirate"].log_path.open("a") as file:
        file.write("\n".join(_LEAKS) + "\n" + _STEP + "\n")
    app = LuthierApp()
    async with app.run_test(size=(140, 40)) as pilot:
        screen = await open_run(pilot, app, jobs_by_name["pirate"])
        screen.panels.choose("log")
        await until(pilot, lambda: "5 lines of library noise (i shows them)" in screen_text(app))
        assert "epoch 0.25   loss 4.861" in screen_text(app)
        await pilot.press("i")
        await until(pilot, lambda: "'loss': '4.861'" in screen_text(app))
        assert "library noise" not in screen_text(app)
        await pilot.press("i")
        await until(pilot, lambda: "library noise" in screen_text(app))
        assert screen.query_one(LogView).following
