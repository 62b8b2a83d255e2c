"""What can be done on the models screen."""

from __future__ import annotations

from tui.shared.action import Action

MODELS: list[Action] = [
    Action(
        "models.prepare",
        "prepare",
        "Make the built-in model ready in this home. A job that takes a minute or so.",
        "p",
        footer=True,
    ),
    Action("models.serve", "serve", "Serve the model that is highlighted.", "v,enter", footer=True),
    Action("models.new", "new run", "Fine-tune the model that is highlighted.", "n", footer=True),
    Action(
        "models.certificate",
        "certificate",
        "What was proved of the tuned model; from there, prove it anew.",
        "t",
        footer=True,
    ),
    Action(
        "models.merge",
        "merge",
        "Merge an adapter into its base model. Says first what it writes, and what room that"
        " takes.",
        "m",
        footer=True,
    ),
    Action(
        "models.import",
        "import",
        "Bring a model here: from a folder, a GGUF file or the hub.",
        "i",
        footer=True,
    ),
    Action("models.export", "export", "Write the model into a folder, with a model card.", "x"),
    Action(
        "models.push",
        "push",
        "Push the model to the hub, with a model card; private unless told otherwise.",
        "u",
    ),
    Action(
        "models.stop", "stop", "Stop the import or the merge that is on its way. Asks first.", "s"
    ),
    Action(
        "models.remove",
        "remove",
        "Delete the model; of a linked one only the link. Says what needs it, and asks.",
        "d,delete",
    ),
    Action("models.copy", "copy path", "Copy the path of the model or adapter.", "c"),
]
