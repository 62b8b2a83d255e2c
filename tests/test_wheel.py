"""The wheel, as `uv tool install` and `pipx` install it: without the checkout, all that Luthier
reads of its own is there."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.trainer.shapes import llama

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("jobs", "models", "serve", "trainer", "tui", "workshop")
_LISTED = ("git", "ls-files", "--cached", "--others", "--exclude-standard")
_UV = (sys.executable, "-m", "uv")
_NOT_READ = {"trainer/examples/captain/README.md"}

# What reads each kind of file that is no module, in an interpreter that knows the wheel alone.
_OPENS_ALL = """
import asyncio, sys
from pathlib import Path
import tui, trainer, models
where = Path(tui.__file__).parents[1]
assert where.name == "site-packages" and Path(models.__file__).parents[1] == where, where

from trainer.examples import CAPTAIN
from trainer.recipe import load
from models.conversations import read_prompts
recipe = load(CAPTAIN / "recipe.toml")
assert Path(recipe.sources[0].path).is_file()
assert len(list(read_prompts(CAPTAIN / "heldout.jsonl"))) == 20

from trainer.presets import presets
assert len(presets()) > 5 and all(preset.values() for preset in presets())

from tui.shared.glossary import terms
from tui.completion import grammar
from tui.completion.shells import SHELLS, script
from serve.vllm_arguments import _options
from tui.web import server
assert terms() and grammar.load().entries and all(script(shell) for shell in SHELLS)
assert _options() and (server._OWN_FILES / "index.html").is_file()

import importlib.metadata
from models.installation import installation
assert installation().installer == "pip", installation()
assert "luthier-0" in installation().packages("cpu"), installation()

from tui.app import LuthierApp
async def open_every_screen():
    from tui.screens import SCREENS
    async with LuthierApp().run_test() as pilot:
        for screen in SCREENS:
            if screen.key:
                await pilot.press(screen.key)
                await pilot.pause()
asyncio.run(open_every_screen())
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built of a copy of what git has, so that nothing is left behind in the checkout."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    archive = subprocess.run(
        [*_LISTED, "-z", *PACKAGES, "pyproject.toml", "README.md", "LICENSE"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in archive.stdout.decode().split("\0")[:-1]:
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    build = "from setuptools.build_meta import build_wheel; build_wheel(__import__('sys').argv[1])"
    subprocess.run(
        [sys.executable, "-c", build, str(folder)], cwd=source, capture_output=True, check=True
    )
    return next(folder.glob("*.whl"))


@pytest.mark.heavy
def test_the_wheel_has_every_file_of_the_packages(wheel: Path) -> None:
    tracked = subprocess.run(
        [*_LISTED, *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=True
    )
    missing = set(tracked.stdout.split()) - set(zipfile.ZipFile(wheel).namelist()) - _NOT_READ
    assert not missing, "pyproject.toml, package-data"


@pytest.mark.heavy
def test_all_that_luthier_reads_opens_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    """Installed alone; what it depends on is that of this environment."""
    environment, target = tmp_path / "environment", tmp_path / "away"
    target.mkdir()
    subprocess.run([*_UV, "venv", "-q", "--python", sys.executable, environment], check=True)
    python = environment / "bin" / "python"
    subprocess.run(
        [*_UV, "pip", "install", "-q", "--no-deps", "--offline", "--python", python, wheel],
        check=True,
    )
    dependencies = sysconfig.get_path("purelib")
    site = next(environment.glob("lib/python*/site-packages"))
    # behind the wheel on the path; an editable install's .pth files are not read there
    (site / "dependencies.pth").write_text(f"{dependencies}\n")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        variables = {"LUTHIER_HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"}
        return subprocess.run(
            [str(python), "-P", *arguments],
            cwd=target,
            env=variables,
            capture_output=True,
            text=True,
            check=False,
        )

    opened = run("-c", _OPENS_ALL)
    assert opened.returncode == 0, opened.stderr
    helped = run("-m", "tui.cli", "--help")
    assert helped.returncode == 0 and "luthier demo" not in helped.stderr
    version = run("-m", "tui.cli", "--version")
    assert version.stdout.startswith("luthier ")


@pytest.mark.heavy
def test_without_the_training_libraries_a_run_is_refused_with_the_command_that_installs_them(
    wheel: Path, tmp_path: Path
) -> None:
    """The libraries that the app needs are here, those that train are hidden."""
    data = tmp_path / "mine.jsonl"
    data.write_text('{"prompt": "hi", "completion": "ho"}\n' * 40)
    hidden = (
        "import sys\n"
        "sys.path.insert(0, sys.argv.pop(1))\n"
        "import importlib.util as util\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name, *more: None if name in"
        " ('torch', 'trl', 'vllm', 'huggingface_hub', 'uvicorn') else find(name, *more)\n"
        "from tui.cli import main\n"
        "main()\n"
    )
    variables = {"LUTHIER_HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"}
    model = llama(tmp_path / "model")
    for arguments in (
        ["train", str(data)],
        ["train", str(data), "--model", str(model)],
        ["demo"],
        ["models", "import", "builtin"],
        ["models", "import", "hub:owner/name"],
        ["api"],
    ):
        refused = subprocess.run(
            [sys.executable, "-P", "-c", hidden, str(ROOT), *arguments],
            env=variables,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert refused.returncode == 1, refused.stderr
        assert "not installed" in refused.stderr and "SET=cpu" in refused.stderr
    assert not (tmp_path / "home" / "jobs").exists()
