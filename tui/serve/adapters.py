"""Changing the server that is shown: its adapters, and whether it sleeps."""

from __future__ import annotations

from collections.abc import Callable

from jobs.state import Asleep
from serve.servers import Server
from tui.serve.adapter_picker import AdapterPicker
from tui.shared.screen import LuthierScreen
from workshop.served_runs import AdapterChoice


class Adapters:
    """What can be done with the adapters of `find_server()`, which is None while none is ready."""

    def __init__(self, screen: LuthierScreen, find_server: Callable[[], Server | None]) -> None:
        self._screen = screen
        self._find_server = find_server

    def loaded(self) -> list[AdapterChoice]:
        server = self._find_server()
        models = [] if server is None else server.models
        return [
            AdapterChoice(model.id, "pinned" if model.pinned else "", model.path, model.pinned)
            for model in models
            if model.kind == "adapter"
        ]

    def load(self) -> None:
        server = self._find_server()
        if server is not None:
            self._screen.in_thread(
                lambda: _loadable(server), self._choose_load, group="choices", exclusive=True
            )

    def _choose_load(self, choices: list[AdapterChoice]) -> None:
        from serve.launch import attach

        def load(choice: AdapterChoice, server: Server) -> str:
            return f"{attach(server, choice.name, choice.path)} is loaded."

        empty = (
            "Every adapter of this base model is loaded. Runs and their checkpoints appear here."
        )
        self._choose(AdapterPicker("Load into the server", choices, empty), load)

    def unload(self) -> None:
        from serve.launch import detach

        def unload(choice: AdapterChoice, server: Server) -> str:
            detach(server, choice.name)
            return f"{choice.name} is unloaded. It stays on disk."

        self._choose(
            AdapterPicker("Unload from the server", self.loaded(), "No adapter is loaded."), unload
        )

    def pin(self) -> None:
        """Pin one in memory, or let it go."""
        from serve.launch import pin, unpin

        def toggle_pin(choice: AdapterChoice, server: Server) -> str:
            if choice.pinned:
                unpin(server, choice.name)
                return f"{choice.name} is no longer pinned."
            pin(server, choice.name)
            return f"{choice.name} is pinned: it stays in memory."

        self._choose(
            AdapterPicker("Pin in memory, or let go", self.loaded(), "No adapter is loaded."),
            toggle_pin,
        )

    def toggle_sleep(self) -> None:
        """Put the server to sleep, or wake it."""
        from serve.sleep import put_to_sleep, wake

        def change(server: Server) -> str:
            if not isinstance(server.job.state(), Asleep):
                put_to_sleep(server.job)
                return f"{server.job.spec.name} sleeps: its GPU is free."
            wake(server.job, wait=False)
            return f"{server.job.spec.name} wakes as soon as its GPU is free."

        self._change(change)

    def _choose(
        self, picker: AdapterPicker, change: Callable[[AdapterChoice, Server], str]
    ) -> None:
        def picked(choice: AdapterChoice | None) -> None:
            if choice is not None:
                self._change(lambda server: change(choice, server))

        self._screen.app.push_screen(picker, picked)

    def _change(self, change: Callable[[Server], str]) -> None:
        """Change the server in a thread. `change` says what it has done."""
        server = self._find_server()
        if server is not None:
            self._screen.in_thread(lambda: change(server), self._changed, group="adapters")

    def _changed(self, message: str) -> None:
        self._screen.notify(message)
        self._screen.app.read_jobs()


def _loadable(server: Server) -> list[AdapterChoice]:
    from workshop.served_runs import loadable

    return loadable(server)
