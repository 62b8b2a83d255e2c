"""What can be done on the serve screen."""

from __future__ import annotations

from tui.shared.action import Action

SERVE: list[Action] = [
    Action(
        "serve.start",
        "start",
        "Start a server: a base model and any number of tuned ones.",
        "n,enter",
        footer=True,
    ),
    Action("serve.stop", "stop", "Stop the server. Tuned models stay on disk.", "s", footer=True),
    Action(
        "serve.sleep",
        "sleep",
        "Free the GPU until somebody asks for an answer, or take it again, before all that waits.",
        "z",
    ),
    Action(
        "serve.load",
        "load",
        "Load another tuned model or a checkpoint, also of a run that still trains.",
        "l",
        footer=True,
    ),
    Action(
        "serve.unload", "unload", "Take a tuned model out of the server. It stays on disk.", "u"
    ),
    Action(
        "serve.pin",
        "pin",
        "Keep a tuned model in memory whatever else is asked for, or let it go again.",
        "P",
    ),
    Action("serve.copy", "copy", "Copy the example as it is shown.", "c", footer=True),
    Action(
        "serve.snippet",
        "example",
        "Show the example for curl, for Python's openai, or for llm.",
        "p",
        footer=True,
    ),
    Action(
        "serve.error",
        "error",
        "Why the server failed, with the last lines of its log.",
        "e",
        footer=True,
    ),
    Action(
        "serve.api",
        "fine-tuning API",
        "Start the API through which programs fine-tune, or stop it. What they train goes on.",
        "A",
    ),
    Action(
        "serve.reveal", "show key", "Show the client key in the example, or hide it again.", "r"
    ),
]
