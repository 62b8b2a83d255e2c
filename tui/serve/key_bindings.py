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
        "Put the server to sleep until the next request, so that it frees the GPU; or wake it,"
        " ahead of all waiting jobs.",
        "z",
    ),
    Action(
        "serve.load",
        "load",
        "Load another tuned model or a checkpoint, even of a run that is still training.",
        "l",
        footer=True,
    ),
    Action(
        "serve.chat",
        "chat",
        "Talk to the models of this server, side by side.",
        "a",
        footer=True,
    ),
    Action(
        "serve.unload",
        "unload",
        "Unload a tuned model from the server. Its files stay on disk.",
        "u",
    ),
    Action(
        "serve.pin",
        "pin",
        "Pin a tuned model, so that it always stays in memory, or unpin it.",
        "P",
    ),
    Action("serve.copy", "copy", "Copy the example as shown.", "c", footer=True),
    Action(
        "serve.snippet",
        "example",
        "Switch the example between curl, Python's openai and llm.",
        "p",
        footer=True,
    ),
    Action(
        "serve.error",
        "error",
        "Show why the server failed, with the last lines of its log.",
        "e",
        footer=True,
    ),
    Action(
        "serve.api",
        "fine-tuning API",
        "Start the API through which programs fine-tune, or stop it. Their runs keep training.",
        "A",
    ),
    Action(
        "serve.reveal", "show key", "Show the client key in the example, or hide it again.", "r"
    ),
]
