"""What a look at data leaves, and reading it back without a tokenizer."""

from __future__ import annotations

import json
from array import array
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from jobs.job import Job
from jobs.luthier_error import LuthierError
from jobs.spec import Spec
from models.stored_sample import StoredSample
from trainer.data.inspection import Inspection, Ledger, Lines, Vocabulary, write_index
from trainer.data.ledger import Entry, State
from trainer.data.worker import histogram


def write_ledger(path: Path, count: int) -> list[Entry]:
    states: list[State] = ["kept", "repaired", "split", "dropped"]
    reasons = {
        "kept": [],
        "repaired": ["user_last"],
        "split": ["too_long"],
        "dropped": ["unreadable", "no_turns"],
    }
    entries = [
        Entry("/d.jsonl", row, states[row % 4], reasons[states[row % 4]], [f"train:{row}"], row)
        for row in range(count)
    ]
    path.write_bytes(b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries))
    return entries


def whole(path: Path) -> Ledger:
    ledger = Ledger(path)
    while not ledger.whole:
        ledger.extend()
    return ledger


def test_a_ledger_is_read_in_bites_and_each_row_when_it_is_wanted(tmp_path: Path) -> None:
    entries = write_ledger(tmp_path / "ledger.jsonl", 5000)
    ledger = Ledger(tmp_path / "ledger.jsonl")
    bites = 0
    while not ledger.whole:
        assert ledger.extend(max_seconds=0.0)
        bites += 1
    assert bites == 5000 and len(ledger) == 5000 and not ledger.extend()
    assert [ledger.entry(place) for place in (0, 4999, 17)] == [
        entries[0],
        entries[4999],
        entries[17],
    ]


def test_a_filter_takes_words_of_state_and_reason_and_row_numbers(tmp_path: Path) -> None:
    write_ledger(tmp_path / "ledger.jsonl", 100)
    ledger = whole(tmp_path / "ledger.jsonl")
    assert len(ledger.matching("")) == 100
    assert list(ledger.matching("dropped"))[:3] == [3, 7, 11]
    assert list(ledger.matching("DROPPED no_turns")) == list(ledger.matching("unread"))
    assert list(ledger.matching("42")) == [42] and list(ledger.matching("42 dropped")) == []
    assert list(ledger.matching("zither")) == []


def test_lines_are_found_by_number_before_all_are_known(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_text("".join(f"{number}\n" for number in range(10_000)))
    assert Lines(path).line(9_999) == b"9999\n"
    write_index(path, array("Q", (number * 2 for number in range(10))))
    assert Lines(path).whole and Lines(path).line(9) == b"9\n"
    empty = Lines(tmp_path / "none")
    assert empty.whole and len(empty) == 0


def test_a_folder_without_its_files_says_what_to_do(tmp_path: Path) -> None:
    Spec("inspect", "x", "trainer.data.worker").write(tmp_path)
    with pytest.raises(LuthierError, match="Open the data again"):
        Inspection(Job(tmp_path))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "overview.json").write_text('{"sources": 1}')
    with pytest.raises(LuthierError, match="Not readable"):
        Inspection(Job(tmp_path))


def test_the_vocabulary_gives_bytes_for_parts_of_characters() -> None:
    vocabulary = msgspec.json.decode(
        b'{"stop_ids": [2], "pieces": ["a", "", "<end>"], "parts": {"1": "f09f"}}', type=Vocabulary
    )
    assert [vocabulary.raw(number) for number in range(4)] == [b"a", b"\xf0\x9f", b"<end>", b"<3>"]


def test_a_sample_may_hold_numbers_of_any_size() -> None:
    line = json.dumps(
        {
            "source": {},
            "turns": [],
            "input_ids": [],
            "labels": [],
            "messages": [{"tool_calls": [10**400]}],
        }
    )
    assert msgspec.json.decode(line, type=StoredSample).turns == []


@pytest.mark.parametrize("longest", [1, 15, 16, 17, 249, 2048, 131_072, 999_999])
def test_every_sample_stands_in_its_bin(longest: int) -> None:
    lengths = Counter({longest: 3, max(1, longest // 2): 5, 1: 2})
    made = histogram(lengths, 2048)
    assert sum(made.counts) == sum(lengths.values()) and len(made.counts) <= 17
    assert all(made.counts[length // made.width] >= number for length, number in lengths.items())
    assert made.longest == longest and str(made.width).strip("0") in ("1", "2", "5")


def test_no_samples_have_no_bins() -> None:
    assert histogram(Counter(), 2048).counts == []


def test_the_median_is_the_middle() -> None:
    assert histogram(Counter({10: 1, 20: 1, 30: 1}), 2048).median == 20
    assert histogram(Counter({10: 5, 400: 1}), 2048).median == 10
