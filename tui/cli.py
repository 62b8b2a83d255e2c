"""`luthier`: the app without arguments, and its headless twin with them.

tui.commands.exit_status says what its exit statuses mean.
"""

from __future__ import annotations

import importlib
import io
import os
import signal
import sys
from pathlib import Path
from typing import NamedTuple, NoReturn

import click
from click.exceptions import NoSuchCommand

from jobs.luthier_error import LuthierError
from jobs.os_errors import in_words, unencodable
from tui import garbage
from tui.commands.exit_status import ExitStatus
from tui.completion import HELP_OPTIONS, LONGEST_SUMMARY


class Section(NamedTuple):
    """Commands that `luthier --help` shows together."""

    title: str
    example: str
    commands: dict[str, str]
    """Where each is defined: a module is imported only when its command is called."""


SECTIONS = (
    Section(
        "Train",
        "luthier train mine.jsonl --follow",
        {
            "train": "tui.commands.train:train",
            "plan": "tui.commands.train:plan",
            "recipes": "tui.commands.recipes:recipes",
            "sweep": "tui.commands.sweep:sweep",
            "chart": "tui.commands.chart:chart",
            "certify": "tui.commands.certify:certify",
            "guard": "tui.commands.guard:guard",
            "recites": "tui.commands.recites:recites",
            "drift": "tui.commands.drift:drift",
        },
    ),
    Section(
        "Data",
        "luthier data check mine.jsonl",
        {"data": "tui.commands.data:data", "make": "tui.commands.make:make"},
    ),
    Section(
        "Models",
        "luthier models import hub:Qwen/Qwen3-0.6B",
        {
            "models": "tui.commands.models:models",
            "merge": "tui.commands.merge:merge",
            "reproduce": "tui.commands.reproduce:reproduce",
            "verify": "tui.commands.verify:verify",
            "sign": "tui.commands.verify:sign",
        },
    ),
    Section(
        "Serve and chat",
        "luthier serve mine",
        {
            "serve": "tui.commands.serve:serve",
            "server": "tui.commands.adapters:server",
            "chat": "tui.commands.chat:chat",
            "chats": "tui.commands.chats:chats",
            "endpoints": "tui.commands.endpoints:endpoints",
            "api": "tui.commands.api:api",
        },
    ),
    Section(
        "Compare",
        "luthier compare mine --prompts questions.jsonl",
        {
            "compare": "tui.commands.compare:compare",
            "votes": "tui.commands.votes:votes",
            "rescue": "tui.commands.rescue:rescue",
        },
    ),
    Section(
        "Manage jobs",
        "luthier log -f mine",
        {
            "runs": "tui.commands.runs:runs",
            "log": "tui.commands.runs:log",
            "stop": "tui.commands.runs:stop",
            "resume": "tui.commands.resume:resume",
            "remove": "tui.commands.runs:remove",
            "move": "tui.commands.queue:move",
            "edit": "tui.commands.queue:edit",
            "requeue": "tui.commands.queue:requeue",
        },
    ),
    Section(
        "This machine",
        "luthier doctor",
        {
            "doctor": "tui.commands.doctor:doctor",
            "demo": "tui.commands.demo:demo",
            "web": "tui.commands.web:web",
            "keys": "tui.commands.keys:keys",
            "completion": "tui.commands.completion:completion",
        },
    ),
)
_COMMANDS = {name: where for section in SECTIONS for name, where in section.commands.items()}


class LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands in their sections, each with an example; no summary is cut."""
        for section in SECTIONS:
            commands = [(name, self.get_command(ctx, name)) for name in section.commands]
            with formatter.section(section.title):
                formatter.write_dl(
                    [
                        (name, command.get_short_help_str(LONGEST_SUMMARY))
                        for name, command in commands
                        if command is not None
                    ]
                )
                formatter.write_text(f"Example: {section.example}")

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Answer an unknown name with the nearest command, or with the commands that take such a
        file."""
        try:
            return super().resolve_command(ctx, args)
        except NoSuchCommand as error:
            name = error.command_name
            if name.endswith(".toml"):
                raise click.UsageError(
                    f"{name!r} is not a command. luthier train {name} trains it, luthier plan"
                    f" {name} plans it.",
                    ctx,
                ) from None
            if Path(name).exists():
                raise click.UsageError(
                    f"{name!r} is not a command. luthier data check {name} inspects data.", ctx
                ) from None
            if groups := self._groups_with(ctx, name):
                meant = " or ".join(f"'luthier {group} {name}'" for group in groups)
                raise click.UsageError(
                    f"No such command {name!r}. Did you mean {meant}?", ctx
                ) from None
            raise NoSuchCommand(name, possibilities=_COMMANDS, ctx=ctx) from None

    def _groups_with(self, ctx: click.Context, name: str) -> list[str]:
        """The commands that have a command of this name: `export` is one of `models`."""
        commands = ((group, self.get_command(ctx, group)) for group in _COMMANDS)
        return [
            group
            for group, command in commands
            if isinstance(command, click.Group) and name in command.commands
        ]


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": HELP_OPTIONS},
)
@click.version_option(package_name="luthier", message="luthier %(version)s")
@click.option("--ascii", "ascii_only", is_flag=True, help="Draw the app in ASCII signs only.")
@click.pass_context
def luthier(context: click.Context, ascii_only: bool) -> None:
    """Fine-tune chat models, serve them, and compare base and tuned side by side. Without a
    command, start the app."""
    if context.invoked_subcommand is None:
        # Textual reads the one and draws on the other
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise click.ClickException(
                "The app needs a terminal. `luthier --help` lists the commands."
            )
        from tui.terminal_background import asked

        garbage.put_off()
        with asked() as background:
            from jobs.job import folders
            from tui.app import LuthierApp

        # under nohup Textual would spin without its terminal
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        start_screen = "runs" if any(folders()) else "home"
        LuthierApp(start_screen, ascii_only=ascii_only, is_light=background.is_light).run()
    elif ascii_only:
        raise click.UsageError("--ascii is for the app: luthier --ascii")


def main() -> None:
    """The one place where an error becomes words and an exit status."""
    shell = os.environ.pop("_LUTHIER_COMPLETE", "")
    if shell:
        from tui.completion import shells

        shells.answer(shell, sys.argv[1:])
        return
    for stream in (sys.stdout, sys.stderr):  # names of bytes that are no text are shown escaped
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        luthier.main(standalone_mode=False)
        sys.stdout.flush()  # a disk that is full is told now, not after Python's farewell
    except LuthierError as error:
        _refuse(error)
    except click.ClickException as error:
        from tui.commands.output import say_usage

        say_usage(error)
        sys.exit(ExitStatus.WRONG_USAGE)
    except (click.Abort, KeyboardInterrupt):
        from tui.commands.output import talk

        talk.print("Interrupted.")
        sys.exit(ExitStatus.INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(ExitStatus.FAILED)
    except OSError as error:
        _refuse(in_words(error))
    except UnicodeEncodeError as error:
        _refuse(unencodable(error))


def _refuse(error: LuthierError) -> NoReturn:
    from tui.commands.output import say_failure

    say_failure(error.title, error.message, error.hint)
    _leave(ExitStatus.FAILED)


def _leave(status: int) -> NoReturn:
    """Exit. What stdout could not take is given up: Python would try again and end with a
    traceback."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(status)


if __name__ == "__main__":
    main()
