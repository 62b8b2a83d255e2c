"""The ledger's totals, and words for every code."""

from __future__ import annotations

from pathlib import Path

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.formats_turns import PROBLEMS, REPAIRS
from trainer.data.ledger import (
    NO_ROWS,
    STATES,
    Drops,
    Entry,
    Stops,
    describe,
    read_ledger,
    summarise,
)
from trainer.data.policies import POLICIES, Policies
from trainer.data.refused_data import RefusedData

CODES = [*POLICIES, *PROBLEMS, *REPAIRS, NO_ROWS, "long_turn", "mixing"]
ENTRIES = st.lists(
    st.builds(
        Entry,
        file=st.text(max_size=5),
        row=st.integers(0, 10**9),
        state=st.sampled_from(STATES),
        reasons=st.lists(st.sampled_from(CODES), max_size=3, unique=True),
        samples=st.lists(st.sampled_from(["train:0", "heldout:1"]), max_size=3),
        tokens=st.integers(0, 10**6),
        lost=st.integers(0, 10**6),
    ),
    max_size=30,
)


@given(ENTRIES)
def test_totals_add_up(entries: list[Entry]) -> None:
    told = summarise(entries).to_json()
    assert told["total_rows"] == sum(told["rows"].values()) == len(entries)
    assert (
        told["total_tokens"]
        == sum(told["tokens"].values())
        == sum(entry.tokens for entry in entries)
    )
    assert told["total_lost"] == sum(told["lost"].values()) == sum(entry.lost for entry in entries)
    assert told["samples"] == sum(len(entry.samples) for entry in entries)
    assert sum(sum(of_state.values()) for of_state in told["reasons"].values()) == sum(
        len(entry.reasons) for entry in entries
    )


@given(ENTRIES)
def test_an_entry_is_a_line_and_reads_back(entries: list[Entry]) -> None:
    lines = [msgspec.json.encode(entry) for entry in entries]
    assert all(b"\n" not in line for line in lines)
    assert [msgspec.json.decode(line, type=Entry) for line in lines] == entries


def test_a_file_of_them_reads_back(tmp_path: Path) -> None:
    entry = Entry(
        "data.jsonl", 3, "dropped", ["unreadable", "no_turns"], detail="the row has no turns"
    )
    (tmp_path / "ledger.jsonl").write_bytes(msgspec.json.encode(entry) + b"\n")
    assert list(read_ledger(tmp_path / "ledger.jsonl")) == [entry]


def test_no_other_code_is_a_policy_s_name() -> None:
    """By the reasons of a row one knows which policies it met."""
    assert POLICIES.keys().isdisjoint(
        [
            *PROBLEMS,
            *REPAIRS,
            NO_ROWS,
            "long_turn",
            "mixing",
            *Policies.__annotations__.keys() - POLICIES.keys(),
        ]
    )


def test_a_file_without_rows_is_named_without_a_row() -> None:
    stops = Stops(Policies())
    stops.add("empty.jsonl", 0, ["damage", NO_ROWS], "the file is empty")
    stops.add("rows.jsonl", 3, ["damage"], "broken JSON.")
    alone, among_others = stops.error(total_rows=2), stops.error(total_rows=3)
    assert alone is not None and among_others is not None
    assert alone.title == "No row can be read"
    assert alone.message == "empty.jsonl: the file is empty. 1 more row cannot be read either."
    assert among_others.message.startswith(
        'empty.jsonl: the file is empty (policy.damage is "stop"'
    )


def test_stops_propose_what_keeps_most_first_and_nothing_that_keeps_no_row() -> None:
    stops = Stops(Policies())
    stops.add("a.jsonl", 1, ["alternatives"], "two answers")
    for row in (2, 3):
        stops.add("a.jsonl", row, ["damage"], "broken JSON")
    refusal = stops.error(total_rows=9)
    assert isinstance(refusal, RefusedData)
    assert [proposal.values for proposal in refusal.proposals] == [
        {"policy.alternatives": "repair", "policy.damage": "drop"},
        {"policy.alternatives": "drop", "policy.damage": "drop"},
    ]
    assert refusal.proposals[0].title == (
        "1 row would be kept (several answers to one question, none of them marked as best):"
        " the first answer is used. 2 rows would be left out (a row that is broken, or a file that"
        " is cut off)"
    )
    verdicts = Stops(Policies())
    verdicts.add("a.jsonl", 0, ["unread"], "`score` is not read")
    refusal = verdicts.error(total_rows=1)
    assert isinstance(refusal, RefusedData) and refusal.proposals == ()


def test_a_dropped_row_counts_once_for_its_exact_reason() -> None:
    drops = Drops()
    drops.add(["unreadable", "no_turns"], "the row has no turns")
    drops.add(["consecutive", "too_long"], "")
    assert drops.nothing_left().message == (
        "Luthier drops all 2 rows: the row has no turns (1 row);"
        " longer than train.max_length tokens (1 row)."
    )


def test_every_code_has_words() -> None:
    assert all(" " in describe(code) for code in CODES)
    assert describe("text_changed") == "text changed"
