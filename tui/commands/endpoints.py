"""`luthier endpoints`: hosted OpenAI-compatible endpoints, so that their models can be compared
too."""

from __future__ import annotations

import asyncio

import click

from jobs.luthier_error import LuthierError
from jobs.near import did_you_mean
from models import endpoints as hosted
from models.endpoints import HostedEndpoint
from serve.client import list_models
from tui.commands.output import examples, json_option, out, plain_table, print_json, talk
from tui.completion.name_parameter import Name


@click.group(invoke_without_command=True, epilog=examples("luthier endpoints"))
@json_option
@click.pass_context
def endpoints(context: click.Context, as_json: bool) -> None:
    """List the endpoints in config.toml: their addresses and where the keys are. Luthier never
    stores a key itself."""
    if context.invoked_subcommand is not None:
        return
    configured = hosted.hosted_endpoints()
    if as_json:
        print_json([vars(endpoint) for endpoint in configured])
        return
    if not configured:
        talk.print(
            "No endpoints yet. `luthier endpoints add openai https://api.openai.com/v1 --key-env"
            " OPENAI_API_KEY` adds one."
        )
        return
    table = plain_table("name", "address", "key")
    for endpoint in configured:
        table.add_row(
            endpoint.name,
            endpoint.url,
            endpoint.key_file or (f"${endpoint.key_env}" if endpoint.key_env else "none"),
        )
    out.print(table)


@endpoints.command(
    epilog=examples(
        "luthier endpoints add openai https://api.openai.com/v1 --key-env OPENAI_API_KEY"
    )
)
@click.argument("name", type=Name("endpoint"))
@click.argument("url")
@click.option(
    "--key-env",
    default="",
    metavar="VARIABLE",
    help="The environment variable that holds the key.",
)
@click.option(
    "--key-file",
    default="",
    metavar="FILE",
    help="The file that holds the key; nobody but you may be able to read it.",
)
def add(name: str, url: str, key_env: str, key_file: str) -> None:
    """Add an endpoint, or change one."""
    endpoint = HostedEndpoint(name, url, key_env, key_file)
    hosted.add(endpoint)
    if endpoint.warning:
        talk.print(endpoint.warning, style="yellow")
    talk.print(
        f"{name} is ready: press m on the Chat screen, or run `luthier endpoints models {name}`."
    )


@endpoints.command(epilog=examples("luthier endpoints remove openai"))
@click.argument("name", type=Name("endpoint"))
def remove(name: str) -> None:
    """Remove an endpoint."""
    hosted.remove(name)
    talk.print(f"{name} is forgotten.")


@endpoints.command(epilog=examples("luthier endpoints models openai"))
@click.argument("name", type=Name("endpoint"))
@json_option
def models(name: str, as_json: bool) -> None:
    """List the models of an endpoint."""
    endpoint = next(
        (
            hosted_endpoint
            for hosted_endpoint in hosted.hosted_endpoints()
            if hosted_endpoint.name == name
        ),
        None,
    )
    if endpoint is None:
        raise LuthierError(
            "No such endpoint",
            f"config.toml has no endpoint named {name!r}.",
            f"{did_you_mean(name, [each.name for each in hosted.hosted_endpoints()])}"
            "`luthier endpoints` lists them.",
        )
    model_names = sorted(asyncio.run(list_models(endpoint.open())))
    if as_json:
        print_json(model_names)
    else:
        out.print("\n".join(model_names))
