"""What the doctor finds amiss in a home, what it says to do about it, and what it does itself."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from jobs.foreign_json import read
from jobs.job import JOB_VARIABLE, create
from jobs.spec import Spec
from models import environment
from models.environment import Check
from models.installation import (
    _CPU_TORCH,
    BUILTIN_PACKAGE,
    Installation,
    Installer,
    builtin_model_commands,
)
from tui.cli import luthier
from workshop import doctor
from workshop.doctor import Finding, examine_home

OLD = 1_600_000_000.0


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "luthier"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    (tmp_path / "luthier" / "jobs").mkdir(parents=True)
    return tmp_path / "luthier"


def names() -> list[str]:
    return [finding.check.name for finding in examine_home()]


def the_finding(name: str) -> Finding:
    (finding,) = [each for each in examine_home() if each.check.name == name]
    assert finding.check.ok is None
    return finding


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_home_in_order_needs_nothing(home: Path) -> None:
    create(Spec("run", "captain", "trainer.worker"))
    assert names() == []
    shutil.rmtree(home)
    assert names() == []


def test_files_that_others_can_read_are_closed(home: Path) -> None:
    (home / "keys").mkdir()
    for path in (home / "keys" / "client", home / "chats.db"):
        path.write_text("x" * 40)
        path.chmod(0o644)
    finding = the_finding("private files")
    assert finding.check.remedy.startswith("chmod go= ") and finding.fix is not None
    before = contents(home)
    finding.fix.do()
    assert names() == []
    assert contents(home) == before
    assert stat.S_IMODE((home / "chats.db").stat().st_mode) == 0o600


def test_what_a_removal_left_is_deleted_and_nothing_else(home: Path) -> None:
    job = create(Spec("run", "captain", "trainer.worker"))
    doomed = home / "jobs" / f".removing-{job.id}"
    shutil.copytree(job.directory, doomed)
    young = home / "jobs" / ".removing-20261118-0001-young-00ff"
    young.mkdir()
    unfinished = home / "cache" / "data" / ".preparing-abc"
    unfinished.mkdir(parents=True)
    for path in (doomed, unfinished):
        os.utime(path, (OLD, OLD))
    finding = the_finding("leftovers")
    assert str(doomed) in finding.check.remedy and str(young) not in finding.check.remedy
    before = contents(job.directory)
    assert finding.fix is not None
    finding.fix.do()
    assert not doomed.exists() and not unfinished.exists() and young.exists()
    assert contents(job.directory) == before


def test_what_is_the_users_own_is_only_named(home: Path) -> None:
    """Damaged settings and jobs, an unfinished import, and the key of an endpoint."""
    key = home / "key of mine"
    key.write_text("secret")
    key.chmod(0o644)
    (home / "jobs" / "20261118-0001-broken-00ff").mkdir()
    (home / "jobs" / "20261118-0001-broken-00ff" / "spec.json").write_text("{")
    part = home / "models" / ".mine.importing"
    part.mkdir(parents=True)
    (part / ".import.json").write_text('{"source": "hub:me/mine model"}')
    (home / "config.toml").write_text(f'[endpoints.far]\nurl = "http://x"\nkey_file = "{key}"\n')
    findings = {each.check.name: each for each in examine_home()}
    assert findings.keys() == {"damaged job", "import", "endpoint"}
    assert findings["damaged job"].check.remedy == "luthier remove 20261118-0001-broken-00ff"
    assert findings["import"].check.remedy == (
        "luthier models import 'hub:me/mine model' --name mine"
    )
    assert findings["endpoint"].check.remedy == f"chmod 600 '{key}'"
    (home / "config.toml").write_text("this is [no TOML")
    findings = {each.check.name: each for each in examine_home()}
    assert str(home / "config.toml") in findings["settings"].check.remedy
    assert not any(each.fix for each in findings.values())


def test_a_port_that_another_program_has_taken(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        (home / "server-port").write_text(f"{port}\n")
        assert the_finding("port").check.remedy == f"ss -ltnp 'sport = :{port}'"
    assert names() == []


def test_memory_of_a_gpu_that_is_in_use(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = home / "nvidia-smi"
    program.write_text(
        "#!/bin/sh\ncase $1 in\n"
        "*compute-apps*) echo '812, /usr/bin/python, 20000';;\n"
        "*) echo '0, H, 81559, 60000'; echo '1, K, 81559, 81000';;\nesac\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{home}:/usr/bin:/bin")
    check = the_finding("GPU 0").check
    assert "python (pid 812, 19.5 GB)" in check.detail and check.remedy == "luthier runs --all"


@pytest.mark.heavy
def test_processes_without_their_supervisor(home: Path) -> None:
    job = create(Spec("run", "captain", "trainer.worker"))
    environment_of_worker = {**os.environ, JOB_VARIABLE: str(job.directory)}
    with subprocess.Popen(["sleep", "60"], env=environment_of_worker) as worker:
        deadline = time.monotonic() + 10
        while not names() and time.monotonic() < deadline:
            time.sleep(0.05)
        check = the_finding("orphans").check
        worker.kill()
    assert str(worker.pid) in check.detail and check.remedy == f"luthier stop {job.id}"


def test_a_short_disk_gets_room_from_the_cache(home: Path) -> None:
    prepared = home / "cache" / "data" / "abc"
    prepared.mkdir(parents=True)
    (prepared / "train.jsonl").write_bytes(bytes(60_000_000))
    run_file = home / "jobs" / "train.jsonl"
    short = Check("disk", None, "3 GB free")
    assert doctor._room(replace(short, ok=True)) is None
    fix = doctor._room(short)
    assert fix is not None and "60" in fix.question
    os.link(prepared / "train.jsonl", run_file)  # as a run has it: deleting frees nothing
    assert doctor._room(short) is None
    run_file.unlink()
    fix.do()
    assert list((home / "cache" / "data").iterdir()) == []


def test_every_fault_of_the_machine_has_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(13, "Permission denied")

    faults: list[Check] = [
        environment.compare_pins("", {"torch": "2"}, {"torch": ""}),
        environment.compare_pins("cpu", {"torch": "2"}, {"torch": "3"}),
        environment.check_imports("training", "import no_such_library_xyz"),
    ]
    monkeypatch.setattr("models.environment.tempfile.TemporaryFile", refuse)
    faults += environment.check_home(tmp_path)
    monkeypatch.setattr("models.environment.socket.create_server", refuse)
    faults.append(environment._check_loopback())
    monkeypatch.setattr(environment, "_has_nvidia_card", lambda: True)
    monkeypatch.setattr(environment, "gpus", list)
    monkeypatch.setattr(environment, "_driver_version", str)
    faults.append(environment._check_gpus())
    monkeypatch.setenv("LUTHIER_BUILTIN_GGUF", "/nowhere/model.gguf")
    faults.append(environment._check_builtin_model())
    assert all(not check.ok for check in faults) and len(faults) == 7
    assert [check.name for check in faults if not check.remedy] == []


@pytest.mark.parametrize(
    ("release", "command"),
    [
        ('NAME="Ubuntu"\nID=ubuntu\nID_LIKE=debian\n', "sudo ubuntu-drivers install"),
        ('ID=linuxmint\nID_LIKE="ubuntu debian"\n', "sudo ubuntu-drivers install"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "sudo dnf install nvidia-driver"),
        ("ID=plan9\n", "xdg-open https://www.nvidia.com/drivers"),
    ],
)
def test_the_driver_is_that_of_the_distribution(tmp_path: Path, release: str, command: str) -> None:
    (tmp_path / "os-release").write_text(release)
    assert environment._driver_remedy(tmp_path / "os-release") == command


@pytest.mark.parametrize(
    ("installation", "packages"),
    [
        (Installation("make", "/a b"), "make -C '/a b' install SET=cpu"),
        (
            Installation("uv tool", "==0.1.0"),
            "uv tool install --force --torch-backend cpu 'luthier[cpu]==0.1.0'",
        ),
        (
            Installation("pipx", ""),
            f"pipx install --force --pip-args='--extra-index-url {_CPU_TORCH}' 'luthier[cpu]'",
        ),
        (
            Installation("pip", " @ file:///a/luthier.whl"),
            f"{sys.executable} -m pip install --extra-index-url {_CPU_TORCH}"
            " 'luthier[cpu] @ file:///a/luthier.whl'",
        ),
    ],
)
def test_the_command_is_that_of_this_installation(
    installation: Installation, packages: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.installation.importlib.util.find_spec", lambda name: object())
    assert installation.packages("cpu") == packages


@pytest.mark.parametrize(
    ("installer", "first", "then"),
    [
        ("uv tool", "uv tool install --force ", "uv pip install --python "),
        ("pipx", "pipx install --force ", "pipx runpip "),
    ],
)
def test_the_libraries_come_before_the_built_in_model(
    installer: Installer, first: str, then: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both installers put them into a new environment, in which the model is not."""
    monkeypatch.setattr("models.installation.installation", lambda: Installation(installer, ""))
    monkeypatch.setattr("models.installation.importlib.util.find_spec", lambda name: None)
    libraries, _, model = builtin_model_commands().partition(" && ")
    assert libraries.startswith(first) and model.startswith(then)
    assert model.endswith(BUILTIN_PACKAGE)


def test_the_built_in_models_package_is_that_of_the_locks() -> None:
    lock = Path(__file__).resolve().parents[2] / "locks" / "builtin-model.txt"
    assert BUILTIN_PACKAGE in lock.read_text().splitlines()


@pytest.fixture
def only_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's own checks import torch and vLLM: they have tests of their own."""
    monkeypatch.setattr("tui.commands.doctor.examine", examine_home)


def _open_key(home: Path) -> Path:
    (home / "keys").mkdir()
    key = home / "keys" / "client"
    key.write_text("x" * 40)
    key.chmod(0o644)
    return key


@pytest.mark.parametrize(
    ("arguments", "typed", "is_closed"),
    [
        (["--fix", "--yes"], "", True),
        (["--fix"], "", False),
        ([], "", False),
        (["--fix", "--json"], "", False),
        (["--fix", "--json", "--yes"], "", True),
    ],
)
@pytest.mark.usefixtures("only_the_home")
def test_the_command_changes_nothing_unless_told(
    home: Path, tmp_path: Path, arguments: list[str], typed: str, is_closed: bool
) -> None:
    key = _open_key(home)
    answer = CliRunner().invoke(luthier, ["doctor", *arguments], input=typed)
    assert answer.exit_code == 0, answer.output
    assert (stat.S_IMODE(key.stat().st_mode) == 0o600) is is_closed
    if "--json" in arguments:
        (tmp_path / "report.json").write_text(answer.stdout)
        report = read(tmp_path / "report.json")
        assert [(fix["check"], fix["done"]) for fix in report["fixes"]] == [
            ("private files", is_closed)
        ]
        assert report["checks"][0]["remedy"].startswith("chmod go= ")
    elif arguments:
        assert "chmod go= " in "".join(answer.output.splitlines())


@pytest.mark.usefixtures("only_the_home")
@pytest.mark.parametrize(("key_press", "is_closed"), [("y\n", True), ("n\n", False), ("", False)])
def test_on_a_terminal_it_asks(
    home: Path, monkeypatch: pytest.MonkeyPatch, key_press: str, is_closed: bool
) -> None:
    key = _open_key(home)
    isatty: Callable[[object], bool] = lambda stream: True  # noqa: E731
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", isatty, raising=False)
    CliRunner().invoke(luthier, ["doctor", "--fix"], input=key_press)
    assert (stat.S_IMODE(key.stat().st_mode) == 0o600) is is_closed


def test_yes_alone_is_refused() -> None:
    assert CliRunner().invoke(luthier, ["doctor", "--yes"]).exit_code == 2
