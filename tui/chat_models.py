"""Who could speak in a pane: models that are served, runs and checkpoints that the server can load, models of hosted endpoints."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import LuthierError
from jobs.job import Job, all_jobs
from serve import launch
from serve.chats.turns import Speaker
from serve.client import list_cards
from serve.endpoints import HostedEndpoint
from serve.servers import Server, running_servers
from tui.chat_server import ChatServer, Reachable
from tui.figures import age
from tui.joblist import has_adapter

_ASK_SECONDS = 10.0


@dataclass(frozen=True)
class Offer:
    """A speaker to choose. `load` is the adapter that the server must load first."""

    speaker: Speaker
    note: str
    load: Path | None = None


def offers(known: Reachable) -> list[Offer]:
    """What needs no network: served models, then what Luthier's server could load."""
    if known.server is None:
        return []
    served = [Offer(speaker, speaker.what) for speaker in known.server.speakers]
    return served + _loadable(known.server)


def hosted_offers(endpoint: HostedEndpoint) -> list[Offer]:
    """The models that an endpoint lists. LuthierError if it does not answer."""
    cards = asyncio.run(list_cards(endpoint.open(), _ASK_SECONDS))
    return [Offer(Speaker(card.id, "hosted", endpoint.name), endpoint.url) for card in sorted(cards, key=lambda card: card.id)]


def load(offer: Offer, server: ChatServer) -> Speaker:
    """Have the server load an adapter; whoever it is served as speaks."""
    assert offer.load is not None
    launch.attach(_running(server), offer.speaker.model, offer.load)
    return offer.speaker


def _running(server: ChatServer) -> Server:
    found = next((one for one in running_servers() if one.job.id == server.job_id), None)
    if found is None:
        raise LuthierError("The server is gone", f"{server.job_id} does not run any more.", "3 opens Serve: start one there.")
    return found


def _loadable(server: ChatServer) -> list[Offer]:
    """Adapters of runs of the same base model, the newest run first, each followed by its checkpoints."""
    try:
        base = _running(server).plan.base
    except LuthierError:  # it has just ended: what it served is told as gone when it is asked
        return []
    served = {Path(speaker.path).resolve() for speaker in server.speakers if speaker.path}
    taken = {speaker.model for speaker in server.speakers}
    found: list[Offer] = []
    for run in all_jobs("run"):
        if Path(str(run.spec.settings.get("model_directory", ""))).resolve() != base.resolve():
            continue
        for path, suffix in _adapters(run):
            if path.resolve() in served:
                continue
            name = next(name for name in (run.spec.name + suffix, run.id + suffix) if name not in taken or name.startswith(run.id))[:64]
            taken.add(name)
            speaker = Speaker(name, "checkpoint" if suffix else "tuned", run=run.id, path=str(path))
            found.append(Offer(speaker, f"{speaker.what}, {age(run.created)}: the server loads it", path))
    return found


def _adapters(run: Job) -> list[tuple[Path, str]]:
    """A run's adapter and its complete checkpoints, the newest first, with what their names get."""
    whole = [(run.directory / "adapter", "")] if has_adapter(run) else []
    steps = sorted((run.directory / "checkpoints").glob("step-*/COMPLETE"), reverse=True)
    return whole + [(mark.parent, f"-step-{int(mark.parent.name.removeprefix('step-'))}") for mark in steps]
