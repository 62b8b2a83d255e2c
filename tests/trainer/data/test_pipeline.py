"""The whole way of data, with hostile rows and files: nothing ends in a traceback, no row vanishes,
the books balance."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from jobs.errors import LuthierError
from models.stored_sample import UNTRAINED
from tests.trainer.data.stub import Run, StubSampler, prepared, settings, talk, write
from trainer.data.files import read_rows
from trainer.data.ledger import STATES, describe, summarise
from trainer.data.pipeline import Cancelled, Refused
from trainer.data.policies import POLICIES, Policies, choices
from trainer.data.settings import Mask, Source
from trainer.data.split import Heldout

pytestmark = pytest.mark.heavy

LONG = " ".join(["word"] * 30)


def check_books(run: Run, rows: int) -> None:
    """Every row stands in the ledger once and in order; rows, tokens and samples add up; what is
    trained is what the ledger says."""
    assert [entry.row for entry in run.ledger] == list(range(rows))
    summary = summarise(run.ledger)
    told = run.summary["ledger"]
    assert summary.to_json() == told
    assert sum(told["rows"].values()) == told["total_rows"] == rows
    lines = {f"train:{place}": line for place, line in enumerate(run.train)}
    lines |= {f"heldout:{place}": line for place, line in enumerate(run.heldout)}
    assert Counter(sample for entry in run.ledger for sample in entry.samples) == Counter(
        lines.keys()
    )
    assert (
        sum(told["tokens"].values())
        == told["total_tokens"]
        == sum(len(line["input_ids"]) for line in lines.values())
    )
    assert run.summary["trained_tokens"] == sum(
        label != UNTRAINED for line in run.train for label in line["labels"]
    )
    for entry in run.ledger:
        own = [lines[sample] for sample in entry.samples]
        assert all(
            (line["source"]["file"], line["source"]["row"]) == (entry.file, entry.row)
            for line in own
        )
        assert entry.tokens == sum(len(line["input_ids"]) for line in own)
        assert entry.state in STATES
        assert bool(own) == (entry.state != "dropped")
        assert bool(entry.reasons) == (entry.state != "kept")
        assert all(describe(code) for code in entry.reasons)


# ---- hostile rows and files

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
    damaged = any("damage" in entry.reasons for entry in run.ledger)
    assert refusal == (
        "Stopped by a policy" if damaged else "" if run.train else "Nothing to train on"
    )


def test_half_a_surrogate_pair_is_a_dropped_row(tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text(
        json.dumps(talk("hello", "yes")) + "\n" + json.dumps(talk("\ud83d", "yes")) + "\n"
    )
    run = prepared(tmp_path / "out", settings(data, policy=Policies(damage="drop")))
    check_books(run, 2)
    assert run.entry(1).state == "dropped"


# ---- what is too long

SAID = st.lists(st.integers(1, 25), min_size=1, max_size=24)


@hypothesis_settings(max_examples=300, deadline=None)
@given(SAID, st.booleans(), st.booleans(), st.sampled_from([4, 6, 512]), st.integers(20, 60))
def test_each_answer_of_a_long_conversation_is_trained_once_and_whole(
    fresh: Callable[[], Path],
    lengths: list[int],
    system: bool,
    alone: bool,
    limit: int,
    length: int,
) -> None:
    folder = fresh()
    lengths = lengths if len(lengths) % 2 == 0 else [*lengths, 3]
    said = [" ".join(f"w{place}" for _ in range(count)) for place, count in enumerate(lengths)]
    row = talk(
        *said,
        system="be kind" if system else "",
        tools=[{"type": "function", "function": {"name": "f"}}],
    )
    data = write(folder / "data.jsonl", [row, talk("hello", "yes")])
    run = prepared(
        folder / "out",
        settings(data, max_length=length, policy=Policies(max_messages=limit)),
        StubSampler(alone=alone),
    )
    check_books(run, 2)
    entry, own = run.ledger[0], [line for line in run.train if line["source"]["row"] == 0]
    answers = [text for line in own for text in trained_answers(line)]
    assert len(answers) == len({*answers})
    missing = {*said[1::2]} - {*answers}
    assert bool(missing) == (entry.lost > 0)
    assert answers == [answer for answer in said[1::2] if answer in answers]
    for line in own:
        assert line["messages"][0]["role"] == ("system" if system else "user")
        assert line["tools"] == row["tools"]
        first = line["source"].get("first_message", int(system))
        kept = line["messages"][int(system) :]
        assert kept == row["messages"][first : first + len(kept)]
        assert len(line["messages"]) <= max(limit, 2 + system)
    if missing:
        for question, answer in zip(said[::2], said[1::2], strict=True):
            if answer in missing:
                assert len(f"{question} {answer}".split()) + 4 + 4 * system > length


def trained_answers(line: dict[str, Any]) -> list[str]:
    """The answers whose tokens, stop token included, are trained in a sample; none is trained in
    part."""
    expected = [
        label
        for place, message in enumerate(line["messages"])
        if place in line["turns"]
        for label in (*(10 + len(word) for word in message["content"].split()), 5)
    ]
    assert [label for label in line["labels"] if label != UNTRAINED] == expected
    return [line["messages"][turn]["content"] for turn in line["turns"]]


def test_last_turn_only_keeps_the_end_of_a_long_conversation(tmp_path: Path) -> None:
    data = write(
        tmp_path / "data.jsonl",
        [talk(*(f"{place} " + "word " * 8 for place in range(8)), system="be")],
    )
    run = prepared(
        tmp_path / "out", settings(data, max_length=50, mask=Mask("last")), StubSampler("last")
    )
    (line,) = run.train
    assert [message["content"][0] for message in line["messages"]] == ["b", "4", "5", "6", "7"]
    assert line["turns"] == [4]


def test_too_long_may_be_dropped_with_its_tokens_counted_or_stop(tmp_path: Path) -> None:
    data = write(tmp_path / "data.jsonl", [talk("hello", "yes"), talk("hello", LONG)])
    run = prepared(
        tmp_path / "out", settings(data, max_length=20, policy=Policies(too_long="drop"))
    )
    assert run.entry(1).lost == 35
    assert run.entry(1).reasons == ["too_long"]
    with pytest.raises(Refused, match=r"row 1: 35 tokens \(policy\.too_long says stop, here\)"):
        prepared(tmp_path / "stop", settings(data, max_length=20, policy=Policies(too_long="stop")))


# ---- the rest


def test_the_mask_stops_by_its_own_error_or_drops_with_its_code(tmp_path: Path) -> None:
    data = write(tmp_path / "data.jsonl", [talk("hello", "yes"), talk("hello", "UNPROVABLE")])
    with pytest.raises(
        Refused, match=r"The loss mask cannot be proved: .*row 1: message 1: unprovable"
    ) as caught:
        prepared(tmp_path / "stop", settings(data))
    assert "As rendered: " in caught.value.hint
    assert prepared(tmp_path / "out", settings(data, policy=Policies(mask="drop"))).entry(
        1
    ).reasons == ["mask", "text_changed"]


def test_nothing_left_says_why(tmp_path: Path) -> None:
    data = write(tmp_path / "data.jsonl", [talk("hello"), talk("you")])
    with pytest.raises(
        Refused, match=r"None of the 2 rows is left. Dropped: 2 no answer that may be trained"
    ):
        prepared(tmp_path / "out", settings(data))
    check_books(Run(tmp_path / "out"), 2)


def test_a_stop_accounts_for_the_whole_file_and_names_each_policy_with_its_rows(
    tmp_path: Path,
) -> None:
    rows = [talk("a", "b"), "broken", talk("hi", "x", "y"), talk("c", "d"), 7, talk("e", "f")]
    data = write(tmp_path / "data.jsonl", rows)
    with pytest.raises(Refused) as caught:
        prepared(tmp_path / "out", settings(data, policy=Policies(user_last="stop")))
    first, second = caught.value.message.splitlines()
    assert (
        first
        == f"{data}, row 1: is a text, not an object (policy.damage says stop, here and at 1 more"
        " row)."
    )
    assert (
        second == f"{data}, row 2: the last turn is of the user (policy.user_last says stop, here)."
    )
    run = Run(tmp_path / "out")
    check_books(run, 6)
    assert [entry.state for entry in run.ledger] == [
        "kept",
        "dropped",
        "dropped",
        "kept",
        "dropped",
        "kept",
    ]


def test_a_misspelt_key_is_told_and_a_common_one_is_no_noise(tmp_path: Path) -> None:
    row = talk("a", "b")
    row["messages"][1]["wieght"] = 0
    plain = talk("c", "d")
    plain["messages"][0] |= {
        "id": "m1",
        "timestamp": 3,
        "model": "gpt",
        "metadata": {"x": 1},
        "context": ["x"],
        "height": 3,
    }
    data = write(tmp_path / "data.jsonl", [row, plain])
    run = prepared(tmp_path / "out", settings(data))
    assert (run.entry(0).state, run.entry(0).reasons) == ("dropped", ["unknown_key"])
    assert (
        run.entry(0).detail
        == "message 1 has the key `wieght`, which means nothing: is `weight` meant?"
    )
    assert run.entry(1).state == "kept"
    (found,) = run.summary["formats"]
    assert found["unused"] == [
        f"messages[].{key}" for key in ("id", "timestamp", "model", "metadata", "context", "height")
    ]
    repaired = prepared(
        tmp_path / "repaired", settings(data, policy=Policies(unknown_key="repair"))
    )
    assert (repaired.entry(0).state, repaired.entry(0).reasons) == ("repaired", ["unknown_key"])
    assert "is `weight` meant?" in repaired.entry(0).detail


@pytest.mark.parametrize(
    ("choice", "state", "reasons"),
    [
        ("split", "split", ["many_turns", "too_long"]),
        ("drop", "split", ["many_turns", "too_long"]),
        ("stop", "dropped", ["many_turns", "too_long"]),
    ],
)
def test_parts_of_too_many_turns_obey_the_policy_on_what_is_too_long(
    tmp_path: Path, choice: str, state: str, reasons: list[str]
) -> None:
    """Six exchanges, two to a part; those of the second part are too long together, and fit one by
    one."""
    said = [
        text
        for place in range(6)
        for text in (f"q{place}", " ".join(["word"] * (10 if place in (2, 3) else 1)))
    ]
    data = write(tmp_path / "data.jsonl", [talk(*said), talk("hello", "yes")])
    wanted = settings(data, max_length=24, policy=Policies(max_messages=4, too_long=choice))  # type: ignore[arg-type]
    try:
        run = prepared(tmp_path / "out", wanted)
    except Refused as refused:
        assert choice == "stop" and "policy.too_long" in refused.message
        run = Run(tmp_path / "out")
    check_books(run, 2)
    entry = run.entry(0)
    assert (entry.state, entry.reasons) == (state, reasons)
    trained = [
        answer
        for line in run.train
        if line["source"]["row"] == 0
        for answer in trained_answers(line)
    ]
    assert len(trained) == {"split": 6, "drop": 4, "stop": 0}[choice]
    assert (entry.lost > 0) == (choice != "split")


def test_progress_is_told_and_a_preparation_can_be_cancelled(tmp_path: Path) -> None:
    data = write(tmp_path / "data.jsonl", [talk(str(number), "yes") for number in range(2000)])
    told: list[str] = []
    prepared(
        tmp_path / "out", settings(data), on_progress=lambda what, done, total: told.append(what)
    )
    assert list(dict.fromkeys(told)) == [
        "reading",
        "looking for duplicates",
        "rendering and masking",
        "writing the samples",
    ]
    for step in dict.fromkeys(told):
        now: list[str] = []

        def cancelled(step: str = step, now: list[str] = now) -> bool:
            return step in now

        with pytest.raises(Cancelled):
            prepared(
                tmp_path / step,
                settings(data),
                on_progress=lambda what, done, total, now=now: now.append(what),  # type: ignore[misc]
                cancelled=cancelled,
            )


def test_exact_duplicates_are_dropped_and_named(tmp_path: Path) -> None:
    rows = [talk("a", "b"), talk("c", "d"), talk("a", "b"), talk("c", "d", system="other")]
    data = write(tmp_path / "data.jsonl", rows)
    run = prepared(tmp_path / "out", settings(data))
    assert run.entry(2).reasons == ["duplicates"]
    assert "equals row 0 of" in run.entry(2).detail
    assert (
        len(prepared(tmp_path / "kept", settings(data, policy=Policies(duplicates="keep"))).train)
        == 4
    )


def test_near_duplicates_are_dropped_where_the_policy_says_so(tmp_path: Path) -> None:
    story = " ".join(f"thing{number}" for number in range(60))
    data = write(
        tmp_path / "data.jsonl",
        [talk("tell", story), talk("tell", story + " end"), talk("else", "no")],
    )
    run = prepared(tmp_path / "out", settings(data, policy=Policies(near_duplicates="drop")))
    assert [entry.reasons for entry in run.ledger] == [[], ["near_duplicates"], []]
    assert not [
        entry for entry in prepared(tmp_path / "kept", settings(data)).ledger if entry.reasons
    ]


def test_held_out_conversations_are_whole_and_have_no_twin_in_training(tmp_path: Path) -> None:
    stories = [" ".join(f"thing{number}x{word}" for word in range(40)) for number in range(40)]
    rows = [talk("tell", story + end) for end in ("", " end") for story in stories] + [
        talk(f"alone {number}", f"{number * 7919} no") for number in range(40)
    ]
    data = write(tmp_path / "data.jsonl", rows)
    moved = prepared(tmp_path / "moved", settings(data, heldout=Heldout(share=0.2, at_least=4)))
    assert len(moved.heldout) == 24
    assert all(line["source"]["row"] >= 80 for line in moved.heldout)
    assert moved.summary["leaks"]["moved"] > 0
    reported = prepared(
        tmp_path / "reported",
        settings(data, heldout=Heldout(share=0.2, at_least=4, leaks="report")),
    )
    twins = sum(line["source"]["row"] < 80 for line in reported.heldout)
    assert reported.summary["leaks"] == {"moved": 0, "reported": twins}
    again = prepared(tmp_path / "again", settings(data, heldout=Heldout(share=0.2, at_least=4)))
    assert again.heldout == moved.heldout
    other = prepared(
        tmp_path / "other", settings(data, heldout=Heldout(share=0.2, at_least=4), seed=7)
    )
    assert other.heldout != moved.heldout


def test_a_split_conversation_is_held_out_as_a_whole(tmp_path: Path) -> None:
    data = write(
        tmp_path / "data.jsonl",
        [talk(*(f"{number} {place} a b c" for place in range(8))) for number in range(8)],
    )
    run = prepared(
        tmp_path / "out",
        settings(data, max_length=30, heldout=Heldout(share=0.2, at_least=2, leaks="report")),
    )
    assert {line["source"]["row"] for line in run.heldout}.isdisjoint(
        line["source"]["row"] for line in run.train
    )
    assert len({line["source"]["row"] for line in run.heldout}) == 2


def test_weights_mix_files_and_leave_the_books_balanced(tmp_path: Path) -> None:
    sources = []
    for name, weight in (("half", 0.5), ("twice", 2.0), ("once", 1.0)):
        data = write(
            tmp_path / f"{name}.jsonl", [talk(f"{name} {number}", "yes") for number in range(200)]
        )
        sources.append(Source(str(data), weight))
    run = prepared(tmp_path / "out", settings(*sources))
    seen = Counter(Path(line["source"]["file"]).stem for line in run.train)
    assert (seen["twice"], seen["once"]) == (400, 200)
    assert 70 <= seen["half"] <= 130
    assert run.summary["ledger"]["reasons"] == {"dropped": {"mixing": 200 - seen["half"]}}
    assert run.summary["ledger"]["total_tokens"] == sum(
        len(line["input_ids"]) for line in run.train
    )


def test_a_folder_with_files_of_several_formats(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    write(folder / "a.jsonl", [talk("hello", "yes")])
    (folder / "b.csv").write_text("question,answer\nwhat,that\n")
    run = prepared(tmp_path / "out", settings(folder))
    assert [line["messages"][0]["content"] for line in run.train] == ["hello", "what"]
    assert {found["format"] for found in run.summary["formats"]} == {"messages", "question_answer"}


def test_message_weights_reach_the_samples(tmp_path: Path) -> None:
    row = talk("a", "b c", "d", "e")
    row["messages"][1]["weight"] = 0.5
    run = prepared(tmp_path / "out", settings(write(tmp_path / "data.jsonl", [row])))
    assert run.summary["weighted"]
    assert run.train[0]["weights"] == [0, 0, 0, 0, 0.5, 0.5, 0.5, 0, 0, 0, 0, 1, 1]


def test_system_prompts_that_the_template_lacks_stop_with_their_number_or_are_repaired_row_by_row(
    tmp_path: Path,
) -> None:
    turns = [{"role": "user", "content": "ask"}, {"role": "assistant", "content": "say"}]
    rows = [
        {"messages": [{"role": "system", "content": f"be {number}"}, *turns]} for number in range(3)
    ] + [{"messages": turns}]
    data = write(tmp_path / "data.jsonl", rows)
    with pytest.raises(Refused) as caught:
        prepared(tmp_path / "stop", settings(data), no_system="it refuses one")
    assert (
        "row 0: it has a system prompt, and the chat template has no place for one: it refuses one"
        in caught.value.message
    )
    assert "here and at 2 more rows" in caught.value.message
    assert 'system_prompt = "merge" or "leave_out"' in caught.value.hint
    merged = prepared(
        tmp_path / "merge",
        settings(data, policy=Policies(system_prompt="merge")),
        no_system="it refuses one",
    )
    assert [entry.state for entry in merged.ledger] == ["repaired"] * 3 + ["kept"]
    assert all(entry.reasons == ["system_prompt"] for entry in merged.ledger[:3])
    assert merged.train[0]["messages"][0] == {"role": "user", "content": "be 0\n\nask"}
