"""What can be done on the screens of comparisons."""

from __future__ import annotations

from tui.shared.action import Action

COMPARE: list[Action] = [
    Action("compare.open", "open", "Read the report, prompt by prompt.", "enter", footer=True),
    Action(
        "compare.new",
        "new comparison",
        "Ask the base and tuned models every prompt of a file, side by side.",
        "n",
        footer=True,
    ),
    Action(
        "compare.stop",
        "stop",
        "Stop the comparison. Asks first; what has been answered stays.",
        "s",
        footer=True,
    ),
    Action(
        "compare.resume",
        "continue",
        "Continue a comparison that ended early. It keeps the answers it has.",
        "R",
        footer=True,
    ),
    Action(
        "compare.delete",
        "delete",
        "Delete the comparison with its answers and its report. Asks first.",
        "d,delete",
        footer=True,
    ),
    Action("compare.copy", "copy path", "Copy the path of the comparison's folder.", "c"),
]

REPORT: list[Action] = [
    Action(
        "report.next",
        "next prompt",
        "The next prompt with its answers.",
        "right,l,full_stop",
        footer=True,
        call="turn(1)",
    ),
    Action(
        "report.previous",
        "prompt before",
        "The prompt before.",
        "left,h,comma",
        footer=True,
        call="turn(-1)",
    ),
    Action(
        "report.flip",
        "next flip",
        "Go to the next prompt that flipped: its result changed, not only its look.",
        "n",
        footer=True,
    ),
    Action(
        "report.differences",
        "differences",
        "Mark the words that the first model's answer does not have, or remove the marks.",
        "d",
        footer=True,
    ),
    Action(
        "report.figures",
        "figures",
        "The figures of all prompts, or the prompts again.",
        "t",
        footer=True,
    ),
    Action(
        "report.chat",
        "chat",
        "Open this prompt in the chat, both models side by side; the others follow one by one.",
        "a",
        footer=True,
    ),
    Action(
        "report.again",
        "guard again",
        "Ask both models the probes again, in a job of its own.",
        "G",
        footer=True,
    ),
    Action(
        "report.copy",
        "copy path",
        "Copy the path of the report. A comparison also has one in HTML and one in JSON.",
        "c",
    ),
]
