"""How rows in a layout of the user's own might be read: [format] sections, tried on the rows and
ranked by how many they read. Light."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Dict
from dataclasses import dataclass
from typing import Any

import msgspec
import tomlkit

from jobs.luthier_error import LuthierError
from trainer.data.column_names import kind_of, words_of
from trainer.data.columns import at
from trainer.data.formats import Format, Mapping, recognise
from trainer.data.formats_layouts import refused
from trainer.data.formats_turns import Converted, RowProblem, decoded, is_role, turn_keys, turn_list
from trainer.data.policies import Policies, Rejected, SpecialTexts, settle
from trainer.data.refused_data import ProposedChange

_MOST = 3  # proposals
_EXAMPLES = 3  # rows shown of each
_DEEPEST = 3  # objects inside a row that are looked into
_TEXT_COLUMNS = 6
_FEW_ROLES = 4
_LIKE, _NEARLY = 0.6, 0.3  # of difflib's ratio
_ASKING = (
    "prompt",
    "question",
    "instruction",
    "query",
    "input",
    "problem",
    "user",
    "request",
    "task",
    "dialogue",
    "message",
    "q",
)
_ANSWERING = (
    "answer",
    "response",
    "completion",
    "output",
    "solution",
    "reply",
    "assistant",
    "target",
    "summary",
    "result",
    "a",
)
_OTHERS = (
    "id",
    "ids",
    "lang",
    "language",
    "level",
    "date",
    "time",
    "url",
    "type",
    "category",
    "topic",
    "name",
    "model",
    "split",
    "tag",
)


@dataclass(frozen=True)
class Proposal:
    """A way to read the rows."""

    mapping: Mapping
    """What the recipe would say."""
    title: str
    """How many of the rows it reads, and as what."""
    rows: int
    examples: list[tuple[int, Converted]]
    """Rows that it reads, with their numbers among those given."""

    @property
    def toml(self) -> str:
        """The recipe's section, ready to be pasted."""
        return format_toml(self.mapping)

    def change_from(self, mapping: Mapping) -> ProposedChange:
        """What a recipe with this mapping would have to say instead."""
        default, before, after = map(_by_key, (Mapping(), mapping, self.mapping))
        values = {
            f"format.{key}": None if after.get(key) == default.get(key) else after[key]
            for key in {**before, **after}
            if after.get(key) != before.get(key)
        }
        return ProposedChange(self.title, values)


def _by_key(mapping: Mapping) -> dict[str, Any]:
    """What the section says; the keys of its own sections have dots."""
    values: dict[str, Any] = {}
    for name in mapping.__struct_fields__:
        value = msgspec.to_builtins(getattr(mapping, name))
        is_section = isinstance(getattr(mapping, name), msgspec.Struct)
        values |= (
            {f"{name}.{key}": each for key, each in value.items()} if is_section else {name: value}
        )
    return values


def format_toml(mapping: Mapping) -> str:
    """What a mapping says that the default does not, each key on a line."""
    section = tomlkit.table()
    default = msgspec.to_builtins(Mapping())
    for key, value in msgspec.to_builtins(mapping).items():
        if value != default[key]:
            inline = tomlkit.inline_table()
            section[key] = inline.update(value) or inline if isinstance(value, dict) else value
    return tomlkit.dumps({"format": section}).strip()


def propose(rows: Sequence[dict[str, Any]], mapping: Mapping, policies: Policies) -> list[Proposal]:
    """The sections that read most of these rows, best first. None where the rows are read
    already."""
    try:
        row_format = recognise(rows, mapping)
    except LuthierError:
        if refused(rows) is not None:
            return []
        candidates = [*_nested(rows), *_odd_turns(rows), *_pairs(rows)]
        mapping = msgspec.structs.replace(mapping, format="auto", columns={})
    else:
        candidates = list(_of_unread(row_format))
    tried = [_tried(rows, mapping, candidate, policies) for candidate in candidates]
    good = [proposal for proposal in tried if proposal is not None]
    return sorted(
        good,
        key=lambda proposal: (len(proposal.mapping.ignore) > len(mapping.ignore), -proposal.rows),
    )[:_MOST]


# What the recipe would say otherwise, and the condition in words.
Candidate = tuple[dict[str, Any], str]


def _tried(
    rows: Sequence[dict[str, Any]], mapping: Mapping, candidate: Candidate, policies: Policies
) -> Proposal | None:
    """A candidate that reads some of the rows."""
    changes, condition = candidate
    mapping = msgspec.structs.replace(mapping, **changes)
    try:
        row_format = recognise(rows, mapping)
    except LuthierError:
        return None
    read = [
        (index, converted)
        for index, row in enumerate(rows)
        if (converted := _settled(row_format, row, policies)) is not None
    ]
    if not read:
        return None
    done = f"read as {row_format.title}" if "columns" in changes else "trained"
    number = f"{len(read)} of {len(rows)} row{'' if len(rows) == 1 else 's'}"
    return Proposal(
        mapping, f"{number} would be {done} if {condition}", len(read), read[:_EXAMPLES]
    )


def _settled(row_format: Format, row: dict[str, Any], policies: Policies) -> Converted | None:
    try:
        converted = row_format.convert(row)
        return converted._replace(messages=settle(converted, policies, SpecialTexts()).messages)
    except (RowProblem, Rejected):
        return None


def _of_unread(row_format: Format) -> Iterator[Candidate]:
    """What the columns may mean that stop the run."""
    for column, _, judgement in row_format.side.unread:
        if judgement is None:
            yield (
                {"context": [*row_format.mapping.context, column]},
                f"`{column}` joined the prompt",
            )
        elif judgement.good:
            yield (
                {"judgement": judgement},
                f"answers were good where `{column}` is {judgement.good[0]}",
            )
        else:
            limit = (
                f"at least {judgement.at_least:g}"
                if judgement.at_least is not None
                else f"at most {judgement.at_most:g}"
            )
            yield {"judgement": judgement}, f"answers were good where `{column}` is {limit}"
    names = [unread.column for unread in row_format.side.unread]
    if names:
        listed = " and ".join(f"`{name}`" for name in names)
        yield {"ignore": [*row_format.mapping.ignore, *names]}, f"{listed} were ignored"


def _turns(rows: Sequence[dict[str, Any]]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The columns that hold lists of objects, those inside other objects included, each with the
    objects."""
    paths = dict.fromkeys(
        path for row in rows for path, value in _paths(row) if isinstance(value, list)
    )
    for path in paths:
        items = [
            item
            for row in rows
            for item in turn_list(at(row, path)) or []
            if isinstance(item, dict)
        ]
        if items:
            yield path, items


def _nested(rows: Sequence[dict[str, Any]]) -> Iterator[Candidate]:
    """Turns inside objects."""
    for path, items in _turns(rows):
        if any(turn_keys(item) for item in items):
            yield {"columns": {"turns": path}}, f"`{path}` were the turns"


def _odd_turns(rows: Sequence[dict[str, Any]]) -> Iterator[Candidate]:
    """Turns whose keys have other names: who speaks has few values, what is said many."""
    for path, items in _turns(rows):
        texts = {
            key: [item[key] for item in items if isinstance(item.get(key), str)] for key in items[0]
        }
        texts = {key: values for key, values in texts.items() if len(values) == len(items)}
        if len(texts) < 2 or any(turn_keys(item) for item in items):
            continue
        role = min(texts, key=lambda key: (len({*texts[key]}), sum(map(len, texts[key]))))
        content = max(
            (key for key in texts if key != role), key=lambda key: sum(map(len, texts[key]))
        )
        changes: dict[str, Any] = {"columns": {"turns": path, "role": role, "content": content}}
        words = list(dict.fromkeys(texts[role]))
        if len(words) == 2 and not any(map(is_role, words)):
            changes["roles"] = {words[0]: "user", words[1]: "assistant"}
        changes["format"] = "messages" if len(words) <= _FEW_ROLES else "transcript"
        yield changes, f"`{path}` were the turns, `{role}` the speaker and `{content}` the text"


def _pairs(rows: Sequence[dict[str, Any]]) -> Iterator[Candidate]:
    """Two columns of text, one asking and one answering: by their names, then by their order."""
    counts: dict[str, int] = {}
    for row in rows:
        for path, value in _paths(row):
            if (
                isinstance(value, str)
                and value.strip()
                and kind_of(path) in (None, "context")
                and not {*words_of(path)} & {*_OTHERS}
            ):
                counts[path] = counts.get(path, 0) + 1
    columns = [path for path, number in counts.items() if 2 * number > len(rows)][:_TEXT_COLUMNS]
    order = {column: index for index, column in enumerate(columns)}
    pairs = [
        (asking, answering) for asking in columns for answering in columns if asking != answering
    ]
    likeness = {pair: _alike(pair[0], _ASKING) + _alike(pair[1], _ANSWERING) for pair in pairs}
    ranked = sorted(
        pairs,
        key=lambda pair: (
            -likeness[pair],
            order[pair[0]] > order[pair[1]],
            order[pair[0]] + order[pair[1]],
        ),
    )
    for asking, answering in [
        pair for pair in ranked if likeness[pair] > likeness[ranked[0]] - _NEARLY
    ][:_MOST]:
        columns_of = {"prompt": asking, "completion": answering}
        yield (
            {"format": "prompt_completion", "columns": columns_of},
            f"`{asking}` were the prompt and `{answering}` the completion",
        )


def _alike(path: str, names: Sequence[str]) -> float:
    """How much the end of a path is like one of some names; too little is nothing."""
    words = words_of(path)
    likeness = max(
        1.0 if name in words else difflib.SequenceMatcher(None, "_".join(words), name).ratio()
        for name in names
    )
    return likeness if likeness > _LIKE else 0.0


def _paths(value: Dict[str, Any], before: str = "", level: int = 1) -> Iterator[tuple[str, Any]]:
    """Every column with its value, those inside objects with dots."""
    for key, raw in value.items():
        inner = decoded(raw)
        path = f"{before}{key}"
        yield path, inner
        if isinstance(inner, dict) and level < _DEEPEST:
            yield from _paths(inner, f"{path}.", level + 1)
