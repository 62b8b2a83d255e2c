"""Why something cannot be done now: what each action needs. A key that does nothing says it."""

from __future__ import annotations

from typing import Any

from textual.actions import parse
from textual.screen import Screen

from tui import key_bindings
from tui.screens import PLACE_TITLES
from tui.shared.action import Action, Place

_POINTS = "a run whose first step is done"
_SERVER = "a server that answers"
_NO_PROMPT = "the prompt to be left (esc)"
_ANSWERS = "an answer, and none that is still being written"
_SIDE = "a pane in focus (esc leaves the prompt)"
_READY = "a model that is ready to use, highlighted"
_SAMPLE = "a highlighted row from which samples were made"

NEEDS: dict[str, str] = {
    "runs.open": "a job to be highlighted",
    "runs.resume": "a run that was stopped, failed or was lost",
    "runs.requeue": "jobs that were waiting when the machine went down",
    "runs.edit": "a run that waits in the queue",
    "runs.sooner": "a job that waits behind another one",
    "runs.later": "a job that waits before another one",
    "runs.stop": "a job that runs or waits",
    "runs.serve": "a run with a tuned model",
    "runs.chat": "a run with a tuned model",
    "runs.delete": "a job that has ended, or waits: stop it first",
    "runs.mark": "a run; other jobs have nothing to draw",
    "runs.copy": "a damaged folder to be highlighted",
    "runs.filter": "a job to look for",
    "runs.baseline": "a run to be highlighted",
    "run.stop": "a run that has not ended",
    "run.resume": "a run that was stopped, failed or was lost",
    "run.serve": "a tuned model, which the first checkpoint brings",
    "run.chat": "a tuned model, which the first checkpoint brings",
    "run.certificate": "a tuned model, which the first checkpoint brings",
    "run.guard": "a tuned model, which the first checkpoint brings",
    "run.error": "a run that has failed",
    "run.overlay": "another run",
    "run.go": "the timeline as the shown panel",
    **{
        f"run.{name}": _POINTS
        for name in (
            *("chart", "chart_back", "right", "left", "next_mark", "previous_mark", "zoom_in"),
            *("zoom_out", "pan_right", "pan_left", "whole", "smoother", "rougher", "scale"),
            *("full", "export"),
        )
    },
    "job.open": "a job that is about a run",
    "job.certificate": "a job that is about a run with a tuned model",
    "job.report": "a comparison, or a guard, that is done",
    "job.error": "a job that has failed",
    "job.stop": "a job that has not ended",
    "models.prepare": "a built-in model that is not prepared yet",
    "models.serve": _READY,
    "models.new": _READY,
    "models.certificate": "a tuned model of a run",
    "models.certify_export": "a tuned or merged model of a run",
    "models.merge": "a tuned model that is ready, highlighted",
    "models.export": _READY,
    "models.push": _READY,
    "models.stop": "an import or a merge that is on its way",
    "models.remove": "a model of its own: what a run made goes with the run, on Runs",
    "models.copy": "a model to be highlighted",
    "serve.stop": "a server that runs",
    "serve.sleep": "a server that was started with giving way to runs",
    "serve.load": _SERVER,
    "serve.unload": f"{_SERVER}, with a tuned model in it",
    "serve.pin": f"{_SERVER}, with a tuned model in it",
    "serve.chat": _SERVER,
    "serve.copy": _SERVER,
    "serve.snippet": _SERVER,
    "serve.reveal": _SERVER,
    "serve.error": "a server that has failed",
    "data.read": "a row to be highlighted",
    "data.filter": "data that was looked at ({data.look} looks at some)",
    "data.format": "data that was looked at ({data.look} looks at some)",
    "data.overview": "data that was looked at, and a narrow terminal: on others it is in sight",
    "data.ids": _SAMPLE,
    "data.raw": _SAMPLE,
    "data.copy": _SAMPLE,
    "data.next_sample": "a row that became several samples",
    "data.previous_sample": "a row that became several samples",
    "data.train": "data that was looked at, without a failure",
    "data.propose": "rows that could not be read",
    "data.stop": "a look at data that is still on its way",
    "data.error": "a look at data that has failed",
    "chat.talk": "no chat yet, and a finished run to talk with",
    "chat.send": "a server, and a prompt",
    "chat.commands": "a prompt that is being written",
    "chat.write": "a server, or an earlier chat",
    "chat.stop": "an answer that is being written",
    "chat.stop_side": "a pane in focus whose answer is being written",
    "chat.vote": "two panes with complete answers",
    "chat.retry": "a server, and a question that was asked",
    "chat.retry_side": "a pane in focus with an answer, and a server",
    "chat.edit": "a pane in focus with an answer, and a server",
    "chat.correct": "a pane in focus with a model's answer, in a chat that is not blind",
    "chat.continue": "a pane in focus with an answer, beside another pane",
    "chat.lens": "answers of a server of this machine, in a chat that is not blind",
    "chat.differences": "answers in two panes",
    "chat.fold": f"{_SIDE}, with an answer",
    "chat.previous_turn": f"{_SIDE}, with an answer",
    "chat.next_turn": f"{_SIDE}, with an answer",
    "chat.previous_version": "an answer that came in place of another one",
    "chat.next_version": "an answer in whose place another one came",
    "chat.left": f"{_SIDE}, beside another one",
    "chat.right": f"{_SIDE}, beside another one",
    "chat.model": f"{_NO_PROMPT}, and a chat that is neither blind nor answering",
    "chat.add": "room for a pane (four at most), and a chat that is neither blind nor answering",
    "chat.remove": "a pane in focus, beside another one, in a chat that is not blind",
    "chat.blind": "a pane in focus, and two models",
    "chat.copy": f"{_NO_PROMPT}, and an answer",
    "chat.copy_side": f"{_SIDE}, with an answer",
    "chat.copy_code": f"{_SIDE}, with an answer that has a block of code",
    "chat.editor": "a prompt in sight, and no answer that is being written",
    "chat.settings": "a server, or an earlier chat, and no answer that is being written",
    "chat.view": "a server, or an earlier chat",
    "chat.clear": "a chat with something in it",
    "chat.chats": "no answer that is being written",
    "chat.replay": "a server, and no answer that is being written",
    "chat.skip": "a replay ({chat.replay} begins one)",
    "chat.export": _ANSWERS,
    "compare.open": "a comparison whose report is written, highlighted",
    "compare.stop": "a comparison that runs or waits",
    "compare.resume": "a comparison that was stopped, failed or was lost",
    "compare.delete": "a comparison that has ended, highlighted",
    "compare.copy": "a comparison to be highlighted",
    "report.next": "prompts in sight ({report.figures} turns to them)",
    "report.previous": "prompts in sight ({report.figures} turns to them)",
    "report.differences": "prompts in sight ({report.figures} turns to them)",
    "report.figures": "a report with prompts",
    "report.chat": "the flips of a guard in sight ({report.figures} turns to them)",
    "report.again": "the result of a guard",
    "board.open": "a run",
    "board.next": "a second run",
    "settings.change": "a setting to be highlighted, and a config.toml that can be read",
    "settings.next": "a setting to be highlighted, and a config.toml that can be read",
    "settings.previous": "a setting to be highlighted, and a config.toml that can be read",
    "settings.default": "a setting that config.toml has",
    "settings.add": "a config.toml that can be read",
    "settings.remove": "an endpoint to be highlighted",
    "search.find_next": "a text to look for ({search.find} asks for it)",
    "search.find_previous": "a text to look for ({search.find} asks for it)",
    "new_run.plan": "data that can be trained on",
    "new_run.accept": "data that the recipe does not read, and a proposal how it could",
    "new_run.another": "data that could be read in several ways",
}
"""By id of the action: what it needs, as it follows "Vote needs"."""


def reason_of(action: Action, here: Place) -> str:
    """Why an action that cannot be done now, at this place, cannot."""
    need, title = NEEDS.get(action.id), action.title[:1].upper() + action.title[1:]
    if need is not None and action.place == here:
        return f"{title} needs {key_bindings.with_keys(need).plain}."
    where = PLACE_TITLES[action.place]
    return f"{title}: not possible here. It belongs to {where}."


def why_not(screen: Screen[Any], key: str, *, is_kept: bool = False) -> str:
    """Why a key does nothing on this screen, if an action of the screen has it; "" where the key
    does something, or belongs to none. A key that `is_kept` from the app does nothing."""
    here = key_bindings.place_of(screen)
    disabled = [action for action in key_bindings.actions_of(here) if key in action.current_keys]
    if screen.is_modal or (key in screen.active_bindings and not is_kept):
        return ""
    first = next((action for action in disabled if action.id in NEEDS), None)
    is_possible = any(screen.check_action(*parse(action.action)[1:]) for action in disabled)
    return reason_of(first, here) if first is not None and not is_possible else ""
