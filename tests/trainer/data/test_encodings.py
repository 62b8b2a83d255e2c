"""Files that are no UTF-8: named where the whole file is in another encoding, damaged rows where
some bytes are; never guessed."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.luthier_error import LuthierError
from trainer.data.files import RawRow, read_rows

TEXTS = {
    "gb18030": ["船往哪里开？", "往西开，风很大。", "现在几点了？", "已经三点钟了。"],
    "big5": ["船往哪裡開？", "往西邊開，風很大。", "現在幾點了？", "已經三點鐘了。"],
    "shift_jis": [
        "船はどこへ行きますか。",
        "西へ行きます。",
        "今は何時ですか。",
        "もう三時ですよ。",
    ],
    "euc_jp": ["船はどこへ行きますか。", "西へ行きます。", "今は何時ですか。", "もう三時ですよ。"],
    "euc_kr": ["배는 어디로 갑니까?", "서쪽으로 갑니다.", "지금 몇 시입니까?", "벌써 세 시입니다."],
    "cp1252": [
        "Wohin fährt das Schiff?",
        "Nach Süden, schön weit.",
        "Où est la clé dorée?",
        "Elle est là, derrière.",
    ],
    "latin-1": [
        "¿Dónde está el capitán?",
        "Está en el muelle, señor.",
        "¿Cuántos años tenía?",
        "Tenía cuarenta años según él.",
    ],
    "cp1251": ["Куда плывёт корабль?", "Он плывёт на запад.", "Сколько времени?", "Уже три часа."],
    "koi8_r": ["Куда плывёт корабль?", "Он плывёт на запад.", "Сколько времени?", "Уже три часа."],
    "mac_roman": [
        "Wohin fährt das Schiff?",
        "Nach Süden, schön weit.",
        "Où est la clé dorée?",
        "Elle est là, derrière.",
    ],
}
# What the error names, where another name than Python's is usual.
NAMED = {
    "shift_jis": "Shift JIS",
    "euc_jp": "EUC-JP",
    "euc_kr": "EUC-KR",
    "cp1252": "Windows-1252",
    "latin-1": "Windows-1252",
}
WRITERS: dict[str, Callable[[list[tuple[str, str]]], str]] = {
    "rows.jsonl": lambda pairs: "".join(
        json.dumps({"question": q, "answer": a}, ensure_ascii=False) + "\n" for q, a in pairs
    ),
    "rows.json": lambda pairs: json.dumps(
        [{"question": q, "answer": a} for q, a in pairs], ensure_ascii=False, indent=1
    ),
    "rows.csv": lambda pairs: "question;answer\n" + "".join(f'"{q}";"{a}"\n' for q, a in pairs),
}


def pairs_of(encoding: str) -> list[tuple[str, str]]:
    texts = TEXTS[encoding]
    return [(texts[0], texts[1]), (texts[2], texts[3])]


def read(path: Path, data: bytes, encoding: str = "") -> list[RawRow]:
    path.write_bytes(data)
    return list(read_rows(str(path), encoding=encoding))


@pytest.mark.parametrize("packing", ["", ".gz"])
@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("encoding", TEXTS)
def test_another_encoding_is_named_and_read_when_the_recipe_says_so(
    tmp_path: Path, encoding: str, name: str, packing: str
) -> None:
    pairs = pairs_of(encoding)
    data = WRITERS[name](pairs).encode(encoding)
    data = gzip.compress(data) if packing else data
    with pytest.raises(LuthierError) as error:
        read(tmp_path / f"{name}{packing}", data)
    shown = f"{error.value.message}\n{error.value.hint}"
    assert error.value.title == "Not UTF-8"
    assert NAMED.get(encoding, encoding).casefold().split("_")[0] in shown.casefold()
    words = [word for pair in pairs for text in pair for word in text.split() if not word.isascii()]
    assert any(word in error.value.message for word in words), "the evidence is the text itself"
    assert "iconv -f" in shown and 'encoding = "' in shown and "drop" not in shown
    rows = read(tmp_path / f"{name}{packing}", data, encoding)
    assert [(row.value or {}).get("answer") for row in rows] == [answer for _, answer in pairs]


LONG = [(f"Wohin fährt das Schiff Nr. {n}?", f"Nach Süden, 船 Nummer {n}.") for n in range(40)]
PLAIN = [
    (f"Where does ship number {n} go?", f"It goes to the south, as number {n} should.")
    for n in range(40)
]


@pytest.mark.parametrize("pairs", [LONG, PLAIN])
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv"])
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), number=st.integers(1, 6))
def test_flipped_bits_stay_damage(
    fresh: Callable[[], Path], name: str, pairs: list[tuple[str, str]], seed: int, number: int
) -> None:
    data = bytearray(WRITERS[name](pairs).encode())
    chance = random.Random(seed)
    first_row = data.index(b"\n") + 1
    for _ in range(number):
        data[
            chance.choice([place for place in range(first_row, len(data)) if data[place] < 0x80])
        ] |= 0x80
    rows = read(fresh() / name, bytes(data))
    assert (
        any(row.damage for row in rows)
        and sum(row.value is not None for row in rows) >= len(pairs) - 2 * number
    )


def test_a_damaged_block_stays_damage(tmp_path: Path) -> None:
    data = bytearray(WRITERS["rows.jsonl"](PLAIN).encode())
    data[600:900] = random.Random(3).randbytes(300)
    rows = read(tmp_path / "rows.jsonl", bytes(data))
    assert (
        any(row.damage for row in rows)
        and sum(row.value is not None for row in rows) > len(PLAIN) // 2
    )


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        (
            "cp1250",
            (
                "Kam pluje loď?;Pluje na západ, už je pozdě.\nKolik je hodin?;Už jsou tři, musíme"
                " běžet.\n"
            ),
        ),
        ("cp1253", "Πού πάει το πλοίο;;Πηγαίνει δυτικά.\nΤι ώρα είναι;;Είναι τρεις.\n"),
        (
            "cp1254",
            (
                "Gemi nereye gidiyor?;Batıya gidiyor, rüzgâr güçlü değil.\nSaat kaç?;Üç oldu, şimdi"
                " koşmalıyız.\n"
            ),
        ),
        ("cp866", "Куда плывёт корабль?;Он плывёт на запад.\nСколько времени?;Уже три часа.\n"),
    ],
)
def test_where_several_fit_each_is_shown(tmp_path: Path, encoding: str, text: str) -> None:
    with pytest.raises(LuthierError) as error:
        read(tmp_path / "rows.csv", f"a;b\n{text}".encode(encoding))
    words = [word for word in text.replace(";", " ").split() if not word.isascii()]
    assert any(word in error.value.message for word in words)
    assert ("the encoding that reads correctly" in error.value.hint) == (
        ", and as " in error.value.message
    )


def test_curly_quotes_of_windows_are_no_damage(tmp_path: Path) -> None:
    pairs = [(q, f"It’s there – {a}") if n % 9 == 0 else (q, a) for n, (q, a) in enumerate(PLAIN)]
    with pytest.raises(LuthierError, match="Windows-1252"):
        read(tmp_path / "rows.csv", WRITERS["rows.csv"](pairs).encode("cp1252"))


def test_an_encoding_is_for_files_that_are_no_utf8(tmp_path: Path) -> None:
    """A folder may hold both: what is UTF-8 stays UTF-8."""
    for name, encoding in (
        ("a.csv", "gb18030"),
        ("b.csv", "utf-8"),
        ("c.csv", "utf-8-sig"),
        ("d.csv", "utf-16"),
    ):
        (tmp_path / name).write_bytes(WRITERS["rows.csv"](pairs_of("gb18030")).encode(encoding))
    answers = [
        (row.value or {}).get("answer") for row in read_rows(str(tmp_path), encoding="gb18030")
    ]
    assert answers == [answer for _, answer in pairs_of("gb18030")] * 4
    with pytest.raises(LuthierError, match="Unknown encoding"):
        list(read_rows(str(tmp_path), encoding="gbkk"))
    with pytest.raises(LuthierError, match="Unknown encoding"):
        list(read_rows(str(tmp_path), encoding="zlib"))


def test_what_the_named_encoding_cannot_read_is_damage(tmp_path: Path) -> None:
    rows = read(
        tmp_path / "rows.csv",
        WRITERS["rows.csv"](pairs_of("gb18030")).encode("gb18030") + b"\xff\xff\n",
        "gb18030",
    )
    assert [row.value is not None for row in rows] == [True, True, False]
    assert "invalid GB18030 at byte" in (rows[-1].damage or "")
