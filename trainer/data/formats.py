"""From a row to a conversation: which format a file is in, told from its rows, and how its rows become messages. Light."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Sequence
from collections.abc import Mapping as Dict
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import msgspec

from jobs.errors import LuthierError
from trainer.data import formats_exports as exports
from trainer.data.formats_markup import BY_NAME as MARKUPS
from trainer.data.formats_markup import END, START, markup_of
from trainer.data.formats_chains import CHAINED, chain_columns, message_columns
from trainer.data.formats_chains import PARTS as CHAIN_PARTS
from trainer.data.formats_layouts import HINT, refused, unrecognised
from trainer.data.formats_text import is_transcript, learn_speakers, spoken_turns, transcript
from trainer.data.formats_turns import (
    KNOWN_KEYS,
    LIST_COLUMNS,
    TURN_COLUMNS,
    WEIGHT_KEYS,
    Converted,
    Message,
    RowProblem,
    decoded,
    is_role,
    meant_key,
    message_of,
    tool_names,
    tools_of,
    turn_keys,
    turn_list,
    unknown_keys,
)

Role = Literal["system", "user", "assistant", "tool"]
FormatName = Literal[  # fmt: skip
    "auto", "messages", "sharegpt", "alpaca", "prompt_completion", "question_answer", "chatml_text", "preference", "transcript", "markup",
    "export", "turns",
]
# What each format is made of: the parts that it needs, then those that it may have. A part is found under any of the names below.
PARTS: dict[FormatName, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "export": ((), ()),
    "preference": (("chosen",), ("rejected", "prompt", "system", "tools")),
    "messages": (("turns", "role", "content"), ("system", "tools")),
    "sharegpt": (("turns", "role", "content"), ("system", "tools")),
    "transcript": ((), ("turns", "role", "content", "text")),
    "alpaca": (("instruction", "output"), ("input", "history", "system")),
    "question_answer": (("question", "answer"), ("system",)),
    "prompt_completion": (("prompt", "completion"), ("system", "tools")),
    "chatml_text": (("text",), ()),
    "markup": (("text",), ()),
    "turns": (("role", "content"), ()),
}
_NAMES = {
    "system": ("system", "system_prompt", "system_message"),
    "tools": ("tools", "functions"),
    "output": ("output", "response", "answer"),
    "answer": ("answer", "response", "output", "reply"),
    "question": ("question", "query"),
    "prompt": ("prompt", "query", "input", "user", "human", "source"),
    "completion": ("completion", "response", "output", "answer", "assistant", "reply", "target"),
}
_TITLES = {
    "messages": "OpenAI messages",
    "sharegpt": "ShareGPT",
    "alpaca": "Alpaca",
    "prompt_completion": "prompt and completion",
    "question_answer": "question and answer",
    "chatml_text": "ChatML as text",
    "preference": "preference pairs, of which the chosen answer is trained",
    "transcript": "a transcript",
    "markup": "marked-up text",
    "export": "an export or a log",
    "turns": "messages, one a row",
}


class Mapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The recipe's section [format]: what is left out is found out. `columns` maps our names of parts to the file's columns,
    `roles` the file's words for roles to ours, `speakers` names to roles ("first" and "others" stand for whom nobody named). `layout` names
    the markup or the export, `encoding` that of files that are no UTF-8. Without `chain` rows that follow each other stay rows of their own.
    """

    format: FormatName = "auto"
    columns: dict[str, str] = {}
    roles: dict[str, Role] = {}
    speakers: dict[str, Role] = {}
    layout: str = ""
    encoding: str = ""
    chain: bool = True


@dataclass(frozen=True)
class Format:
    """`mapping` is complete: given back to `recognise`, it leads to the same format. `unused` are columns that nothing reads."""

    name: FormatName
    reason: str
    mapping: Mapping
    unused: tuple[str, ...] = ()

    @property
    def is_chained(self) -> bool:
        """Whether rows make conversations together, and not each its own."""
        return self.name == "turns" or (self.mapping.chain and not {"parent", "conversation"}.isdisjoint(self.mapping.columns))

    def convert(self, value: dict[str, Any]) -> Converted:
        """The row's conversation. RowProblem if it makes none; odd messages are left for the policies."""
        row = _Row(value, self.mapping)
        converted = _CONVERTERS[self.name](row)
        if not converted.messages:
            raise RowProblem("no_turns", "the row has no turn")
        return converted._replace(unknown=tuple(row.unknown)) if row.unknown else converted


class _Row:
    """A row, read through a mapping; columns are found whatever their capitals. `unknown` gathers what is odd in its messages' keys."""

    def __init__(self, value: dict[str, Any], mapping: Mapping) -> None:
        self.value, self.mapping = value, mapping
        self.unknown: list[str] = []

    @cached_property
    def columns(self) -> dict[str, str]:
        return {_folded(name): name for name in reversed(self.value)}

    def find(self, part: str) -> str | None:
        """The column that holds a part: as the mapping says, else by its usual names."""
        given = self.mapping.columns.get(part)
        if given is not None:
            return given if given in self.value else self.columns.get(_folded(given))
        return next((self.columns[name] for name in _NAMES.get(part, (part,)) if name in self.columns), None)

    def get(self, part: str) -> Any:
        """A part's value; None if the row has not the column that the mapping names."""
        column = self.find(part) if part in self.mapping.columns else None
        return None if column is None else self.value[column]

    def need(self, part: str) -> Any:
        value = self.get(part)
        if value is None:
            column = self.mapping.columns.get(part, part)
            raise RowProblem("other_format", f"`{column}` is {'null' if column in self.value else 'missing'}{_looks_like(self.value)}")
        return value

    def system(self) -> list[Message]:
        value = self.get("system")
        return [] if value is None or value == "" else [{"role": "system", "content": value}]


def recognise(rows: Sequence[dict[str, Any]], mapping: Mapping | None = None) -> Format:
    """The format that most of these rows are in; a few dozen are enough. LuthierError if they are in none, or not in the one asked for."""
    mapping = mapping or Mapping()
    _check_columns(mapping)
    if not rows:
        raise LuthierError("Empty data", "There is no row to tell the format by.", HINT)
    if mapping.format == "auto" and (error := refused(rows)) is not None:
        raise error
    if mapping.format in ("auto", "turns") and mapping.chain and (columns := message_columns(rows, mapping.columns)) is not None:
        return _message_rows(rows, mapping, columns)
    found = [_first_match(_Row(row, mapping)) for row in rows]
    votes = Counter((match[0], tuple(match[1].items())) for match in found if match is not None)
    if not votes:
        raise unrecognised(rows, _TITLES.get(mapping.format, ""))
    (name, items), number = votes.most_common(1)[0]
    needed = dict(items)
    columns = dict(needed)
    for match in found:
        if match is not None and match[:2] == (name, needed):
            columns = {**match[2], **columns}
    whole = msgspec.structs.replace(mapping, format=name, columns={**columns, **mapping.columns})
    more = ", ".join(f"`{column}`" for part, column in columns.items() if part not in needed and part != "rejected")
    links = chain_columns(rows, whole.columns) if name in CHAINED and mapping.chain else {}
    whole = msgspec.structs.replace(whole, columns={**whole.columns, **links})
    if name in ("markup", "export") and not whole.layout:
        whole = msgspec.structs.replace(whole, layout=_layout(rows, whole))
    reason = f"{_share(number, len(rows))} {_described(name, columns, whole.layout)}: {_TITLES[name]}{more and f', with {more}'}"
    reason = f"{reason}{_chain_reason(links)}"
    if name == "transcript":
        samples = [turns for row in rows if (turns := _spoken(_Row(row, whole), learning=True))]
        speakers, why = (dict(mapping.speakers), "the recipe says who is who") if mapping.speakers else learn_speakers(samples)
        whole, reason = msgspec.structs.replace(whole, speakers=speakers), f"{reason}; {why}"
    used = {*whole.columns.values()}
    unused = dict.fromkeys(str(column) for row in rows for column in row if column not in used)
    return Format(name, reason, whole, (*unused, *_unused_keys(rows, whole)))


def _message_rows(rows: Sequence[dict[str, Any]], mapping: Mapping, columns: dict[str, str]) -> Format:
    """The format of rows that are one message each and follow each other."""
    whole = msgspec.structs.replace(mapping, format="turns", columns={**columns, **mapping.columns})
    number = sum(columns["role"] in row and columns["content"] in row for row in rows)
    has = f"`{columns['role']}` and `{columns['content']}`"
    unused = dict.fromkeys(str(column) for row in rows for column in row if column not in {*whole.columns.values(), *KNOWN_KEYS})
    reason = f"{_share(number, len(rows))} {has}: {_TITLES['turns']}{_chain_reason(columns) or '; the file is one conversation'}"
    return Format("turns", reason, whole, tuple(unused))


def _chain_reason(columns: Dict[str, str]) -> str:
    if "parent" in columns:
        return f"; rows follow each other by `{columns['parent']}` and `{columns['id']}`, and are one conversation as far as they do"
    if "conversation" in columns:
        order = f", in the order of `{columns['turn']}`" if "turn" in columns else ""
        return f"; rows of one `{columns['conversation']}` are one conversation{order}"
    return ""


def _layout(rows: Sequence[dict[str, Any]], mapping: Mapping) -> str:
    """The name of the markup or the export that most rows are in."""
    values = [_Row(row, mapping) for row in rows]
    if mapping.format == "export":
        layouts = [export.name for value in values if (export := _export_of(value)) is not None]
    else:
        texts = [text for value in values if isinstance(text := value.get("text"), str)]
        layouts = [markup.name for text in texts if (markup := markup_of(text)) is not None]
    return Counter(layouts).most_common(1)[0][0]


def _unused_keys(rows: Sequence[dict[str, Any]], mapping: Mapping) -> list[str]:
    """Keys of messages that nothing reads, but for those that look like misspelt ones: these are the policies' business."""
    turns, keys = mapping.columns.get("turns"), (mapping.columns.get("role", ""), mapping.columns.get("content", ""))
    items = [item for row in rows for item in turn_list(row.get(turns)) or [] if isinstance(item, dict)] if turns else []
    found = dict.fromkeys(key for item in items for key in item if key not in keys)
    known = () if mapping.format == "transcript" else KNOWN_KEYS
    return [f"{turns}[].{key}" for key in found if key not in known and (not known or meant_key(key, keys) is None)]


def _check_columns(mapping: Mapping) -> None:
    layouts = sorted({*MARKUPS, *exports.BY_NAME})
    if mapping.layout and mapping.layout not in layouts:
        raise LuthierError("Unknown layout", f"format.layout is {mapping.layout!r}, which is none.", f"Known: {', '.join(layouts)}.")
    known = sorted({part for name, parts in PARTS.items() if mapping.format in ("auto", name) for part in (*parts[0], *parts[1])})
    known = [*known, *(CHAIN_PARTS if mapping.format in ("auto", *CHAINED) else ())]
    for part in mapping.columns:
        if part not in known:
            close = difflib.get_close_matches(part, known, n=1)
            hint = f"Did you mean {close[0]}?" if close else f"Known: {', '.join(known)}."
            raise LuthierError("Unknown part in the format", f"format.columns.{part} means nothing for {mapping.format}.", hint)


Match = tuple[FormatName, dict[str, str], dict[str, str]]


def _first_match(row: _Row) -> Match | None:
    """The row's format; lines like "name: text" stand in many an answer, so that they are the last to count."""
    names = list(PARTS) if row.mapping.format == "auto" else [row.mapping.format]
    found = next((match for name in names if (match := _match(name, row))), None)
    if found is not None or "transcript" not in names:
        return found
    return _match_text("transcript", row, lambda text: is_transcript(text, row.mapping.speakers))


def _match(name: FormatName, row: _Row) -> Match | None:
    """The parts that a row of a format must have and those that it may have, with their columns; None if it is not in it."""
    if name in ("messages", "sharegpt", "transcript"):
        return _match_turns(name, row)
    if name == "chatml_text":
        return _match_text(name, row, lambda text: START in text and END in text)
    if name == "turns":
        return None  # told from all rows of the sample, by `message_columns`
    if name == "markup":
        given = MARKUPS.get(row.mapping.layout)
        return _match_text(name, row, lambda text: markup_of(text) is not None if given is None else given.fits(text))
    if name == "export":
        return (name, {}, {}) if _export_of(row) is not None else None
    needed = {part: row.find(part) for part in PARTS[name][0]}
    optional = {part: row.find(part) for part in PARTS[name][1]}
    columns = [column for column in needed.values() if column is not None]
    if len({*columns}) < len(needed) or any(row.value[column] is None for column in columns):
        return None
    if name == "preference" and optional["rejected"] is None and row.mapping.format == "auto":
        return None
    return name, {part: str(column) for part, column in needed.items()}, _present(optional, columns)


def _present(optional: Dict[str, str | None], taken: Sequence[str]) -> dict[str, str]:
    return {part: column for part, column in optional.items() if column is not None and column not in taken}


def _match_turns(name: FormatName, row: _Row) -> Match | None:
    usual = [row.columns[column] for column in TURN_COLUMNS if column in row.columns]
    others = [column for column in row.value if column not in usual and _folded(column) not in LIST_COLUMNS]
    given = row.mapping.columns.get("turns")
    for column in [*usual, *others] if given is None else [name for name in (row.find("turns"),) if name]:
        items = turn_list(row.value[column]) or []
        keys = _item_keys(items, row.mapping)
        if keys is None:
            continue
        words = [item[keys[0]] for item in items if isinstance(item, dict) and isinstance(item.get(keys[0]), str)]
        if row.mapping.format in ("auto", "") and _kind_of_turns(keys, words, row.mapping) != name:
            return None
        if name == "transcript" and not any(word.strip() for word in words):
            return None
        optional = {} if name == "transcript" else {part: row.find(part) for part in ("system", "tools")}
        return name, {"turns": column, "role": keys[0], "content": keys[1]}, _present(optional, [column])
    return None


def _item_keys(items: Sequence[Any], mapping: Mapping) -> tuple[str, str] | None:
    role, content = mapping.columns.get("role"), mapping.columns.get("content")
    for item in items[:8]:
        if role and content and isinstance(item, dict) and role in item:
            return role, content
        if keys := turn_keys(item):
            return role or keys[0], content or keys[1]
    return None


def _kind_of_turns(keys: tuple[str, str], words: Sequence[str], mapping: Mapping) -> str:
    if keys[0] not in ("role", "from") or not any(word in mapping.roles or is_role(word) for word in words):
        return "transcript"
    return "sharegpt" if keys[0] == "from" else "messages"


def _match_text(name: FormatName, row: _Row, fits: Callable[[str], bool]) -> Match | None:
    given = row.mapping.columns.get("text")
    columns = list(row.value) if given is None else [column for column in (row.find("text"),) if column]
    column = next((column for column in columns if isinstance(row.value[column], str) and fits(row.value[column])), None)
    return None if column is None else (name, {"text": column}, {})


def _described(name: FormatName, columns: Dict[str, str], layout: str) -> str:
    if "turns" in columns:
        return f"`{columns['turns']}` whose items have `{columns['role']}` and `{columns['content']}`"
    if name == "markup":
        return f"`{columns['text']}` with turns as {MARKUPS[layout].title} marks them"
    if name == "export":
        return f"the columns of {exports.BY_NAME[layout].title}"
    if name == "chatml_text":
        return f"`{columns['text']}` with turns between {START} and {END}"
    if "text" in columns:
        return f'`{columns["text"]}` with lines like "name: text"'
    return " and ".join(f"`{columns[part]}`" for part in (*PARTS[name][0], "rejected") if part in columns)


def _share(number: int, total: int) -> str:
    return "every row has" if number == total else f"{number} of {total} rows have"


def _looks_like(value: dict[str, Any]) -> str:
    match = _first_match(_Row(value, Mapping()))
    return "" if match is None else f" (the row looks like {_TITLES[match[0]].partition(',')[0]})"


def _folded(name: str) -> str:
    return str(name).strip().lower().replace(" ", "_").replace("-", "_")


def _turns(row: _Row) -> Converted:
    items = turn_list(row.need("turns"))
    if items is None:
        raise RowProblem("other_format", f"`{row.mapping.columns['turns']}` is no list of turns")
    tools = tools_of(row.get("tools"))
    keys = (row.mapping.columns["role"], row.mapping.columns["content"])
    return Converted([*row.system(), *_messages(items, keys, row, tools)], tools)


def _messages(items: list[Any], keys: tuple[str, str], row: _Row, tools: list[dict[str, Any]] | None) -> list[Message]:
    names = tool_names(tools)
    for place, item in enumerate(items):
        row.unknown += unknown_keys(item, keys, place)
    return [message_of(item, keys, row.mapping.roles, names, place) for place, item in enumerate(items)]


def _said(value: Any, role: str, row: _Row, tools: list[dict[str, Any]] | None) -> list[Message]:
    """A text as one message, a list of messages as they are."""
    items = decoded(value) if isinstance(value, str) and value.lstrip().startswith("[") else value
    keys = _item_keys(items, Mapping()) if isinstance(items, list) else None
    return [{"role": role, "content": value}] if keys is None else _messages(items, keys, row, tools)


def _prompt_completion(row: _Row) -> Converted:
    tools = tools_of(row.get("tools"))
    asked, answered = _said(row.need("prompt"), "user", row, tools), _said(row.need("completion"), "assistant", row, tools)
    return Converted([*row.system(), *asked, *answered], tools)


def _question_answer(row: _Row) -> Converted:
    asked, answered = {"role": "user", "content": row.need("question")}, {"role": "assistant", "content": row.need("answer")}
    return Converted([*row.system(), asked, answered])


def _alpaca(row: _Row) -> Converted:
    instruction, given = row.need("instruction"), row.get("input")
    if isinstance(instruction, str) and isinstance(given, str) and given.strip():
        instruction = f"{instruction}\n\n{given}" if instruction.strip() else given
    messages = row.system()
    history = decoded(row.get("history")) or []
    if not isinstance(history, list):
        raise RowProblem("history", f"`{row.mapping.columns['history']}` is no list of pairs of question and answer")
    for pair in history:
        if not isinstance(pair, list) or len(pair) != 2:
            raise RowProblem("history", f"`{row.mapping.columns['history']}` has an item that is no pair of question and answer")
        messages += [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
    return Converted([*messages, {"role": "user", "content": instruction}, {"role": "assistant", "content": row.need("output")}])


def _turn(row: _Row) -> Converted:
    keys = (row.mapping.columns["role"], row.mapping.columns["content"])
    item = row.value
    if isinstance(item.get(keys[0]), bool):  # SillyTavern's `is_user`
        item = {**item, keys[0]: "user" if item[keys[0]] else "assistant"}
    return Converted([message_of(item, keys, row.mapping.roles, (), 0)])


def _marked_up(row: _Row) -> Converted:
    """The file's markup decides, or the row's own where it has another."""
    text = row.need("text")
    if not isinstance(text, str):
        raise RowProblem("other_format", f"`{row.mapping.columns['text']}` is no text")
    named = MARKUPS["chatml"] if row.mapping.format == "chatml_text" else MARKUPS.get(row.mapping.layout)
    markup = named if named is not None and named.fits(text) else markup_of(text) or named
    if markup is None:
        raise RowProblem("other_format", f"`{row.mapping.columns['text']}` has no known markup")
    return markup.read(text, row.mapping.roles)


def _export_of(row: _Row) -> exports.Export | None:
    named = exports.BY_NAME.get(row.mapping.layout)
    return named if named is not None and named.fits(row.value) else exports.export_of(row.value)


def _export(row: _Row) -> Converted:
    export = _export_of(row)
    if export is None:
        raise RowProblem("other_format", f"the row is not {exports.BY_NAME[row.mapping.layout].title}{_looks_like(row.value)}")
    return export.read(row.value)


def _preference(row: _Row) -> Converted:
    """The chosen side; it may repeat the prompt, as a list of messages or as text ("Human: ... Assistant: ...")."""
    tools, prompt, chosen = tools_of(row.get("tools")), row.get("prompt"), row.need("chosen")
    if prompt is None and isinstance(chosen, str):
        return transcript(spoken_turns(chosen, ("Human", "User", "Assistant", "System")), {})
    answer = _said(chosen, "assistant", row, tools)
    asked = [] if prompt is None else _said(prompt, "user", row, tools)
    whole = any(message["role"] == "user" for message in answer)
    return Converted([*row.system(), *([] if whole else asked), *answer], tools)


def _spoken(row: _Row, *, learning: bool = False) -> list[tuple[str, str]]:
    """Who says what in a transcript; [] in learning, for a row that is none."""
    columns, names = row.mapping.columns, [name for name in row.mapping.speakers if name not in ("first", "others")]
    value = row.get("text") if "turns" not in columns else row.get("turns")
    if "turns" not in columns:
        if isinstance(value, str):
            return spoken_turns(value, names if names and "others" not in row.mapping.speakers else ())
    elif (items := turn_list(value)) is not None:
        said = [(item.get(columns["role"]), item.get(columns["content"])) if isinstance(item, dict) else (None, None) for item in items]
        if all(isinstance(name, str) and isinstance(text, str) for name, text in said):
            weighted = (place for place, item in enumerate(items) if any(item.get(key) not in (None, 1) for key in WEIGHT_KEYS))
            row.unknown += [f"message {place} has a weight, which means nothing in a transcript" for place in weighted]
            return [(str(name), str(text)) for name, text in said]
        if not learning:
            place = next(place for place, (name, text) in enumerate(said) if not (isinstance(name, str) and isinstance(text, str)))
            raise RowProblem("not_a_message", f"item {place} does not say who speaks and what")
    if learning:
        return []
    raise RowProblem("other_format", f"`{columns.get('turns', columns.get('text', 'text'))}` holds no transcript")


_CONVERTERS: dict[str, Callable[[_Row], Converted]] = {
    "messages": _turns,
    "sharegpt": _turns,
    "alpaca": _alpaca,
    "prompt_completion": _prompt_completion,
    "question_answer": _question_answer,
    "chatml_text": _marked_up,
    "markup": _marked_up,
    "export": _export,
    "turns": _turn,
    "preference": _preference,
    "transcript": lambda row: transcript(_spoken(row), row.mapping.speakers),
}
