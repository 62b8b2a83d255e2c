"""What an upload's rows come to, with the ledger's reasons."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.workshop.api.conftest import lines, row, rows
from trainer.data.formats import Mapping
from trainer.data.policies import Policies, SpecialTexts
from trainer.data.reading import Reader
from workshop.api.errors import ApiError
from workshop.api.file_check import check_file

TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
PICTURE = {
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is it?"},
                {"type": "image_url", "image_url": {"url": "https://example.com/x.png"}},
            ],
        },
        {"role": "assistant", "content": "A lute."},
    ]
}
HOSTED: dict[str, list[dict[str, Any]]] = {
    "weight": [row("a", "b", weight=0) | {} for _ in range(1)] + rows(3),
    "tools": [
        {
            "messages": [
                {"role": "user", "content": "Rain?"},
                {"role": "assistant", "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "c1", "content": "showers"},
                {"role": "assistant", "content": "Yes."},
            ],
            "tools": [TOOL],
            "parallel_tool_calls": False,
        }
    ],
    "developer": [
        {"messages": [{"role": "developer", "content": "Be brief."}, *row("a", "b")["messages"]]}
    ],
    "content parts": [row([{"type": "text", "text": "a"}], "b")],  # type: ignore[arg-type]
    "legacy": [{"prompt": "Company: BHFF\n\n###\n\n", "completion": " yes END"}],
    "preferences": [
        {
            "input": {"messages": [{"role": "user", "content": "Cold?"}], "tools": []},
            "preferred_output": [{"role": "assistant", "content": "No."}],
            "non_preferred_output": [{"role": "assistant", "content": "Maybe."}],
        }
    ],
}


def check(path: Path, content: bytes) -> Any:
    path.write_bytes(content)
    return check_file(path, "mine.jsonl")


@pytest.mark.parametrize("name", HOSTED)
def test_what_users_of_hosted_tuning_have_is_read(name: str, tmp_path: Path) -> None:
    checked = check(tmp_path / "data.jsonl", lines(HOSTED[name]))
    assert checked.conversations >= 1
    assert checked.format


def test_rows_with_pictures_are_left_out_by_number_and_reason(tmp_path: Path) -> None:
    checked = check(tmp_path / "data.jsonl", lines([*rows(3), PICTURE, *rows(2), PICTURE]))
    (problem,) = checked.problems
    assert (problem.code, problem.rows, problem.first) == ("media", 2, [3, 6])
    assert checked.details.startswith(
        "2 of 7 rows are left out (counted from 0): rows 3, 6: a pict"
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", ""),
        (b"not json\n", "mine.jsonl"),
        (lines(rows(3)) + b'{"messages": [\n', "row 3"),
        (lines([{"colour": "red"}]), "mine.jsonl"),
        (lines([PICTURE]), "row 0: a picture"),
        (b"\x00\xff\xfe" * 50, ""),
        (b"[" * 100_000, ""),
    ],
)
def test_a_file_that_cannot_be_trained_on_is_refused(
    content: bytes, says: str, tmp_path: Path
) -> None:
    with pytest.raises(ApiError) as refusal:
        check(tmp_path / "data.jsonl", content)
    assert (refusal.value.status, refusal.value.param) == (400, "file")
    assert says in refusal.value.message
    assert str(tmp_path) not in refusal.value.message


def test_a_long_file_is_looked_at_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workshop.api.file_check._ENOUGH_BYTES", 100_000)
    checked = check(tmp_path / "data.jsonl", lines([row("a " * 500, str(n)) for n in range(5000)]))
    assert not checked.is_complete
    assert 0 < checked.conversations < 5000


def test_separators_of_older_models_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    pairs = [
        ("Company: BHFF\n\n###\n\n", " yes END", "Company: BHFF", "yes"),
        ("Good film ->", " positive\n###\n", "Good film", "positive"),
        ("What is a -> b?", " a function END", "What is a -> b?", " a function END"),
    ]
    path.write_bytes(lines([{"prompt": pair[0], "completion": pair[1]} for pair in pairs]))
    read = list(Reader(Mapping(), Policies(), SpecialTexts()).rows(str(path)))
    texts = [[message["content"] for message in row.messages or ()] for row in read]
    assert texts == [list(pair[2:]) for pair in pairs]
    assert ["separators" in row.reasons for row in read] == [True, True, False]
