"""What can be done on the screens of runs."""

from __future__ import annotations

from tui.shared.action import Action

RUNS: list[Action] = [
    Action(
        "runs.open",
        "open",
        "Open the highlighted job.",
        "enter",
        footer=True,
    ),
    Action(
        "runs.resume",
        "resume",
        "Resume an interrupted run exactly from its last checkpoint, or show why that is"
        " impossible.",
        "R",
        footer=True,
    ),
    Action(
        "runs.requeue",
        "queue again",
        "Queue all jobs again that were waiting when the machine went down.",
        "Q",
        footer=True,
    ),
    Action(
        "runs.edit",
        "edit",
        "Change the recipe of a waiting run before it starts.",
        "e",
        footer=True,
    ),
    Action(
        "runs.sooner",
        "sooner",
        "Move a waiting job up in the queue.",
        "K,shift+up",
        footer=True,
        call="move('up')",
    ),
    Action(
        "runs.later",
        "later",
        "Move a waiting job down in the queue.",
        "J,shift+down",
        footer=True,
        call="move('down')",
    ),
    Action(
        "runs.stop",
        "stop",
        "Stop the highlighted job. Asks first, and says what is kept.",
        "s",
        footer=True,
    ),
    Action(
        "runs.new",
        "new run",
        "Fine-tune a model: from a recipe, or from a model and a data file.",
        "n",
        footer=True,
    ),
    Action("runs.serve", "serve", "Serve the tuned model of this run.", "v", footer=True),
    Action(
        "runs.chat",
        "chat",
        "Chat with the tuned model beside its base. Starts a server if none is running, and"
        " loads the model.",
        "a",
        footer=True,
    ),
    Action(
        "runs.delete",
        "delete",
        "Delete the job's folder with everything in it. A waiting job leaves the queue. Asks"
        " first.",
        "d,delete",
    ),
    Action(
        "runs.mark",
        "mark",
        "Mark up to four runs, or remove the mark. Enter draws the marked runs over each other.",
        "space",
    ),
    Action(
        "runs.copy",
        "copy path",
        "Copy the path of a damaged folder, so that you can inspect it.",
        "c",
        footer=True,
    ),
    Action(
        "runs.sort",
        "sort",
        "Sort the runs by the next column; after the last one they have their usual order. A click"
        " on a column's title does it too.",
        "S,greater_than_sign",
        call="do('sort', 1)",
    ),
    Action(
        "runs.sort_back",
        "sort before",
        "Sort the runs by the column before.",
        "less_than_sign",
        call="do('sort', -1)",
    ),
    Action("runs.turn", "turn order", "Sort the runs the other way round.", "I", call="do('turn')"),
    Action(
        "runs.baseline",
        "baseline",
        "Pin this run as the baseline: every eval loss is shown against its own. Again unpins it.",
        "b",
        call="do('baseline')",
    ),
    Action(
        "runs.filter",
        "filter",
        "Show only the jobs whose name, kind or state contains a text.",
        "slash",
        footer=True,
    ),
]

RUN: list[Action] = [
    Action(
        "run.stop", "stop", "Stop this run. Asks first, and says what is kept.", "s", footer=True
    ),
    Action(
        "run.resume",
        "resume",
        "Resume the run exactly from its last checkpoint, or show why that is impossible.",
        "R",
        footer=True,
    ),
    Action(
        "run.chat",
        "chat",
        "Chat with the tuned model beside its base. Starts a server if none is running, and"
        " loads the model.",
        "a",
        footer=True,
    ),
    Action(
        "run.certificate",
        "certificate",
        "Show the certificate of the tuned model, and make a new one from there.",
        "t",
        footer=True,
    ),
    Action(
        "run.guard",
        "won and lost",
        "What the tuned model won and lost against its base, item by item; the first time, ask both"
        " all probes.",
        "W",
        footer=True,
    ),
    Action("run.serve", "serve", "Serve the tuned model of this run.", "v", footer=True),
    Action(
        "run.error",
        "error",
        "Show why this run failed, with the last lines of its log.",
        "e",
        footer=True,
    ),
    Action(
        "run.chart",
        "chart",
        "Enlarge the next chart. A click does it too.",
        "tab",
        footer=True,
        call="chart(1)",
    ),
    Action(
        "run.chart_back",
        "chart before",
        "Enlarge the previous chart.",
        "shift+tab",
        call="chart(-1)",
    ),
    Action(
        "run.panel",
        "panel",
        "Next panel: samples, log, timeline, data, differences.",
        "right_square_bracket",
        footer=True,
        call="turn_panel(1)",
    ),
    Action(
        "run.panel_back",
        "panel before",
        "Previous panel.",
        "left_square_bracket",
        call="turn_panel(-1)",
    ),
    Action(
        "run.right",
        "cursor right",
        "Move the cursor to a later step and read its exact values. The mouse does it too.",
        "right,l",
        call="cursor(1)",
    ),
    Action(
        "run.left",
        "cursor left",
        "Move the cursor to an earlier step and read its exact values.",
        "left,h",
        call="cursor(-1)",
    ),
    Action(
        "run.next_mark",
        "next mark",
        "Go to the next evaluation, checkpoint, repair or resume.",
        "ctrl+right,w",
        call="mark(1)",
    ),
    Action(
        "run.previous_mark",
        "mark before",
        "Go to the previous evaluation, checkpoint, repair or resume.",
        "ctrl+left,b",
        call="mark(-1)",
    ),
    Action(
        "run.go",
        "go there",
        "Move the charts' cursor to the step that is highlighted in the timeline.",
        "enter",
    ),
    Action(
        "run.zoom_in",
        "zoom in",
        "Zoom in around the cursor. The mouse wheel does it too.",
        "plus,equals_sign",
        call="zoom(0.5)",
    ),
    Action("run.zoom_out", "zoom out", "Zoom out.", "minus", call="zoom(2.0)"),
    Action(
        "run.pan_right",
        "pan right",
        "Move the view to later steps. Shift and the wheel do it too.",
        "shift+right,L",
        call="pan(0.25)",
    ),
    Action(
        "run.pan_left",
        "pan left",
        "Move the view to earlier steps.",
        "shift+left,H",
        call="pan(-0.25)",
    ),
    Action("run.whole", "whole run", "Show the whole run again.", "0"),
    Action(
        "run.smoother",
        "smoother",
        "Smooth the line over more steps. The exact values stay behind it.",
        "m",
        call="smooth(1)",
    ),
    Action(
        "run.rougher",
        "less smooth",
        "Smooth the line over fewer steps, down to none.",
        "M",
        call="smooth(-1)",
    ),
    Action(
        "run.scale", "log scale", "Switch the charts between a logarithmic and a linear scale.", "y"
    ),
    Action(
        "run.full",
        "full chart",
        "Show the large chart on the whole screen, or all charts again.",
        "z",
    ),
    Action(
        "run.overlay",
        "overlay",
        "Draw up to three other runs over this one, and show what differs.",
        "o",
    ),
    Action("run.export", "export charts", "Write the charts to a CSV, SVG or PNG file.", "x"),
    Action("run.copy", "copy path", "Copy the path of the run's folder.", "c"),
]

JOB: list[Action] = [
    Action(
        "job.open",
        "open run",
        "Open the run that this job is about.",
        "enter",
        footer=True,
        call="open_run",
    ),
    Action(
        "job.certificate",
        "certificate",
        "Show what was proved and measured of the run's model.",
        "t",
        footer=True,
    ),
    Action(
        "job.report",
        "report",
        "Open the report that the job has written.",
        "r",
        footer=True,
    ),
    Action("job.error", "error", "Show why the job has failed.", "e", footer=True),
    Action(
        "job.stop",
        "stop",
        "Stop the job. Asks first, and says what is kept.",
        "s",
        footer=True,
    ),
    Action("job.copy", "copy path", "Copy the path of the job's folder.", "c", footer=True),
]

SAMPLES: list[Action] = [
    Action(
        "samples.prompt",
        "next prompt",
        "Show the answers to the next prompt.",
        "p",
        call="prompt(1)",
    ),
    Action(
        "samples.previous_prompt",
        "prompt before",
        "Show the answers to the previous prompt.",
        "P",
        call="prompt(-1)",
    ),
    Action(
        "samples.later",
        "later answer",
        "Show the answer from a later evaluation.",
        "full_stop",
        call="walk(1)",
    ),
    Action(
        "samples.earlier",
        "earlier answer",
        "Show the answer from an earlier evaluation.",
        "comma",
        call="walk(-1)",
    ),
    Action(
        "samples.compare",
        "differences",
        "Mark the words that differ from the reference, or from the previous answer.",
        "d",
    ),
]
