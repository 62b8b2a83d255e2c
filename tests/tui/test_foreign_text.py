"""Text that Luthier did not write: signs for what a terminal would obey, and brackets that stay
text."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.text import Text

from jobs.job import Job
from jobs.spec import Spec
from jobs.state import Done
from tests.fakes.openai_server import FAKE_KEY, FakeServer
from tests.serve.chat_writing import new_chat, write
from tests.tui import folders
from tests.tui.driving import ready, screen_text, until
from tests.tui.terminal import foreign
from tui.app import LuthierApp
from tui.chat.markdown import markdown_rows
from tui.cli import luthier
from tui.commands.output import CleanConsole, plain_table, styled
from tui.commands.progress import follow_job
from tui.shared.error_modal import ErrorModal
from tui.shared.foreign_text import json_in_a_pipe, json_on_a_terminal, one_line, visible
from tui.shared.notices import Notices

# The cleaner


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mb\x07", "a␛[31mb␇"),
        ("\x00\x08\x0b\x0c\x7f", "␀␈␋␌␡"),
        ("\x80\x85\x9b31m\x9f", "\ufffd\ufffd\ufffd31m\ufffd"),
        ("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069", "\ufffd" * 9),
        ("caf\udce9 \ud83d", "caf\ufffd \ufffd"),
        ("two\r\nlines\tand a tab", "two\nlines\tand a tab"),
        ("👩‍👩‍👧 e\u0301 ❤️ मनीष مرحبا \u200eשלום", "👩‍👩‍👧 e\u0301 ❤️ मनीष مرحبا \u200eשלום"),
    ],
)
def test_a_control_character_becomes_a_sign_and_what_can_be_seen_stays(
    text: str, shown: str
) -> None:
    assert visible(text) == shown


@given(
    st.text(st.characters() | st.sampled_from("\x1b\x07\x9b\u202e\u2066\ud800\r\n\t"), max_size=40)
)
def test_nothing_is_left_that_a_terminal_would_obey(text: str) -> None:
    shown = visible(text)
    assert foreign(shown) == []
    assert visible(shown) == shown
    assert "\n" not in one_line(text) and "\t" not in one_line(text)
    shown.encode()  # a terminal can be sent all of it


@given(st.text(st.characters() | st.sampled_from("\x1b\x07\x9b\u202e\ud800"), max_size=40))
def test_json_says_the_same_on_a_terminal_and_in_a_pipe(text: str) -> None:
    raw = json.dumps(text, ensure_ascii=False)
    assert json.loads(json_on_a_terminal(raw)) == json.loads(json_in_a_pipe(raw)) == text
    assert foreign(json_on_a_terminal(raw)) == []
    json_in_a_pipe(raw).encode()


# The command line's consoles


def printed(*what: object, width: int = 60) -> str:
    console = CleanConsole()
    console.width = width
    with console.capture() as capture:
        console.print(*what)
    return capture.get()


def test_brackets_and_names_of_emoji_are_text() -> None:
    assert printed("[/INST] [red]a[/] :boom: \\[b]") == "[/INST] [red]a[/] :boom: \\[b]\n"


def test_values_in_our_markup_are_never_markup() -> None:
    text = styled(
        "[bold]$name[/] [dim]($note)[/] costs $price",
        name="a[/]b\x1b[31m",
        note="\\",
        price="$name",
    )
    assert text.plain == "a[/]b␛[31m (\\) costs $name"
    assert [(span.start, span.end, span.style) for span in text.spans] == [
        (0, 10, "bold"),
        (11, 12, "dim"),
        (12, 13, "dim"),
        (13, 14, "dim"),
    ]


def test_a_template_without_its_value_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        styled("[dim]$name[/]")


def test_signs_take_room_in_a_table() -> None:
    table = plain_table("name", "size")
    table.add_row("a\x1b\x1bb", "1")
    table.add_row("wide", Text("\x1b]0;x\x07", "bold"))
    assert [line.rstrip() for line in printed(table).splitlines()] == [
        "name  size",
        "a␛␛b  1",
        "wide  ␛]0;x",
    ]


# What broke


@pytest.fixture
def server(jobs_by_name: dict[str, Job], home: Path) -> Iterator[FakeServer]:
    (home / "keys").mkdir(exist_ok=True)
    for name in ("client", "control"):
        (home / "keys" / name).write_text(FAKE_KEY)
        (home / "keys" / name).chmod(0o600)
    with FakeServer(("base", "builtin", "captain")) as fake:
        folders.serve(jobs_by_name["captain-server"], "captain", port=fake.port)
        yield fake


def test_a_chat_with_brackets_in_it_can_be_listed_and_found() -> None:
    write(new_chat(), "Close it with [/INST] please", ["[/b] it is", "so"])
    for arguments in (["chats"], ["chats", "search", "INST"]):
        result = CliRunner().invoke(luthier, arguments)
        assert (result.exit_code, "[/INST]" in result.stdout) == (0, True)


@pytest.mark.parametrize("title", ["Training a[/]b", "Merging a[/]b"])
def test_a_run_with_brackets_in_its_name_can_be_followed_to_its_end(
    jobs_by_name: dict[str, Job], capsys: pytest.CaptureFixture[str], title: str
) -> None:
    job = jobs_by_name["captain"]
    Spec("run", "a[/]b", "run.worker", settings={"model": "builtin"}).replace(job.directory)
    follow_job(Job(job.directory), title, lambda state: isinstance(state, Done))
    assert f"✓ {title}" in capsys.readouterr().err


def test_a_file_with_brackets_in_its_name_is_called_by_it(
    jobs_by_name: dict[str, Job], capsys: pytest.CaptureFixture[str]
) -> None:
    follow_job(
        jobs_by_name["captain"], "Looking at mine [v2].jsonl", lambda state: isinstance(state, Done)
    )
    assert "Looking at mine [v2].jsonl" in capsys.readouterr().err


def test_the_chart_is_where_it_is_said_to_be(jobs_by_name: dict[str, Job], tmp_path: Path) -> None:
    path = tmp_path / ("long-" * 12) / "[team]" / "x.svg"
    path.parent.mkdir(parents=True)
    result = CliRunner().invoke(
        luthier, ["chart", jobs_by_name["captain"].id, "--out", str(path)], catch_exceptions=False
    )
    assert path.is_file()
    assert result.stderr == f"Wrote {path}.\n"


def test_a_piped_answer_and_log_are_raw(server: FakeServer, jobs_by_name: dict[str, Job]) -> None:
    server.answer = lambda model, messages: "\x1b[31mred\x07\x9b\u202e"
    answer = CliRunner().invoke(luthier, ["chat", "base", "-p", "Hi"], catch_exceptions=False)
    assert "\x1b[31mred\x07\x9b\u202e" in answer.stdout
    told = CliRunner().invoke(
        luthier, ["chat", "base", "-p", "Hi", "--json"], catch_exceptions=False
    )
    assert (
        "\x9b\u202e" in told.stdout
        and json.loads(told.stdout)["answer"] == "\x1b[31mred\x07\x9b\u202e"
    )
    jobs_by_name["captain"].log_path.write_bytes(b"\x1b[32mINFO\x1b[0m\r\n\xff\x9b half a line")
    log = CliRunner().invoke(
        luthier, ["log", "--output", jobs_by_name["captain"].id], catch_exceptions=False
    )
    assert log.stdout_bytes == b"\x1b[32mINFO\x1b[0m\r\n\xff\x9b half a line"


@pytest.mark.heavy
def test_a_path_that_is_no_utf_8_keeps_its_bytes_in_a_pipe(home: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    folders.base_model(home / "models" / name)
    command = [sys.executable, "-m", "tui.cli", "models", "path", name]
    found = subprocess.run(
        command, capture_output=True, check=True, env={**os.environ, "LUTHIER_HOME": str(home)}
    )
    assert found.stdout == os.fsencode(home / "models" / name) + b"\n"


# The app


async def test_signs_and_brackets_are_seen_in_the_app(jobs_by_name: dict[str, Job]) -> None:
    job = jobs_by_name["too-large"]
    Spec("run", "too-[/]\x1b[2Jlarge", "run.worker", settings={"model": "builtin"}).replace(
        job.directory
    )
    folders.write(
        job,
        folders.event(
            "error", 5_300, title="Out [red]of\x07", message="\u202eno memory", hint="[/INST]"
        ),
    )
    app = LuthierApp()
    async with app.run_test(size=(120, 30), notifications=True) as pilot:
        await ready(pilot)
        assert "too-[/]␛[2Jlarge" in screen_text(app) and "Out [red]of␇" in screen_text(app)
        app.show_failure(ValueError("a\x1b]0;x\x07[/]"))
        await pilot.pause()
        assert isinstance(app.screen, ErrorModal) and "a␛]0;x␇[/]" in screen_text(app)
        app.notify("gone: [/]\x1b[2J")
        app.screen.notify("gone too: [red]x[/]")
        await until(
            pilot,
            lambda: (
                "gone: [/]␛[2J" in screen_text(app) and "gone too: [red]x[/]" in screen_text(app)
            ),
        )
        app.copy_to_clipboard("a\x1b[201~\nb")
        assert app.clipboard == "a␛[201~\nb"


def test_a_title_and_a_notice_hold_signs(
    jobs_by_name: dict[str, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    app = LuthierApp()
    notices = Notices(app)
    monkeypatch.setattr(notices, "_write", sent.append)
    notices._show_title("a\x07\x1b]52;c;x\x07\nb")
    assert sent == ["\x1b]2;a␇␛]52;c;x␇↵b\x07"]


def test_a_character_that_markdown_spells_out_is_a_sign() -> None:
    from rich.style import Style

    styles = {name: Style() for name in ("none", "markdown.paragraph")}
    rows = markdown_rows("a &#x202e; b `&#x202e;`", 60, styles, "monokai")
    assert "".join(segment.text for segment in rows[0]).strip() == "a \ufffd b &#x202e;"
    assert cell_len("\ufffd") == 1
