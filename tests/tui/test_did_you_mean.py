"""Whatever is misspelt on the command line is answered with what is near: commands, options,
choices, and the names of the user's own things. A walk over the whole parser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from jobs.job import Job
from jobs.luthier_error import LuthierError
from tests.fakes.openai_server import FAKE_KEY, FakeServer
from tests.serve.chat_writing import new_chat, write
from tests.tui import folders
from tests.tui.parser_walk import COMMANDS
from trainer.key_facts import described_keys
from trainer.recipe import Recipe, load
from tui.cli import luthier
from tui.completion.name_parameter import Name, NameKind

pytestmark = pytest.mark.heavy

MISSPELT: dict[NameKind, tuple[str, str]] = {
    "run": ("captian", "captain"),
    "job": ("captian", "captain"),
    "living job": ("captian", "captain"),
    "server": ("captian-server", "captain-server"),
    "served model": ("captian", "captain"),
    "model": ("builtn", "builtin"),
    "preset": ("mistral-7b-oast", "mistral-7b-oasst"),
    "endpoint": ("opnai", "openai"),
    "recipe file": ("mien.toml", "mine.toml"),
    "data file": ("tlak.jsonl", "talk.jsonl"),
    "import source": ("mien.gguf", "mine.gguf"),
    "export form": ("gguf:q4km", "gguf:q4_k_m"),
}
"""By kind: a name with a slip, and what was meant."""
# What a command is given beside the name that it looks for: with the option of that name, or with
# its argument ("").
BESIDE = {
    ("train", "--model"): "talk.jsonl",
    ("plan", "--model"): "talk.jsonl",
    ("data check", "--model"): "talk.jsonl",
    ("data show", "--model"): "talk.jsonl",
    ("data tokens", "--model"): "talk.jsonl --out samples.jsonl",
    ("data tokens", ""): "--out samples.jsonl",
    ("data from-server", ""): "--out logged.jsonl",
    ("models push", ""): "me/mine",
    ("models export", ""): "--out exported",
    ("models export", "--as"): "builtin --out exported",
    ("move", ""): "first",
    ("edit", ""): "--from mine.toml",
    ("compare", ""): "--prompts talk.jsonl",
    ("compare", "--noise"): "captain --prompts talk.jsonl",
    ("drift", "--unit"): "captain",
    ("reproduce", "--data"): "captain",
    ("reproduce", "--model"): "captain",
    ("reproduce", "--seed-run"): "captain",
    ("merge", "--base"): "--adapter adapter --out merged",
    ("server load", "--on"): "captain",
    ("server pin", "--on"): "captain",
    ("server unpin", "--on"): "captain",
    ("server unload", "--on"): "captain",
    ("guard", "--against"): "captain",
    ("rescue", "--at"): "gpt --prompts talk.jsonl --plan",
    ("rescue", "--data"): "gpt --at openai --plan",
    ("rescue", "--train"): "gpt --at openai --prompts talk.jsonl --plan",
    ("rescue", "--beside"): "gpt --at openai --prompts talk.jsonl --plan",
}
ROW = '{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}\n'
FREE = {("recipes", "model"), ("recipes", "data"), ("endpoints add", "name")}
"""What is written down as it is, and may not be there yet."""


GROUPS = {"": luthier, **{n: c for n, c in COMMANDS.items() if isinstance(c, click.Group)}}


def answer(*arguments: str) -> str:
    """What a user reads."""
    result = CliRunner().invoke(luthier, arguments)
    if isinstance(result.exception, LuthierError):
        error = result.exception
        return f"{error.title} {error.message} {error.hint}"
    assert result.exit_code != 0, f"luthier {' '.join(arguments)}: {result.output}"
    return result.output


def slip(word: str) -> str:
    """The word with two letters swapped, or one doubled where they are the same."""
    return f"{word[:-2]}{word[-1]}{word[-2]}" if word[-1] != word[-2] else f"{word}{word[-1]}"


@pytest.mark.parametrize("path", GROUPS)
def test_every_command(path: str) -> None:
    group = GROUPS[path]
    for name in group.list_commands(click.Context(group)):
        assert name in answer(*path.split(), slip(name)), slip(name)


def test_every_option() -> None:
    for path, command in COMMANDS.items():
        for parameter in command.params:
            for option in parameter.opts:
                if option.startswith("--") and len(option) > 5:
                    refusal = answer(*path.split(), slip(option))
                    assert option in refusal and "Did you mean" in refusal, (path, option)


def test_every_choice() -> None:
    for path, command in COMMANDS.items():
        for parameter in command.params:
            if isinstance(parameter, click.Option) and isinstance(parameter.type, click.Choice):
                for choice in parameter.type.choices:
                    refusal = answer(*path.split(), parameter.opts[0], f"{choice}x")
                    assert f"'{choice}'" in refusal, (path, parameter.opts)


def named() -> Iterator[tuple[str, click.Parameter, NameKind]]:
    for path, command in COMMANDS.items():
        for parameter in command.params:
            if isinstance(parameter.type, Name) and (path, parameter.name) not in FREE:
                for kind in parameter.type.kinds:
                    if kind in MISSPELT:
                        yield path, parameter, kind


@pytest.fixture
def everything(
    jobs_by_name: dict[str, Job], home: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Something of each kind, in the home and in the current folder."""
    monkeypatch.chdir(home)
    (home / "mine.toml").write_text('model = "builtin"\ndata = ["talk.jsonl"]\n')
    (home / "talk.jsonl").write_text(ROW * 40)
    (home / "adapter").mkdir()
    (home / "mine.gguf").write_bytes(b"GGUF")
    (home / "config.toml").write_text('[endpoints.openai]\nurl = "http://127.0.0.1:9/v1"\n')
    write(new_chat(), "Hello", ["Ahoy.", "Aye."])
    (home / "keys").mkdir(exist_ok=True)
    for name in ("client", "control"):
        (home / "keys" / name).write_text(FAKE_KEY)
        (home / "keys" / name).chmod(0o600)
    with FakeServer(("base", "builtin", "captain")) as fake:
        fake.parents = {"captain": "builtin"}
        folders.serve(jobs_by_name["captain-server"], "captain", port=fake.port)
        yield


@pytest.mark.heavy
@pytest.mark.usefixtures("everything")
def test_every_name() -> None:
    silent = []
    for path, parameter, kind in named():
        typed, meant = MISSPELT[kind]
        option = parameter.opts[0] if isinstance(parameter, click.Option) else ""
        name = [option, typed] if option else [typed]
        refusal = answer(*path.split(), *name, *BESIDE.get((path, option), "").split())
        if not re.search(rf"Did you mean [^?]*\b{re.escape(meant)}\b", refusal):
            silent.append((path, parameter.name, kind, refusal))
    assert not silent, "\n".join(map(str, silent))


def test_every_key_of_a_recipe(tmp_path: Path) -> None:
    for key in described_keys(Recipe):
        *sections, name = key.name.split(".")
        if key.is_section or len(name) < 4:
            continue
        header = f"[{'.'.join(sections)}]\n" if sections else ""
        recipe = tmp_path / "recipe.toml"
        recipe.write_text(f'model = "x"\ndata = ["y"]\n{header}{slip(name)} = 1\n')
        with pytest.raises(LuthierError) as error:
            load(recipe)
        assert f"{name}" in str(error.value.hint), (key.name, error.value)
