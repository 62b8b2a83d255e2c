"""Chats read back, found again, exported and deleted."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from jobs.luthier_error import LuthierError
from serve.chats import database, search, store
from serve.chats.export import export, jsonl, markdown
from serve.chats.journal import Journal
from serve.chats.store import Chat, Record, Vote
from serve.chats.turns import NOT_RUN, ChatSettings, Failed, Given, ToolCall, new_id
from serve.client import CallPiece, Delta, Sampling
from tests.serve.chat_writing import BASE, CAPTAIN, ask, complete, new_chat, write


def kept(chat: Chat) -> tuple[Chat, Record]:
    journal = Journal()
    return chat, Record(journal)


def texts(chat: Chat) -> list[list[str]]:
    return [[answer.text for answer in pane.answers] for pane in chat.panes]


def test_a_chat_comes_back_as_it_was() -> None:
    chat, record = kept(new_chat(settings=ChatSettings("Be brief.", Sampling(0.5, 0.9, 64, 3))))
    answers = ask(chat, "Höllo, 世界 🙂\nsecond line")
    record.begun(chat, answers)
    answers[0].add(
        Delta("Hi", "thinking", (CallPiece(0, "c1", "look", '{"a"'), CallPiece(0, "", "", ": 1}")))
    )
    complete(answers[0], " there")
    answers[1].state = Failed(LuthierError("No", "because", "try"))
    for answer in answers:
        record.ended(answer)
    record.voted(
        chat,
        Vote(
            new_id(),
            answers[0].turn.id,
            tuple(answer.id for answer in answers),
            "better",
            answers[0].id,
            True,
            "why",
        ),
    )
    assert record.journal.close()
    found = store.load(chat.id)
    assert (found.settings, found.title) == (chat.settings, "Höllo, 世界 🙂 second line")
    first, second = (pane.answers[0] for pane in found.panes)
    assert (first.text, first.reasoning, first.calls) == (
        "Hi there",
        ["thinking"],
        [ToolCall("c1", "look", '{"a": 1}')],
    )
    assert first.state == answers[0].state
    assert first.turn == answers[0].turn
    assert isinstance(second.state, Failed)
    assert (second.state.error.title, second.state.error.hint) == ("No", "try")
    assert [pane.speaker for pane in found.panes] == [BASE, CAPTAIN]
    assert found.votes[first.turn.id].reason == "why"
    assert [message["content"] for message in first.context()] == [
        "Be brief.",
        "Höllo, 世界 🙂\nsecond line",
    ]


def test_what_was_said_is_the_context_of_what_comes_next() -> None:
    chat = new_chat()
    write(chat, "One", ["a1", "b1"])
    answers = write(chat, "Two", ["a2", "b2"])
    answers[0].calls = [ToolCall("c1", "look", "{}")]
    third = ask(chat, "Three")
    assert [message["content"] for message in third[1].context()] == [
        "One",
        "b1",
        "Two",
        "b2",
        "Three",
    ]
    assert [(message["role"], message["content"]) for message in third[0].context()][-3:] == [
        ("assistant", "a2"),
        ("tool", NOT_RUN),
        ("user", "Three"),
    ]
    third[0].skipped = 2
    assert [message["content"] for message in third[0].context()] == ["Three"]


def test_a_second_try_keeps_the_first_in_the_database() -> None:
    chat = new_chat()
    write(chat, "Hi", ["first try", "b"])
    old = chat.panes[0].drop_last()
    new = chat.panes[0].begin(old.turn)
    journal = Journal()
    Record(journal).begun(chat, [new])
    complete(new, "second try")
    Record(journal).ended(new)
    journal.close()
    assert texts(store.load(chat.id)) == [["second try"], ["b"]]
    assert {hit.excerpt for hit in search.search("try")} <= {"first try", "second try"}
    with database.opened() as connection:
        assert connection.execute("SELECT count(*) FROM answers").fetchone()[0] == 3


@pytest.mark.parametrize("indexed", [True, False])
def test_search_finds_every_word_in_any_case_and_script(
    indexed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not indexed:
        monkeypatch.setattr(search, "_index", lambda connection: False)
    ships, tea = new_chat(), new_chat()
    write(
        ships, "How do I tie a bowline?", ["Make a loop.", "Ahoy! Kapitän GRÖSSE 100% sure_thing"]
    )
    write(tea, "お茶をどうぞ", ["Tea is tied to water", 'a "quoted" word'])

    def found(text: str) -> set[str]:
        return {hit.chat.id for hit in search.search(text)}

    assert found("BOWLINE") == {ships.id}
    assert found("loop make") == {ships.id}
    assert found("make bowline") == set()  # not in one text
    assert found("tie") == {ships.id, tea.id}
    assert found('"tied to"') == {tea.id}
    assert found("お茶を") == {tea.id}
    assert found("茶") == {tea.id}
    assert found("100%") == found("sure_") == {ships.id}
    assert found("%%%") == found("zz") == set()
    assert found('quo"ted') == found("") == set()
    assert found("quoted") == found('"') == {tea.id}
    assert {hit.speaker for hit in search.search("ahoy")} == {"captain"}


def test_the_index_follows_what_is_written_and_deleted() -> None:
    one, two = new_chat(), new_chat()
    write(one, "alpha", ["x", "y"])
    assert len(search.search("alpha")) == 1
    write(two, "alpha too", ["x", "y"])
    assert len(search.search("alpha")) == 2
    store.remove(one.id)
    assert [hit.chat.id for hit in search.search("alpha")] == [two.id]
    assert [chat.id for chat in search.chats()] == [two.id]
    with pytest.raises(LuthierError, match="no chat"):
        store.remove(one.id)


def test_hidden_names_stay_hidden_in_lists() -> None:
    chat = new_chat()
    chat.blind = True
    write(chat, "secret words", ["one answer", "other answer"])
    assert search.chats()[0].to_json()["models"] is None
    assert {hit.speaker for hit in search.search("answer")} == {"(hidden)"}


def test_a_chat_is_found_by_a_part_of_its_id() -> None:
    one, two = new_chat(), new_chat()
    for chat in (one, two):
        write(chat, "Hi", ["a", "b"])
    assert search.find(one.id) == search.find(one.id[-4:]) == one.id
    assert search.find("last") == two.id
    with pytest.raises(LuthierError, match="fits"):
        search.find(one.id[:8])
    for wrong in ("", "nothing-like-it"):
        with pytest.raises(LuthierError, match="no chat"):
            search.find(wrong)


def test_votes_of_the_same_answers_take_each_others_place() -> None:
    chat = new_chat()
    answers = write(chat, "Hi", ["a", "b"])
    journal = Journal()
    record, ids = Record(journal), tuple(answer.id for answer in answers)
    first, second = (
        Vote(new_id(), answers[0].turn.id, ids, "better", one.id, True) for one in answers
    )
    record.voted(chat, first)
    record.voted(chat, second)
    record.voted(chat, Vote(**{**vars(second), "reason": "clearer"}))
    journal.close()
    assert store.load(chat.id).votes[second.turn] == Vote(**{**vars(second), "reason": "clearer"})
    with database.opened() as connection:
        rows = connection.execute(
            "SELECT id, withdrawn IS NULL AS stands FROM votes ORDER BY row"
        ).fetchall()
    assert [tuple(row) for row in rows] == [(first.id, 0), (second.id, 1)]


def test_markdown_has_each_prompt_once_and_every_answer(tmp_path: Path) -> None:
    chat = new_chat(settings=ChatSettings("Be brief."))
    write(chat, "Hi\nthere", ["Hello.", "Ahoy!"])
    (failed, _) = ask(chat, "And now?")
    failed.state = Failed(LuthierError("The server does not answer", "Nothing.", "Start it."))
    export(chat, tmp_path / "chat.md")
    text = (tmp_path / "chat.md").read_text()
    assert text == markdown(chat)
    assert text.count("> Hi\n> there\n") == 1
    assert "### base\n\nHello.\n" in text
    assert "### captain\n\nAhoy!\n" in text
    assert "### base\n\n(no answer)\n\n*The server does not answer: Nothing." in text


def test_jsonl_has_one_conversation_a_pane_in_the_form_of_training() -> None:
    chat = new_chat(settings=ChatSettings("Be brief."))
    write(chat, "Hi", ["Hello.", "Ahoy!"])
    (failed, _) = ask(chat, "Again")
    failed.state = Failed(LuthierError("x", "y", "z"))
    base, captain = (json.loads(line) for line in jsonl(chat).splitlines())
    assert [(message["role"], message["content"]) for message in base["messages"]] == [
        ("system", "Be brief."),
        ("user", "Hi"),
        ("assistant", "Hello."),
    ]
    assert base["answers"][0]["sampling"]["seed"] == 7
    assert captain["answers"][0]["completion_tokens"] == 1
    assert captain["model"] == "captain"


def test_export_never_replaces_a_file(tmp_path: Path) -> None:
    chat = new_chat()
    write(chat, "Hi", ["a", "b"])
    (tmp_path / "there.md").write_text("mine")
    for name in ("there.md", "chat.txt", "nowhere/chat.md"):
        with pytest.raises(LuthierError):
            export(chat, tmp_path / name)
    assert (tmp_path / "there.md").read_text() == "mine"


def test_a_correction_comes_back_as_one() -> None:
    chat = new_chat()
    answers = write(chat, "Hi", ["wrong", "b"])
    corrected = chat.panes[0].give(answers[0].turn, "right")
    corrected.corrects = answers[0].id
    journal = Journal()
    Record(journal).begun(chat, [corrected])
    journal.close()
    found = store.load(chat.id).panes[0].answers[-1]
    assert (found.text, found.state, found.corrects) == ("right", Given(), answers[0].id)


def test_no_key_is_ever_in_the_database(luthier_home: Path) -> None:
    """The tables have no place for one: every column is named here."""
    write(new_chat(), "Hi", ["a", "b"])
    connection = sqlite3.connect(luthier_home / "chats.db")
    columns = {
        row[1]
        for table in ("chats", "panes", "turns", "answers", "votes")
        for row in connection.execute(f"PRAGMA table_info({table})")
    }
    assert not {name for name in columns if "key" in name or "url" in name}
