"""Rows that follow each other: whatever their order, each end is a conversation, every row has its
state, and the books balance."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainer.data.stub import Run, prepared, write
from tests.trainer.data.stub import settings as data_settings
from trainer.data.files import RawRow, read_rows
from trainer.data.formats import Mapping, recognise
from trainer.data.formats_chains import key_of
from trainer.data.policies import Policies, SpecialTexts
from trainer.data.preview import look
from trainer.data.reading import Reader, Row
from trainer.data.settings import Source


def rows_of(path: Path, mapping: Mapping | None = None) -> list[Row]:
    return list(
        Reader(mapping or Mapping(), Policies(duplicates="keep"), SpecialTexts()).rows(str(path))
    )


def contents(row: Row) -> list[str]:
    return [str(message["content"]) for message in row.messages or []]


def pair(number: int, parent: int | None, **more: Any) -> dict[str, Any]:
    return {
        "instruction": f"q{number}",
        "output": f"a{number}",
        "id": f"m{number}",
        "parent_id": None if parent is None else f"m{parent}",
        **more,
    }


TREES = st.lists(st.integers(0, 10_000), min_size=2, max_size=25)


@settings(max_examples=60, deadline=None)
@given(choices=TREES, seed=st.integers(0, 99))
def test_each_end_is_a_conversation(
    fresh: Callable[[], Path], choices: list[int], seed: int
) -> None:
    """Each row follows an earlier one or none; then they are shuffled."""
    parents = [
        None if place == 0 or choice % 4 == 0 else choice % place
        for place, choice in enumerate(choices)
    ]
    order = list(range(len(parents)))
    random.Random(seed).shuffle(order)
    read = rows_of(
        write(fresh() / "rows.jsonl", [pair(number, parents[number]) for number in order])
    )
    assert [row.row for row in read] == list(range(len(parents)))
    trained: list[str] = []
    for number, row in zip(order, read, strict=True):
        line, before = [number], parents[number]
        while before is not None:
            line.insert(0, before)
            before = parents[before]
        if number in parents:
            assert row.reasons == ("chained",) and row.messages is None and row.carrier is not None
            assert f"a{number}" in contents(read[row.carrier])
        else:
            assert contents(row) == [text for one in line for text in (f"q{one}", f"a{one}")]
            trained += [
                str(m["content"])
                for m in row.messages or []
                if m["role"] == "assistant" and m.get("weight", 1)
            ]
    assert sorted(trained) == sorted(f"a{number}" for number in order)


def test_what_does_not_fit_is_told(tmp_path: Path) -> None:
    ring = [pair(7, 8), pair(8, 7), pair(9, 8)]
    read = rows_of(
        write(
            tmp_path / "rows.jsonl",
            [
                pair(1, 0),
                pair(2, 1),
                pair(3, None),
                pair(4, 3),
                *ring,
                {**pair(5, 4), "output": None},
                pair(6, 5),
            ],
        )
    )
    assert [row.reasons[-1] for row in read if row.messages is None] == ["broken_chain"] * 2 + [
        "chained"
    ] + ["broken_chain"] * 3 + [
        "other_format",
        "broken_chain",
    ]
    assert "row 0 follows `m0`, which is missing" in read[1].detail
    assert "which in turn follows it" in read[4].detail
    assert contents(read[3]) == ["q3", "a3", "q4", "a4"]


def test_a_parent_of_something_else_chains_nothing(tmp_path: Path) -> None:
    rows = [{**pair(number, None), "parent_id": f"post-{number}"} for number in range(4)]
    assert [contents(row) for row in rows_of(write(tmp_path / "rows.jsonl", rows))] == [
        [f"q{n}", f"a{n}"] for n in range(4)
    ]


def test_ids_are_the_same_however_they_are_written(tmp_path: Path) -> None:
    assert {key_of(value) for value in (19, 19.0, "19", "19.0", " 19 ")} == {"19"}
    assert {key_of(value) for value in (None, "", "nan", "NaN", -1, "None")} == {""}
    table = "instruction,output,id,parent_id\nq2,a2,2,1.0\nq1,a1,1,\nq3,a3,3,2.0\n"
    (tmp_path / "rows.csv").write_text(table)
    assert contents(rows_of(tmp_path / "rows.csv")[2]) == ["q1", "a1", "q2", "a2", "q3", "a3"]


def test_a_system_prompt_of_every_row_stands_once(tmp_path: Path) -> None:
    rows = [pair(1, None, system="Be brief."), pair(2, 1, system="Be brief.")]
    assert contents(rows_of(write(tmp_path / "rows.jsonl", rows))[1]) == [
        "Be brief.",
        "q1",
        "a1",
        "q2",
        "a2",
    ]


def turn(conversation: str, number: Any, role: str, text: str, key: str = "turn") -> dict[str, Any]:
    return {"conversation_id": conversation, key: number, "role": role, "content": text}


@pytest.mark.parametrize("key", ["turn", "index", "timestamp"])
def test_turns_come_in_their_order(tmp_path: Path, key: str) -> None:
    """Numbers sort as numbers, also where a table has them as text; times as text."""
    times = (
        [f"2024-01-0{place + 1}T09:00:00" for place in range(4)]
        if key == "timestamp"
        else ["1", "2", "9", "10"]
    )
    said = [
        turn(name, time, ("user", "assistant")[place % 2], f"{name}{place}", key)
        for name in "xy"
        for place, time in enumerate(times)
    ]
    random.Random(4).shuffle(said)
    read = rows_of(write(tmp_path / "rows.jsonl", said))
    assert sorted(contents(row) for row in read if row.messages) == [
        [f"{name}{place}" for place in range(4)] for name in "xy"
    ]


def test_rows_that_number_nothing_stay_alone() -> None:
    whole = [
        {
            "conversation_id": str(n),
            "turn": 2,
            "conversation": [
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": "b"},
            ],
        }
        for n in (1, 2)
    ]
    assert not recognise(whole).is_chained
    assert not recognise(
        [{"question": "a", "answer": "b", "session_id": n, "id": n} for n in (1, 2, 3)]
    ).is_chained
    assert not recognise([pair(1, None), pair(2, 1)], Mapping(chain=False)).is_chained
    many = [
        {"log": [{"who": "Ann", "says": "a"}, {"who": "Bo", "says": "b"}], "id": 1, "parent_id": 2}
    ]
    assert not recognise(
        many, Mapping(columns={"turns": "log", "role": "who", "content": "says"})
    ).is_chained


def test_the_recipe_names_the_columns(tmp_path: Path) -> None:
    rows = [
        {"frage": f"q{n}", "antwort": f"a{n}", "nr": n, "nach": n - 1 or None} for n in (2, 1, 3)
    ]
    mapping = Mapping(
        "prompt_completion",
        {"prompt": "frage", "completion": "antwort", "id": "nr", "parent": "nach"},
    )
    assert contents(rows_of(write(tmp_path / "rows.jsonl", rows), mapping)[2]) == [
        "q1",
        "a1",
        "q2",
        "a2",
        "q3",
        "a3",
    ]


def check_books(run: Run, rows: int) -> None:
    assert [entry.row for entry in run.ledger] == list(range(rows))
    assert sum(run.summary["ledger"]["rows"].values()) == rows
    assert run.summary["ledger"]["total_tokens"] == sum(
        len(line["input_ids"]) for line in (*run.train, *run.heldout)
    )


def test_rows_share_the_state_of_their_conversation(tmp_path: Path) -> None:
    """Also where mixing leaves the conversation out, whatever row has it."""
    long = [
        {**pair(number, number - 1 if number > 1 else None), "output": "word " * 40}
        for number in range(1, 5)
    ]
    others = [pair(10 + number, 9 + number if number % 3 else None) for number in range(30)]
    rows = [*long[::-1], *others]
    path = write(tmp_path / "rows.jsonl", rows)
    kept = prepared(tmp_path / "kept", data_settings(path, max_length=120))
    check_books(kept, len(rows))
    assert {entry.state for entry in kept.ledger[:4]} == {"split"}
    assert [entry.reasons for entry in kept.ledger[1:4]] == [["chained"]] * 3
    halved = prepared(tmp_path / "halved", data_settings(Source(str(path), weight=0.5)))
    check_books(halved, len(rows))
    assert "mixing" in halved.summary["ledger"]["reasons"]["dropped"]
    for entry in halved.ledger:
        if entry.reasons[:1] == ["chained"]:
            carrier = int(entry.detail.rpartition(" ")[2])
            assert entry.state == halved.ledger[carrier].state and not entry.samples


def test_chains_of_two_files_do_not_meet(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "files").mkdir(exist_ok=True)
        write(
            tmp_path / "files" / f"{name}.jsonl",
            [{**pair(2, 1), "output": f"{name}2"}, {**pair(1, None), "output": f"{name}1"}],
        )
    run = prepared(tmp_path / "run", data_settings(Source(str(tmp_path / "files"))))
    assert [entry.state for entry in run.ledger] == ["kept"] * 4
    assert [[m["content"] for m in line["messages"]] for line in run.train] == [
        ["q1", f"{name}1", "q2", f"{name}2"] for name in ("a", "b")
    ]


def test_a_plan_does_not_read_a_long_file_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that then follow one that was not read are left out of the look, not called broken."""
    rows = [
        pair(number, number - 1 if number % 2 else None, filler="x" * 2000)
        for number in range(3000)
    ]
    path = write(tmp_path / "rows.jsonl", [*rows[1::2], *rows[::2]])
    read: list[RawRow] = []
    ticks = itertools.count()
    monkeypatch.setattr(
        "trainer.data.preview.time", SimpleNamespace(monotonic=lambda: float(next(ticks)))
    )

    def counted(*given: Any, **named: Any) -> Iterator[RawRow]:
        for row in read_rows(*given, **named):
            read.append(row)
            yield row

    monkeypatch.setattr("trainer.data.reading.read_rows", counted)
    outlook = look(data_settings(path, policy=Policies(duplicates="keep")))
    assert not outlook.exact and "broken_chain" not in outlook.met
    assert len(read) < len(rows)


def test_a_file_of_one_chat(tmp_path: Path) -> None:
    said = [{"name": "x", "is_user": place % 2 == 0, "mes": f"t{place}"} for place in range(6)]
    read = rows_of(
        write(
            tmp_path / "chat.jsonl",
            [{"user_name": "x", "character_name": "y", "chat_metadata": {}}, *said],
        )
    )
    assert contents(read[-1]) == [f"t{place}" for place in range(6)]
    assert read[0].reasons == ("unreadable", "not_a_message")
    assert json.loads(json.dumps(read[-1].messages))[0]["role"] == "user"
