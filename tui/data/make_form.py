"""The form of Data that makes conversations from documents. What it would do is shown before it
starts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.content import Content
from textual.message import Message
from textual.suggester import SuggestFromList
from textual.widgets import Input, Static
from textual.worker import get_current_worker

from jobs.files import expanded, why_missing
from jobs.luthier_error import LuthierError
from tui.data.making_plan_modal import MakingPlanModal
from tui.shared.form import Field, FormModal, JobStarted
from tui.shared.key_line import KeyHint
from tui.shared.path_suggester import PathSuggester
from workshop.making.order import Order
from workshop.making.preview import Plan
from workshop.making.recipe import METHODS

_HINTS = {
    "qa": "A model writes a question for each passage; the answer is the passage itself.",
    "interview": "A model writes questions for passages that follow each other; the answers are"
    " their words.",
    "dialogue": "The turns of a transcript. You choose who is the assistant; no model is asked.",
    "continue": "The text itself, passage after passage; no model is asked.",
}
_OWN_HINT = "A recipe of yours: luthier make --copy FOLDER makes one."
_MUTED = "$foreground-muted"
_ASKING = ("endpoint", "model")
_HOSTED = ("key", "prices", "cost")
"""Fields for endpoints that are not Luthier's own."""


@dataclass
class DocumentsRead(Message):
    """What the making would do."""

    order: Order
    base_url: str
    plan: Plan


class MakeModal(FormModal):
    """Dismissed with the id of the job."""

    heading: ClassVar[str] = "Make conversations from documents"
    hints: ClassVar[list[KeyHint]] = [
        KeyHint("right", "→", "complete"),
        KeyHint("tab", "tab", "next field"),
        KeyHint("enter", "enter", "show the plan"),
    ]

    def compose_fields(self) -> ComposeResult:
        yield Field("document", "document", placeholder="a book, a page, subtitles, or a folder")
        yield Field("recipe", "recipe", value="qa", placeholder=", ".join(METHODS))
        yield Field("passages", "passages", placeholder="all; 20 tries the first 20")
        yield Field("folder", "into", placeholder="made-NAME-RECIPE")
        yield Field("endpoint", "endpoint", placeholder="Luthier's own server")
        yield Field("model", "model", placeholder="its base model")
        yield Field("key", "key", placeholder="OPENAI_API_KEY, or a file: ~/.keys/openai")
        yield Field("prices", "prices", placeholder="0.25, 2 a million tokens in and out")
        yield Field("cost", "cost limit", placeholder="none; 5 stops before it costs more")
        yield Static(classes="hint", id="recipe-hint")

    def on_mount(self) -> None:
        for key in ("document", "folder"):
            self._input(key).suggester = PathSuggester()
        self._input("recipe").suggester = SuggestFromList(METHODS)
        self._input("endpoint").suggester = SuggestFromList(_endpoint_names())
        self._input("key").suggester = SuggestFromList(
            sorted(name for name in os.environ if name.endswith("_API_KEY"))
        )
        self._show_what_applies()

    def _input(self, key: str) -> Input:
        return self.field(key).query_one(Input)

    @on(Input.Changed)
    def _show_what_applies(self) -> None:
        """Fields that the recipe or the endpoint do not need are not in the way."""
        recipe = self.field("recipe").value
        asks = recipe not in ("dialogue", "continue")
        endpoint = self.field("endpoint").value
        for key in _ASKING:
            self.field(key).display = asks
        for key in _HOSTED:
            self.field(key).display = asks and bool(endpoint)
        if endpoint and endpoint in _endpoint_names():
            self.field("key").display = False  # config.toml says where it is
        self._input("model").placeholder = "needed" if endpoint else "its base model"
        self.query_one("#recipe-hint", Static).update(Content(_HINTS.get(recipe, _OWN_HINT)))

    def submit(self) -> None:
        self._show_what_applies()
        document = self.field("document").value
        if not document:
            self.field("document").show_error("needed: a file or a folder of documents")
        elif reason := why_missing(expanded(document)):
            self.field("document").show_error(reason)
        if not self.field("recipe").value:
            self.field("recipe").show_error(f"one of {', '.join(METHODS)}, or a folder")
        if (
            self.field("endpoint").value
            and self._applies("model")
            and not self.field("model").value
        ):
            self.field("model").show_error("needed: the name that the endpoint has for it")
        limit = self._number("passages", least=1, integer=True)
        cost = self._number("cost", least=0)
        prices = self._prices()
        if cost is not None and not any(prices):
            self.field("prices").show_error("needed: without prices nobody knows the cost")
        if self.query(".field.-wrong"):
            return
        values = {field.key: field.value for field in self.query(Field) if field.display}
        self._read(values, None if limit is None else int(limit), prices, cost)

    def _applies(self, key: str) -> bool:
        return bool(self.field(key).display)

    def _number(self, key: str, least: float, integer: bool = False) -> float | None:
        """None where there is none, or a wrong one."""
        is_filled = self._applies(key) and self.field(key).value
        return self.number_in(key, least, integer) if is_filled else None

    def _prices(self) -> tuple[float, float]:
        """For a million tokens, in and out."""
        text = self.field("prices").value
        if not text or not self._applies("prices"):
            return 0.0, 0.0
        try:
            price_in, price_out = (float(part) for part in text.split(","))
        except ValueError:
            self.field("prices").show_error("two numbers: 0.25, 2")
            return 0.0, 0.0
        if not (0 <= price_in < float("inf") and 0 <= price_out < float("inf")):
            self.field("prices").show_error("not negative")
        return price_in, price_out

    def _read(
        self,
        values: dict[str, str],
        limit: int | None,
        prices: tuple[float, float],
        cost: float | None,
    ) -> None:
        def read() -> None:
            from workshop.making.look import look

            order, base_url = _ordered(values, limit, prices, cost)
            worker = get_current_worker()
            plan = look(order, base_url, tell, lambda: worker.is_cancelled)
            if plan is not None and not worker.is_cancelled:
                self.post_message(DocumentsRead(order, base_url, plan))

        def tell(phase: str) -> None:
            self.app.call_from_thread(self._show_doing, phase)

        self._show_doing("reading the documents")
        self.run_worker(read, thread=True, exclusive=True, group="read", exit_on_error=False)

    def _show_doing(self, text: str) -> None:
        if self.is_attached:
            self.show_problem(Content.styled(f"{text[:1].upper()}{text[1:]}.", _MUTED))

    def on_documents_read(self, message: DocumentsRead) -> None:
        self.show_problem(Content(""))

        def answered(order: Order | None) -> None:
            if order is not None:
                self._start(order, message.base_url)

        self.app.push_screen(MakingPlanModal(message.order, message.plan), answered)

    def _start(self, order: Order, base_url: str) -> None:
        def start() -> None:
            from workshop.making.launch import make

            self.post_message(JobStarted(make(order, base_url).id))

        self.run_worker(start, thread=True, exclusive=True, group="start", exit_on_error=False)


def _endpoint_names() -> list[str]:
    """Those of config.toml; none where it cannot be read, which is said once one is asked."""
    from models.endpoints import hosted_endpoints

    try:
        return [hosted.name for hosted in hosted_endpoints()]
    except LuthierError:
        return []


def _ordered(
    values: dict[str, str], limit: int | None, prices: tuple[float, float], cost: float | None
) -> tuple[Order, str]:
    """What the form says, and the address that is asked. LuthierError if nothing can be made of
    it."""
    from models.endpoints import key_location
    from workshop.asking.budget import Ceiling
    from workshop.making.default_endpoint import address_and_model
    from workshop.making.document_files import documents_at
    from workshop.making.order import Terms, out_folder
    from workshop.making.recipe import load

    making = load(values["recipe"])
    paths = documents_at([values["document"]])
    terms = None
    if making.recipe.asks:
        address, model = address_and_model(values["endpoint"], values["model"])
        variable, file = key_location(values.get("key", ""))
        terms = Terms(
            model,
            address,
            variable,
            file and str(expanded(file).absolute()),
            ceiling=Ceiling(*prices, cost=cost),
        )
    folder = Path(values["folder"]) if values["folder"] else out_folder(paths[0], making)
    order = Order(
        files=[str(path) for path in paths],
        out=str(expanded(folder).absolute()),
        making=making,
        terms=terms,
        limit=limit,
    )
    return order, terms.endpoint().base_url if terms else ""
