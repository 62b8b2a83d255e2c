"""What the chat screen can talk to: the newest of Luthier's servers with its models, and the hosted
endpoints of config.toml."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from jobs.luthier_error import LuthierError
from models.endpoints import HostedEndpoint, hosted_endpoints
from models.run_folder import is_checkpoint
from models.standing import NO_CERTIFICATE, Standing
from serve.chats.turns import Speaker, SpeakerKind
from serve.client import Endpoint, list_cards
from serve.servers import ServedModel, Server, running_servers
from workshop.servers import standings_of

_ASK_SECONDS = 10.0


@dataclass(frozen=True)
class ChatServer:
    """A server and who speaks on it."""

    endpoint: Endpoint
    speakers: tuple[Speaker, ...]
    """The base model first."""
    context_length: int | None = None
    """In tokens; None where it is not known."""
    job_id: str = ""
    standings: Mapping[str, Standing] = field(default_factory=dict)
    """The certificates of the tuned models, by their names."""

    def default_speakers(self) -> tuple[Speaker, Speaker]:
        """The base model, and the first tuned one beside it."""
        base = self.speakers[0]
        return base, next((speaker for speaker in self.speakers if speaker.kind != "base"), base)


@dataclass(frozen=True)
class Reachable:
    """Everything that can be asked now."""

    server: ChatServer | None = None
    hosted: tuple[HostedEndpoint, ...] = ()
    problem: str = ""
    """What in the settings keeps hosted endpoints away."""

    def __bool__(self) -> bool:
        return self.server is not None or bool(self.hosted)

    def asked_as(self, speaker: Speaker) -> tuple[Endpoint, str]:
        """Where a speaker is asked, and under which name. LuthierError if it cannot be reached
        now."""
        if speaker.where:
            hosted = next((host for host in self.hosted if host.name == speaker.where), None)
            if hosted is None:
                message = f"config.toml has no endpoint named {speaker.where!r}."
                raise LuthierError(
                    "No such endpoint",
                    message,
                    f"`luthier endpoints add {speaker.where} URL` adds it.",
                )
            return hosted.open(), speaker.model
        if self.server is None:
            raise LuthierError(
                "No server is running",
                f"No running server has {speaker.model}.",
                "Press 3 to open Serve and start one there.",
            )
        # An older chat may name a model that is served under another name by now, or whose name
        # another one has.
        served = next(
            (
                other
                for other in self.server.speakers
                if other.path == speaker.path and (other.path or other.model == speaker.model)
            ),
            None,
        )
        if served is None:
            message = f"The running server has no {speaker.model}" + (
                f" of {speaker.run}." if speaker.run else "."
            )
            raise LuthierError(
                "The model is not being served",
                message,
                "Choose another model for this pane, or load it into the server.",
            )
        return self.server.endpoint, served.model

    def context_length(self, speaker: Speaker | None) -> int | None:
        return (
            self.server.context_length
            if self.server is not None and speaker is not None and not speaker.where
            else None
        )

    def standing(self, speaker: Speaker | None) -> Standing:
        """What may be said of a speaker's certificate."""
        if self.server is None or speaker is None or speaker.where:
            return NO_CERTIFICATE
        return self.server.standings.get(speaker.model, NO_CERTIFICATE)


def newest_server() -> ChatServer | None:
    """The newest of Luthier's servers that are ready; None when there is none."""
    return next((as_seen(server) for server in running_servers()), None)


def server_of_job(job_id: str) -> ChatServer | None:
    """The server of this job; if it does not run any more, the newest."""
    return (
        next((as_seen(server) for server in running_servers() if server.job.id == job_id), None)
        or newest_server()
    )


def as_seen(server: Server) -> ChatServer:
    """A server with its speakers, the base model first."""
    # one name each: the first
    bases = {model.path: model for model in reversed(server.models) if model.kind == "base"}
    tuned = [model for model in server.models if model.kind == "adapter"]
    speakers = tuple(speaker_of(model) for model in [*bases.values(), *tuned])
    length, standings = server.context_length, standings_of(server.models)
    return ChatServer(server.endpoint, speakers, length, server.job.id, standings)


def reachable(server: ChatServer | None, before: Reachable) -> Reachable:
    """What can be asked. For a thread, as `with_context_length`."""
    problem = ""
    hosted: tuple[HostedEndpoint, ...] = ()
    try:
        hosted = tuple(hosted_endpoints())
    except LuthierError as error:
        problem = f"{error.title}: {error.message}"
    if server is not None:
        server = with_context_length(server, before)
    return Reachable(server, hosted, problem)


def with_context_length(server: ChatServer, before: Reachable) -> ChatServer:
    """With the context length that the server reports where its plan left it open. The server is
    asked once, so this is for a thread."""
    if server.context_length is not None or not server.job_id:
        return server
    if before.server is not None and before.server.job_id == server.job_id:
        return replace(server, context_length=before.server.context_length)
    return replace(server, context_length=_asked_length(server))


def _asked_length(server: ChatServer) -> int | None:
    try:
        cards = asyncio.run(list_cards(server.endpoint, _ASK_SECONDS))
    except LuthierError:  # it says why when it is asked for an answer
        return None
    return next((card.context_length for card in cards if card.context_length), None)


def speaker_of(model: ServedModel) -> Speaker:
    """Who speaks by a name of the server's."""
    return Speaker(model.id, _kind(model), run=model.run, path=str(model.path))


def _kind(model: ServedModel) -> SpeakerKind:
    if model.kind == "base":
        return "base"
    return "checkpoint" if is_checkpoint(model.path) else "tuned"
