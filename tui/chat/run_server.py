"""Talking to a run's model with one key: its server is started or found, it loads the adapter, and
both sides are chosen."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from textual.content import Content

from jobs.job import Job
from jobs.luthier_error import LuthierError
from jobs.state import Queued, Starting
from serve.chats.turns import Speaker
from tui.chat.speakers import Speakers
from tui.chat.view import ChatView
from workshop import number_format
from workshop.chat.server import ChatServer, server_of_job
from workshop.chat.session import ChatSession

_NO_SERVER = Content.from_markup("""[b]No server is running[/]

Base and tuned models talk here, side by side, once one is.

[$primary]3[/] opens Serve: start one there, and come back with [$primary]4[/].
[$primary]/[/] opens the chats of before, [$primary]m[/] names a hosted endpoint.""")


class RunServer:
    """The server of a run that is to be talked to. Of several runs the last one counts: the server
    of another may still have been starting."""

    def __init__(self, session: ChatSession, view: ChatView, speakers: Speakers) -> None:
        self._session = session
        self._view = view
        self._speakers = speakers
        self.job: Job | None = None
        """The server that is waited for, while it is."""
        self._expected_run = ""
        """The id of the run; empty once it is talked to, or cannot be."""

    def expect(self, run: Job) -> None:
        """Have the tuned model of this run speak beside its base, as soon as that can be."""
        self._expected_run, self.job = run.id, None
        self._view.show_offered()
        self._view.in_thread(
            lambda: self._wait(run), lambda end: end(), group="expect", exclusive=True
        )

    def _wait(self, run: Job) -> Callable[[], None]:
        """In a thread: wait for the server, and have it load the run's adapter. Gives back what is
        to be done then."""
        from models.runs import Run
        from workshop.chat_with_run import have_it_serve, server_job
        from workshop.servers import once_ready

        try:
            job = server_job(Run(run))
            self._view.call_later(self._server_chosen, run, job)
            server = once_ready(job)
            name = have_it_serve(server, Run(run))
            speaker_and_server = _speaker(server.job.id, name)
        except LuthierError as error:
            return partial(self._failed, run, error)
        return partial(self._served, run, *speaker_and_server)

    def _server_chosen(self, run: Job, job: Job) -> None:
        """It may still be starting."""
        if run.id == self._expected_run:
            self.job = job
            self._speakers.follow(job.id)
            self._view.show_offered()

    def _failed(self, run: Job, error: LuthierError) -> None:
        if run.id == self._expected_run:
            self._expected_run, self.job = "", None
            self._view.show_offered()
            self._view.show_failure(error)

    def _served(self, run: Job, tuned: Speaker, server: ChatServer) -> None:
        """Base and tuned model (or the one model that there is), in a new chat if others have
        talked in this one."""
        if run.id != self._expected_run:
            return
        self._expected_run, self.job = "", None
        speakers = list(dict.fromkeys([server.speakers[0], tuned]))
        session = self._session
        if not session.empty and [pane.speaker for pane in session.panes] != speakers:
            session.clear()
        for position, speaker in enumerate(speakers):
            self._speakers.put(position, speaker, server)
        self._view.prompt.focus()

    def status(self) -> Content:
        """What stands where nobody can be asked yet."""
        if self.job is None:
            looking = self._expected_run or not self._speakers.looked
            return Content("Looking for a server…") if looking else _NO_SERVER
        match self.job.state():
            case Starting(since=since, phase=phase):
                passed = number_format.duration(number_format.now() - since)
                now = f"{phase}, {passed} since it began"
            case Queued(waits_for=waits_for):
                now = f"waits for {waits_for or 'its turn'}"
            case _:
                now = "loads the tuned model"
        return Content.from_markup(
            "[b]The server of $name[/]\n\n$now\n\nThe chat opens by itself. [$primary]3[/] shows"
            " the server.",
            name=self.job.spec.name,
            now=now,
        )


def _speaker(server_job_id: str, model: str) -> tuple[Speaker, ChatServer]:
    """Who speaks under this name on a server. LuthierError if it has ended."""
    server = server_of_job(server_job_id)
    if server is not None:
        for speaker in server.speakers:
            if speaker.model == model:
                return speaker, server
    raise LuthierError(
        "The server is gone", f"{server_job_id} has ended.", "3 opens Serve: it says why."
    )
