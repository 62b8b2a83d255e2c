"""What can be done on the chat screen."""

from __future__ import annotations

from tui.shared.action import Action

CHAT: list[Action] = [
    Action("chat.send", "send", "Ask all models. ctrl+j begins a new line.", "enter", footer=True),
    Action(
        "chat.commands",
        "commands",
        "Leave the prompt: single letters act then, and 1 to 5 open the screens.",
        "escape",
        footer=True,
    ),
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
        "chat.copy_code",
        "copy code",
        "Copy a block of code of the chosen answer (else the last), as it reads in a file.",
        "y",
    ),
    Action(
        "chat.editor",
        "editor",
        "Write the prompt in $EDITOR.",
        "ctrl+e",
        priority=True,
    ),
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
]
