"""What can be done on the data screen."""

from __future__ import annotations

from tui.shared.action import Action

DATA: list[Action] = [
    Action(
        "data.look",
        "look",
        "Open data: a file, a folder, a recipe or a data set on the hub.",
        "n",
        footer=True,
    ),
    Action(
        "data.make",
        "make",
        "Make conversations from documents: a book, a page, a PDF, subtitles or a transcript.",
        "m",
        call="do('make')",
    ),
    Action(
        "data.read",
        "read",
        "Read the row's sample on the whole screen. esc returns to the ledger.",
        "enter",
        footer=True,
    ),
    Action("data.train", "train", "Plan a run on this data.", "t", footer=True, call="do('train')"),
    Action(
        "data.filter",
        "filter",
        "Show only the rows whose state, reasons or number contain a text.",
        "slash",
        footer=True,
    ),
    Action(
        "data.ids",
        "ids",
        "Show the sample's tokens one per line with their ids, or as text again.",
        "i",
        footer=True,
    ),
    Action(
        "data.raw",
        "raw",
        "Show the row as it is in its file, or its sample again.",
        "r",
        footer=True,
    ),
    Action(
        "data.overview",
        "totals",
        "Show totals, reasons and lengths against the context size, if there is no room for them"
        " beside the ledger.",
        "l",
        footer=True,
    ),
    Action(
        "data.format",
        "format",
        "Read the rows in another format than the recognised one.",
        "f",
        footer=True,
    ),
    Action(
        "data.propose",
        "proposals",
        "Show how unreadable rows could be read: what to write in a recipe, with examples.",
        "p",
        footer=True,
    ),
    Action("data.stop", "stop", "Stop reading the data.", "s", footer=True),
    Action(
        "data.error",
        "error",
        "Show why the data could not be read, or cannot be trained on.",
        "e",
        footer=True,
    ),
    Action(
        "data.next_sample",
        "next sample",
        "Next sample of this row.",
        "right_square_bracket",
        call="turn(1)",
    ),
    Action(
        "data.previous_sample",
        "previous sample",
        "Previous sample of this row.",
        "left_square_bracket",
        call="turn(-1)",
    ),
    Action("data.copy", "copy", "Copy the sample as JSON: source, turns, input_ids, labels.", "c"),
]
