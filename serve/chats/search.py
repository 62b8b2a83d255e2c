"""The list of chats, and search through everything that was asked and answered."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass
from typing import Any

from jobs.foreign_json import Damaged
from jobs.luthier_error import LuthierError
from jobs.near import did_you_mean
from models import foreign
from serve.chats.database import reading, transaction
from serve.chats.rows import ChatRow, row_as
from serve.chats.store import mark_interrupted, settings_of
from serve.chats.turns import Speaker

_SHORTEST = 3  # characters: what an index of trigrams can look up
_AROUND = 48


@dataclass(frozen=True)
class Summary:
    """A chat in a list. `turns` counts what was asked, `votes` those that stand; times are unix
    seconds. Of one whose row cannot be read `damage` says why, and nothing else is known."""

    id: str
    title: str
    created: float
    updated: float
    models: tuple[str, ...]
    turns: int
    votes: int
    blind: bool
    damage: str = ""

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "models": None if self.blind else list(self.models)}


@dataclass(frozen=True)
class Hit:
    """A text that has all the words: a prompt (`speaker` empty) or an answer; `excerpt` is what
    stands around the first of them."""

    chat: Summary
    speaker: str
    excerpt: str


_BETWEEN = "\x1e"  # JSON escapes it, so that it stands in no speaker

_SUMMARY = """
    SELECT id, title, created, updated, settings, blind, CAST(id AS TEXT) AS name,
        (SELECT count(*) FROM turns WHERE chat = chats.id) AS turns,
        (SELECT count(*) FROM votes WHERE chat = chats.id AND withdrawn IS NULL) AS votes,
        (SELECT group_concat(speaker, char(30)) FROM
            (SELECT speaker FROM panes WHERE chat = chats.id ORDER BY position)) AS speakers
    FROM chats
"""


def chats(limit: int = 500) -> list[Summary]:
    """The chats, the one that was used last first."""
    with reading() as connection:
        mark_interrupted(connection)
        return [
            _summary(row)
            for row in connection.execute(f"{_SUMMARY} ORDER BY updated DESC LIMIT ?", (limit,))
        ]


def find(text: str) -> str:
    """The id of the chat whose id is, begins with or ends with `text`; "last" is the one that was
    used last."""
    ids = [chat.id for chat in chats(limit=1 if text == "last" else 100_000)]
    matches = (
        ids
        if text == "last"
        else [
            chat_id
            for chat_id in ids
            if text and (chat_id.startswith(text) or chat_id.endswith(text))
        ]
    )
    if len(matches) == 1 or text in matches:
        return text if text in matches else matches[0]
    if matches:
        raise LuthierError(
            "More than one match", f"{text!r} fits {', '.join(matches[:5])}.", "Type more of it."
        )
    raise LuthierError(
        "No such chat",
        f"There is no chat with the id {text!r}.",
        f"{did_you_mean(text, ids)}`luthier chats` lists them.",
    )


def words_of(text: str) -> list[str]:
    """What is looked for: each word, and what stands in quotes."""
    return [quoted or word for quoted, word in re.findall(r'"([^"]+)"|(\S+)', text)]


def search(text: str, limit: int = 200) -> list[Hit]:
    """The texts in which every word stands somewhere ("quoted words" together), newest chat first;
    one hit a chat and speaker."""
    words = words_of(text)
    if not words:
        return []
    with reading() as connection:
        mark_interrupted(connection)
        rows = (
            _indexed(connection, words)
            if all(len(word) >= _SHORTEST for word in words) and _index(connection)
            else _scanned(connection, words)
        )
        summaries = {row["name"]: _summary(row) for row in connection.execute(_SUMMARY)}
    hits: dict[tuple[str, str], Hit] = {}
    for chat, speaker, body in rows:
        if chat in summaries:
            speaker_name = _who(speaker, summaries[chat])
            hits.setdefault(
                (chat, speaker_name), Hit(summaries[chat], speaker_name, excerpt(body, words))
            )
    return sorted(hits.values(), key=lambda hit: -hit.chat.updated)[:limit]


def _who(speaker: str, chat: Summary) -> str:
    if not speaker:
        return ""
    if chat.blind:
        return "(hidden)"
    try:
        return foreign.decode(speaker, Speaker, "a speaker").model
    except Damaged:
        return "(damaged)"


def excerpt(body: str, words: list[str]) -> str:
    """What stands around the first of the words, in one line."""
    flat = " ".join(body.split())
    places = [index for word in words if (index := flat.lower().find(word.lower())) >= 0]
    start = max(0, min(places, default=0) - _AROUND // 2)
    end = start + 2 * _AROUND
    return f"{'…' if start else ''}{flat[start:end]}{'…' if end < len(flat) else ''}"


def _summary(row: sqlite3.Row) -> Summary:
    try:
        read = row_as(ChatRow, row, "the chat")
        settings_of(read.settings)
        speakers = [
            foreign.decode(speaker, Speaker, "a speaker")
            for speaker in (row["speakers"] or "").split(_BETWEEN)
            if speaker
        ]
    except (Damaged, TypeError) as error:
        damage = (
            f"damaged: {error.reason}"
            if isinstance(error, Damaged)
            else "damaged: a speaker is not text"
        )
        return Summary(str(row["name"]), damage, 0.0, 0.0, (), 0, 0, False, damage)
    models = tuple(speaker.label for speaker in speakers)
    return Summary(
        read.id,
        read.title,
        read.created,
        read.updated,
        models,
        row["turns"],
        row["votes"],
        bool(read.blind),
    )


def _index(connection: sqlite3.Connection) -> bool:
    """Bring the index up to date; made at the first search, so that writing costs nothing. False
    where this SQLite has no FTS5."""
    try:
        with transaction(connection):
            connection.execute(
                "CREATE VIRTUAL TABLE IF NOT EXISTS texts USING fts5(body, chat UNINDEXED, speaker"
                " UNINDEXED, tokenize = 'trigram')"
            )
            connection.execute(
                "INSERT INTO texts SELECT prompt, chat, '' FROM turns WHERE indexed = 0"
            )
            connection.execute("UPDATE turns SET indexed = 1 WHERE indexed = 0")
            ended = "indexed = 0 AND state != 'writing'"
            connection.execute(
                "INSERT INTO texts SELECT reasoning || char(10) || text, chat, speaker FROM"
                f" answers WHERE {ended}"
            )
            connection.execute(f"UPDATE answers SET indexed = 1 WHERE {ended}")
    except sqlite3.OperationalError as error:
        if "fts5" in str(error) or "trigram" in str(error):
            return False
        raise
    return True


def _indexed(connection: sqlite3.Connection, words: list[str]) -> list[tuple[str, str, str]]:
    quoted = " ".join('"' + word.replace('"', '""') + '"' for word in words)
    rows = connection.execute(
        "SELECT chat, speaker, body FROM texts WHERE texts MATCH ?", (quoted,)
    ).fetchall()
    return [*map(tuple, rows), *_scanned(connection, words, "indexed = 0")]


def _scanned(
    connection: sqlite3.Connection, words: list[str], where: str = "1"
) -> list[tuple[str, str, str]]:
    """The same without the index: every text is read."""
    escaped = [re.sub(r"([%_\\])", r"\\\1", word) for word in words]
    patterns = [f"%{word}%" for word in escaped]
    likes = " AND ".join(["body LIKE ? ESCAPE '\\'"] * len(words))
    texts = f"""
        SELECT chat, '' AS speaker, prompt AS body FROM turns WHERE {where}
        UNION ALL
        SELECT chat, speaker, reasoning || char(10) || text AS body FROM answers WHERE {where}
    """
    return [
        tuple(row)
        for row in connection.execute(
            f"SELECT chat, speaker, body FROM ({texts}) WHERE {likes}", patterns
        )
    ]
