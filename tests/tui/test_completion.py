"""Completion, in the shells themselves: names of any kind come out as one word, and nothing in them
is run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len

from jobs.job import create
from jobs.spec import Spec
from tests.tui.interactive_shell import InteractiveShell
from tui.cli import luthier, main
from tui.completion import grammar
from tui.completion.names import suggestions
from tui.completion.shells import SHELLS, Shell, answer, candidates, script
from tui.completion.typed_line import Word, continued, words_of

FOREIGN_NAMES = [
    "alpha one",
    "bravo $(touch pwned)",
    "charlie `touch pwned`",
    "delta;touch pwned",
    "echo' it'\\''s \"quoted\"",
    "foxtrot!!*?[a]{b}~#&|<>()",
    "golf\ntouch pwned\n",
    "hotel=x:y@z",
    "india ünïcode 狗",
    "juliet\\ back\\slash",
    "kilo $HOME ${HOME} %1 ^x",
    "lima \x1b]0;title\x07",
]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "luthier"))
    return tmp_path / "luthier"


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest, tmp_path: Path, home: Path) -> Iterator[InteractiveShell]:
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    for name in FOREIGN_NAMES:
        create(Spec("run", name, "trainer.worker"))
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "x-ray $(touch pwned) data.jsonl").write_text("{}\n")
    (folder / "x-ray notes.txt").write_text("")
    (folder / "zulu folder").mkdir()
    (folder / "zulu folder" / "yankee.jsonl").write_text("{}\n")
    user = tmp_path / "user"
    user.mkdir()
    (user / "sierra's.jsonl").write_text("{}\n")
    opened = InteractiveShell(request.param, folder, home)
    yield opened
    opened.close()
    assert not (folder / "pwned").exists()


@pytest.mark.heavy
def test_every_shell_completes_any_name_as_one_word(shell: InteractiveShell) -> None:
    for name in FOREIGN_NAMES:
        shell.type(f"luthier log {name[:3]}\t\r")
    calls = shell.calls(len(FOREIGN_NAMES))
    assert calls == [["log", name] for name in FOREIGN_NAMES]


@pytest.mark.heavy
def test_every_shell_goes_on_with_quotes_options_and_files(
    shell: InteractiveShell, tmp_path: Path
) -> None:
    lines = {
        "luthier log 'bra\t\r": ["log", FOREIGN_NAMES[1]],
        'luthier log "bra\t\r': ["log", FOREIGN_NAMES[1]],
        "luthier log 'ech\t\r": ["log", FOREIGN_NAMES[4]],
        'luthier log "ech\t\r': ["log", FOREIGN_NAMES[4]],
        "luthier log alpha\\ o\t\r": ["log", FOREIGN_NAMES[0]],
        "luthier log --fol\talp\t\r": ["log", "--follow", FOREIGN_NAMES[0]],
        "luthier cert\talp\t--sho\t\r": ["certify", FOREIGN_NAMES[0], "--show"],
        "luthier train --again=bra\t\r": ["train", f"--again={FOREIGN_NAMES[1]}"],
        "luthier train x-\t\r": ["train", "x-ray $(touch pwned) data.jsonl"],
        "luthier data check zul\tya\t\r": ["data", "check", "zulu folder/yankee.jsonl"],
        'luthier data check "zul\tya\t\r': ["data", "check", "zulu folder/yankee.jsonl"],
        "luthier data check 'zul\tya\t\r": ["data", "check", "zulu folder/yankee.jsonl"],
        "luthier compare alpha\\ one --prompts x-ray\\ n\t\r": [
            *("compare", "alpha one", "--prompts", "x-ray notes.txt")
        ],
        "luthier compare --prompts=x-ray\\ n\t\r": ["compare", "--prompts=x-ray notes.txt"],
        "luthier train ~/si\t\r": ["train", f"{tmp_path}/user/sierra's.jsonl"],
        "luthier train $HOME/si\t\r": ["train", f"{tmp_path}/user/sierra's.jsonl"],
        "luthier compare alp\t --prompts ~/si\t\r": [
            *("compare", "alpha one", "--prompts", f"{tmp_path}/user/sierra's.jsonl")
        ],
    }
    for line in lines:
        shell.type(line)
    assert shell.calls(len(lines)) == list(lines.values())


@pytest.mark.heavy
def test_every_shell_lists_what_is_possible(shell: InteractiveShell) -> None:
    tabs = "\t\t" if shell.shell == "bash" else "\t"
    shell.type(f"luthier recipes {tabs}")
    shell.wait_for("llama-3.2-3b-chat")
    shell.wait_for("mistral-7b-oasst")
    shell.type(f"\x15luthier log {tabs}")
    shell.wait_for("alpha")
    shell.wait_for("lima")
    assert "\x1b]0;title" not in shell.shown


@pytest.mark.parametrize(("line", "columns"), [("log ", 100), ("log ", 20), ("", 40)])
def test_what_zsh_lists_takes_one_line_each(
    home: Path, line: str, columns: int, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    for name in FOREIGN_NAMES:
        create(Spec("run", name, "trainer.worker"))
    answer("zsh", [line, str(columns)])
    displays = capfdbinary.readouterr().out.decode().split("\0")[2::2]
    assert len(displays) >= len(FOREIGN_NAMES)
    assert max(map(cell_len, displays)) < columns
    if columns == 100:
        assert len({cell_len(display.partition("run, ")[0]) for display in displays}) == 1


def _closed(quote: str, written: str) -> str:
    """A word as bash leaves it: it closes a quotation that does not seem to be closed."""
    is_open = quote and (written == quote or not written.endswith(quote))
    return written + quote if is_open else written


_TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@pytest.mark.heavy
@given(st.lists(_TEXTS, max_size=9))
def test_bash_reads_back_what_is_written_for_it(texts: list[str]) -> None:
    words = [
        _closed(quote, quote + continued(Word(quote=quote), text)) or "''"
        for quote in ("", "'", '"')
        for text in texts
    ]
    command = f"printf '%s\\0' {' '.join(words)}" if words else ":"
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == texts * 3


@given(st.text("ab '\"\\$`!=:", max_size=12), st.sampled_from(["", "'", '"']))
@example('b"', '"')
def test_a_value_goes_on_behind_its_option(text: str, quote: str) -> None:
    word = words_of(f"luthier train --again={quote}", breaks="=:")[-1]
    assert (word.text, word.settled, word.quote) == ("--again=", len("--again="), quote)
    written = quote + continued(word, f"--again={text}")
    command_line = f"luthier train --again={_closed(quote, written)}"
    assert [each.text for each in words_of(command_line)] == ["luthier", "train", f"--again={text}"]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("luthier ser", ["serve", "server"]),
        ("luthier serve --m", ["--model", "--max-rank"]),
        ("luthier server st", ["status", "stop"]),
        ("luthier train --server s", ["sleep", "share"]),
        ("luthier train --server=s", ["--server=sleep", "--server=share"]),
        ("luthier chart --metric eval_l", ["eval_loss"]),
        ("luthier keys mod", ["models"]),
        ("luthier plan --he", ["--help"]),
        ("luthier nonsense ", []),
        ("luthier chat ", []),  # no server runs, and a file is no model
        ("luthier log -n ", []),
    ],
)
def test_what_may_follow(home: Path, typed: str, expected: list[str]) -> None:
    *before, word = words_of(typed)
    items = candidates([each.text for each in before[1:]], word.text)
    assert [item.value for item in items] == expected


def test_names_are_those_that_the_commands_take(home: Path) -> None:
    """The newest of a name by its name, older ones by their ids; nothing that looks like an
    option."""
    first = create(Spec("run", "captain", "trainer.worker"))
    second = create(Spec("run", "captain", "trainer.worker"))
    create(Spec("run", "--yes", "trainer.worker"))
    (home / "jobs" / "20261118-0001-broken-00ff").mkdir()
    names = {each.name for each in suggestions("run", "")}
    assert "captain" in names and names & {first.short_id, second.short_id}
    assert not any(name.startswith("-") for name in names)
    assert [each.name for each in suggestions("run", first.id)] == [first.id]
    for step in (100, 200):
        checkpoint = second.directory / "checkpoints" / f"step-000{step}"
        checkpoint.mkdir(parents=True)
        (checkpoint / "COMPLETE").touch()
    steps = [each.name for each in suggestions("run", f"{second.short_id}@")]
    assert steps == [f"{second.short_id}@200", f"{second.short_id}@100"]
    (home / "config.toml").write_text("this is [no TOML")
    assert suggestions("endpoint", "") == []
    (home / "models").write_text("no folder, so that listing it fails")
    assert [each.name for each in suggestions("model", "")] == ["builtin"]


@pytest.mark.heavy
def test_every_argument_that_names_something_completes(home: Path) -> None:
    """A walk over the commands: an argument is a choice, completes names or files, or is free text
    by its nature."""
    free = {"words", "url", "repository", "rescue model"}

    def walk(command: click.Command, path: str) -> Iterator[str]:
        if isinstance(command, click.Group):
            for name in command.list_commands(click.Context(command)):
                each = command.get_command(click.Context(command), name)
                assert each is not None
                yield from walk(each, name)
        for parameter in command.params:
            names = {parameter.name, f"{path} {parameter.name}"}
            if isinstance(parameter, click.Argument) and not names & free:
                entry = grammar.written(command)["parameters"]
                documented = next(each for each in entry if each["names"] == parameter.opts)
                if not documented.keys() & {"completes", "words", "path"}:
                    yield f"{path} {parameter.name}"

    assert list(walk(luthier, "luthier")) == []


def test_summaries_are_whole_sentences(home: Path) -> None:
    """Each shell cuts them to its terminal."""
    commands = candidates([], "")
    assert len(commands) > 30
    assert [item.value for item in commands if (item.help or "...").endswith("...")] == []


def test_a_start_file_of_an_earlier_version_still_works(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_LUTHIER_COMPLETE", "zsh_source")
    monkeypatch.setattr("sys.argv", ["luthier"])
    main()
    assert capsys.readouterr().out == script("zsh")


@pytest.mark.heavy
@pytest.mark.parametrize("shell_name", SHELLS)
def test_install_writes_the_script_where_the_shell_looks(
    shell_name: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new shell then completes luthier, with the line that the command says where it takes one;
    the home's name needs quoting."""
    user = tmp_path / "user's home"
    user.mkdir()
    monkeypatch.setenv("HOME", str(user))
    for variable in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "BASH_COMPLETION_USER_DIR", "ZDOTDIR"):
        monkeypatch.delenv(variable, raising=False)
    done = CliRunner().invoke(luthier, ["completion", shell_name, "--install", "--json"])
    assert done.exit_code == 0
    installed = json.loads(done.stdout)
    assert Path(installed["file"]).read_text() == script(shell_name)
    asked = {
        "bash": "complete -p luthier || { . /usr/share/bash-completion/bash_completion;"
        " __load_completion luthier || _comp_load luthier; complete -p luthier; }",
        "zsh": "print $_comps[luthier]",
        "fish": "complete -C 'luthier '; complete luthier",
    }
    program = shutil.which(shell_name)
    if program is None:
        pytest.skip(f"{shell_name} is not installed")
    (user / "luthier").touch(mode=0o755)  # fish loads nothing for a command that it does not find
    monkeypatch.setenv("PATH", f"{user}:{os.environ['PATH']}")
    commands = f"{installed['line']}\n{asked[shell_name]}\n"
    result = subprocess.run(
        [program, "-c", commands], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert "_luthier" in result.stdout, result


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("line", "may_import"),
    [
        ("luthier ", ""),
        ("luthier train --", ""),
        ("luthier log ", ""),
        ("luthier train ", ""),
        ("luthier recipes ", ""),
        ("luthier serve --model ", ""),
        ("luthier chat ", "msgspec"),
        ("luthier endpoints remove ", "msgspec"),
    ],
)
def test_a_tab_imports_next_to_nothing(home: Path, line: str, may_import: str) -> None:
    create(Spec("run", "captain", "trainer.worker"))
    heavy = {"rich", "textual", "msgspec", "tomlkit", "httpx", "torch", "numpy"} - {may_import}
    code = (
        "import os, sys; os.environ['_LUTHIER_COMPLETE'] = 'bash'; from tui.cli import main;"
        f" main(); sys.exit(sorted({heavy!r} & set(sys.modules)) or None)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, line], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
