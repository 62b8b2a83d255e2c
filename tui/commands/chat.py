"""`luthier chat`: the same question to several models of the running server."""

from __future__ import annotations

import sys

import click

from jobs.home import jobs_directory
from jobs.job import Job
from jobs.luthier_error import LuthierError
from jobs.near import did_you_mean
from models.runs import Run
from serve.chats.journal import Journal
from serve.chats.store import Chat, Record
from serve.chats.turns import ChatSettings, Conversation
from serve.client import Sampling, stream_chat
from serve.servers import Server, current_server
from tui.commands.certify import say_if_red
from tui.commands.output import examples, json_option, say_aside, talk
from tui.commands.plain_chat import (
    MAX_TOKENS,
    TEMPERATURE,
    TOP_P,
    PlainChat,
    printing,
    questions,
)
from tui.completion.name_parameter import Name
from workshop.chat.server import Reachable, as_seen, speaker_of
from workshop.chat.session import ChatSession
from workshop.chat_with_run import system_prompt_of


@click.command(
    epilog=examples(
        "luthier chat",
        'luthier chat base captain -p "Hello"',
        "luthier chat captain --json < questions.txt",
    )
)
@click.argument("models", nargs=-1, metavar="[MODEL]...", type=Name("served model"))
@click.option("--prompt", "-p", help="Ask this one question. Without it, start a conversation.")
@click.option(
    "--system",
    help="System prompt for all models (default: the one that all data of the asked runs has).",
)
@click.option("--temperature", type=TEMPERATURE, default=0.7, show_default=True)
@click.option("--top-p", type=TOP_P, default=0.95, show_default=True)
@click.option("--max-tokens", type=MAX_TOKENS, default=256, show_default=True)
@click.option("--seed", type=int, help="The seed for all models.")
@json_option
def chat(
    models: tuple[str, ...],
    prompt: str | None,
    system: str | None,
    temperature: float,
    top_p: float,
    max_tokens: int,
    seed: int | None,
    as_json: bool,
) -> None:
    """Chat with the models of the running server, side by side (default: the base and every tuned
    model).

    At a terminal, enter sends a question and tab completes the commands of the app's chat: /help
    lists them, /editor opens $EDITOR for a long question. From a pipe, each line is a question.
    """
    server = current_server()
    names = _names(server, models)
    say_if_red(
        {
            model.id: jobs_directory() / model.run
            for model in server.models
            if model.run is not None and model.id in names
        }
    )
    journal = Journal(
        lambda problem: (
            talk.print(f"Not saved: {problem.message}", style="red") if problem else None
        )
    )
    session = ChatSession(Record(journal), stream=stream_chat if as_json else printing)
    session.reachable = Reachable(as_seen(server))
    speakers = {model.id: speaker_of(model) for model in server.models}
    settings = ChatSettings(
        _of_data(server, names) if system is None else system,
        Sampling(temperature=temperature, top_p=top_p, max_tokens=max_tokens, seed=seed),
    )
    session.chat = Chat(panes=[Conversation(speakers[name]) for name in names], settings=settings)
    plain_chat = PlainChat(session, as_json=as_json)
    try:
        if prompt is None and sys.stdin.isatty():
            plain_chat.converse()
        else:
            for question in [prompt] if prompt is not None else questions():
                plain_chat.ask(session.send(question))
    finally:
        journal.close()


def _of_data(server: Server, names: list[str]) -> str:
    """The system prompt that the tuned models were trained with."""
    asked = [model for model in server.models if model.id in names and model.run is not None]
    system = system_prompt_of(Run(Job(jobs_directory() / str(model.run))) for model in asked)
    if system:
        first_line = system.strip().splitlines()[0]
        say_aside(f'System prompt of the data: {first_line} (--system "" asks without it)')
    return system


def _names(server: Server, model_names: tuple[str, ...]) -> list[str]:
    """The models to ask. The base has two names: only `base` is asked by itself."""
    served = {model.id: model for model in server.models}
    for name in model_names:
        if name not in served:
            raise LuthierError(
                "The server has no such model",
                f"{name!r} is not one of: {', '.join(served)}.",
                f"{did_you_mean(name, served)}`luthier serve RUN` adds a run.",
            )
    return list(model_names) or [
        "base",
        *(model.id for model in server.models if model.kind == "adapter"),
    ]
