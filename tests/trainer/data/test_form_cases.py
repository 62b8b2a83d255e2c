"""What people of the trade report of their data's form: each input of cases/ becomes what it
should."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.luthier_error import LuthierError
from trainer.data.formats import Mapping
from trainer.data.policies import Policies, SpecialTexts
from trainer.data.reading import Reader, Row

CASES = Path(__file__).with_name("cases")
SEXTANT = (
    "What does a sextant measure?",
    "The angle between two objects, usually a star and the horizon.",
)
BOWLINE = (
    "How do I tie a bowline?",
    "Make a small loop, pass the end up through it, around the standing part and back down.",
)
THANKS = ("Thanks. How do I tie a bowline?", BOWLINE[1])


def read(name: str, mapping: Mapping | None = None) -> list[Row]:
    return list(Reader(mapping or Mapping(), Policies(), SpecialTexts()).rows(str(CASES / name)))


def said(row: Row) -> list[tuple[str, str]]:
    return [(str(message["role"]), str(message["content"])) for message in row.messages or []]


def talk(*texts: str, system: str = "") -> list[tuple[str, str]]:
    turns = [(("user", "assistant")[place % 2], text) for place, text in enumerate(texts)]
    return [("system", system), *turns] if system else turns


FIRST_ROWS = {
    "01-pandas-columns.json": talk(*SEXTANT),
    "08-human-assistant.jsonl": talk(*SEXTANT, *THANKS),
    "08b-alpaca-text.jsonl": talk(*SEXTANT),
    "08c-llama3-text.jsonl": talk(*SEXTANT),
    "08d-gemma-text.jsonl": talk(*SEXTANT),
    "25-human-newlines.jsonl": talk(*SEXTANT),
    "25c-vicuna.jsonl": talk(
        *SEXTANT, "Thanks", "Welcome.", system="A chat between a curious user and an assistant."
    ),
}


@pytest.mark.parametrize("name", FIRST_ROWS)
def test_turns_are_found(name: str) -> None:
    rows = read(name)
    assert len(rows) == 12 and all(row.messages for row in rows)
    assert said(rows[0]) == FIRST_ROWS[name]


def test_the_recipes_speakers_override() -> None:
    mapping = Mapping(
        "transcript", {"text": "text"}, speakers={"USER": "user", "ASSISTANT": "assistant"}
    )
    assert said(read("25c-vicuna.jsonl", mapping)[0]) == talk(*SEXTANT, "Thanks", "Welcome.")


def test_mails_are_no_talk() -> None:
    with pytest.raises(
        LuthierError, match=r"header lines \(Subject, From, To\), as mails and articles do"
    ):
        read("25e-mails.jsonl")


def test_turns_are_chained_by_their_ids() -> None:
    rows = read("02-h2o-parent-id.csv")
    talks = [said(row) for row in rows if row.messages]
    assert len(rows) == 24 and [len(turns) for turns in talks] == [6] * 8
    assert all(
        len({turns[place][1].rpartition("(")[2] for place in (0, 2, 4)}) == 1 for turns in talks
    ), "turns of one talk only"
    assert all(row.reasons == ("chained",) for row in rows if not row.messages)
    messages = read("41-oasst-messages.jsonl")
    assert [said(row) for row in messages if row.messages] == [
        talk(f"text {n}", f"text {n + 1}") for n in range(0, 12, 2)
    ]


def test_gbk_is_named_and_can_be_read() -> None:
    with pytest.raises(LuthierError) as error:
        read("38-gbk.csv")
    assert "It reads correctly as GBK or GB18030 (Chinese): '船往哪里开？" in error.value.message
    assert (
        "iconv -f GB18030 -t UTF-8 38-gbk.csv" in error.value.hint
        and "drop" not in error.value.hint
    )
    assert said(read("38-gbk.csv", Mapping(encoding="gb18030"))[0]) == talk(
        "船往哪里开？", "往西。"
    )


@pytest.mark.parametrize(
    ("name", "trained", "rows"),
    [
        ("05-python-repr.csv", 12, 12),
        ("16-mixed-types.jsonl", 355, 363),
        ("21-nested.parquet", 12, 12),
        ("17b-last-comma.json", 2, 2),
        ("17c-nan.jsonl", 12, 12),
        ("17d-curly-quotes.jsonl", 0, 12),
        ("20-one-row.jsonl", 1, 1),
        ("32-empty-file.jsonl", 0, 1),
        ("38c-utf16.csv", 2, 2),
    ],
)
def test_odd_types_are_read_or_accounted_for(name: str, trained: int, rows: int) -> None:
    found = read(name)
    assert len(found) == rows and sum(row.messages is not None for row in found) == trained
    assert all(row.detail for row in found if row.messages is None)
