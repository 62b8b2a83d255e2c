"""What can be done on the data screen."""

from __future__ import annotations

from tui.shared.action import Action

DATA: list[Action] = [
    Action(
        "data.look",
        "look",
        "Look at data: a file, a folder, a recipe or a data set of the hub.",
        "n",
        footer=True,
    ),
    Action(
        "data.read",
        "read",
        "Read the row's sample on the whole screen; esc goes back to the ledger.",
        "enter",
        footer=True,
    ),
    Action(
        "data.filter",
        "filter",
        "Show only the rows whose state, reasons or number have the text.",
        "slash",
        footer=True,
    ),
    Action(
        "data.ids",
        "ids",
        "The sample's tokens one a line with their ids, or as text again.",
        "i",
        footer=True,
    ),
    Action(
        "data.raw", "raw", "The row as it reads in its file, or its sample again.", "r", footer=True
    ),
    Action(
        "data.overview",
        "totals",
        "Totals, reasons and the lengths against the context size, where they have no room beside"
        " the ledger.",
        "l",
        footer=True,
    ),
    Action(
        "data.format",
        "format",
        "Read the rows in another way than was recognised.",
        "f",
        footer=True,
    ),
    Action(
        "data.propose",
        "proposals",
        "How rows that cannot be read might be: what to say in a recipe, with examples.",
        "p",
        footer=True,
    ),
    Action("data.stop", "stop", "Stop looking at the data.", "s", footer=True),
    Action(
        "data.error",
        "error",
        "Why the data could not be looked at, or may not be trained on.",
        "e",
        footer=True,
    ),
    Action(
        "data.next_sample",
        "next sample",
        "The next sample of a row that became several.",
        "right_square_bracket",
        call="turn(1)",
    ),
    Action(
        "data.previous_sample",
        "previous sample",
        "The sample before of a row that became several.",
        "left_square_bracket",
        call="turn(-1)",
    ),
    Action("data.copy", "copy", "Copy the sample as JSON: source, turns, input_ids, labels.", "c"),
]
