"""The first conversations, as a plan shows them before anything is tokenised."""

from __future__ import annotations

import json
from pathlib import Path

from trainer.data.preview import first_conversations
from trainer.data.settings import DataSettings, Source


def written(path: Path, *rows: object) -> Source:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return Source(str(path))


def test_they_are_messages_whatever_the_format_and_rows_without_one_are_left_out(
    tmp_path: Path,
) -> None:
    turns = [{"from": "human", "value": "Ahoy?"}, {"from": "gpt", "value": "Aye."}]
    shares = written(tmp_path / "a.jsonl", {"conversations": []}, {"conversations": turns})
    questions = ({"prompt": f"{name}?", "response": f"{name}."} for name in "xyz")
    pairs = written(tmp_path / "b.jsonl", *questions)
    settings = DataSettings(sources=[shares, Source("hub:owner/name"), pairs])
    conversations = first_conversations(settings, 3)
    assert [(Path(row.file).name, row.row) for row in conversations] == [
        ("a.jsonl", 1),
        ("b.jsonl", 0),
        ("b.jsonl", 1),
    ]
    assert conversations[0].messages == [
        {"role": "user", "content": "Ahoy?"},
        {"role": "assistant", "content": "Aye."},
    ]
    assert first_conversations(DataSettings(sources=[Source("hub:owner/name")]), 3) == []


def test_rows_that_follow_each_other_become_one_conversation(tmp_path: Path) -> None:
    path = tmp_path / "turns.csv"
    lines = (f"{n // 2},{('user', 'assistant')[n % 2]},text {n}\n" for n in range(8))
    path.write_text("conversation_id,role,content\n" + "".join(lines))
    (conversation,) = first_conversations(DataSettings(sources=[Source(str(path))]), 1)
    assert [message["content"] for message in conversation.messages or ()] == ["text 0", "text 1"]
