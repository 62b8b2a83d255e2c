"""Writing chats down: nothing that was given is lost, whatever happens to the process, the disk or
the file."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.luthier_error import LuthierError
from serve.chats import database, journal, search, store, writer_locks
from serve.chats.journal import Journal
from serve.chats.store import Record
from serve.chats.turns import Answer, Complete, Halted, Interrupted
from serve.client import Delta, Finished
from tests.serve.chat_writing import BASE, CAPTAIN, PIRATE, ask, complete, new_chat, write

ROOT = Path(__file__).resolve().parents[2]


def wait_until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.01)


def program(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.serve.chat_writing", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def answers_of(chat_id: str) -> list[Answer]:
    return [answer for pane in store.load(chat_id).panes for answer in pane.answers]


def test_an_answer_is_written_as_it_streams() -> None:
    written = Journal()
    record, chat = Record(written), new_chat()
    answers = ask(chat, "Hi")
    record.begun(chat, answers)
    for answer in answers:
        answer.add(Delta("Hello ", "hm"))
        record.grew(answer, "Hello ", "hm")
    assert written.flush()
    assert [(answer.text, answer.reasoning, answer.state) for answer in answers_of(chat.id)] == [
        ("Hello ", ["hm"], Interrupted(True))
    ] * 2
    complete(answers[0], "there")
    answers[1].halt()
    for answer in answers:
        record.ended(answer)
    assert written.close()
    first, second = answers_of(chat.id)
    assert (first.text, first.state) == ("Hello there", Complete(Finished("stop", 9, 1, 0.1, 0.5)))
    assert (second.text, type(second.state)) == ("Hello ", Halted)


@pytest.mark.heavy
def test_text_comes_together_at_most_four_times_a_second() -> None:
    written = Journal()
    record, chat = Record(written), new_chat()
    (answer, _) = ask(chat, "Hi")
    record.begun(chat, [answer])
    seen = set()
    ends = time.monotonic() + 1.2
    with database.opened() as connection:
        while time.monotonic() < ends:
            record.grew(answer, "x", "")
            row = connection.execute(
                "SELECT length(text) FROM answers WHERE id = ?", (answer.id,)
            ).fetchone()
            seen.add(row[0] if row else 0)
            time.sleep(0.005)
    written.close()
    assert 3 <= len(seen) <= 7


@pytest.mark.heavy
def test_kill_9_in_mid_answer_loses_less_than_a_flush() -> None:
    process = program("stream")
    assert process.stdout is not None
    chat_id = process.stdout.readline().strip()
    given = 0
    while given < 200:
        given = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    given = max([given, *(int(line) for line in process.stdout.read().splitlines())])
    process.wait()
    for answer in answers_of(chat_id):
        words = answer.text.split()
        assert words == [f"w{number}" for number in range(len(words))]
        assert given + 1 - len(words) <= 60  # a quarter of a second, at 5 ms a word
        assert answer.state == Interrupted(living=False)
    assert search.search(f"w{100}")[0].chat.id == chat_id
    with database.opened() as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


def test_an_answer_that_another_process_writes_is_left_alone() -> None:
    process = program("stream")
    assert process.stdout is not None
    chat_id = process.stdout.readline().strip()
    try:
        wait_until(lambda: [chat.id for chat in search.chats()] == [chat_id])
        assert {type(answer.state) for answer in answers_of(chat_id)} == {Interrupted}
        assert all(answer.state == Interrupted(living=True) for answer in answers_of(chat_id))
        with pytest.raises(LuthierError, match="being written"):
            store.remove(chat_id)
    finally:
        process.kill()
        process.wait()
    assert all(answer.state == Interrupted(living=False) for answer in answers_of(chat_id))
    store.remove(chat_id)
    assert search.chats() == []


@pytest.mark.heavy
def test_processes_that_write_at_once_lose_nothing() -> None:
    processes = [program("many", "12", name) for name in ("ann", "ben", "cleo", "dan")]
    assert [process.wait(60) for process in processes] == [0] * 4
    assert sorted(chat.turns for chat in search.chats()) == [12] * 4
    for name in ("ann", "ben", "cleo", "dan"):
        (chat,) = {hit.chat.id for hit in search.search(f'"{name} asks"')}
        texts = [answer.text for answer in answers_of(chat)]
        assert texts == [
            f"{name} is answered {number} by {model}"
            for model in ("base", "captain")
            for number in range(12)
        ]


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home on a file system of 1 MB."""
    small = tmp_path / "small"
    small.mkdir()
    answer = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "luthier-test", str(small)],
        capture_output=True,
        check=False,
    )
    if answer.returncode != 0:
        pytest.skip("this user cannot mount a small file system")
    monkeypatch.setenv("LUTHIER_HOME", str(small))
    yield small
    subprocess.run(["umount", "-l", str(small)], check=True)


def test_a_full_disk_is_told_and_nothing_is_lost(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "_RETRY_SECONDS", 0.1)
    told: list[LuthierError | None] = []
    written = Journal(told.append)
    record, chat = Record(written), new_chat()
    answers = ask(chat, "Hi")
    record.begun(chat, answers)
    assert written.flush()
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(b"\0" * 4096)
    text = ["all of this must come through " * 40 for _ in range(20)]
    for piece in text:
        answers[0].add(Delta(piece))
        record.grew(answers[0], piece, "")
    wait_until(lambda: bool(told))
    assert told[0] is not None
    assert told[0].title == "The disk is full"
    assert not written.saved
    assert not written.flush(0.3)
    ballast.unlink()
    wait_until(lambda: told[-1] is None)
    answers[0].state = Complete(Finished("stop", 1, 1, 0.1, 0.5))
    record.ended(answers[0])
    assert written.close()
    assert answers_of(chat.id)[0].text == "".join(text)


def test_a_locked_file_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.1)
    monkeypatch.setattr(journal, "_RETRY_SECONDS", 0.05)
    told: list[LuthierError | None] = []
    written = Journal(told.append)
    record, chat = Record(written), new_chat()
    with database.opened() as other:
        other.execute("BEGIN IMMEDIATE")
        answers = ask(chat, "Hi")
        record.begun(chat, answers)
        wait_until(lambda: bool(told))
        assert told[0] is not None
        assert told[0].title == "The chats are locked"
        other.execute("ROLLBACK")
    assert written.close()
    assert [pane.answers[0].turn.prompt for pane in store.load(chat.id).panes] == ["Hi", "Hi"]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.integers(0, 2), st.text(max_size=8)),
            st.sampled_from(["flush", "lock", "unlock"]),
        ),
        max_size=40,
    )
)
def test_whatever_fails_in_between_all_of_it_is_written_in_order(
    steps: list[tuple[int, str] | str],
) -> None:
    """Growth of three answers, with moments in which another process keeps the file from being
    written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "BUSY_SECONDS", 0.01)
        patch.setattr(journal, "_RETRY_SECONDS", 0.01)
        patch.setattr(journal, "WRITE_SECONDS", 0.001)
        written = Journal()
        record, chat = Record(written), new_chat(BASE, CAPTAIN, PIRATE)
        answers = ask(chat, "Hi")
        record.begun(chat, answers)
        written.flush()
        expected = ["", "", ""]
        with database.opened() as other:
            for step in steps:
                if isinstance(step, tuple):
                    record.grew(answers[step[0]], step[1], "")
                    expected[step[0]] += step[1]
                elif step == "lock" and not other.in_transaction:
                    other.execute("BEGIN IMMEDIATE")
                elif step == "unlock" and other.in_transaction:
                    other.execute("ROLLBACK")
                elif step == "flush":
                    written.flush(0.0 if other.in_transaction else 5.0)
            if other.in_transaction:
                other.execute("ROLLBACK")
        assert written.close()
        assert [answer.text for answer in answers_of(chat.id)] == expected


def test_a_finished_answer_is_not_grown_again() -> None:
    written = Journal()
    record, chat = Record(written), new_chat()
    (answer, _) = ask(chat, "Hi")
    record.begun(chat, [answer])
    record.grew(answer, "Hel", "")
    complete(answer, "Hello")
    record.ended(answer)
    record.grew(answer, "too late", "")
    assert written.close()
    assert answers_of(chat.id)[0].text == "Hello"


@pytest.mark.heavy
def test_several_processes_make_the_database_at_once(luthier_home: Path) -> None:
    code = "from serve.chats import search; print(len(search.chats()))"
    made = [
        subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert [process.communicate(timeout=30)[0].strip() for process in made] == ["0"] * 4


def test_a_database_of_a_newer_luthier_is_left_alone() -> None:
    write(new_chat(), "Hi", ["a", "b"])
    with database.opened() as connection:
        connection.execute(f"PRAGMA user_version = {len(database.MIGRATIONS) + 1}")
    with pytest.raises(LuthierError, match="newer Luthier"):
        search.chats()


@pytest.mark.parametrize(
    ("content", "title"), [(b"no database at all, but long enough" * 40, "The chats are damaged")]
)
def test_a_damaged_file_is_told(luthier_home: Path, content: bytes, title: str) -> None:
    (luthier_home / "chats.db").write_bytes(content)
    with pytest.raises(LuthierError) as error:
        search.chats()
    assert error.value.title == title


def test_a_home_that_may_not_be_written_is_told(luthier_home: Path) -> None:
    (luthier_home / "chats.db").mkdir()
    with pytest.raises(LuthierError, match=r"chats\.db"):
        search.chats()


def test_old_files_of_writers_are_swept_away(luthier_home: Path) -> None:
    own = writer_locks.own_writer()
    folder = luthier_home / "chats.writers"
    (folder / "1-gone").touch()
    os.utime(folder / "1-gone", (1, 1))
    os.utime(folder / own, (1, 1))
    (folder / "2-about-to-lock").touch()
    writer_locks.sweep()
    assert sorted(path.name for path in folder.iterdir()) == sorted([own, "2-about-to-lock"])
    assert writer_locks.is_living(own)
    assert not writer_locks.is_living("2-about-to-lock")
    assert not writer_locks.is_living("../keys/client")


def test_every_migration_leaves_what_the_list_says() -> None:
    """An empty database gets every migration; each statement of it is run."""
    with database.opened() as connection:
        tables = {
            row["name"]
            for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        }
        assert {"chats", "panes", "turns", "answers", "votes"} <= tables
        assert connection.execute("PRAGMA user_version").fetchone()[0] == len(database.MIGRATIONS)
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert database.path().stat().st_mode & 0o077 == 0
    with pytest.raises(sqlite3.ProgrammingError):
        connection.execute("SELECT 1")
