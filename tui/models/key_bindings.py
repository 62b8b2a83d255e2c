"""What can be done on the models screen."""

from __future__ import annotations

from tui.shared.action import Action

MODELS: list[Action] = [
    Action(
        "models.prepare",
        "prepare",
        "Prepare the built-in model. The job takes about a minute.",
        "p",
        footer=True,
    ),
    Action("models.serve", "serve", "Serve the highlighted model.", "v,enter", footer=True),
    Action("models.new", "new run", "Fine-tune the highlighted model.", "n", footer=True),
    Action(
        "models.certificate",
        "certificate",
        "Show the certificate of the tuned model, and make a new one from there.",
        "t",
        footer=True,
    ),
    Action(
        "models.merge",
        "merge",
        "Merge an adapter into its base model. First shows what it will write and how much space"
        " that takes.",
        "m",
        footer=True,
    ),
    Action(
        "models.import",
        "import",
        "Import a model from a folder, a GGUF file or the hub.",
        "i",
        footer=True,
    ),
    Action("models.export", "export", "Export the model to a folder, with a model card.", "x"),
    Action(
        "models.certify_export",
        "certify export",
        "Certify that an export of the model, or a server that has it, is still what was trained.",
        "X",
    ),
    Action(
        "models.push",
        "push",
        "Push the model to the hub, with a model card. The repository is private unless you make"
        " it public.",
        "u",
    ),
    Action("models.stop", "stop", "Stop the running import or merge. Asks first.", "s"),
    Action(
        "models.remove",
        "remove",
        "Delete the model, or only the link of a linked one. Shows what depends on it, and asks"
        " first.",
        "d,delete",
    ),
    Action("models.copy", "copy path", "Copy the path of the model or adapter.", "c"),
]
