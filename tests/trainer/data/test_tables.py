"""Tables that JSON holds by column are read by rows; rows that only look like columns are left as
they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.data.files import RawRow, read_rows
from trainer.data.formats_turns import turn_list

Row = dict[str, Any]


def read(path: Path, data: Any) -> list[RawRow]:
    path.write_text(
        data if isinstance(data, str) else json.dumps(data, ensure_ascii=False), encoding="utf-8"
    )
    return list(read_rows(str(path)))


# As pandas' orient calls them; the last is datasets' to_dict.
LAYOUTS: dict[str, Callable[[list[Row]], Any]] = {
    "columns": lambda rows: {
        name: {str(n): row[name] for n, row in enumerate(rows)} for name in rows[0]
    },
    "index": lambda rows: {str(n): row for n, row in enumerate(rows)},
    "split": lambda rows: {
        "columns": list(rows[0]),
        "index": list(range(len(rows))),
        "data": [[row[name] for name in rows[0]] for row in rows],
    },
    "to_dict": lambda rows: {name: [row[name] for row in rows] for name in rows[0]},
}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
TURNS = st.lists(st.tuples(st.sampled_from(["human", "gpt"]), TEXT), min_size=1, max_size=3).map(
    lambda said: [{"from": who, "value": text} for who, text in said]
)
PLAIN = st.fixed_dictionaries({"instruction": TEXT, "output": TEXT, "id": st.integers(0, 9)})
TALKS = st.fixed_dictionaries({"conversations": TURNS, "id": st.integers(0, 9)})


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=40, deadline=None)
@given(rows=st.lists(PLAIN, min_size=1, max_size=12) | st.lists(TALKS, min_size=1, max_size=12))
def test_a_table_comes_back(
    fresh: Callable[[], Path], layout: str, name: str, rows: list[Row]
) -> None:
    found = read(fresh() / name, LAYOUTS[layout](rows))
    assert [row.value for row in found] == rows
    assert [row.row for row in found] == list(range(len(rows)))


NO_TABLES: list[Row] = [
    {
        "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
        "tools": [{"name": "f"}, {"name": "g"}],
    },
    {"chosen": [{"role": "user", "content": "a"}], "rejected": [{"role": "user", "content": "a"}]},
    {"prompt": {"text": "a"}, "response": {"text": "b"}},
    {"internal": [["a", "b"]], "visible": [["a", "b"]]},
    {"instruction": "a", "output": "b", "history": [["c", "d"]]},
    {"dialog": ["a", "b"], "act": ["x", "y"]},
    {"instruction": {"0": "a"}, "output": {"1": "b"}},
    {"a": ["x"], "b": ["y", "z"]},
]


@pytest.mark.parametrize("row", NO_TABLES, ids=lambda row: ",".join(row))
def test_rows_that_hold_lists_stay_rows(tmp_path: Path, row: Row) -> None:
    assert [found.value for found in read(tmp_path / "rows.json", row)] == [row]


def test_rows_of_parallel_lists_are_no_table(tmp_path: Path) -> None:
    """Only a file's one value is a table; of several each is a row, and the format refuses them by
    name."""
    rows = [{"instruction": ["a", "b"], "output": ["c", "d"]}] * 2
    assert [
        found.value
        for found in read(tmp_path / "rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    ] == rows


def test_a_table_that_is_too_large_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.data.files_json.LONGEST_ROW", 1000)
    monkeypatch.setattr("trainer.data.streams.CHUNK", 500)
    rows = read(
        tmp_path / "rows.json", LAYOUTS["columns"]([{"instruction": "x" * 40, "output": "y"}] * 200)
    )
    assert (
        'table stored by columns; write it by rows (pandas: to_json(path, orient="records"'
        in str(rows[-1].damage)
    )


def test_an_object_of_lists_is_a_list_of_objects() -> None:
    assert turn_list({"from": ["human", "gpt"], "value": ["a", "b"]}) == [
        {"from": "human", "value": "a"},
        {"from": "gpt", "value": "b"},
    ]
    assert turn_list({"from": ["human"], "value": ["a", "b"]}) is None
    assert turn_list({"from": "human", "value": "a"}) is None
