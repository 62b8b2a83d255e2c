"""Rows of marked-up text, of exports, of transcripts and of one message each as conversations, a
function a format. Light."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from trainer.data import formats_exports as exports
from trainer.data.blocks import unblocked
from trainer.data.formats_markup import BY_NAME as MARKUPS
from trainer.data.formats_markup import markup_of
from trainer.data.formats_text import spoken_turns
from trainer.data.formats_turns import WEIGHT_KEYS, Converted, RowProblem, message_of, turn_list
from trainer.data.row import Row

LAYOUTS = sorted({*MARKUPS, *exports.BY_NAME})


def layout_of(rows: Sequence[Row]) -> str:
    """The name of the markup or the export that most rows are in."""
    if rows[0].mapping.format == "export":
        layouts = [export.name for row in rows if (export := export_of(row)) is not None]
    else:
        texts = [text for row in rows if isinstance(text := row.get("text"), str)]
        layouts = [markup.name for text in texts if (markup := markup_of(text)) is not None]
    return Counter(layouts).most_common(1)[0][0]


def layout_title(name: str) -> str:
    layout = MARKUPS.get(name) or exports.BY_NAME[name]
    return layout.title


def fits_markup(row: Row) -> Callable[[str], bool]:
    """Tells text in the markup that the recipe names, or in any."""
    markup = MARKUPS.get(row.mapping.layout)
    return (lambda text: markup_of(text) is not None) if markup is None else markup.fits


def marked_up(row: Row) -> Converted:
    """The file's markup decides, or the row's own where it has another."""
    text = row.need("text")
    if not isinstance(text, str):
        raise RowProblem("other_format", f"`{row.mapping.columns['text']}` is not text")
    usual = MARKUPS.get(row.mapping.layout)
    if row.mapping.format == "chatml_text":
        return MARKUPS["chatml"].read(text, row.mapping.roles)
    markup = usual if usual is not None and usual.fits(text) else markup_of(text)
    if markup is None:
        raise RowProblem(
            "other_format", f"`{row.mapping.columns['text']}` is not in a known markup"
        )
    return markup.read(text, row.mapping.roles)


def export_of(row: Row) -> exports.Export | None:
    """The export that a row comes from: the one that the recipe names, if it fits, or any."""
    export = exports.BY_NAME.get(row.mapping.layout)
    return export if export is not None and export.fits(row.value) else exports.export_of(row.value)


def export_columns(row: Row) -> set[str]:
    """The columns that belong to a row's own export; none of a row of another format."""
    export = export_of(row) if row.mapping.format == "export" else None
    return set() if export is None else {*export.columns(row.value)}


def exported(row: Row) -> Converted:
    export = export_of(row)
    if export is None:
        raise RowProblem("other_format", f"the row is not {layout_title(row.mapping.layout)}")
    try:
        converted = export.read(row.value)
    # of another shape somewhere inside than the program writes
    except (TypeError, AttributeError, KeyError, IndexError):
        raise RowProblem(
            "other_format", f"the row begins like {export.title}, but is broken inside"
        ) from None
    return converted._replace(messages=unblocked(converted.messages)[0])


def turn(row: Row) -> Converted:
    """The one message that a row is."""
    keys = (row.mapping.columns["role"], row.mapping.columns["content"])
    item = row.value
    if isinstance(item.get(keys[0]), bool):  # SillyTavern's `is_user`
        item = {**item, keys[0]: "user" if item[keys[0]] else "assistant"}
    return Converted([message_of(item, keys, row.mapping.roles, (), 0)])


def spoken(row: Row, *, learning: bool = False) -> list[tuple[str, str]]:
    """Who says what in a transcript; [] in learning, for a row that is none."""
    columns = row.mapping.columns
    names = [name for name in row.mapping.speakers if name not in ("first", "others")]
    if "turns" not in columns:
        if isinstance(value := row.get("text"), str):
            return spoken_turns(value, () if "others" in row.mapping.speakers else names)
    elif (items := turn_list(row.get("turns"))) is not None:
        turns = [
            (
                (item.get(columns["role"]), item.get(columns["content"]))
                if isinstance(item, dict)
                else (None, None)
            )
            for item in items
        ]
        if all(isinstance(name, str) and isinstance(text, str) for name, text in turns):
            weighted = (
                index
                for index, item in enumerate(items)
                if any(item.get(key) not in (None, 1) for key in WEIGHT_KEYS)
            )
            row.unknown += [
                f"message {index} has a weight, which has no effect in a transcript"
                for index in weighted
            ]
            return [(str(name), str(text)) for name, text in turns]
        if not learning:
            index = next(
                index
                for index, (name, text) in enumerate(turns)
                if not (isinstance(name, str) and isinstance(text, str))
            )
            raise RowProblem("not_a_message", f"item {index} does not say who speaks and what")
    if learning:
        return []
    raise RowProblem(
        "other_format",
        f"`{columns.get('turns', columns.get('text', 'text'))}` does not contain a transcript",
    )
