"""The whole way of data: what is too long, duplicates, held-out conversations, weights, and the
ledger that accounts for each row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from models.stored_sample import UNTRAINED
from tests.trainer.data.stub import Run, StubSampler, check_books, prepared, settings, talk, write
from trainer.data.pipeline import Cancelled, Refused
from trainer.data.policies import Policies
from trainer.data.settings import Mask, Source
from trainer.data.split import Heldout

pytestmark = pytest.mark.heavy

LONG = " ".join(["word"] * 30)


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
    with pytest.raises(
        Refused, match=r"row 1: 35 tokens \(policy\.too_long is .stop.; it applies here\)"
    ):
        prepared(tmp_path / "stop", settings(data, max_length=20, policy=Policies(too_long="stop")))


# ---- the rest


def test_the_mask_stops_by_its_own_error_or_drops_with_its_code(tmp_path: Path) -> None:
    data = write(tmp_path / "data.jsonl", [talk("hello", "yes"), talk("hello", "UNPROVABLE")])
    with pytest.raises(
        Refused, match=r"The loss mask cannot be proved: .*row 1: message 1: unprovable"
    ) as caught:
        prepared(tmp_path / "stop", settings(data))
    assert "Rendered text: " in caught.value.hint
    assert prepared(tmp_path / "out", settings(data, policy=Policies(mask="drop"))).entry(
        1
    ).reasons == ["mask", "text_changed"]


def test_to_drop_rows_is_no_advice_where_none_would_be_left(tmp_path: Path) -> None:
    data = write(tmp_path / "data.jsonl", [talk("hello", "UNPROVABLE"), talk("you", "UNPROVABLE")])
    with pytest.raises(Refused) as caught:
        prepared(tmp_path / "stop", settings(data))
    first, evidence = caught.value.hint.splitlines()
    assert first.endswith("none would be left.") and evidence.startswith("Rendered text: ")


def test_nothing_left_says_why(tmp_path: Path) -> None:
    data = write(tmp_path / "data.jsonl", [talk("hello"), talk("you")])
    with pytest.raises(Refused, match=r"drops all 2 rows: no answer that can be trained"):
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
        == f'{data}, row 1: it is a text, not an object (policy.damage is "stop"; it applies here'
        " and at 1 more row)."
    )
    assert (
        second == f"{data}, row 2: the last turn has the role user"
        ' (policy.user_last is "stop"; it applies here).'
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
    assert run.entry(0).detail == "message 1 has the unknown key `wieght`: did you mean `weight`?"
    assert run.entry(1).state == "kept"
    (found,) = run.summary["formats"]
    assert found["unused"] == [
        f"messages[].{key}" for key in ("id", "timestamp", "model", "metadata", "context", "height")
    ]
    repaired = prepared(
        tmp_path / "repaired", settings(data, policy=Policies(unknown_key="repair"))
    )
    assert (repaired.entry(0).state, repaired.entry(0).reasons) == ("repaired", ["unknown_key"])
    assert "did you mean `weight`?" in repaired.entry(0).detail


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


def test_files_are_held_out_whole_but_for_what_is_trained_on(tmp_path: Path) -> None:
    stories = [" ".join(f"thing{number}x{word}" for word in range(40)) for number in range(30)]
    trained = write(tmp_path / "train.jsonl", [talk("tell", story) for story in stories[:20]])
    validation = write(
        tmp_path / "validation.jsonl",
        [talk("tell", stories[3]), talk("tell", stories[4] + " end")]
        + [talk("tell", story) for story in stories[20:]],
    )
    run = prepared(
        tmp_path / "out", settings(trained, heldout=Heldout(files=[str(validation)], share=0.5))
    )
    assert len(run.train) == 20
    assert [line["source"] for line in run.heldout] == [
        {"file": str(validation), "row": row} for row in range(1, 12)
    ]
    assert run.summary["leaks"] == {"moved": 0, "reported": 1}
    dropped = next(entry for entry in run.ledger if entry.state == "dropped")
    assert (dropped.file, dropped.row, dropped.reasons) == (str(validation), 0, ["duplicates"])
