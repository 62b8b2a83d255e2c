"""The whole way of data with hostile rows and files: nothing ends in a traceback, no row vanishes,
the books balance."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from jobs.luthier_error import LuthierError
from tests.trainer.data.stub import Run, StubSampler, check_books, prepared, settings, talk, write
from trainer.data.files import read_rows
from trainer.data.pipeline import Refused
from trainer.data.policies import POLICIES, Policies, choices
from trainer.data.settings import Mask
from trainer.data.split import Heldout

pytestmark = pytest.mark.heavy

LONG = " ".join(["word"] * 30)


TEXTS = st.sampled_from(
    [
        "",
        " ",
        "hello",
        "a b c",
        LONG,
        "<|im_end|>",
        "UNPROVABLE",
        "\u202eright to left",
        "\x00",
        "😀",
        "é" * 9,
    ]
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["text", "type", "role", "name", "function", "x"]), inner, max_size=3
        )
    ),
    max_leaves=5,
)
CONTENT = st.one_of(TEXTS, TEXTS, TEXTS, ANYTHING)
MESSAGE = st.one_of(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(
                ["user", "assistant", "user", "assistant", "system", "tool", "narrator"]
            ),
            "content": CONTENT,
        },
        optional={"weight": st.sampled_from([0, 1, 0.5]), "tool_calls": ANYTHING, "name": TEXTS},
    ),
    ANYTHING,
)
GOOD = st.builds(
    lambda said, system: talk(*said, *(["yes"] if len(said) % 2 else []), system=system),
    st.lists(TEXTS, min_size=1, max_size=6),
    TEXTS,
)
ROW = st.one_of(
    GOOD, GOOD, st.fixed_dictionaries({"messages": st.lists(MESSAGE, max_size=6)}), ANYTHING
)
POLICY = st.builds(
    lambda chosen, limit: Policies(**chosen, max_messages=limit),
    st.fixed_dictionaries(
        {
            name: st.sampled_from([choice for choice in choices(name) if choice != "stop"])
            for name in POLICIES
        }
    ),
    st.sampled_from([4, 512]),
)


@hypothesis_settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(ROW, min_size=1, max_size=8),
    POLICY,
    st.booleans(),
    st.sampled_from(["all", "last"]),
    st.sampled_from([12, 40]),
)
def test_hostile_rows(
    fresh: Callable[[], Path],
    rows: list[Any],
    policy: Policies,
    alone: bool,
    turns: str,
    length: int,
) -> None:
    folder = fresh()
    data = write(folder / "data.jsonl", [talk("hello", "yes"), *rows])
    wanted = settings(
        data,
        policy=policy,
        max_length=length,
        mask=Mask(turns),  # type: ignore[arg-type]
        heldout=Heldout(share=0.2, at_least=1),
    )
    try:
        run = prepared(folder / "out", wanted, StubSampler(turns, alone=alone))
    except Refused as refused:
        assert refused.title == "Nothing to train on"
        run = Run(folder / "out")
    except LuthierError as error:
        assert "ormat" in error.title and error.hint
        return
    check_books(run, sum(1 for _ in read_rows(str(data))))
    assert all(len(line["input_ids"]) <= length for line in (*run.train, *run.heldout))


@hypothesis_settings(max_examples=150, deadline=None)
@given(st.lists(ROW, min_size=1, max_size=5), st.sampled_from(list(POLICIES)))
def test_a_policy_that_says_stop_stops_or_had_nothing_to_meet(
    fresh: Callable[[], Path], rows: list[Any], name: str
) -> None:
    if "stop" not in choices(name):
        return
    folder = fresh()
    # as many as tell the format
    plain = [talk(word, "yes") for word in ("hello", "seven", "ocean", "paper", "crow", "night")]
    data = write(folder / "data.jsonl", [*plain, *rows])
    lenient = {**dict.fromkeys(POLICIES, "drop"), "many_turns": "split", "max_messages": 4}
    dropped = prepared(
        folder / "dropped",
        settings(data, policy=Policies(**lenient), max_length=40),  # type: ignore[arg-type]
    )
    met = {code for entry in dropped.ledger for code in entry.reasons}
    wanted = settings(data, policy=Policies(**{**lenient, name: "stop"}), max_length=40)  # type: ignore[arg-type]
    number = sum(1 for _ in read_rows(str(data)))
    try:
        run = prepared(folder / "stopped", wanted)
    except Refused as refused:
        run = Run(folder / "stopped")
        (stop,) = run.summary["stops"]
        rows = [entry.row for entry in run.ledger if name in entry.reasons]
        assert (stop["policy"], stop["rows"], stop["row"]) == (name, len(rows), rows[0])
        assert f"policy.{name}" in refused.message and f", row {rows[0]}: " in refused.message
        assert {run.ledger[row].state for row in rows} == {"dropped"}
    assert (run.summary["stops"] != []) == (name in met)
    check_books(run, number)


BROKEN = st.one_of(
    st.tuples(st.just("cut"), st.integers(1, 400)),
    st.tuples(st.just("byte"), st.integers(0, 400)),
    st.tuples(st.just("insert"), st.integers(0, 400)),
    st.tuples(st.just("none"), st.just(0)),
)


@hypothesis_settings(max_examples=500, deadline=None)
@given(
    st.lists(GOOD, min_size=1, max_size=6),
    BROKEN,
    st.sampled_from(["data.jsonl", "data.json", "data.jsonl.gz", "data.csv"]),
    st.binary(max_size=4),
)
def test_hostile_files(
    fresh: Callable[[], Path], rows: list[Any], broken: tuple[str, int], name: str, junk: bytes
) -> None:
    """Files cut off, with a byte changed, or with bytes put in between."""
    folder = fresh()
    data = folder / name
    raw = (
        b"".join(json.dumps(row).encode() + b"\n" for row in rows)
        if "jsonl" in name
        else json.dumps(rows).encode()
    )
    if name == "data.csv":
        raw = b"question,answer\n" + b"".join(
            b'"%d","yes, ""well"""\n' % number for number in range(len(rows))
        )
    raw = gzip.compress(raw) if name.endswith(".gz") else raw
    how, where = broken
    where = min(where, len(raw))
    raw = {
        "cut": raw[: len(raw) - where],
        "byte": raw[:where] + b"\xff" + raw[where + 1 :],
        "insert": raw[:where] + junk + raw[where:],
    }.get(how, raw)
    data.write_bytes(raw)
    try:
        run, refusal = (
            prepared(folder / "out", settings(data, policy=Policies(mask="drop"), max_length=40)),
            "",
        )
    except Refused as refused:
        run, refusal = Run(folder / "out"), refused.title
    except LuthierError as error:
        assert error.title and error.message and error.hint
        return
    check_books(run, sum(1 for _ in read_rows(str(data))))
    damaged = ["damage" in entry.reasons for entry in run.ledger]
    if any(damaged):
        assert refusal == ("No row can be read" if all(damaged) else "Some rows need a decision")
    else:
        assert refusal == ("" if run.train else "Nothing to train on")


def test_half_a_surrogate_pair_is_a_dropped_row(tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text(
        json.dumps(talk("hello", "yes")) + "\n" + json.dumps(talk("\ud83d", "yes")) + "\n"
    )
    run = prepared(tmp_path / "out", settings(data, policy=Policies(damage="drop")))
    check_books(run, 2)
    assert run.entry(1).state == "dropped"
