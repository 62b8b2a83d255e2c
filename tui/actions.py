"""The one registry of what a user can do. Bindings, footer, help and the command palette are made
from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from textual.binding import Binding, BindingType

Place = Literal[
    "app", "list", "log", "search", "samples", "runs", "run", "models", "serve", "chat", "data"
]

PLACE_TITLES: dict[Place, str] = {
    "app": "Everywhere",
    "list": "In lists",
    "log": "In logs",
    "search": "Looking for text in logs",
    "samples": "In samples",
    "runs": "Runs",
    "run": "Run",
    "models": "Models",
    "serve": "Serve",
    "chat": "Chat",
    "data": "Data",
}


@dataclass(frozen=True)
class Action:
    """One thing a user can do.

    `id` is "place.name"; the widget of that place has the method `action_name`, unless `call` names
    another one. `keys` are Textual's names, separated by commas; the first is the one that is
    shown. `footer` puts it among the hints at the bottom. A `priority` key works inside text inputs
    and modals too.
    """

    id: str
    title: str
    help: str
    keys: str
    footer: bool = False
    call: str = ""
    priority: bool = False

    @property
    def place(self) -> Place:
        return self.id.partition(".")[0]  # type: ignore[return-value]  # test_actions checks every id

    @property
    def action(self) -> str:
        return self.call or self.id.partition(".")[2]

    @property
    def key_names(self) -> list[str]:
        return [_display(key) for key in self.keys.split(",")]


_KEY_NAMES = {
    "question_mark": "?",
    "slash": "/",
    "escape": "esc",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "pagedown": "pgdn",
    "pageup": "pgup",
    "plus": "+",
    "equals_sign": "=",
    "minus": "-",
    "comma": ",",
    "less_than_sign": "<",
    "greater_than_sign": ">",
    "full_stop": ".",
}


def _display(key: str) -> str:
    name = _KEY_NAMES.get(key, key)
    return f"^{name.removeprefix('ctrl+')}" if name.startswith("ctrl+") else name


ACTIONS: list[Action] = [
    Action(
        "runs.open",
        "open",
        "Open the run, or the server, that is highlighted.",
        "enter",
        footer=True,
    ),
    Action(
        "runs.resume",
        "resume",
        "Have an interrupted run go on from its last checkpoint, exactly, or say why not.",
        "R",
        footer=True,
    ),
    Action(
        "runs.requeue",
        "queue again",
        "Queue again all that was waiting when the machine went down.",
        "Q",
        footer=True,
    ),
    Action(
        "runs.edit",
        "edit",
        "Change the recipe of a run that waits, before it starts.",
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
        "Stop the job that is highlighted. Asks first, and says what is kept.",
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
        "Talk to the tuned model beside its base: its server is started or found, and loads it.",
        "a",
        footer=True,
    ),
    Action(
        "runs.delete",
        "delete",
        "Delete the job's folder with everything in it; what waits leaves the queue. Asks first.",
        "d,delete",
    ),
    Action(
        "runs.mark",
        "mark",
        "Mark up to four runs, or take the mark back. Enter draws marked runs over each other.",
        "space",
    ),
    Action(
        "runs.copy",
        "copy path",
        "Copy the path of a folder that is damaged, to look at it there.",
        "c",
        footer=True,
    ),
    Action(
        "runs.filter",
        "filter",
        "Show only the jobs whose name, kind or state has the text.",
        "slash",
        footer=True,
    ),
    Action(
        "run.stop", "stop", "Stop this run. Asks first, and says what is kept.", "s", footer=True
    ),
    Action(
        "run.resume",
        "resume",
        "Have it go on from its last checkpoint, exactly, or say why not.",
        "R",
        footer=True,
    ),
    Action("run.serve", "serve", "Serve the tuned model of this run.", "v"),
    Action(
        "run.chat",
        "chat",
        "Talk to the tuned model beside its base: its server is started or found, and loads it.",
        "a",
        footer=True,
    ),
    Action(
        "run.certificate",
        "certificate",
        "What was proved of the tuned model; from there, prove it anew.",
        "t",
    ),
    Action(
        "run.error",
        "error",
        "Why this run failed, with the last lines of its log.",
        "e",
        footer=True,
    ),
    Action(
        "run.chart",
        "chart",
        "Another chart becomes the large one. A click does it too.",
        "tab",
        footer=True,
        call="chart(1)",
    ),
    Action(
        "run.chart_back",
        "chart before",
        "The chart before becomes the large one.",
        "shift+tab",
        call="chart(-1)",
    ),
    Action(
        "run.panel",
        "panel",
        "Log, samples, timeline, data, what differs.",
        "right_square_bracket",
        footer=True,
        call="turn_panel(1)",
    ),
    Action(
        "run.panel_back",
        "panel before",
        "The panel before.",
        "left_square_bracket",
        call="turn_panel(-1)",
    ),
    Action(
        "run.right",
        "cursor right",
        "Read the exact values of a later step. The mouse does it too.",
        "right,l",
        call="cursor(1)",
    ),
    Action(
        "run.left",
        "cursor left",
        "Read the exact values of an earlier step.",
        "left,h",
        call="cursor(-1)",
    ),
    Action(
        "run.next_mark",
        "next mark",
        "To the next evaluation, checkpoint, repair or resume.",
        "ctrl+right,w",
        call="mark(1)",
    ),
    Action(
        "run.previous_mark",
        "mark before",
        "To the evaluation, checkpoint, repair or resume before.",
        "ctrl+left,b",
        call="mark(-1)",
    ),
    Action(
        "run.go",
        "go there",
        "The charts' cursor goes to the step of what is highlighted in the timeline.",
        "enter",
    ),
    Action(
        "run.zoom_in",
        "zoom in",
        "Look closer, around the cursor. The mouse wheel does it too.",
        "plus,equals_sign",
        call="zoom(0.5)",
    ),
    Action("run.zoom_out", "zoom out", "See more of the run.", "minus", call="zoom(2.0)"),
    Action(
        "run.pan_right",
        "pan right",
        "Move along, to later steps. Shift and the wheel do it too.",
        "shift+right,L",
        call="pan(0.25)",
    ),
    Action(
        "run.pan_left",
        "pan left",
        "Move along, to earlier steps.",
        "shift+left,H",
        call="pan(-0.25)",
    ),
    Action("run.whole", "whole run", "See all of the run again.", "0"),
    Action(
        "run.smoother",
        "smoother",
        "The mean of more steps as the line. The exact values stay behind it.",
        "m",
        call="smooth(1)",
    ),
    Action(
        "run.rougher",
        "less smooth",
        "The mean of fewer steps, at last none.",
        "M",
        call="smooth(-1)",
    ),
    Action("run.scale", "log scale", "A logarithmic scale for the charts, or a linear one.", "y"),
    Action("run.full", "full chart", "The large chart on the whole screen, or all again.", "z"),
    Action(
        "run.overlay",
        "overlay",
        "Draw up to three other runs over this one, and show what differs.",
        "o",
    ),
    Action("run.export", "export", "Write the charts to a CSV, SVG or PNG file.", "x"),
    Action("run.copy", "copy path", "Copy the path of the run's folder.", "c"),
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
        "serve.reveal", "show key", "Show the client key in the example, or hide it again.", "r"
    ),
    # chat: its owner edits this block
    Action("chat.send", "send", "Ask all models. ctrl+j begins a new line.", "enter", footer=True),
    Action("chat.write", "write", "Back to the prompt.", "enter,i", footer=True),
    Action(
        "chat.stop",
        "stop all",
        "Stop the answers that are being written. What has come stays.",
        "escape,ctrl+s",
        footer=True,
    ),
    Action("chat.stop_side", "stop", "Stop the answer of this pane only.", "s", footer=True),
    Action(
        "chat.vote",
        "vote",
        "Say which answer is better, or that it is a tie, or that all are bad.",
        "f2,v",
        footer=True,
    ),
    Action(
        "chat.retry", "retry", "Ask the last question again, in all panes.", "ctrl+r", footer=True
    ),
    Action(
        "chat.retry_side",
        "retry",
        "Ask the last question again, in this pane only.",
        "r",
        footer=True,
    ),
    Action(
        "chat.edit",
        "edit",
        "Ask the chosen turn (else the last) again in other words, in all panes.",
        "p",
        footer=True,
    ),
    Action(
        "chat.correct",
        "correct",
        "Write what the model should have said: training data, once exported.",
        "w",
        footer=True,
    ),
    Action("chat.continue", "continue", "Have all panes go on from this pane's last answer.", "f"),
    Action(
        "chat.lens",
        "lens",
        "Mark how much likelier the tuned model makes each token than the base.",
        "f3,x",
        footer=True,
    ),
    Action(
        "chat.differences", "differences", "Mark the words that another answer has not.", "f4,d"
    ),
    Action("chat.fold", "thoughts", "Show or fold reasoning and tool calls.", "t"),
    Action("chat.previous_turn", "turn before", "Choose the turn before.", "left_square_bracket"),
    Action("chat.next_turn", "turn after", "Choose the turn after.", "right_square_bracket"),
    Action(
        "chat.previous_version",
        "version before",
        "Show the answer that stood in this place before.",
        "less_than_sign,comma",
    ),
    Action(
        "chat.next_version",
        "version after",
        "Show the answer that stood in this place after it.",
        "greater_than_sign,full_stop",
    ),
    Action("chat.left", "pane left", "To the pane on the left.", "left,h"),
    Action("chat.right", "pane right", "To the pane on the right.", "right,l"),
    Action(
        "chat.model",
        "model",
        "Another model for this pane: served, a run, a checkpoint, or a hosted one.",
        "m",
        footer=True,
    ),
    Action("chat.add", "add pane", "One more model beside the others, up to four.", "plus"),
    Action(
        "chat.remove",
        "remove pane",
        "Take this pane away. Its answers stay in the database.",
        "minus",
    ),
    Action(
        "chat.blind",
        "blind",
        "Hide the names and shuffle the models of the next chat; in one that is blind, show them.",
        "b",
        footer=True,
    ),
    Action(
        "chat.statistics",
        "votes",
        "What the votes say: win rates, intervals, tests, ratings.",
        "f9,V",
    ),
    Action("chat.copy", "copy answers", "Copy the last answers of all panes.", "C"),
    Action("chat.copy_side", "copy", "Copy the chosen answer (else the last) of this pane.", "c"),
    Action(
        "chat.settings",
        "settings",
        "System prompt and sampling, shared by all panes.",
        "ctrl+o,o",
        footer=True,
    ),
    Action("chat.view", "view", "This pane alone, or all.", "ctrl+b,z", footer=True),
    Action(
        "chat.clear",
        "new",
        "Begin a new chat with the same models and settings.",
        "ctrl+n,n",
        footer=True,
    ),
    Action(
        "chat.chats",
        "chats",
        "The chats of before: search them, open one, delete one.",
        "ctrl+l,slash",
        footer=True,
    ),
    Action(
        "chat.replay",
        "replay",
        "Go through a file of prompts, or a run's held-out conversations; again ends it.",
        "f5,R",
    ),
    Action("chat.skip", "skip prompt", "To the next conversation of the file.", "f8,N"),
    Action("chat.export", "export", "Write the chat to a Markdown or JSONL file.", "ctrl+g,e"),
    # end of chat
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
    Action("list.cursor_up", "up", "The row above.", "up,k"),
    Action("list.cursor_down", "down", "The row below.", "down,j"),
    Action("list.first", "first", "The first row.", "home,g"),
    Action("list.last", "last", "The last row.", "end,G"),
    Action("list.page_up", "page up", "A page up.", "pageup,ctrl+u"),
    Action("list.page_down", "page down", "A page down.", "pagedown,ctrl+d"),
    Action("log.line_up", "up", "A line up; the log stays where it is while it grows.", "up,k"),
    Action("log.line_down", "down", "A line down.", "down,j"),
    Action("log.page_up", "page up", "A page up.", "pageup,ctrl+u"),
    Action("log.page_down", "page down", "A page down.", "pagedown,ctrl+d"),
    Action("log.top", "top", "The first line.", "home,g"),
    Action(
        "log.follow", "follow", "Go to the end of the log and stay there as it grows.", "end,G,f"
    ),
    Action("search.find", "find", "Look for a text in the log.", "slash"),
    Action("search.find_next", "next match", "The next line with the text.", "n"),
    Action("search.find_previous", "match before", "The line with the text before.", "N"),
    Action(
        "samples.prompt", "next prompt", "The answers to another prompt.", "p", call="prompt(1)"
    ),
    Action(
        "samples.previous_prompt",
        "prompt before",
        "The answers to the prompt before.",
        "P",
        call="prompt(-1)",
    ),
    Action(
        "samples.later",
        "later answer",
        "The answer of a later evaluation.",
        "full_stop",
        call="walk(1)",
    ),
    Action(
        "samples.earlier",
        "earlier answer",
        "The answer of an earlier evaluation.",
        "comma",
        call="walk(-1)",
    ),
    Action(
        "samples.compare",
        "differences",
        "Mark the words that differ from the reference, or from the answer before.",
        "d",
    ),
    Action("app.runs", "Runs", "Runs and other jobs, with their states.", "1", call="show('runs')"),
    Action("app.models", "Models", "Base models and tuned adapters.", "2", call="show('models')"),
    Action("app.serve", "Serve", "The server and how to ask it.", "3", call="show('serve')"),
    Action(
        "app.chat", "Chat", "Talk to base and tuned models side by side.", "4", call="show('chat')"
    ),
    Action(
        "app.data",
        "Data",
        "What becomes of each row of a data set, and which tokens are trained.",
        "5",
        call="show('data')",
    ),
    Action("app.back", "back", "One level back. Never quits.", "escape"),
    Action(
        "app.help", "help", "What can be done here, and its keys.", "question_mark,f1", footer=True
    ),
    Action("app.palette", "palette", "Every action by its name.", "ctrl+p", call="command_palette"),
    Action("app.theme", "theme", "Choose the colours.", "ctrl+t", call="change_theme"),
    Action(
        "app.silence",
        "silence",
        "No bell and no desktop notice when a job ends while you look elsewhere, or both again.",
        "f8",
    ),
    Action(
        "app.copied",
        "copy selection",
        "Copy the selected text. Never stops anything.",
        "ctrl+c",
        call="help_quit",
    ),
    Action("app.quit", "quit", "Leave Luthier. Jobs keep running.", "q", footer=True),
    Action(
        "app.quit_now",
        "quit anyway",
        "Leave Luthier even while typing. Jobs keep running.",
        "ctrl+q",
        call="quit",
        priority=True,
    ),
]


def actions_of(*places: Place) -> list[Action]:
    return [action for action in ACTIONS if action.place in places]


def bindings(place: Place) -> list[BindingType]:
    """The bindings of everything that can be done at this place: a screen's or widget's
    `BINDINGS`."""
    return [
        Binding(
            action.keys,
            action.action,
            action.title,
            show=action.footer,
            key_display=action.key_names[0],
            tooltip=action.help,
            priority=action.priority,
            id=action.id,
        )
        for action in actions_of(place)
    ]


def place_of(screen: object) -> Place:
    """The place that a screen declares; "app" for one that declares none."""
    place: Place = getattr(screen, "place", "app")
    return place
