"""Who could speak in a pane: models that are served, runs and checkpoints that the server can load,
models of hosted endpoints."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path

from jobs.luthier_error import LuthierError
from models.endpoints import HostedEndpoint
from models.run_folder import is_checkpoint
from serve import launch
from serve.chats.turns import Speaker, SpeakerKind
from serve.client import list_cards
from serve.plan import run_of
from serve.servers import Server, running_servers
from workshop.chat.server import ChatServer, Reachable
from workshop.served_runs import loadable

_ASK_SECONDS = 10.0


@dataclass(frozen=True)
class Offer:
    """A speaker to choose."""

    speaker: Speaker
    note: str
    load: Path | None = None
    """The adapter that the server must load first."""


def offers(reachable: Reachable) -> list[Offer]:
    """What needs no network: served models, then what Luthier's server could load."""
    if reachable.server is None:
        return []
    served = [Offer(speaker, speaker.what) for speaker in reachable.server.speakers]
    return served + _loadable(reachable.server)


def hosted_offers(endpoint: HostedEndpoint) -> list[Offer]:
    """The models that an endpoint lists. LuthierError if it does not answer."""
    cards = asyncio.run(list_cards(endpoint.open(), _ASK_SECONDS))
    return [
        Offer(Speaker(card.id, "hosted", endpoint.name), endpoint.url)
        for card in sorted(cards, key=lambda card: card.id)
    ]


def load(offer: Offer, server: ChatServer) -> Speaker:
    """Have the server load an adapter; whoever it is served as speaks."""
    assert offer.load is not None
    return replace(
        offer.speaker, model=launch.attach(_running(server), offer.speaker.model, offer.load)
    )


def _running(server: ChatServer) -> Server:
    for running in running_servers():
        if running.job.id == server.job_id:
            return running
    raise LuthierError(
        "The server is gone",
        f"{server.job_id} is no longer running.",
        "Press 3 to open Serve and start one there.",
    )


def _loadable(server: ChatServer) -> list[Offer]:
    """Adapters and checkpoints of runs of the same base model."""
    try:
        running = _running(server)
    except LuthierError:  # it has just ended: what it served is told as gone when it is asked
        return []
    offers = []
    for choice in loadable(running):
        kind: SpeakerKind = "checkpoint" if is_checkpoint(choice.path) else "tuned"
        speaker = Speaker(choice.name, kind, run=run_of(choice.path), path=str(choice.path))
        offers.append(Offer(speaker, f"{choice.note}; the server will load it", choice.path))
    return offers
