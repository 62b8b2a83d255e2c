"""A hosted endpoint: its name, its address, and where its key is. The key itself is never typed
here."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import Static

from jobs.luthier_error import LuthierError
from models import endpoints
from models.endpoints import HostedEndpoint
from tui.shared.form import Field, FormModal
from tui.shared.key_line import KeyHint


class EndpointForm(FormModal):
    """Dismissed with the endpoint's name once config.toml has it."""

    heading: ClassVar[str] = "A hosted endpoint"
    hints: ClassVar[list[KeyHint]] = [
        KeyHint("tab", "tab", "next field"),
        KeyHint("enter", "enter", "keep"),
    ]

    def compose_fields(self) -> ComposeResult:
        yield Field("name", "name", placeholder="openai")
        yield Field("url", "address", placeholder="https://api.openai.com/v1")
        yield Field("key", "key", placeholder="OPENAI_API_KEY, or a file: ~/.keys/openai")
        hint = (
            "The key: a variable of the environment, or a file that only you can read (chmod 600)."
            " Empty for a server that asks for none."
        )
        yield Static(Content(hint), classes="hint")

    def submit(self) -> None:
        try:
            hosted = HostedEndpoint(
                self.field("name").value,
                self.field("url").value,
                *endpoints.key_location(self.field("key").value),
            )
            hosted.open()
            endpoints.add(hosted)
        except LuthierError as error:
            self.show_problem(
                Content.assemble(
                    (f"{error.title}. ", "bold $error"),
                    error.message,
                    "\n",
                    (error.hint, "$foreground-muted"),
                )
            )
        else:
            self.dismiss(hosted.name)
