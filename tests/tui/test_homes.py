"""The command line over homes that cannot be used as they are: a file, /proc, a full disk, a
colleague's; and without a terminal."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.home import jobs_directory, models_directory
from serve.chats import search
from tests.serve import chat_writing
from tests.tui import folders
from tui import cli
from tui.app import LuthierApp
from tui.shared.error_modal import ErrorModal

pytestmark = pytest.mark.heavy

DATA = (
    '{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]}\n'
    * 40
)
LUTHIER = (sys.executable, "-m", "tui.cli")
READING = (
    ("runs",),
    ("runs", "--all", "--json"),
    ("log", "captain"),
    ("stop", "captain"),
    ("models", "list"),
    ("models", "show", "small"),
    ("chats",),
    ("chats", "search", "hello"),
    ("chats", "export", "last"),
    ("votes", "show"),
    ("votes", "export"),
    ("server", "status"),
    ("sweep",),
    ("endpoints",),
)
ENDPOINT = ("endpoints", "add", "other", "http://127.0.0.1:9/v1")
WRITING = (
    ("data", "check", "data.jsonl", "--model", "small"),
    ("train", "recipe.toml"),
    ("serve", "--model", "elsewhere"),
    ("models", "import", "elsewhere"),
    ENDPOINT,
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with data, a recipe and a model to import; the home is another one."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "data.jsonl").write_text(DATA)
    folders.base_model(folder / "elsewhere")
    (folder / "recipe.toml").write_text(
        f'model = "{folder / "elsewhere"}"\ndata = ["data.jsonl"]\n'
    )
    return folder


def luthier(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit status. Whatever is no SystemExit would be a traceback."""
    monkeypatch.setattr(sys, "argv", ["luthier", *arguments])
    try:
        cli.main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def filled_home() -> None:
    """A run, a model and a chat."""
    folders.base_model(models_directory() / "small")
    run = folders.make_job("captain", 1, age=60, model="small")
    folders.begin(run, 60)
    folders.write(
        run,
        folders.event("result", 50, loss=0.5),
        folders.event("exited", 49, code=0, stopped=False, swept=0),
    )
    chat_writing.write(chat_writing.new_chat(), "hello there", ["general", "kenobi"])


@pytest.mark.parametrize("command", [*READING, *WRITING], ids=" ".join)
@pytest.mark.parametrize("home", ["a file", "/proc/luthier"])
def test_a_home_that_cannot_be(
    home: str,
    command: tuple[str, ...],
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (place / "file").write_text("no folder")
    path = str(place / "file") if home == "a file" else home
    monkeypatch.setenv("LUTHIER_HOME", path)
    status, told = luthier(monkeypatch, *command), capsys.readouterr()
    assert "Traceback" not in told.err and "Errno" not in told.err
    if command in WRITING and command[0] != "data":
        assert (
            status == 1
            and path in told.err
            and "cannot be" in told.err
            and "LUTHIER_HOME" in told.err
        )
    assert status == 0 or "✗" in told.err


@pytest.mark.parametrize("command", WRITING, ids=" ".join)
def test_a_disk_that_takes_nothing(
    command: tuple[str, ...],
    home: Path,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    filled_home()
    before = sorted(path.name for path in jobs_directory().iterdir())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        status = luthier(monkeypatch, *command)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    told = capsys.readouterr().err
    assert status == 1 and "✗" in told and str(home) in told and "Traceback" not in told
    assert sorted(path.name for path in jobs_directory().iterdir()) == before


def in_a_child(
    home: Path, place: Path, commands: tuple[tuple[str, ...], ...]
) -> list[tuple[int, str, str]]:
    """Status and output of each command, run by somebody who may only read the home: a fork, which
    has imported everything already."""
    results = place / "results"
    results.mkdir(mode=0o777)
    results.chmod(0o777)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            with pytest.MonkeyPatch.context() as patch:
                for number, command in enumerate(commands):
                    with (
                        (results / f"{number}.out").open("w") as out,
                        (results / f"{number}.err").open("w") as err,
                    ):
                        patch.setattr(sys, "stdout", out)
                        patch.setattr(sys, "stderr", err)
                        (results / f"{number}.status").write_text(str(luthier(patch, *command)))
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    read = [
        [(results / f"{number}.{part}").read_text() for part in ("status", "out", "err")]
        for number in range(len(commands))
    ]
    return [(int(status), out, err) for status, out, err in read]


@pytest.fixture
def colleagues_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home that everybody may read, in a folder that everybody may enter."""
    root = Path(tempfile.mkdtemp())
    root.chmod(0o755)
    monkeypatch.setenv("LUTHIER_HOME", str(root / "home"))
    filled_home()
    yield root
    for path in [root, *root.rglob("*")]:
        path.chmod(0o755)
    shutil.rmtree(root)


def test_what_only_reads_needs_no_right_to_write(
    colleagues_home: Path,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for command in (*READING, ENDPOINT):
        # imports what it needs: whoever comes later may not read the interpreter
        luthier(monkeypatch, *command)
    capsys.readouterr()
    (colleagues_home / "home" / "config.toml").unlink(missing_ok=True)
    for path in [colleagues_home / "home", *(colleagues_home / "home").rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    room = colleagues_home / "room"
    room.mkdir()
    before = {path: path.stat().st_mtime_ns for path in (colleagues_home / "home").rglob("*")}
    answers = dict(
        zip(
            (*READING, ENDPOINT),
            in_a_child(colleagues_home / "home", room, (*READING, ENDPOINT)),
            strict=True,
        )
    )
    for command in READING:
        status, _, err = answers[command]
        assert status == 0, (command, err)
    assert "captain" in answers["runs",][1] and "small" in answers["models", "list"][1]
    assert (
        "hello there" in answers["chats",][1] and "general" in answers["chats", "export", "last"][1]
    )
    assert "hello" in answers["chats", "search", "hello"][1]
    status, _, err = answers[ENDPOINT]
    assert status == 1 and "cannot be written" in err and "LUTHIER_HOME" in err
    assert {
        path: path.stat().st_mtime_ns for path in (colleagues_home / "home").rglob("*")
    } == before


def test_reading_makes_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_HOME", str(home / "none"))
    assert (
        luthier(monkeypatch, "chats")
        == luthier(monkeypatch, "runs")
        == luthier(monkeypatch, "models")
        == 0
    )
    assert search.chats() == [] and not (home / "none").exists()


def test_a_full_disk_behind_stdout(home: Path) -> None:
    with Path("/dev/full").open("w") as full:
        answer = subprocess.run(
            [*LUTHIER, "runs", "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (
        answer.returncode == 1
        and "The disk is full" in answer.stderr
        and "Traceback" not in answer.stderr
    )


def test_the_app_needs_a_terminal(home: Path) -> None:
    """It never ended, at full speed."""
    answer = subprocess.run(
        [sys.executable, "-m", "tui.cli"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (
        answer.returncode == 2
        and "The app needs a terminal. `luthier --help` lists the commands." in answer.stderr
    )


def test_a_name_that_is_no_text_is_told(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = os.fsdecode(b"mine \xe9.jsonl")
    Path(name).write_text(DATA)
    (place / "folder").mkdir()
    (place / "folder" / name).write_text(DATA)
    (place / "recipe.toml").write_text(f'model = "{place / "elsewhere"}"\ndata = ["folder"]\n')
    sources = (
        ("data", "check", name, "--model", "elsewhere"),
        ("data", "check", "folder", "--model", "elsewhere"),
        ("train", "recipe.toml"),
    )
    for command in sources:
        assert luthier(monkeypatch, *command) == 1
        told = capsys.readouterr().err
        assert "not UTF-8" in told and r"mine \xe9.jsonl" in told and "Traceback" not in told


def test_a_name_of_that_kind_in_the_output(home: Path) -> None:
    run = folders.make_job("captain", 1, age=60)
    spec = json.loads((run.directory / "spec.json").read_text())
    (run.directory / "spec.json").write_text(json.dumps({**spec, "name": "mine \udce9"}))
    answer = subprocess.run(
        [*LUTHIER, "runs", "--json"], capture_output=True, text=True, check=True
    )
    assert json.loads(answer.stdout)[0]["name"] == "mine \udce9"


@pytest.mark.parametrize("at", ["a file", "/proc/luthier"])
async def test_the_app_over_a_home_that_cannot_be(
    at: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every screen opens; what cannot be done is told in words."""
    (place / "file").write_text("no folder")
    monkeypatch.setenv("LUTHIER_HOME", str(place / "file") if at == "a file" else at)
    app = LuthierApp()
    async with app.run_test(size=(140, 40)) as pilot:
        errors = []
        for key in "12345":
            await pilot.press(key)
            await pilot.pause(0.1)
            while isinstance(app.screen, ErrorModal):
                errors.append(app.screen.error)
                await pilot.press("escape")
                await pilot.pause(0.05)
        await pilot.press("1", "ctrl+t")
        await pilot.pause()
        assert app.is_running
    assert all("Unexpected" not in error.title and "Errno" not in error.message for error in errors)
    assert at == "/proc/luthier" or any("cannot be used" in str(error) for error in errors)
