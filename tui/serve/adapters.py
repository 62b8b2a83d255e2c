"""Changing the server that is shown: its adapters, and whether it sleeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from textual.message import Message

from jobs.state import Asleep
from serve.servers import Server
from tui.serve.adapter_picker import AdapterPicker
from tui.shared.screen import LuthierScreen
from workshop.served_runs import AdapterChoice


@dataclass
class ChoicesFound(Message):
    choices: list[AdapterChoice]


@dataclass
class AdaptersChanged(Message):
    """What was done, in words."""

    told: str


class AdapterActions(LuthierScreen):
    """What the Serve screen can do with `server`'s adapters."""

    server: Server | None

    def action_load(self) -> None:
        server = self.server
        if server is not None:
            self.in_background(
                lambda: ChoicesFound(_loadable(server)), group="choices", exclusive=True
            )

    def on_choices_found(self, message: ChoicesFound) -> None:
        empty = (
            "Every adapter of this base model is loaded. Runs and their checkpoints appear here."
        )
        self.app.push_screen(
            AdapterPicker("Load into the server", message.choices, empty), self._load
        )

    def _load(self, choice: AdapterChoice | None) -> None:
        from serve.launch import attach

        if choice is not None:
            self._change(lambda server: f"{attach(server, choice.name, choice.path)} is loaded.")

    def action_sleep(self) -> None:
        """Or wake it, if it sleeps."""
        from serve.sleep import put_to_sleep, wake

        def change(server: Server) -> str:
            if not isinstance(server.job.state(), Asleep):
                put_to_sleep(server.job)
                return f"{server.job.spec.name} sleeps: its GPU is free."
            wake(server.job, wait=False)
            return f"{server.job.spec.name} wakes as soon as its GPU is free."

        self._change(change)

    def action_unload(self) -> None:
        self.app.push_screen(
            AdapterPicker("Unload from the server", self._served(), "No adapter is loaded."),
            self._unload,
        )

    def _unload(self, choice: AdapterChoice | None) -> None:
        from serve.launch import detach

        def change(server: Server) -> str:
            assert choice is not None
            detach(server, choice.name)
            return f"{choice.name} is unloaded. It stays on disk."

        if choice is not None:
            self._change(change)

    def action_pin(self) -> None:
        self.app.push_screen(
            AdapterPicker("Pin in memory, or let go", self._served(), "No adapter is loaded."),
            self._pin,
        )

    def _pin(self, choice: AdapterChoice | None) -> None:
        from serve.launch import pin, unpin

        def change(server: Server) -> str:
            assert choice is not None
            (unpin if choice.pinned else pin)(server, choice.name)
            return (
                f"{choice.name} is"
                f" {'no longer pinned' if choice.pinned else 'pinned: it stays in memory'}."
            )

        if choice is not None:
            self._change(change)

    def _change(self, change: Callable[[Server], str]) -> None:
        server = self.server
        if server is not None:
            self.in_background(lambda: AdaptersChanged(change(server)), group="adapters")

    def on_adapters_changed(self, message: AdaptersChanged) -> None:
        self.notify(message.told)
        self.app.read_jobs()

    def _served(self) -> list[AdapterChoice]:
        models = (
            []
            if self.server is None
            else [model for model in self.server.models if model.kind == "adapter"]
        )
        return [
            AdapterChoice(model.id, "pinned" if model.pinned else "", model.path, model.pinned)
            for model in models
        ]


def _loadable(server: Server) -> list[AdapterChoice]:
    from workshop.served_runs import loadable

    return loadable(server)
