"""What a server's log has of its exchanges, as a data file: filtered, without duplicates, and with
every line accounted for in a ledger."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from jobs.files import write_atomic
from jobs.luthier_error import LuthierError
from serve.client import ChatMessage
from serve.exchanges import LoggedRequest, NoExchange, read_log
from trainer.data.exact_digest import exact_digest
from trainer.data.formats_turns import Converted
from trainer.data.ledger import Entry, State, Summary
from trainer.data.policies import Policies, Rejected, SpecialTexts, settle
from trainer.data.private_details import masked_value

PrivateChoice = Literal["mask", "drop", "keep"]
_UNDECIDED = Policies(alternatives="repair", damage="drop", unread="drop")


@dataclass(frozen=True)
class Filters:
    """Times are seconds since 1970, lengths characters of the answer; None lets everything pass."""

    model: str = ""
    since: float | None = None
    until: float | None = None
    status: int = 200
    shortest: int | None = None
    longest: int | None = None
    keep_duplicates: bool = False
    private: PrivateChoice = "mask"

    def against(self, request: LoggedRequest) -> str:
        """Which filter leaves it out, in words."""
        if self.model and request.model != self.model:
            return f"another model: {request.model or 'none'}"
        if request.status != self.status:
            return f"the status {request.status}"
        if self.since is not None and request.time < self.since:
            return "it is too old"
        if self.until is not None and request.time >= self.until:
            return "it is too young"
        return ""

    def against_length(self, length: int) -> str:
        if self.shortest is not None and length < self.shortest:
            return f"an answer of {length} characters is too short"
        if self.longest is not None and length > self.longest:
            return f"an answer of {length} characters is too long"
        return ""


@dataclass
class _Exchange:
    """`context` is None where the line was left out."""

    entry: Entry
    context: list[ChatMessage] = field(default_factory=list)
    answer: ChatMessage = field(default_factory=dict)
    tools: list[dict[str, Any]] = field(default_factory=list)

    @property
    def messages(self) -> list[ChatMessage]:
        return [*self.context, self.answer]

    def drop(self, code: str, detail: str) -> None:
        reasons = [*self.entry.reasons, code]
        self.entry = msgspec.structs.replace(
            self.entry, state="dropped", reasons=reasons, detail=detail
        )


@dataclass
class LoggedData:
    """The rows of the data file, and what became of each line."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    ledger: list[Entry] = field(default_factory=list)

    @property
    def summary(self) -> Summary:
        totals = Summary()
        for entry in self.ledger:
            totals.add(entry)
        return totals


def read_logs(paths: Iterable[Path], filters: Filters) -> LoggedData:
    """The exchanges of some logs. An exchange that a later one goes on from stands in that one; of
    its turns those are trained that the server is known to have said."""
    exchanges = [
        _damaged(path, *line) if isinstance(line, tuple) else _exchange(line, filters)
        for path in paths
        for line in read_log(path)
    ]
    answers = _leave_out_repeated(exchanges, filters)
    data = LoggedData()
    for exchange in exchanges:
        entry = exchange.entry
        if entry.state != "dropped":
            data.rows.append(_row(exchange, answers))
            entry = msgspec.structs.replace(entry, samples=[f"row:{len(data.rows) - 1}"])
        data.ledger.append(entry)
    return data


def _damaged(path: Path, row: int, reason: str) -> _Exchange:
    return _Exchange(Entry(str(path), row, "dropped", ["damage"], detail=reason))


def _exchange(request: LoggedRequest, filters: Filters) -> _Exchange:
    exchange = _Exchange(Entry(str(request.file), request.row, "kept"))
    if reason := filters.against(request):
        exchange.drop("filtered", reason)
        return exchange
    try:
        context, answer, tools = request.conversation()
        converted = Converted([*context, answer], tools or None)
        settled = settle(converted, _UNDECIDED, SpecialTexts(()))
    except (NoExchange, Rejected) as error:
        exchange.drop(error.code, error.detail)
        return exchange
    messages, kinds = masked_value([settled.messages, tools])
    exchange.tools = tools
    if kinds and filters.private == "drop":
        exchange.drop("private", ", ".join(sorted(set(kinds))))
        return exchange
    reasons, details = [*settled.repairs], [*settled.repairs.values()]
    if kinds and filters.private == "mask":
        reasons.append("private")
        details.append(f"masked: {', '.join(sorted(set(kinds)))}")
    else:
        messages = [settled.messages, tools]
    *exchange.context, exchange.answer = messages[0]
    exchange.tools = messages[1]
    state: State = "repaired" if reasons else "kept"
    exchange.entry = msgspec.structs.replace(
        exchange.entry, state=state, reasons=reasons, detail="; ".join(details)
    )
    if reason := filters.against_length(len(exchange.answer["content"])):
        exchange.drop("filtered", reason)
    return exchange


def _leave_out_repeated(exchanges: list[_Exchange], filters: Filters) -> frozenset[bytes]:
    """Drop duplicates, and what later exchanges have in them. The digests of all conversations that
    end with an answer of the server's."""
    alive = [exchange for exchange in exchanges if exchange.entry.state != "dropped"]
    first_of: dict[bytes, _Exchange] = {}
    for exchange in alive:
        digest = exact_digest(exchange.messages, exchange.tools)
        earlier = first_of.setdefault(digest, exchange)
        if earlier is not exchange and not filters.keep_duplicates:
            exchange.drop("duplicates", f"it equals row {earlier.entry.row}")
    for exchange in alive:
        if exchange.entry.state == "dropped":
            continue
        for length in range(1, len(exchange.context)):
            part = first_of.get(exact_digest(exchange.context[:length], exchange.tools))
            if part is not None and part.entry.state != "dropped":
                part.drop("chained", f"row {exchange.entry.row} continues it")
    return frozenset(first_of)


def _row(exchange: _Exchange, answers: frozenset[bytes]) -> dict[str, Any]:
    """Earlier answers that the log does not have, or has otherwise, are not trained."""
    context = [
        message
        if message["role"] != "assistant"
        or exact_digest(exchange.context[: index + 1], exchange.tools) in answers
        else {**message, "weight": 0}
        for index, message in enumerate(exchange.context)
    ]
    source = {"file": exchange.entry.file, "row": exchange.entry.row}
    tools = {"tools": exchange.tools} if exchange.tools else {}
    return {"messages": [*context, exchange.answer], **tools, "source": source}


def write(data: LoggedData, target: Path) -> Path:
    """Write the data file, and its ledger beside it. LuthierError if one of them is there."""
    ledger = target.with_name(f"{target.stem}.ledger.jsonl")
    for path in (target, ledger):
        if path.exists():
            raise LuthierError(
                "The file is there already", f"{path} would be lost.", "Give --out another name."
            )
    rows = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in data.rows)
    entries = "".join(msgspec.json.encode(entry).decode() + "\n" for entry in data.ledger)
    write_atomic(ledger, entries, mode=0o600)
    write_atomic(target, rows, mode=0o600)
    return ledger
