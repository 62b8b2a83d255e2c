"""A server's log as data: each line ends in one state, turns are trained once, details are
masked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from jobs.job import create
from jobs.luthier_error import LuthierError
from jobs.spec import Spec
from tui.commands.from_server import from_server
from workshop.logged_data import Filters, read_logs, write

QUESTION = {"role": "user", "content": "Who are you?"}
ANSWER = {"role": "assistant", "content": "A lute."}


def line(messages: list[dict[str, Any]], text: str, **changes: Any) -> dict[str, Any]:
    body = {"choices": [{"index": 0, "message": {"content": text}, "finish_reason": "stop"}]}
    fields = {
        "t": 1000.0,
        "route": "/v1/chat/completions",
        "model": "captain",
        "status": 200,
        "broken_off": False,
        "request": {"messages": messages},
        "answer": json.dumps(body),
    }
    return {**fields, **changes}


def streamed(*pieces: str) -> str:
    deltas = [{"content": piece} for piece in pieces]
    chunks: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas
    ]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    events = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
    return "".join([*events, "data: [DONE]\n\n"])


def log(tmp_path: Path, *lines: dict[str, Any]) -> Path:
    path = tmp_path / "requests.jsonl"
    path.write_text("".join(json.dumps(fields) + "\n" for fields in lines) + '{"torn')
    return path


def test_every_line_ends_in_one_state(tmp_path: Path) -> None:
    later = [QUESTION, ANSWER, {"role": "user", "content": "Mail me: a.b@example.org"}]
    unknown = [QUESTION, {"role": "assistant", "content": "Edited."}, QUESTION]
    path = log(
        tmp_path,
        line([QUESTION], "A lute."),
        line([QUESTION], "", answer=streamed("A ", "lute.")),
        line(later, "I will."),
        line(unknown, "Again: a lute."),
        line([QUESTION], "No.", model="other"),
        line([QUESTION], "Half", broken_off=True),
        line([QUESTION], "", answer=streamed("Cut")[:60]),
        line([QUESTION], "x" * 99),
        {"t": 1.0, "route": "/v1/completions", "model": "captain", "status": 200},
        line([QUESTION], "Refused", status=400),
    )
    data = read_logs([path], Filters(model="captain", longest=50))
    codes = [(entry.row, entry.state, entry.reasons) for entry in data.ledger]
    assert codes == [
        (0, "dropped", ["chained"]),
        (1, "dropped", ["duplicates"]),
        (2, "repaired", ["private"]),
        (3, "kept", []),
        (4, "dropped", ["filtered"]),
        (5, "dropped", ["broken_off"]),
        (6, "dropped", ["unreadable"]),
        (7, "dropped", ["filtered"]),
        (8, "dropped", ["no_content"]),
        (9, "dropped", ["filtered"]),
        (10, "dropped", ["damage"]),
    ]
    followed, edited = (row["messages"] for row in data.rows)
    assert followed[2]["content"] == "Mail me: [email]" and "weight" not in followed[1]
    assert edited[1]["weight"] == 0 and edited[-1]["content"] == "Again: a lute."
    ledger = write(data, tmp_path / "data.jsonl")
    assert len(ledger.read_text().splitlines()) == 11
    with pytest.raises(LuthierError, match="already"):
        write(data, tmp_path / "data.jsonl")


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("mail a@b.co, call +49 221 123456", "mail [email], call [phone]"),
        ("card 4111 1111 1111 1111 from 10.0.0.1", "card [card] from [ip]"),
        ("DE89 3704 0044 0532 0130 00, sk-abcdefghijklmnop1234", "[iban], [key]"),
        (
            "1234 5678 9012 3456 and 999.1.2.3, in 2026",
            "1234 5678 9012 3456 and 999.1.2.3, in 2026",
        ),
    ],
)
def test_private_details_are_seen_by_their_form(text: str, masked: str) -> None:
    from trainer.data import private_details

    assert private_details.masked(text)[0] == masked


def anthropic_events() -> str:
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"content": [], "usage": {"input_tokens": 5}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *(
            {"type": "content_block_delta", "delta": {"type": "text_delta", "text": piece}}
            for piece in ("A ", "lute.")
        ),
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {}},
        {"type": "message_stop"},
    ]
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)


def test_anthropics_messages_are_read_streamed_or_not(tmp_path: Path) -> None:
    whole = {"content": [{"type": "text", "text": "A harp."}], "stop_reason": "end_turn"}
    request = {"system": "Be brief.", "messages": [QUESTION]}
    path = log(
        tmp_path,
        line([], "", route="/v1/messages", request=request, answer=json.dumps(whole)),
        line([], "", route="/v1/messages", request=request, answer=anthropic_events()),
    )
    rows = read_logs([path], Filters()).rows
    assert [[message["content"] for message in row["messages"]] for row in rows] == [
        ["Be brief.", "Who are you?", "A harp."],
        ["Be brief.", "Who are you?", "A lute."],
    ]


def test_the_command_writes_the_file_and_says_what_it_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    server = create(Spec("server", "captain-server", "serve.worker"))
    arguments = ["captain-server", "--out", str(tmp_path / "data.jsonl")]
    empty = CliRunner().invoke(from_server, arguments)
    assert isinstance(empty.exception, LuthierError) and "--log-content" in empty.exception.hint
    log(server.directory, line([QUESTION], "A lute."), line([QUESTION], "A lute."))
    result = CliRunner().invoke(from_server, [*arguments, "--json"])
    totals = json.loads(result.stdout)
    assert (totals["rows"]["kept"], totals["rows"]["dropped"]) == (1, 2)
    again = CliRunner().invoke(from_server, arguments)
    assert isinstance(again.exception, LuthierError)
    assert again.exception.title == "The file is there already"
