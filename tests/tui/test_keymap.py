"""The user's own keys: applied everywhere, and never an obstacle."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.tui.driving import ready, screen_text, until
from tui import keymap
from tui.app import LuthierApp
from tui.cli import luthier
from tui.key_bindings import ACTIONS, key_of, with_keys
from tui.new_run.screen import NewRunScreen
from tui.runs.runs_screen import RunsScreen
from tui.shared.action import key_name
from tui.shared.footer import KeyFooter
from tui.shared.help_modal import HelpModal


def written(home: Path, text: str) -> keymap.Keymap:
    (home / "keymap.toml").write_text(text)
    return keymap.read(ACTIONS)


def test_without_a_file_nothing_changes() -> None:
    assert keymap.read(ACTIONS) == keymap.Keymap()


def test_keys_are_read_as_people_write_them(home: Path) -> None:
    own = written(
        home,
        'runs.stop = ["X", "-"]\n"runs.new" = ["^y", "f7"]\n[chat]\nvote = "?"\ncopy = ";"\n',
    )
    assert own.changed == {
        "runs.stop": "X,minus",
        "runs.new": "ctrl+y,f7",
        "chat.copy": "semicolon",
    }
    (problem,) = own.problems
    assert problem == (
        "keymap.toml: '?' of chat.vote is the key of app.help (help) already. chat.vote keeps its"
        " usual key."
    )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('runs.stap = "x"', "no action 'runs.stap'. Did you mean runs.stop"),
        ("runs.stop = 3", "needs a key"),
        ("runs.stop = []", "needs a key"),
        ('runs.stop = "pagedwon"', "no key is called 'pagedwon'. Did you mean pagedown"),
        ('runs.stop = "n"', "the key of runs.new (new run) already"),
        ('runs.stop = "j"', "the key of list.cursor_down (down) already"),
        ('app.quit_now = "x"', "'x' could not be typed any more"),
        ('app.quit_now = "/"', "'/' could not be typed any more"),
        ("runs.stop =", "The usual keys are used."),
    ],
)
def test_what_cannot_be_used_is_named_and_left_out(home: Path, line: str, words: str) -> None:
    own = written(home, line)
    assert own.changed == {}
    assert words in own.problems[0]


def test_two_actions_can_change_their_keys_for_each_other(home: Path) -> None:
    own = written(home, 'runs.stop = "n"\nruns.new = "s"\n')
    assert own.changed == {"runs.stop": "n", "runs.new": "s"} and not own.problems


async def test_footer_help_header_and_keyboard_follow(home: Path) -> None:
    (home / "keymap.toml").write_text(
        'runs.new = "B"\napp.quit = "Y"\napp.models = "f12"\nruns.stap = "x"\n'
    )
    app = LuthierApp()
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        assert [note.message for note in app._notifications if "runs.stap" in note.message]
        assert {("B", "new run"), ("Y", "quit"), ("?", "help")} <= {
            (hint.label, hint.text) for hint in app.screen.query_one(KeyFooter).hints
        }
        await pilot.press("n")
        assert isinstance(app.screen, RunsScreen)
        await pilot.press("B")
        assert isinstance(app.screen, NewRunScreen)
        await pilot.press("escape")
        await pilot.press("question_mark")
        assert isinstance(app.screen, HelpModal)
        app.screen.query_one("Input").value = "new run"
        await pilot.pause()
        assert re.search(r"\bB +new run", screen_text(app))
        await pilot.press("escape")
        assert "f12 Models" in screen_text(app)
        await pilot.press("f12")
        assert app.current_mode == "models"


async def test_a_keymap_that_says_what_is_usual_changes_nothing(home: Path) -> None:
    """Textual drops actions that share a key with a changed one."""

    async def actions_by_key() -> dict[str, set[str | None]]:
        app = LuthierApp("chat")
        async with app.run_test() as pilot:
            await ready(pilot)
            return {
                key: {binding.id for binding in bindings}
                for _, by_key in app.screen._binding_chain
                for key, bindings in by_key.key_to_bindings.items()
            }

    before = await actions_by_key()
    (home / "keymap.toml").write_text('chat.stop = ["escape", "ctrl+s"]\n')
    assert await actions_by_key() == before


def test_the_command_lists_ids_and_names_problems(home: Path) -> None:
    (home / "keymap.toml").write_text('runs.stop = "X"\nruns.stap = "x"\n')
    result = CliRunner().invoke(luthier, ["keys", "runs"])
    assert result.exit_code == 0
    assert "runs.stop" in result.stdout and "(usually s)" in result.stdout
    assert "runs.stap" in result.stderr


async def test_texts_that_name_a_key_follow(home: Path) -> None:
    (home / "keymap.toml").write_text('runs.new = "B"\napp.home = "f12"\nserve.start = "["\n')
    app = LuthierApp("runs")
    async with app.run_test(size=(160, 40)) as pilot:
        await ready(pilot)
        await until(pilot, lambda: "B starts a run   f12 shows what to" in screen_text(app))
        await pilot.press("3")
        await until(pilot, lambda: "[ starts one: a base model" in screen_text(app))


def literals() -> Iterator[tuple[str, str]]:
    """What the screens say, with its place; docstrings are not shown."""
    root = Path(keymap.__file__).parent
    for path in sorted(root.rglob("*.py")):
        if "commands" in path.parts or path.name == "key_bindings.py":
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        statements = (node.value for node in ast.walk(tree) if isinstance(node, ast.Expr))
        docstrings = {id(value) for value in statements if isinstance(value, ast.Constant)}
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and id(node) not in docstrings
            ):
                yield f"{path.relative_to(root)}:{node.lineno}", node.value


def test_no_text_has_the_usual_key_of_an_action_written_into_it() -> None:
    """It would be wrong for whoever has another one: `with_keys` and `key_of` know it."""
    keys = {key_name(key) for action in ACTIONS for key in action.keys.split(",")}
    short = sorted(key for key in keys if re.fullmatch(r"[^\sa.,]|\^\S|f\d+", key))
    key_and_verb = re.compile(
        rf"(?:^|[\s(>\]])(?:{'|'.join(map(re.escape, short))})(?:\[/\])? [a-z]+s\b"
    )
    sums = ("4 minutes", "5 stops before it costs more")
    wrong = [
        f"{place}: {text}"
        for place, text in literals()
        if key_and_verb.search(text) and not text.endswith(sums)
    ]
    assert not wrong, "\n".join(wrong)
    ids = {match for _, text in literals() for match in re.findall(r"\{([a-z_]+\.[a-z_]+)\}", text)}
    assert len(ids) > 20 and all(key_of(action_id) for action_id in ids)
    assert with_keys("{serve.start} or [b] {").plain == f"{key_of('serve.start')} or [b] {{"
