"""`luthier chat`: the same question to several models of the running server."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator

import click

from jobs.home import jobs_directory
from jobs.luthier_error import LuthierError
from serve.chats.journal import Journal
from serve.chats.store import Chat, Record
from serve.chats.turns import (
    Answer,
    ChatSettings,
    Complete,
    Conversation,
    Failed,
    Speaker,
    SpeakerKind,
    Turn,
    new_id,
)
from serve.client import Delta, Endpoint, Finished, Sampling, stream_chat
from serve.servers import Server, current_server
from tui.commands.certify import say_if_red
from tui.commands.output import examples, json_option, out, print_json_line, say_aside, talk, write


@click.command(epilog=examples("luthier chat", 'luthier chat base captain -p "Hello"'))
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option(
    "--prompt",
    "-p",
    help=(
        "Ask this one question. Without it, start a conversation: one question per line, ctrl-D"
        " ends it."
    ),
)
@click.option("--system", default="", help="System prompt for all models.")
@click.option("--temperature", type=click.FloatRange(0, 2), default=0.7, show_default=True)
@click.option(
    "--top-p", type=click.FloatRange(0, 1, min_open=True), default=0.95, show_default=True
)
@click.option("--max-tokens", type=click.IntRange(min=1), default=256, show_default=True)
@click.option("--seed", type=int, help="The seed for all models.")
@json_option
def chat(
    models: tuple[str, ...],
    prompt: str | None,
    system: str,
    temperature: float,
    top_p: float,
    max_tokens: int,
    seed: int | None,
    as_json: bool,
) -> None:
    """Chat with the models of the running server, side by side (default: the base and every tuned
    model)."""
    server = current_server()
    names = _names(server, models)
    say_if_red(
        {
            model.id: jobs_directory() / model.run
            for model in server.models
            if model.run is not None and model.id in names
        }
    )
    settings = ChatSettings(
        system, Sampling(temperature=temperature, top_p=top_p, max_tokens=max_tokens, seed=seed)
    )
    journal = Journal(
        lambda problem: (
            talk.print(f"Not saved: {problem.message}", style="red") if problem else None
        )
    )
    record = Record(journal)
    kinds: dict[str, SpeakerKind] = {
        model.id: "base" if model.kind == "base" else "tuned" for model in server.models
    }
    served = {model.id: model for model in server.models}
    speakers = [
        Speaker(name, kinds[name], run=served[name].run, path=str(served[name].path))
        for name in names
    ]
    kept = Chat(panes=[Conversation(speaker) for speaker in speakers], settings=settings)
    try:
        for number, question in enumerate(
            [prompt] if prompt is not None else _questions(), start=1
        ):
            turn = Turn(new_id(), number, ({"role": "user", "content": question},), settings)
            for pane in kept.panes:
                _ask(server, kept, pane, turn, record, as_json)
    finally:
        journal.close()


def _ask(
    server: Server, kept: Chat, pane: Conversation, turn: Turn, record: Record, as_json: bool
) -> None:
    """Have one model answer, printed and written down as it comes."""
    answer = pane.begin(turn)
    record.begun(kept, [answer])
    if not as_json:
        out.print(answer.speaker.model, style="bold")
    try:
        finished = asyncio.run(_answer(server.endpoint, answer, record, quiet=as_json))
    except LuthierError as error:
        answer.state = Failed(error)
        raise
    finally:
        answer.halt()  # Ctrl-C: what has come is all of it
        record.ended(answer)
    if as_json:
        print_json_line(
            {
                "model": answer.speaker.model,
                "prompt": turn.prompt,
                "answer": answer.text,
                **vars(finished),
                "chat": kept.id,
            }
        )
    else:
        speed = finished.tokens_per_second
        note = (
            f"first token {1000 * (finished.time_to_first_token or 0):.0f} ms ·"
            f" {finished.completion_tokens} tokens"
        )
        say_aside(f"{note}{f' · {speed:.0f} tok/s' if speed else ''} · {finished.reason}\n")


def _names(server: Server, model_names: tuple[str, ...]) -> list[str]:
    """The models to ask. The base has two names: only `base` is asked by itself."""
    served = {model.id: model for model in server.models}
    for name in model_names:
        if name not in served:
            raise LuthierError(
                "The server has no such model",
                f"{name!r} is not one of: {', '.join(served)}.",
                "`luthier serve RUN` adds a run.",
            )
    return list(model_names) or [
        "base",
        *(model.id for model in server.models if model.kind == "adapter"),
    ]


def _questions() -> Iterator[str]:
    """Lines from the terminal (with a prompt) or from a pipe."""
    while True:
        if sys.stdin.isatty():
            talk.print("> ", end="")
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.strip()


async def _answer(endpoint: Endpoint, answer: Answer, record: Record, *, quiet: bool) -> Finished:
    finished: Finished | None = None
    async for piece in stream_chat(
        endpoint, answer.speaker.model, answer.context(), answer.turn.settings.sampling
    ):
        match piece:
            case Delta():
                answer.add(piece)
                record.grew(answer, piece.text, piece.reasoning)
                if not quiet:
                    write(piece.text, end="")
            case Finished():
                finished = piece
    if not quiet:
        write("")
    if finished is None:
        raise LuthierError(
            "The answer broke off",
            f"{answer.speaker.model} did not finish its answer.",
            "The server's log (`luthier log -f`) says more.",
        )
    answer.state = Complete(finished)
    return finished
