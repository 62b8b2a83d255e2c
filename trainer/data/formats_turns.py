"""Messages from items of any spelling: roles, tool calls, tools and weights in the form that chat
templates take."""

from __future__ import annotations

import ast
import difflib
import json
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

Message = dict[str, Any]

# Roles as data sets name them. `call` is an assistant message whose content is a tool call in JSON
# (ShareGPT's function_call).
CALL = "call"
ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(
        ("user", "human", "person", "prompter", "customer", "questioner", "student"), "user"
    ),
    **dict.fromkeys(
        (
            "assistant",
            "gpt",
            "chatgpt",
            "bing",
            "bard",
            "bot",
            "chatbot",
            "ai",
            "model",
            "claude",
            "llm",
            "agent",
        ),
        "assistant",
    ),
    **dict.fromkeys(("tool", "function", "observation", "ipython", "environment"), "tool"),
    **dict.fromkeys(
        ("function_response", "tool_response", "function_result", "tool_result"), "tool"
    ),
    **dict.fromkeys(("function_call", "tool_call"), CALL),
}
_ROLES_SAID = frozenset(ROLES.values())
ROLE_KEYS = ("role", "from", "speaker", "sender", "author", "participant", "character", "name")
CONTENT_KEYS = ("content", "value", "text", "message", "utterance", "body")
TURN_COLUMNS = (
    "messages",
    "conversations",
    "conversation",
    "dialog",
    "dialogue",
    "turns",
    "chat",
    "transcript",
)
# Columns of a row that hold lists: a list under one of these names is part of a row, not a list of
# rows.
LIST_COLUMNS = {
    *TURN_COLUMNS,
    "chosen",
    "rejected",
    "prompt",
    "completion",
    "history",
    "tools",
    "functions",
    "participants",
    "worldinfo",
}

# What a cell or a key holds that says nothing.
EMPTY: tuple[Any, ...] = (None, "", [], {})

# levels of lists and objects that a row may have: what reads them calls itself, and Python allows
# 1000 calls
DEEPEST = 200

# A list or an object of texts as Python prints it.
_PYTHON = re.compile(r"[\[{\s]+['\"]")
_KEPT_TEXTS = ("name", "tool_call_id", "reasoning_content", "thinking")
# OpenAI, ms-swift and Axolotl say per message whether it is trained, the first two also how much.
WEIGHT_KEYS = ("weight", "loss", "train")
KNOWN_KEYS = (*_KEPT_TEXTS, *WEIGHT_KEYS, "reasoning", "tool_calls", "function_call")
# How other tools say what is trained, in ways that are not ours; and words that only look like
# ours.
_MEANT = dict.fromkeys(
    ("train_detail", "trainable", "train_on", "loss_mask", "loss_weight", "mask", "masked"),
    "weight",
)
_OTHER_WORDS = {"context", "consent", "height", "form", "mean"}
_ALIKE = 0.81  # of difflib's ratio: `weights` and `weight` are, `trait` and `train` are not


class RowProblem(Exception):
    """Why a row makes no conversation. The codes are the keys of `PROBLEMS`."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.code, self.detail = code, detail

    def __str__(self) -> str:
        return self.detail


PROBLEMS = {
    "other_format": "the row is not in the file's format",
    "not_a_message": "an item of the turns is not a message",
    "no_turns": "the row has no turns",
    "tool_call": "a tool call cannot be read",
    "tools": "the list of tools cannot be read",
    "history": "the history is not a list of question and answer pairs",
    "weight": "a message's weight is not a number of at least 0",
    "outside_turns": "there is text outside the turns",
    "unclosed_turn": "a turn is not closed",
    "no_user_turn": "nobody speaks as the user",
    "many_speakers": "more than two speakers, and none known",
    "no_winner": "neither of two answers is better",
    "prompts_differ": "the two answers do not answer the same prompt",
    "broken_chain": "the row that it follows is missing, cannot be read, or follows it in turn",
}


class Converted(NamedTuple):
    """A row's conversation."""

    messages: list[Message]
    tools: list[dict[str, Any]] | None = None
    repairs: tuple[str, ...] = ()
    """Codes of what was changed on the way, keys of `REPAIRS`."""
    unknown: tuple[str, ...] = ()
    """Says of which messages a key means nothing that was meant to."""
    met: tuple[tuple[str, str], ...] = ()
    """Policies that the row's columns meet, each with what it is about."""
    places: tuple[int, ...] = ()
    """The messages' numbers in the row, -1 for one that a column made; empty where they are as
    here."""


REPAIRS = {
    "rejected_turn": "an answer that the data marks as bad is not trained",
    "chosen_answer": (
        "Luthier took the answer that the data marks as best, or the first of several correct ones"
    ),
    "merged_speaker": "consecutive turns of one speaker were merged",
    "dropped_opening": "everything before the first user turn was dropped",
    "template_text": "text that the markup's template itself writes was left out",
    "separators": "text that only separated the prompt from the completion was left out",
    "other_branches": "answers outside the chosen branch were left out",
    "left_out": "tool steps, attachments and hidden context of the export were left out",
    "chained": "its turns are part of another row's conversation",
}


def decoded(value: Any) -> Any:
    """A value that a table holds as text, `[...]` or `{...}` in JSON or as Python prints it;
    anything else as it is."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("[", "{"):
        return value
    try:
        return from_json(value)
    except ValueError:
        pass
    if not _PYTHON.match(value):
        return value
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python's compiler comments on what is no Python
            python = ast.literal_eval(value.strip())
        return json.loads(json.dumps(python, ensure_ascii=False).encode())
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return value


def is_deep(value: Any) -> bool:
    """Whether lists and objects lie in each other more than `DEEPEST` levels deep."""
    level = [value]
    for _ in range(DEEPEST):
        level = [
            inner
            for container in level
            if isinstance(container, list | dict)
            for inner in (container.values() if isinstance(container, dict) else container)
        ]
        if not level:
            return False
    return True


def from_json(text: str) -> Any:
    """ValueError also for what JSON could say but no text can hold, and for what is nested too
    deeply."""
    try:
        value = json.loads(text, parse_constant=lambda _: None)
        if is_deep(value):
            raise RecursionError
        if "\\ud" in text or "\\uD" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def turn_keys(item: Any) -> tuple[str, str] | None:
    """Which keys of an item say who speaks and what; None if it is no turn."""
    if not isinstance(item, dict):
        return None
    role = next((key for key in ROLE_KEYS if isinstance(item.get(key), str)), None)
    content = next((key for key in CONTENT_KEYS if key in item), None)
    if content is None and role == "role" and item.get("tool_calls"):
        content = "content"
    return None if role is None or content is None else (role, content)


def turn_list(value: Any) -> list[Any] | None:
    """The items of a column of turns, groups of them flattened; None if it is no list."""
    value = decoded(value)
    if isinstance(value, dict):
        value = _items_of_lists(value)
    if not isinstance(value, list):
        return None
    if list not in map(type, value):
        return value
    return [item for group in value for item in (group if isinstance(group, list) else [group])]


def _items_of_lists(value: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The objects of an object of lists of one length, as datasets writes a sequence of objects;
    None for any other object."""
    if (
        not value
        or not all(isinstance(items, list) for items in value.values())
        or len({len(items) for items in value.values()}) != 1
    ):
        return None
    return [dict(zip(value, items, strict=True)) for items in zip(*value.values(), strict=True)]


def role_of(word: str, roles: Mapping[str, str], tool_names: Sequence[str] = ()) -> str:
    """A data set's word for a role; one that nobody knows stays as it is, for the policy on unknown
    roles."""
    if word in roles:
        return roles[word]
    if word in tool_names:
        return "tool"
    return ROLES.get(word) or ROLES.get(
        word.strip().lower().replace("-", "_").replace(" ", "_"), word
    )


def is_role(word: str) -> bool:
    return role_of(word, {}) in _ROLES_SAID


def message_of(
    item: Any,
    keys: tuple[str, str],
    roles: Mapping[str, str],
    tool_names: Sequence[str],
    index: int,
) -> Message:
    """One item as a message. Content that is no text stays as it is, for the policy on it."""
    if not isinstance(item, dict):
        raise RowProblem("not_a_message", f"item {index} is not an object")
    word = item.get(keys[0])
    if not isinstance(word, str):
        raise RowProblem("not_a_message", f"item {index} has no `{keys[0]}`")
    role = role_of(word, roles, tool_names)
    content = item.get(keys[1])
    if len(item) == 2 and content is not None and role != CALL and word not in tool_names:
        return {"role": role, "content": content}
    calls = decoded(item.get("tool_calls")) or (
        [item["function_call"]] if item.get("function_call") else None
    )
    if role == CALL:
        role, calls, content = "assistant", decoded(content), ""
    message: Message = {"role": role, "content": "" if content is None and calls else content}
    if calls:
        message["tool_calls"] = [
            _call(call, index) for call in (calls if isinstance(calls, list) else [calls])
        ]
    if role == "tool" and word in tool_names:
        message["name"] = word
    message.update(
        {
            key: item[key]
            for key in _KEPT_TEXTS
            if key not in keys and isinstance(item.get(key), str) and item[key]
        }
    )
    if isinstance(item.get("reasoning"), str) and item["reasoning"]:
        message.setdefault("reasoning_content", item["reasoning"])
    weight = next((item[key] for key in WEIGHT_KEYS if item.get(key) is not None), None)
    if weight is not None:
        message["weight"] = _weight(weight, index)
    return message


def unknown_keys(item: Any, keys: tuple[str, str], index: int) -> list[str]:
    """What to tell of an item's keys that look like misspelt ones. Others are common in exports
    (id, timestamp), and left alone."""
    if not isinstance(item, dict) or len(item) == 2:
        return []
    other_keys = [
        key
        for key, value in item.items()
        if key not in keys and key not in KNOWN_KEYS and value not in EMPTY
    ]
    pairs = [(key, near) for key in other_keys if (near := meant_key(key, keys))]
    return [
        f"message {index} has the unknown key `{key}`: did you mean `{near}`?"
        for key, near in pairs
    ]


@lru_cache(maxsize=4096)
def meant_key(key: str, keys: tuple[str, str] = ("role", "content")) -> str | None:
    """The key of a message that a misspelt one is meant to be; None if it is like none."""
    folded = (
        re.sub(r"(?<=[a-z])(?=[A-Z])", "_", str(key))
        .strip()
        .lower()
        .replace("-", "_")
        .replace(" ", "_")
    )
    if folded in _OTHER_WORDS:
        return None
    known_keys = (*keys, *KNOWN_KEYS)
    transposed = next((key for key in known_keys if sorted(key) == sorted(folded)), None)
    return (
        _MEANT.get(folded)
        or transposed
        or next(iter(difflib.get_close_matches(folded, known_keys, 1, _ALIKE)), None)
    )


def _weight(value: Any, index: int) -> float:
    if isinstance(value, bool):
        return int(value)
    if not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise RowProblem("weight", f"item {index} has the weight {str(value)[:40]!r}")
    return value


def _call(value: Any, index: int) -> dict[str, Any]:
    """A tool call in OpenAI's form, its arguments as an object: templates write them as JSON
    themselves."""
    value = decoded(value)
    function = value.get("function", value) if isinstance(value, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(name, str) or not name:
        raise RowProblem("tool_call", f"item {index} calls a tool without a name")
    arguments = function.get("arguments", function.get("parameters"))  # Llama 3 calls them so
    if arguments is None and (
        typed := difflib.get_close_matches("arguments", map(str, function), 1, _ALIKE)
    ):
        raise RowProblem(
            "tool_call",
            f"item {index} calls {name} with the unknown key `{typed[0]}`: did you mean"
            " `arguments`?",
        )
    if isinstance(arguments, str) and arguments.strip():
        try:
            arguments = from_json(arguments)
        except ValueError as error:
            raise RowProblem(
                "tool_call",
                f"item {index} calls {name} with arguments that are not JSON ({str(error)[:80]})",
            ) from None
    arguments = arguments or {}
    if not isinstance(arguments, dict):
        raise RowProblem(
            "tool_call", f"item {index} calls {name} with arguments that are not an object"
        )
    call: dict[str, Any] = {"type": "function", "function": {"name": name, "arguments": arguments}}
    return {"id": value["id"], **call} if isinstance(value.get("id"), str) and value["id"] else call


def tools_of(value: Any) -> list[dict[str, Any]] | None:
    """The tools that a row declares, each wrapped as OpenAI does; None if there is none."""
    if value is None:
        return None
    value = decoded(value)
    if value in EMPTY:
        return None
    tools = [decoded(tool) for tool in (value if isinstance(value, list) else [value])]
    for tool in tools:
        function = tool.get("function", tool) if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise RowProblem("tools", "a tool has no name")
    return [
        tool if "function" in tool else {"type": "function", "function": _parameters(tool)}
        for tool in tools
    ]


def _parameters(function: dict[str, Any]) -> dict[str, Any]:
    """A tool as Anthropic declares it, in OpenAI's words."""
    if "input_schema" not in function or "parameters" in function:
        return function
    return {
        ("parameters" if key == "input_schema" else key): value for key, value in function.items()
    }


def tool_names(tools: list[dict[str, Any]] | None) -> list[str]:
    return [tool["function"]["name"] for tool in tools or []]
