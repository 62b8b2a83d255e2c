"""Talking to a run's model with one key: its server is started or found, it loads the adapter, and
both sides are chosen."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from textual.content import Content
from textual.message import Message

from jobs.errors import LuthierError
from jobs.job import Job
from jobs.state import Queued, Starting
from serve.chats.turns import Speaker
from tui.chat.chat_base import NO_SERVER, ChatBase
from workshop import number_format
from workshop.chat.server import ChatServer, reachable, server_of_job
from workshop.chat.session import MOST_PANES

if TYPE_CHECKING:
    from serve.servers import Server


@dataclass
class SpeakerLoaded(Message):
    """The server has an adapter that it had not. `position` is the pane in which it is to speak."""

    position: int
    speaker: Speaker
    server: ChatServer | None


@dataclass
class RunServed(Message):
    """A server has the run's adapter under the name of `speaker`."""

    run: Job
    server: ChatServer
    speaker: Speaker


@dataclass
class ServerChosen(Message):
    """The server that is to have it; it may still be starting."""

    run: Job
    job: Job


@dataclass
class NotServed(Message):
    run: Job
    error: LuthierError


class ChatRun(ChatBase):
    """The server that is waited for is shown in the place of "no server". Of several runs that were
    to be talked to, the last one counts: the server of another may still have been starting."""

    awaited: Job | None = None
    looking = False
    _expected = ""

    def expect(self, run: Job) -> None:
        """Have the tuned model of this run speak beside its base, as soon as that can be."""
        self.looking, self._expected = True, run.id
        self.awaited = None
        self.show_awaited()
        self.in_background(lambda: self._served(run), group="expect", exclusive=True)

    def _served(self, run: Job) -> Message:
        from models.runs import Run
        from workshop.chat_with_run import have_it_serve, server_job
        from workshop.servers import once_ready

        try:
            job = server_job(Run(run))
            self.post_message(ServerChosen(run, job))
            server = once_ready(job)
            name = have_it_serve(server, Run(run))
            return self._found(run, server, name)
        except LuthierError as error:
            return NotServed(run, error)

    def _found(self, run: Job, server: Server, name: str) -> Message:
        seen = server_of_job(server.job.id)
        speaker = (
            None
            if seen is None
            else next((one for one in seen.speakers if one.model == name), None)
        )
        if seen is None or speaker is None:
            raise LuthierError(
                "The server is gone", f"{server.job.id} has ended.", "3 opens Serve: it says why."
            )
        return RunServed(run, seen, speaker)

    def on_server_chosen(self, message: ServerChosen) -> None:
        if message.run.id != self._expected:
            return
        self.awaited = message.job
        self._find_server = partial(server_of_job, message.job.id)
        self.show_awaited()

    def on_not_served(self, message: NotServed) -> None:
        if message.run.id != self._expected:
            return
        self.awaited, self.looking = None, False
        self.show_awaited()
        self.app.show_failure(message.error)

    def show_awaited(self) -> None:
        if self.is_mounted:
            self.show_offered()

    def on_run_served(self, message: RunServed) -> None:
        """Base and tuned model (or the one model that there is), in a new chat if others have
        talked in this one."""
        if message.run.id != self._expected:
            return
        self.awaited, self.looking = None, False
        wanted = list(dict.fromkeys([message.server.speakers[0], message.speaker]))
        if not self.session.empty and [pane.speaker for pane in self.session.panes] != wanted:
            self.session.clear()
        for position, speaker in enumerate(wanted):
            self.on_speaker_loaded(SpeakerLoaded(position, speaker, message.server))
        self.prompt.focus()

    def on_speaker_loaded(self, message: SpeakerLoaded) -> None:
        speaker, server = message.speaker, message.server
        # it knows the model by the folder that it has loaded
        if server is not None and not speaker.where:
            speaker = next((one for one in server.speakers if one.model == speaker.model), speaker)
            self.reachable = reachable(server, self.reachable)
        if message.position < len(self.session.panes):
            self.session.choose(self.session.panes[message.position], speaker)
        elif len(self.session.panes) < MOST_PANES:
            self.session.add_pane(speaker)
        self.show_offered()

    def nobody(self) -> Content:
        """What stands where nobody can be asked."""
        if self.awaited is None:
            return (
                NO_SERVER if self.looked and not self.looking else Content("Looking for a server…")
            )
        state = self.awaited.state()
        match state:
            case Starting(since=since, phase=phase):
                now = (
                    f"{phase}, {number_format.duration(number_format.now() - since)} since it began"
                )
            case Queued(waits_for=waits_for):
                now = f"waits for {waits_for or 'its turn'}"
            case _:
                now = "loads the tuned model"
        return Content.from_markup(
            "[b]The server of $name[/]\n\n$now\n\nThe chat opens by itself. [$primary]3[/] shows"
            " the server.",
            name=self.awaited.spec.name,
            now=now,
        )
