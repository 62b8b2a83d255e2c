"""A chat in lines of text: what is typed is asked, and what begins with a slash is done. The
commands are those of the app's chat."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from shutil import get_terminal_size
from typing import Any

import click

from jobs.files import expanded
from jobs.luthier_error import LuthierError
from serve.chats import export as exporting
from serve.chats import search as searching
from serve.chats import store
from serve.chats.store import Verdict
from serve.chats.turns import Answer, Complete, Conversation, Failed, Speaker
from serve.client import ChatMessage, Delta, Endpoint, Finished, Sampling, stream_chat
from tui.commands.output import (
    ask_for,
    choose,
    few,
    out,
    print_json_line,
    say_aside,
    say_done,
    say_failure,
    styled,
    talk,
    write,
)
from tui.commands.streamed_words import StreamedWords
from workshop.chat.ballot import ballot_of, cast
from workshop.chat.session import LETTERS, ChatSession

TEMPERATURE = click.FloatRange(0, 2)
TOP_P = click.FloatRange(0, 1, min_open=True)
MAX_TOKENS = click.IntRange(min=1)
_TIE, _BAD = "tie", "all bad"


async def printing(
    endpoint: Endpoint,
    model: str,
    messages: list[ChatMessage],
    sampling: Sampling,
    tools: Sequence[dict[str, object]],
) -> AsyncIterator[Delta | Finished]:
    """An answer's pieces, each printed as it passes; at a terminal in whole words."""
    words = StreamedWords(get_terminal_size().columns)
    is_terminal = sys.stdout.isatty()
    try:
        async for piece in stream_chat(endpoint, model, messages, sampling, tools):
            if isinstance(piece, Delta):
                write(words.take(piece.text) if is_terminal else piece.text, end="")
            yield piece
    finally:
        write(words.rest(), end="")


class PlainChat:
    """What is typed, and what is answered one model after the other."""

    def __init__(self, session: ChatSession, *, as_json: bool) -> None:
        self.session = session
        self.as_json = as_json
        self._is_over = False
        self._handlers: dict[str, Callable[[], None]] = {
            "app.help": self._help,
            "app.quit": self._quit,
            "chat.clear": self._new,
            "chat.retry": lambda: self.ask(session.retry(session.contestants)),
            "chat.edit": self._edit,
            "chat.editor": self._write_in_editor,
            "chat.settings": self._settings,
            "chat.model": self._choose_model,
            "chat.add": self._add,
            "chat.remove": self._remove,
            "chat.vote": self._vote,
            "chat.blind": self._blind,
            "chat.statistics": self._statistics,
            "chat.correct": self._correct,
            "chat.continue": self._continue,
            "chat.chats": self._open,
            "chat.export": self._export,
        }

    # Asking

    def ask(self, panes: Iterable[Conversation]) -> None:
        """Have these panes answer what they have been asked. LuthierError if one cannot."""
        try:
            for pane in panes:
                assert pane.last is not None  # it has just been asked
                self._answer(pane, pane.last)
        finally:
            self.session.halt()  # Ctrl-C, or an error: what has come is all of it

    def _answer(self, pane: Conversation, answer: Answer) -> None:
        if not self.as_json:
            out.print(self.session.name(pane), style="bold")
        asyncio.run(self.session.streams.answer(answer, lambda: None))
        if not self.as_json:
            write("")
        match answer.state:
            case Complete(figures=figures):
                self._say_figures(answer, figures)
            case Failed(error=error):
                raise error
            case _:
                error = LuthierError(
                    "The answer broke off",
                    f"{answer.speaker.model} did not finish its answer.",
                    "The server's log (`luthier log -f`) says more.",
                )
                self.session.streams.fail(answer, error)
                raise error

    def _say_figures(self, answer: Answer, figures: Finished) -> None:
        if self.as_json:
            print_json_line(
                {
                    "model": answer.speaker.model,
                    "prompt": answer.turn.prompt,
                    "answer": answer.text,
                    **vars(figures),
                    "chat": self.session.chat.id,
                }
            )
            return
        speed = figures.tokens_per_second
        say_aside(
            f"first token {1000 * (figures.time_to_first_token or 0):.0f} ms ·"
            f" {figures.completion_tokens} tokens{f' · {speed:.0f} tok/s' if speed else ''} ·"
            f" {figures.reason}\n"
        )

    # What is typed

    def converse(self) -> None:
        """Questions and commands from a terminal, until its user has had enough. What fails is
        said, and the chat goes on."""
        say_aside("/help lists the commands, ctrl-D ends the chat.")
        while not self._is_over and (line := _typed_line()) is not None:
            try:
                self._take(line)
            except LuthierError as error:
                say_failure(error.title, error.message, error.hint)
            except click.Abort:
                talk.print("")
            except KeyboardInterrupt:
                say_aside("\nStopped. ctrl-D ends the chat.")

    def _take(self, line: str) -> None:
        from tui.chat.slash_commands import command_of, is_command, unknown

        if not is_command(line):
            if line.strip():
                self.ask(self.session.send(line.strip()))
            return
        action = command_of(line)
        if action is None:
            talk.print(unknown(line))
        elif action.id in self._handlers:
            self._handlers[action.id]()
        else:
            talk.print(f"{line} is for the app, which `luthier` starts. /help lists the others.")

    def _help(self) -> None:
        from tui.chat.slash_commands import slash_actions

        for name, action in slash_actions().items():
            if action.id in self._handlers:
                talk.print(styled("[bold]/$name[/]  $help", name=f"{name:<14}", help=action.help))
        say_aside("A blank before the slash sends the text to the models.")

    def _quit(self) -> None:
        self._is_over = True

    # In other words

    def _edit(self) -> None:
        turns = self.session.chat.turns
        if not turns:
            raise _nothing("edit", "No question has been asked yet.")
        prompt = _edited(turns[-1].prompt)
        if prompt:
            self.ask(self.session.edit(turns[-1], prompt))

    def _write_in_editor(self) -> None:
        prompt = _edited("")
        if prompt:
            write(prompt)
            self.ask(self.session.send(prompt))

    def _correct(self) -> None:
        pane = self._pane("Whose answer?")
        answer = pane.last
        if answer is None or self.session.chat.blind:
            raise _nothing("correct", "There is no answer yet whose model is known.")
        text = _edited(answer.text)
        if text and text != answer.text:
            self.session.correct(pane, answer, text)
            say_done("Corrected. The conversation continues from your words.")

    def _continue(self) -> None:
        answer = self._pane("From whose answer?").last
        if answer is None:
            raise _nothing("continue from", "There is no answer yet.")
        self.session.continue_from(answer)
        say_done(f"All models now continue from the answer of {self.session.name_of(answer)}.")

    # Chats, settings and models

    def _new(self) -> None:
        if self.session.can_clear:
            self.session.clear()
        say_done("New chat." if self.session.empty else "The last chat is back.")

    def _open(self) -> None:
        self.session.record.journal.flush(1.0)
        chats = searching.chats(limit=10)
        if not chats:
            raise _nothing("open", "No chat has been kept yet.")
        for chat in chats:
            talk.print(styled("[bold]$id[/]  $title", id=chat.id, title=chat.title))
        chat_id = ask_for("Which chat? (its id, or the end of it)", default="last")
        self.session.open(store.load(searching.find(chat_id)))
        say_done(f"Opened {self.session.chat.title or self.session.chat.id}.")

    def _export(self) -> None:
        path = Path(ask_for("File (.md or .jsonl)", default=f"{self.session.chat.id}.md"))
        exporting.export(self.session.chat, expanded(path).absolute())
        say_done(f"Written to {path}.")

    def _settings(self) -> None:
        settings = self.session.settings
        sampling = settings.sampling
        system = ask_for("System prompt (- for none)", default=settings.system)
        changed: dict[str, Any] = {
            "temperature": ask_for("Temperature", default=sampling.temperature, kind=TEMPERATURE),
            "top_p": ask_for("Top-p", default=sampling.top_p, kind=TOP_P),
            "max_tokens": ask_for("Max tokens", default=sampling.max_tokens, kind=MAX_TOKENS),
        }
        seed = ask_for("Seed (a number, or random)", default=str(sampling.seed or "random"))
        changed["seed"] = int(seed) if seed.isdecimal() else None
        self.session.use_settings(
            replace(
                settings,
                system=system.strip("- ") and system,
                sampling=replace(sampling, **changed),
            )
        )
        say_done("The next question uses these settings.")

    def _speaker(self) -> Speaker:
        server = self.session.reachable.server
        assert server is not None  # the command began with one
        speakers = {speaker.model: speaker for speaker in server.speakers}
        return speakers[choose("Which model?", list(speakers))]

    def _choose_model(self) -> None:
        self._check_names_are_seen()
        pane = self._pane("Instead of which model?")
        self.session.choose(pane, self._speaker())
        self._say_models()

    def _add(self) -> None:
        self._check_names_are_seen()
        self.session.add_pane(self._speaker())
        self._say_models()

    def _remove(self) -> None:
        self._check_names_are_seen()
        if len(self.session.panes) == 1:
            raise _nothing("remove", "The chat needs one model at least.")
        self.session.remove_pane(self._pane("Which model leaves?"))
        self._say_models()

    def _check_names_are_seen(self) -> None:
        if self.session.chat.blind:
            raise _nothing("choose", "The names are hidden: /blind shows them.")

    def _say_models(self) -> None:
        say_done(f"In the chat: {few([self.session.name(pane) for pane in self.session.panes])}.")

    def _pane(self, question: str) -> Conversation:
        """The pane that is meant; the only one, if there is one."""
        panes = self.session.panes
        if len(panes) == 1:
            return panes[0]
        for number, pane in enumerate(panes, 1):
            talk.print(f"  {number} {self.session.name(pane)}")
        return panes[int(choose(question, [str(n) for n in range(1, len(panes) + 1)])) - 1]

    # Votes

    def _vote(self) -> None:
        ballot = ballot_of(self.session)
        if ballot is None:
            raise _nothing("vote on", "A vote needs two complete answers to the last question.")
        choices = [letter.lower() for letter, _ in ballot.answers]
        for letter, answer in ballot.answers:
            talk.print(f"  {letter.lower()} {self.session.name_of(answer)}")
        choice = choose("Which answer is better?", [*choices, _TIE, _BAD])
        verdicts: dict[str, Verdict] = {_TIE: "tie", _BAD: "bad"}
        better = None if choice in verdicts else choice.upper()
        cast(self.session, ballot, verdicts.get(choice, "better"), better)
        say_done("Your vote is kept.")

    def _blind(self) -> None:
        session = self.session
        if session.blind_mode or session.chat.blind:
            session.show_names()
            session.blind_mode = False
            self._say_models()
        elif len(session.contestants) not in range(2, len(LETTERS) + 1):
            raise _nothing("hide", f"A blind chat has two to {len(LETTERS)} models.")
        else:
            session.hide_names()
            say_done(
                "Blind: the models are shuffled with the first question."
                if session.chat.blind
                else "Blind from the next chat on: /new begins it."
            )

    def _statistics(self) -> None:
        from serve.votes.report import full_report
        from tui.chat.vote_text import report_lines

        self.session.record.journal.flush(2.0)
        for line in report_lines(full_report()):
            out.print(line, soft_wrap=True)


def _nothing(verb: str, message: str) -> LuthierError:
    return LuthierError(f"Nothing to {verb}", message, "")


def _edited(text: str) -> str:
    """What was written in $EDITOR; empty if nothing was saved."""
    from tui.shared.text_editor import edit_text

    return (edit_text(text) or "").strip()


def questions() -> Iterable[str]:
    """Lines from a pipe, each a question: no command is read there."""
    for line in sys.stdin:
        if line.strip():
            yield line.strip()


def _typed_line() -> str | None:
    """A line from the terminal, which can be edited and recalled, with tab for commands; None at
    its end."""
    if not sys.stdout.isatty():  # readline would draw into the data
        talk.print("> ", end="")
        line = sys.stdin.readline()
        return line.removesuffix("\n") if line else None
    _complete_commands()
    try:
        return input("> ")
    except EOFError:
        talk.print("")
        return None


def _complete_commands() -> None:
    try:
        import readline
    except ImportError:  # Python was built without it: lines are typed as they are
        return
    from tui.chat.slash_commands import is_command, matches

    def candidates(text: str, index: int) -> str | None:
        names = [f"/{name}" for name in matches(text)] if is_command(text) else []
        return names[index] if index < len(names) else None

    readline.set_completer_delims("")
    readline.set_completer(candidates)
    readline.parse_and_bind("tab: complete")
