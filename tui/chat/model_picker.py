"""Who is to speak in a pane: what is served, what the server can load, and the models of hosted
endpoints."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message

from jobs.luthier_error import LuthierError
from models.endpoints import HostedEndpoint
from tui.shared.key_line import KeyHint
from tui.shared.pick_modal import Pick, PickModal
from workshop.chat import models
from workshop.chat.models import Offer
from workshop.chat.server import Reachable


@dataclass
class OffersFound(Message):
    """`endpoint` is the hosted one that was asked; `problem` says why it offers nothing."""

    offers: list[Offer]
    endpoint: str = ""
    problem: str = ""


class ModelPicker(PickModal[Offer, Offer]):
    """Gives back an offer; None with `wants_endpoint` asks for a new endpoint."""

    heading: ClassVar[str] = "Choose a model"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+n", "endpoint", priority=True)]
    hints: ClassVar[list[KeyHint]] = [
        KeyHint("enter", "enter", "choose"),
        KeyHint("ctrl+n", "^n", "name a hosted endpoint"),
    ]

    def __init__(self, reachable: Reachable) -> None:
        super().__init__()
        self._reachable = reachable
        self._offers: list[Offer] = []
        self._problems = [reachable.problem] if reachable.problem else []
        self._asking = len(reachable.hosted)
        self.wants_endpoint = False

    def on_mount(self) -> None:
        self.run_worker(self._look, thread=True, exit_on_error=False)
        for hosted in self._reachable.hosted:
            self.run_worker(partial(self._ask, hosted), thread=True, exit_on_error=False)

    def _look(self) -> None:
        self.post_message(OffersFound(models.offers(self._reachable)))

    def _ask(self, endpoint: HostedEndpoint) -> None:
        try:
            self.post_message(OffersFound(models.hosted_offers(endpoint), endpoint.name))
        except LuthierError as error:
            self.post_message(
                OffersFound([], endpoint.name, f"{endpoint.name}: {error.title}. {error.message}")
            )

    def on_offers_found(self, message: OffersFound) -> None:
        self._offers += message.offers
        self._asking -= bool(message.endpoint)
        self._problems += [message.problem] if message.problem else []
        order = {"base": 0, "tuned": 1, "checkpoint": 2, "hosted": 3, "reference": 4}
        ordered = sorted(
            self._offers, key=lambda offer: (offer.load is not None, order[offer.speaker.kind])
        )
        notes = list(self._problems)
        if self._asking:
            notes.append("Asking the endpoints.")
        elif not self._offers:
            notes.append("No server of this machine runs, and no endpoint has a model.")
        self.set_picks([_pick(offer) for offer in ordered], "\n".join(notes))

    def take(self) -> None:
        if self.highlighted is not None:
            self.dismiss(self.highlighted.value)

    def action_endpoint(self) -> None:
        self.wants_endpoint = True
        self.dismiss(None)


def _pick(offer: Offer) -> Pick[Offer]:
    line = Content.assemble(f"{offer.speaker.model:<28} ", (offer.note, "$foreground-muted"))
    return Pick(offer, line, f"{offer.speaker.label} {offer.note}")
