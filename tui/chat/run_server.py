"""Talking to a run's model with one key: its server is started or found, it loads the adapter, and
both sides are chosen, the base or another run's model on the left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from textual.content import Content

from jobs.job import Job
from jobs.luthier_error import LuthierError
from jobs.state import Done, Queued, Starting, Stopped
from models.runs import Run
from serve.chats.turns import Speaker
from tui.chat.speakers import Speakers
from tui.chat.view import ChatView
from tui.key_bindings import key_of, with_keys
from tui.shared.steady_text import SteadyText
from workshop import number_format
from workshop.chat.server import ChatServer, server_of_job, with_context_length
from workshop.chat.session import ChatSession
from workshop.job_list import JobRow, newest_server

_OTHER_WAYS = (
    "\n\n{chat.model} chats with a hosted endpoint   {chat.chats} opens an earlier chat"
    "   {app.serve} starts a server"
)
_NO_RUN = (
    "\n\nBase and tuned models talk here, side by side, once a run is done.\n\n{app.home} begins"
    " with a data file or with the demo."
)

_Runs = tuple[Job, ...]
"""The run that is to be talked to; before it the one that it was compared with, if that is not the
base."""


class RunServer:
    """The server of a run that is to be talked to. Of several runs the last one counts: the server
    of another may still have been starting."""

    def __init__(self, session: ChatSession, view: ChatView, speakers: Speakers) -> None:
        self._session = session
        self._view = view
        self._speakers = speakers
        self.job: Job | None = None
        """The server that is waited for, while it is."""
        self._expected: _Runs = ()
        """Empty once they are talked to, or cannot be."""
        self._starting: JobRow | None = None
        """A server that is starting, whoever began it."""
        self.newest_run: JobRow | None = None
        """The newest run that has left something to talk to."""
        self._system_of_data = ""
        """The system prompt that a run's data has given the chat."""
        self.status_text = SteadyText(id="no-server")

    def jobs_changed(self, rows: list[JobRow]) -> None:
        """See which run can be talked to, and whether a server is on its way."""
        server = newest_server(rows)
        is_starting = server is not None and isinstance(server.state, Starting | Queued)
        self._starting = server if is_starting else None
        runs = (row for row in rows if row.kind == "run" and isinstance(row.state, Done | Stopped))
        self.newest_run = next((row for row in runs if Run(row.job).can_talk), None)
        self.show_status()

    @property
    def can_talk(self) -> bool:
        """Whether there is a run to talk to, and nothing is awaited for it yet."""
        return self.newest_run is not None and not self._expected

    def talk(self) -> None:
        """Talk to the newest run."""
        if self.newest_run is not None:
            self.expect(self.newest_run.job)

    def expect(self, run: Job, against: Job | None = None) -> None:
        """Have the tuned model of this run speak beside its base, or beside that of another run, as
        soon as that can be."""
        runs = (run,) if against is None else (against, run)
        self._expected, self.job = runs, None
        self._view.show_offered()
        self._view.in_thread(
            lambda: self._wait(runs), lambda end: end(), group="expect", exclusive=True
        )

    def _wait(self, jobs: _Runs) -> Callable[[], None]:
        """In a thread: wait for the server, and have it load the runs' adapters. Gives back what is
        to be done then."""
        from workshop.chat_with_run import have_it_serve, server_job, system_prompt_of
        from workshop.servers import once_ready

        runs = [Run(job) for job in jobs]
        try:
            job = server_job(*runs)
            self._view.call_later(self._server_chosen, jobs, job)
            server = once_ready(job)
            # an adapter that it has loaded may have the name of the next one
            names = [have_it_serve(server.refreshed(), run) for run in runs]
            speakers, chat_server = _speakers(server.job.id, names)
            chat_server = with_context_length(chat_server, self._session.reachable)
        except LuthierError as error:
            return partial(self._failed, jobs, error)
        return partial(self._served, jobs, system_prompt_of(runs), speakers, chat_server)

    def _server_chosen(self, runs: _Runs, job: Job) -> None:
        """It may still be starting."""
        if runs == self._expected:
            self.job = job
            self._speakers.follow(job.id)
            self._view.show_offered()

    def _failed(self, runs: _Runs, error: LuthierError) -> None:
        if runs == self._expected:
            self._expected, self.job = (), None
            self._view.show_offered()
            self._view.show_failure(error)

    def _served(self, runs: _Runs, system: str, tuned: list[Speaker], server: ChatServer) -> None:
        """Both models of two runs; else base and tuned model (or the one model that there is). In a
        new chat if others have talked in this one, which begins with the system prompt of their
        data."""
        if runs != self._expected:
            return
        self._expected, self.job = (), None
        speakers = tuned
        if len(tuned) == 1:
            speakers = list(dict.fromkeys([server.speakers[0], *tuned]))
        session = self._session
        if not session.empty and [pane.speaker for pane in session.panes] != speakers:
            session.clear()
        self._begin_with(system)
        for position, speaker in enumerate(speakers):
            self._speakers.put(position, speaker, server)
        self._view.prompt.focus()

    def _begin_with(self, system: str) -> None:
        """One that the user has written stays; one of another run's data does not."""
        session = self._session
        if session.empty and session.settings.system in ("", self._system_of_data):
            self._system_of_data = system
            session.use_settings(replace(session.settings, system=system))
            if system:
                notice = "The chat has the system prompt of the data. {chat.settings} changes it."
                self._view.notify(with_keys(notice).plain)

    def show_status(self) -> None:
        self.status_text.update(self._status())

    def _status(self) -> Content:
        """What stands where nobody can be asked yet."""
        job = self.job
        if job is None and self._starting is not None and not self._expected:
            job = self._starting.job
        if job is None:
            looking = self._expected or not self._speakers.looked
            return Content("Looking for a server…") if looking else self._offer()
        match job.state():
            case Starting(since=since, phase=phase):
                passed = number_format.duration(number_format.now() - since)
                now = f"{phase}, {passed} so far"
            case Queued(waits_for=waits_for):
                now = f"waits for {waits_for or 'its turn'}"
            case _:
                now = "loads the tuned model"
        return Content.assemble(
            (job.spec.name, "b"),
            f"\n\n{now}\n\n",
            with_keys("The chat opens by itself. {app.serve} shows the server."),
        )

    def _offer(self) -> Content:
        """What stands here while there is no server."""
        run = self.newest_run
        if run is None:
            return Content.styled("No model to talk to yet", "b") + with_keys(
                f"{_NO_RUN}{_OTHER_WAYS}"
            )
        return Content.assemble(
            ("No server is running", "b"),
            with_keys("\n\n{chat.talk} starts one for "),
            (run.name, "b"),
            f" and its base {Run(run.job).base_name}, and opens the chat by itself.",
            with_keys(_OTHER_WAYS),
        )


def _speakers(server_job_id: str, models: list[str]) -> tuple[list[Speaker], ChatServer]:
    """Who speaks under these names on a server. LuthierError if it has ended."""
    server = server_of_job(server_job_id)
    if server is not None:
        of_name = {speaker.model: speaker for speaker in server.speakers}
        if all(model in of_name for model in models):
            return [of_name[model] for model in models], server
    raise LuthierError(
        "The server is gone",
        f"{server_job_id} has ended.",
        f"{key_of('app.serve')} opens Serve: it says why.",
    )
