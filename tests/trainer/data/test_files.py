"""Files of every kind, whole, cut off and broken: what is whole is read, what is lost is told, and
nothing ends in a traceback."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jobs.luthier_error import LuthierError
from trainer.data import streams
from trainer.data.files import RawRow, read_rows, source_files, source_size
from trainer.data.hub import parsed

Rows = list[dict[str, Any]]
ROWS: Rows = [{"question": f"Wie {n}?", "answer": 'sie sagt: "né, 😀"\nund geht'} for n in range(3)]
_numbers = count()


@pytest.fixture(scope="module")
def folder(fresh: Callable[[], Path]) -> Path:
    return fresh()


def rows_of(folder: Path, name: str, data: bytes) -> list[RawRow]:
    """All rows of a file of this name, damaged ones too; its size must be what progress ends
    with."""
    path = folder / str(next(_numbers)) / name
    path.parent.mkdir()
    path.write_bytes(data)
    told: list[int] = []
    rows = list(read_rows(str(path), told.append))
    assert told == sorted(told)
    assert all(read <= source_size(str(path)) for read in told)
    assert [row.row for row in rows] == list(range(len(rows)))
    assert all((row.value is None) != (row.damage is None) for row in rows)
    return rows


def values(rows: list[RawRow]) -> Rows:
    return [row.value for row in rows if row.value is not None]


def damages(rows: list[RawRow]) -> list[str]:
    return [row.damage for row in rows if row.damage is not None]


def as_lines(rows: Rows) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def as_array(rows: Rows) -> bytes:
    return json.dumps(rows, ensure_ascii=False).encode()


def as_table(rows: Rows, delimiter: str = ",", quoting: Any = csv.QUOTE_ALL) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter, quoting=quoting)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def as_parquet(rows: Rows) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


def zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, "zstd", asbytes=True))


CONTAINERS: dict[str, tuple[str, Callable[[Rows], bytes]]] = {
    "lines": ("rows.jsonl", as_lines),
    "lines named json": ("rows.json", as_lines),
    "lines of another ending": ("rows.txt", as_lines),
    "array": ("rows.json", as_array),
    "array named jsonl": ("rows.jsonl", as_array),
    "pretty array": ("rows.json", lambda rows: json.dumps(rows, indent=2).encode()),
    "wrapped array": (
        "rows.json",
        lambda rows: json.dumps({"version": 1, "data": rows, "more": {"a": []}}).encode(),
    ),
    "pretty wrapped array": (
        "rows.json",
        lambda rows: json.dumps({"about": ["x"], "rows": rows}, indent=1).encode(),
    ),
    "objects in a row": (
        "rows.json",
        lambda rows: b"".join(json.dumps(row).encode() for row in rows),
    ),
    "pretty objects": (
        "rows.jsonl",
        lambda rows: "\n".join(json.dumps(row, indent=4) for row in rows).encode(),
    ),
    "csv": ("rows.csv", as_table),
    "csv with semicolons": ("rows.csv", lambda rows: as_table(rows, ";")),
    "tsv": ("rows.tsv", lambda rows: as_table(rows, "\t", csv.QUOTE_MINIMAL)),
    "parquet": ("rows.parquet", as_parquet),
}
PACKINGS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "plain": ("", bytes),
    "gzip": (".gz", gzip.compress),
    "zstd": (".zst", zstd),
}
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=20)


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("container", CONTAINERS)
@settings(max_examples=15, deadline=None)
@example(texts=[("\x00", ""), ("00\x00", "00\x00")])
@given(texts=st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=5))
def test_what_goes_in_comes_out(
    folder: Path, container: str, packing: str, texts: list[tuple[str, str]]
) -> None:
    rows = [{"question": question, "answer": answer} for question, answer in texts]
    (name, write), (ending, pack) = CONTAINERS[container], PACKINGS[packing]
    read = rows_of(folder, name + ending, pack(write(rows)))
    assert damages(read) == []
    assert values(read) == rows


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("container", [name for name in CONTAINERS if name != "parquet"])
def test_encodings(folder: Path, container: str, encoding: str) -> None:
    name, write = CONTAINERS[container]
    assert values(rows_of(folder, name, write(ROWS).decode().encode(encoding))) == ROWS


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("container", CONTAINERS)
def test_cut_off_anywhere(folder: Path, container: str, packing: str) -> None:
    """Whatever was whole before the cut is read, and no row is made up."""
    (name, write), (ending, pack) = CONTAINERS[container], PACKINGS[packing]
    whole = pack(write(ROWS))
    for end in range(len(whole)):
        try:
            rows = rows_of(folder, name + ending, whole[:end])
        except LuthierError as error:
            assert end < 4 and packing != "plain", error
            continue
        read = values(rows)
        # Alone a plain table cannot tell whether its last line, or its first, was longer.
        sure = (
            read[:-1] if packing == "plain" and name.endswith("sv") and not damages(rows) else read
        )
        assert sure == ROWS[: len(sure)]
        assert damages(rows) or packing == "plain"
        if packing == "plain" and container == "lines":
            assert len(read) >= whole[:end].count(b"\n")
        if packing == "plain" and container == "array":
            assert len(read) >= whole[:end].count(b"}")


@pytest.mark.parametrize(
    "name",
    [
        "rows.jsonl",
        "rows.json",
        "rows.csv",
        "rows.tsv",
        "rows.parquet",
        "rows",
        "rows.json.gz",
        "rows.csv.zst",
    ],
)
@settings(max_examples=60, deadline=None)
@given(
    data=st.binary(max_size=200),
    start=st.sampled_from(
        [b"", b"{", b"[{", b"a,b\n", b"\x1f\x8b\x08\0", b"\x28\xb5\x2f\xfd", b"PAR1", b"\xff\xfe"]
    ),
)
def test_random_bytes(folder: Path, name: str, data: bytes, start: bytes) -> None:
    try:
        rows_of(folder, name, start + data)
    except LuthierError as error:
        assert error.hint


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("container", CONTAINERS)
@settings(max_examples=25, deadline=None)
@given(
    place=st.floats(0, 1),
    gone=st.integers(0, 9),
    new=st.binary(max_size=6) | st.sampled_from([b'"', b"[", b"}", b"\n", b"\xff", b"\\", b"{,"]),
)
def test_one_wound(
    folder: Path, container: str, packing: str, place: float, gone: int, new: bytes
) -> None:
    (name, write), (ending, pack) = CONTAINERS[container], PACKINGS[packing]
    whole = pack(write(ROWS))
    at = round(place * len(whole))
    try:
        rows_of(folder, name + ending, whole[:at] + new + whole[at + gone :])
    except LuthierError as error:
        assert error.hint


@settings(max_examples=40, deadline=None)
@given(chunk=st.integers(1, 40), text=TEXTS, spaces=st.sampled_from(["", " ", "\n\n"]))
def test_rows_across_chunks(folder: Path, chunk: int, text: str, spaces: str) -> None:
    rows: Rows = [{"a": text, "n": -1.5e3, "l": [True, None, "\u00e9😀\\"]}, {"b": {"c": text}}]
    array = spaces.join(
        ["[", json.dumps(rows[0]), ",", json.dumps(rows[1], ensure_ascii=False), "]"]
    ).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "CHUNK", chunk)
        assert values(rows_of(folder, "rows.json", array)) == rows
        assert values(rows_of(folder, "rows.json.gz", gzip.compress(array))) == rows
        assert values(rows_of(folder, "rows.jsonl", as_lines(rows))) == rows
        if chunk >= 4:  # the first chunk must hold the mark
            assert values(rows_of(folder, "rows.json", array.decode().encode("utf-16"))) == rows


BAD_LINES = {
    b'{"a": "\xff"}': "invalid UTF-8 at byte 15",
    b'{"a": 1': "broken JSON at byte 15",
    b'{"a": 1, "a": 2}': "the key `a` twice",
    b'{"a": "\\ud83d"}': "half of a surrogate pair",
    b'{"a": ' + b"9" * 5000 + b"}": "a number that is too large",
    b'{"a": -1e999}': "a number that is too large",
    b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}": "nested too deeply",
    b'{"a": ' + b"[" * 300 + b"]" * 300 + b"}": "nested too deeply",
    b'{"a": "tab\there"}': "broken JSON",
    b"[1, 2]": "it is a list, not an object",
    b'"text"': "it is a text, not an object",
    b"null": "it is null, not an object",
    b"\xef\xbb\xbf{}": "broken JSON",
}


@pytest.mark.parametrize("line", BAD_LINES)
def test_a_bad_line_costs_one_row(folder: Path, line: bytes) -> None:
    before, after = b'{"x":1}\n', b'\n\n  \n{"x":2}\r\n{"x":3}'
    rows = rows_of(folder, "rows.jsonl", before + line + after)
    assert values(rows) == [{"x": 1}, {"x": 2}, {"x": 3}]
    assert BAD_LINES[line] in str(rows[1].damage)
    assert rows[1].size == len(line)


GARBAGE = [
    "garbage",
    '"text"',
    "7",
    "null",
    "[1, 2",
    '{"a": 1',
    '{"a": "x',
    "]",
    "{",
    "}",
    "[",
    "<p>",
    '{"a": {"b": [',
    "{]",
]


def _are_values(text: str) -> bool:
    rest = text.strip()
    while rest:
        try:
            rest = rest[json.JSONDecoder().raw_decode(rest)[1] :].strip()
        except ValueError:
            return False
    return True


@example(["{", "}", "garbage", '{"x": 1}', '{"x": 1}', '{"x": 1}'])
@example(["{", "}", '{"x": 1}', '{"x": 1}', '{"x": 1}', "[1, 2"])
@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from([*GARBAGE, *['{"x": 1}'] * 4]), min_size=2, max_size=12).filter(
        lambda lines: '{"x": 1}' in lines
    )
)
def test_lines_stay_lines_however_many_are_broken(folder: Path, lines: list[str]) -> None:
    """In a file whose name promises lines each broken one costs itself, unless the text is whole
    values over several lines."""
    text = "\n".join(lines) + "\n"
    if _are_values(text):
        return
    rows = rows_of(folder, "rows.jsonl", text.encode())
    whole = lines.count('{"x": 1}')
    if 2 * whole >= len(lines) or lines[0] == '{"x": 1}':
        assert len(rows) == len(lines)
        assert len(values(rows)) == whole
    assert damages(rows) or len(lines) == whole


@pytest.mark.parametrize("first", ["garbage", '"text"', '{"x": 1', '{"x": "y', "[1, 2", "nul"])
def test_a_few_rows_among_broken_lines_are_found(folder: Path, first: str) -> None:
    lines = [first, *["broken", "7", '{"a": ', "[", "}"] * 5, '{"x": 1}', "more", '{"x": 2}']
    rows = rows_of(folder, "rows.jsonl", "\n".join(lines).encode())
    assert values(rows) == [{"x": 1}, {"x": 2}]
    assert len(damages(rows)) == len(lines) - 2


def test_a_pretty_row_alone_in_its_array_named_jsonl(folder: Path) -> None:
    assert values(rows_of(folder, "rows.jsonl", b'[\n{"x": 1}\n]\n')) == [{"x": 1}]
    assert values(rows_of(folder, "rows.jsonl", b'{"data": [\n{"x": 1},\n{"x": 2}\n]}\n')) == [
        {"x": 1},
        {"x": 2},
    ]


def test_broken_inside_an_array(folder: Path) -> None:
    data = (
        b'[{"a":"\xc3\xa9"},{"a":"\xff"},{"a":1,"a":2},7,[{"role":"user"}],{"a":NaN}, {"a" 1},'
        b' {"a":4}]'
    )
    rows = rows_of(folder, "rows.json", data)
    assert values(rows) == [{"a": "é"}, {"messages": [{"role": "user"}]}, {"a": None}]
    utf8, twice, seven, rest = damages(rows)
    assert utf8 == f"invalid UTF-8 at byte {data.index(0xFF)}"
    assert "twice" in twice
    assert "is a number" in seven
    assert f"broken JSON at byte {data.index(b'1}, ')}" in rest
    assert "nothing after it" in rest
    assert rows[-1].size == len(b'{"a" 1}, {"a":4}]')


def test_a_second_list_is_told(folder: Path) -> None:
    rows = rows_of(
        folder, "rows.json", json.dumps({"train": ROWS, "test": ROWS}, indent=1).encode()
    )
    assert values(rows) == ROWS
    assert "a second list of rows, `test`" in damages(rows)[0]


def test_one_object_is_one_row(folder: Path) -> None:
    row = {"id": 1, "tools": [{"name": "x"}], "conversations": [{"from": "human", "value": "x"}]}
    assert values(rows_of(folder, "rows.json", json.dumps(row, indent=1).encode())) == [row]
    assert values(rows_of(folder, "rows.json", json.dumps(row).encode())) == [row]
    other = {"dialogue_lines": [{"speaker": "A", "text": "x"}]}
    assert values(rows_of(folder, "rows.json", json.dumps(other).encode())) == [other]


def test_long_first_lines(folder: Path) -> None:
    rows: Rows = [{"question": "x" * (1 << 19), "answer": str(n)} for n in range(3)]
    for container in (
        "lines",
        "lines named json",
        "array",
        "array named jsonl",
        "wrapped array",
        "pretty wrapped array",
        "objects in a row",
    ):
        name, write = CONTAINERS[container]
        read = rows_of(folder, name, write(rows))
        assert (damages(read), values(read)) == ([], rows), container


def test_a_row_without_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trainer.data import files_json

    monkeypatch.setattr(streams, "LONGEST_ROW", 1 << 21)
    monkeypatch.setattr(files_json, "LONGEST_ROW", 1 << 21)
    long = json.dumps({"a": "x" * (5 << 20)}).encode()
    rows = rows_of(folder, "rows.jsonl", b'{"x":1}\n' + long + b'\n{"x":2}\n')
    assert values(rows) == [{"x": 1}, {"x": 2}]
    assert "longer than" in damages(rows)[0]
    assert rows[1].size == len(long)
    rows = rows_of(folder, "rows.json", b'[{"x":1},' + long + b',{"x":2}]')
    assert values(rows) == [{"x": 1}]
    assert "longer than" in damages(rows)[0]


def test_tables(folder: Path) -> None:
    table = b'q,"a ""b""",\r\n1,"two\r\nlines",x\r\n\r\n1,2\n1,"2"3,4\n1,\xff,3\n4,5,6'
    rows = rows_of(folder, "rows.csv", table)
    assert values(rows) == [
        {"q": "1", 'a "b"': "two\r\nlines", "column 3": "x"},
        {"q": "4", 'a "b"': "5", "column 3": "6"},
    ]
    assert [row.row for row in rows if row.damage] == [1, 2, 3]
    assert damages(rows)[0] == "it has 2 fields where the first line names 3 columns"
    assert "broken CSV" in damages(rows)[1]
    assert damages(rows)[2] == f"invalid UTF-8 at byte {table.index(0xFF)} (invalid start byte)"
    assert (
        "ends inside a quoted field"
        in damages(rows_of(folder, "rows.csv", b'a,b\n1,2\n3,"four\n5,6\n'))[0]
    )
    assert "two columns are named `a`" in damages(rows_of(folder, "rows.csv", b"a,a\n1,2\n"))[0]
    assert damages(rows_of(folder, "rows.csv", b"a,b\n")) == ["the file has no rows"]


def test_parquet_is_read_as_json_is(folder: Path) -> None:
    row = {
        "n": float("nan"),
        "when": None,
        "messages": [
            {"role": "a", "content": "x"},
            {"role": "b", "content": None, "tool_calls": ["y"]},
        ],
    }
    rows = rows_of(folder, "rows.parquet", as_parquet([row]))
    assert values(rows) == [
        {
            "n": None,
            "when": None,
            "messages": [{"role": "a", "content": "x"}, {"role": "b", "tool_calls": ["y"]}],
        }
    ]


def test_folders(folder: Path) -> None:
    home = folder / "many"
    for name, data in {
        "b/2.jsonl.gz": gzip.compress(as_lines(ROWS)),
        "a.csv": as_table(ROWS),
        "c.parquet": as_parquet(ROWS),
        "README.md": b"# hello",
        ".hidden.jsonl": b"{}",
        ".git/x.jsonl": b"{}",
        "dataset_info.json": b"{}",
        "b/empty.jsonl": b"",
    }.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(data)
    (home / "loop").symlink_to(home)
    os.mkfifo(home / "pipe.jsonl")
    rows = list(read_rows(str(home)))
    assert values(rows) == ROWS * 3
    assert damages(rows) == ["the file is empty"]
    assert list(dict.fromkeys(Path(row.file).name for row in rows)) == [
        "a.csv",
        "2.jsonl.gz",
        "empty.jsonl",
        "c.parquet",
    ]
    assert [path.name for path in source_files(str(home)).skipped] == [
        "README.md",
        "dataset_info.json",
        "loop",
        "pipe.jsonl",
    ]
    told: list[int] = []
    list(read_rows(str(home), told.append))
    assert told[-1] == source_size(str(home))


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.jsonl", b"PK\x03\x04", "a zip archive"),
        ("a.parquet", b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        ("a.json", b"<!DOCTYPE html>", "a web page"),
        ("a.txt", b"hello", "Unknown kind of file"),
    ],
)
def test_other_kinds_of_file(folder: Path, name: str, data: bytes, words: str) -> None:
    with pytest.raises(LuthierError, match=words):
        rows_of(folder, name, data)


def test_what_a_folder_promises_and_does_not_have_is_an_error(folder: Path) -> None:
    home = folder / "dangling"
    home.mkdir()
    (home / "a.jsonl").write_bytes(b"{}\n")
    (home / "b.jsonl").symlink_to("gone.jsonl")
    with pytest.raises(LuthierError, match=r"b\.jsonl points to gone\.jsonl, which does not exist"):
        list(read_rows(str(home)))
    (home / "b.jsonl").unlink()
    (home / "c.jsonl").write_bytes(b"{}\n")
    rows = read_rows(str(home))
    next(rows)
    (home / "c.jsonl").unlink()
    with pytest.raises(LuthierError, match=r"c\.jsonl no longer exists"):
        list(rows)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_what_may_not_be_read_is_told(folder: Path) -> None:
    home = folder / "closed"
    (home / "inner").mkdir(parents=True)
    (home / "a.jsonl").write_bytes(b"{}\n")
    (home / "inner").chmod(0)
    with pytest.raises(LuthierError, match=r"no permission to read .*inner"):
        list(read_rows(str(home)))
    (home / "inner").chmod(0o700)  # or it could not be removed


def test_nothing_there(folder: Path) -> None:
    (folder / "nothing").mkdir()
    for source in (folder / "missing.jsonl", folder / "nothing", Path("/dev/null"), Path("a\0b")):
        with pytest.raises(LuthierError):
            list(read_rows(str(source)))


@pytest.mark.parametrize(
    "source", ["hub:", "hub:name", "hub:a/b:", "hub:a//b", "hub:a/b/c/d", "hub:/b"]
)
def test_a_name_of_the_hub_is_checked_before_anybody_is_asked(source: str) -> None:
    with pytest.raises(LuthierError, match="hub:owner/name/config:split"):
        list(read_rows(source))


def test_names_of_the_hub() -> None:
    assert parsed("hub:a/b") == ("a/b", None, "train")
    assert parsed("hub:a/b:test") == ("a/b", None, "test")
    assert parsed("hub:a/b/c") == ("a/b", "c", "train")
    assert parsed("hub:a/b/c:train[:10%]") == ("a/b", "c", "train[:10%]")
