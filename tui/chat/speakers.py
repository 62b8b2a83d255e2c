"""Who can be asked, and who speaks in which pane."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from serve.chats.turns import Speaker
from tui.chat.view import ChatView
from workshop.chat import models
from workshop.chat.models import Offer
from workshop.chat.server import (
    ChatServer,
    Reachable,
    reachable,
    server_of_job,
    with_context_length,
)
from workshop.chat.session import MOST_PANES, ChatSession


class Speakers:
    """`find_server` is whose models are asked; tests and the picture bring their own."""

    def __init__(
        self, session: ChatSession, view: ChatView, find_server: Callable[[], ChatServer | None]
    ) -> None:
        self._session = session
        self._view = view
        self._find_server = find_server
        self.looked = False
        """Whether it is known who can be asked, if anybody can."""

    # Who can be asked

    def look(self, then: Callable[[], None] | None = None) -> None:
        """See who can be asked now. `then` is for what waits to know it; no later look takes its
        place."""
        before = self._session.reachable

        def find() -> Reachable:
            # half a second: before the first prompt, not within its time to the first token
            import httpx  # noqa: F401

            return reachable(self._find_server(), before)

        if then is None:
            self._view.in_thread(find, self._use, group="server", exclusive=True)
            return

        def use(now: Reachable) -> None:
            self._use(now)
            then()

        self._view.in_thread(find, use, group="asked look")

    def _use(self, now: Reachable) -> None:
        if self.looked and now == self._session.reachable:
            return
        self.looked = True
        self._session.reachable = now
        if now.server is not None:
            self._choose_defaults(now.server)
        self._view.show_offered()

    def _choose_defaults(self, server: ChatServer) -> None:
        """Empty panes in which nobody speaks, or somebody who is gone, get the server's own."""
        for pane, default in zip(self._session.panes, server.default_speakers(), strict=False):
            speaker = pane.speaker
            if not pane.answers and (
                speaker is None or (not speaker.where and speaker not in server.speakers)
            ):
                pane.speaker = default

    def follow(self, server_job_id: str) -> None:
        """Ask the models of this server from now on."""
        self._find_server = partial(server_of_job, server_job_id)

    # Who speaks

    def pick(self, position: int) -> None:
        """Have the user choose who speaks in this pane, or in a new one at the end. Panes in which
        nobody speaks yet are filled from the left."""
        from tui.chat.endpoint_form import EndpointForm
        from tui.chat.model_picker import ModelPicker

        silent = [index for index, pane in enumerate(self._session.panes) if pane.speaker is None]
        position = silent[0] if position in silent else position
        picker = ModelPicker(self._session.reachable)

        def added(name: str | None) -> None:
            if name is not None:
                self.look(lambda: self.pick(position))

        def picked(offer: Offer | None) -> None:
            if picker.wants_endpoint:
                self._view.open_dialog(EndpointForm(), added)
            elif offer is not None:
                self._take(position, offer)

        self._view.open_dialog(picker, picked)

    def _take(self, position: int, offer: Offer) -> None:
        server = self._session.reachable.server
        if offer.load is None or server is None:
            self.put(position, offer.speaker, server)
            return
        self._view.notify(f"The server loads {offer.speaker.model}.", timeout=3)

        def load() -> tuple[Speaker, ChatServer | None]:
            speaker, chat_server = models.load(offer, server), self._find_server()
            if chat_server is not None:
                chat_server = with_context_length(chat_server, self._session.reachable)
            return speaker, chat_server

        self._view.in_thread(load, lambda loaded: self.put(position, *loaded), group="load")

    def put(self, position: int, speaker: Speaker, server: ChatServer | None) -> None:
        """Have somebody speak in this pane. `server` has the model, if it is one of Luthier's."""
        session = self._session
        # it knows the model by the folder that it has loaded
        if server is not None and not speaker.where:
            served = [other for other in server.speakers if other.model == speaker.model]
            speaker = served[0] if served else speaker
            session.reachable = replace(session.reachable, server=server)
        if position < len(session.panes):
            session.choose(session.panes[position], speaker)
        elif len(session.panes) < MOST_PANES:
            session.add_pane(speaker)
        self._view.show_offered()

    def remove(self) -> None:
        """Take the active pane away."""
        sides = self._view.sides
        self._session.remove_pane(sides.conversation)
        sides.active = max(0, sides.active - 1)
        self._view.show_sides()
        sides.active_pane.transcript.focus()
