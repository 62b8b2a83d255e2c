"""`luthier data from-server`: a server's logged exchanges as a data file."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from jobs.counting import counted
from jobs.job import Job, find
from jobs.luthier_error import LuthierError
from serve.exchanges import log_files
from serve.servers import running_servers
from trainer.data.ledger import STATES, describe
from tui.commands.output import examples, json_option, out, plain_table, print_json, say_done
from tui.completion.name_parameter import Name
from workshop import logged_data
from workshop.logged_data import Filters, PrivateChoice

_TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]


@click.command(
    "from-server", epilog=examples("luthier data from-server --out logged.jsonl --model captain")
)
@click.argument("server", required=False, type=Name("server"))
@click.option(
    "--out",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The data file to write; its ledger goes beside it.",
)
@click.option("--model", default="", help="Keep only the answers of this model.")
@click.option(
    "--since", type=click.DateTime(_TIMES), help="Keep only answers from this time on (local time)."
)
@click.option("--until", type=click.DateTime(_TIMES), help="Keep only answers before this time.")
@click.option("--min-length", type=click.IntRange(0), help="Drop answers of fewer characters.")
@click.option("--max-length", type=click.IntRange(0), help="Drop answers of more characters.")
@click.option(
    "--duplicates",
    type=click.Choice(["drop", "keep"]),
    default="drop",
    show_default=True,
    help="What to do with an exchange that equals an earlier one.",
)
@click.option(
    "--private",
    type=click.Choice(["mask", "drop", "keep"]),
    default="mask",
    show_default=True,
    help="What to do with mail addresses, telephone numbers, cards, accounts, IP addresses and"
    " keys.",
)
@json_option
def from_server(
    server: str | None,
    target: Path,
    model: str,
    since: datetime | None,
    until: datetime | None,
    min_length: int | None,
    max_length: int | None,
    duplicates: str,
    private: PrivateChoice,
    as_json: bool,
) -> None:
    """Turn what a server has answered into a data file. The server must have been started with
    --log-content. SERVER is its id or name. Default: the running one.

    Every line of the log ends in one state, with a reason, in the ledger beside the file.
    """
    job = find(server, "server") if server else _running_server()
    logs = log_files(job.directory)
    filters = Filters(
        model,
        None if since is None else since.timestamp(),
        None if until is None else until.timestamp(),
        shortest=min_length,
        longest=max_length,
        keep_duplicates=duplicates == "keep",
        private=private,
    )
    data = logged_data.read_logs(logs, filters)
    summary = data.summary
    reasons = summary.reasons.get("dropped", {})
    if not data.rows:
        why = ", ".join(f"{count:,} {describe(code)}" for code, count in reasons.items())
        hint = (
            "`luthier serve ... --log-content` logs the texts from then on."
            if "no_content" in reasons or not logs
            else "Try other filters."
        )
        raise LuthierError(
            "Nothing to keep",
            f"The log of {job.id} has nothing to keep: {why or 'it is empty'}.",
            hint,
        )
    ledger = logged_data.write(data, target)
    if as_json:
        print_json({"path": str(target.absolute()), "ledger": str(ledger), **summary.to_json()})
        return
    table = plain_table("state", ">lines", "reasons")
    for state in STATES:
        codes = summary.reasons.get(state, {})
        words = "; ".join(f"{describe(code)}: {count:,}" for code, count in codes.items())
        table.add_row(state, f"{summary.rows[state]:,}", words)
    out.print(table)
    say_done(f"{counted(len(data.rows), 'conversation')} in {target}", f"the ledger: {ledger.name}")


def _running_server() -> Job:
    servers = running_servers()
    if not servers:
        raise LuthierError(
            "No server is running",
            "Which server's log should become data?",
            "Name one: `luthier data from-server SERVER --out FILE`. `luthier runs --all` lists"
            " servers, stopped ones too.",
        )
    return servers[0].job
