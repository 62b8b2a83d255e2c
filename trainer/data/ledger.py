"""The ledger: one line a row of input, which says what became of it. Its totals add up, in rows and
in tokens. Light."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from jobs.counting import counted
from jobs.luthier_error import LuthierError
from models import foreign
from trainer.data.formats_turns import PROBLEMS, REPAIRS
from trainer.data.policies import POLICIES, Policies, choices
from trainer.data.refused_data import ProposedChange, RefusedData

State = Literal["kept", "repaired", "split", "dropped"]
STATES: tuple[State, ...] = ("kept", "repaired", "split", "dropped")


class Entry(msgspec.Struct, frozen=True, omit_defaults=False):
    """What became of one row."""

    file: str
    row: int
    state: State
    reasons: list[str] = []
    samples: list[str] = []
    """Lines of the sample files ("train:12")."""
    tokens: int = 0
    """Those of these samples."""
    lost: int = 0
    """Tokens of text that went into no sample, as far as it came to be tokenised."""
    detail: str = ""


NO_ROWS = "no_rows"
"""Of the entry that stands for a file without rows."""
# Reasons beyond the policies', and those of formats.
_REASONS = {
    NO_ROWS: "the file has no rows",
    "long_turn": "an exchange longer than train.max_length was left out",
    "mixing": "left out because of its file's weight",
    "split_answer": "its answer would be scored in pieces",
    "filtered": "left out by a filter",
    "no_content": "the log has no text",
    "no_answer": "there is no answer",
    "broken_off": "the answer is not complete",
    "no_chat": "it is not a chat of texts",
    "private": "it has private details",
}


def describe(code: str) -> str:
    """A reason code in words."""
    policy = POLICIES.get(code)
    return (
        policy.meets
        if policy
        else {**PROBLEMS, **REPAIRS, **_REASONS}.get(code, code.replace("_", " "))
    )


class Summary(msgspec.Struct):
    """The ledger's totals."""

    rows: dict[str, int] = msgspec.field(default_factory=lambda: dict.fromkeys(STATES, 0))
    """By state."""
    tokens: dict[str, int] = msgspec.field(default_factory=lambda: dict.fromkeys(STATES, 0))
    """By state."""
    lost: dict[str, int] = msgspec.field(default_factory=lambda: dict.fromkeys(STATES, 0))
    """By state."""
    reasons: dict[str, dict[str, int]] = msgspec.field(default_factory=dict)
    """Rows by state and code."""
    samples: int = 0

    def add(self, entry: Entry) -> None:
        self.rows[entry.state] += 1
        self.tokens[entry.state] += entry.tokens
        self.lost[entry.state] += entry.lost
        self.samples += len(entry.samples)
        for code in entry.reasons:
            of_state = self.reasons.setdefault(entry.state, {})
            of_state[code] = of_state.get(code, 0) + 1

    @property
    def total_rows(self) -> int:
        return sum(self.rows.values())

    @property
    def total_tokens(self) -> int:
        return sum(self.tokens.values())

    def to_json(self) -> dict[str, Any]:
        built: dict[str, Any] = msgspec.to_builtins(self)
        return {
            **built,
            "total_rows": self.total_rows,
            "total_tokens": self.total_tokens,
            "total_lost": sum(self.lost.values()),
        }


class Stop(msgspec.Struct):
    """A policy that says stop: how many rows it met, and the first of them."""

    policy: str
    rows: int
    file: str
    row: int | None
    """None if the file has no rows."""
    detail: str

    @property
    def first_row(self) -> str:
        """Where it is, and what is wrong with it."""
        where = self.file if self.row is None else f"{self.file}, row {self.row}"
        return f"{where}: {self.detail.rstrip('.')}"


class Unproved(Protocol):
    """A mask that could not be proved: models.mask.MaskError, which is heavy."""

    title: str
    advice: str
    evidence: str


class Stops:
    """The rows at which a policy says stop. They count as dropped, so that the whole input is
    accounted for before the error comes."""

    def __init__(self, policies: Policies) -> None:
        self._policies = policies
        self._by_policy: dict[str, Stop] = {}

    def add(self, file: str, row: int, reasons: Iterable[str], detail: str) -> None:
        codes = tuple(reasons)
        numbered_row = None if NO_ROWS in codes else row
        for code in codes:
            if getattr(self._policies, code, None) == "stop":
                stop = self._by_policy.setdefault(code, Stop(code, 0, file, numbered_row, detail))
                stop.rows += 1

    def __iter__(self) -> Iterator[Stop]:
        return iter(self._by_policy.values())

    def _choices(self, total_rows: int) -> dict[str, list[str]]:
        """By policy what the recipe may say instead of stop: what keeps the rows first. None where
        no row would be left."""
        return {
            stop.policy: [*keeping, *(["drop"] if stop.rows != total_rows else [])]
            for stop in self
            if (keeping := _keeping(stop.policy)) or stop.rows != total_rows
        }

    def _proposals(self, choices_of: dict[str, list[str]]) -> list[ProposedChange]:
        """One for each way to decide: as many as the policy with the most choices has."""
        if len(choices_of) != len(self._by_policy):
            return []
        proposals = []
        for number in range(max(map(len, choices_of.values()))):
            choice_of = {
                policy: each[min(number, len(each) - 1)] for policy, each in choices_of.items()
            }
            titles = [
                _decided(self._by_policy[policy], choice) for policy, choice in choice_of.items()
            ]
            values = {f"policy.{policy}": choice for policy, choice in choice_of.items()}
            proposals.append(ProposedChange(". ".join(titles), values))
        return proposals

    def error(
        self,
        unproved: Unproved | None = None,
        *,
        total_rows: int = 0,
        proposals: Sequence[ProposedChange] = (),
    ) -> LuthierError | None:
        """The error for people; None if no policy says stop. `unproved` is of the first mask that
        could not be proved, with its text; `total_rows` are those of the data, 0 if not all were
        read. `proposals` come before those that choose otherwise at the policies."""
        if not self._by_policy:
            return None
        damage = self._by_policy.get("damage")
        if damage is not None and damage.rows == total_rows:  # no policy would help
            return _all_damaged(damage)
        reasons = []
        for stop in self:
            further = f" and at {counted(stop.rows - 1, 'more row')}" if stop.rows > 1 else ""
            reasons.append(
                f'{stop.first_row} (policy.{stop.policy} is "stop"; it applies here{further}).'
            )
        choices_of = self._choices(total_rows)
        changes = [f"{policy} = {_instead(policy)}" for policy in choices_of]
        repair = "Repair the data: if these rows were dropped, none would be left."
        if changes:
            repair = (
                f"Repair the data, or change the recipe's section [policy]: {', '.join(changes)}."
            )
        hint = "\n".join((repair, *(hint for stop in self if (hint := POLICIES[stop.policy].hint))))
        if unproved is None or "mask" not in self._by_policy:
            return RefusedData(
                "Some rows need a decision",
                "\n".join(reasons),
                hint,
                [*proposals, *self._proposals(choices_of)],
            )
        title = unproved.title if len(self._by_policy) == 1 else "Some rows need a decision"
        parts = (unproved.advice, hint, unproved.evidence)
        return LuthierError(title, "\n".join(reasons), "\n".join(filter(None, parts)))


def _all_damaged(damage: Stop) -> LuthierError:
    number = damage.rows - 1
    further = f" {counted(number, 'more row')} cannot be read either." if number else ""
    return LuthierError(
        "No row can be read",
        f"{damage.first_row}.{further}",
        "Repair the file, or choose another one.",
    )


class Drops:
    """Why rows were dropped. A row counts once, for the last of its reasons, which is the most
    exact."""

    def __init__(self) -> None:
        self._rows: Counter[str] = Counter()
        self._first_details: dict[str, str] = {}

    def add(self, reasons: Sequence[str], detail: str) -> None:
        self._rows[reasons[-1]] += 1
        self._first_details.setdefault(reasons[-1], detail)

    def nothing_left(self) -> LuthierError:
        """The error for data of which every row was dropped."""
        reasons = []
        for code, number in self._rows.most_common(4):
            reason, detail = describe(code), self._first_details[code]
            notes = [counted(number, "row")] if len(self._rows) > 1 else []
            notes += [detail] if detail not in ("", reason) else []
            reasons.append(f"{reason} ({'; '.join(notes)})" if notes else reason)
        hint = (
            "Each row needs at least one question and its answer: docs/data.md shows the formats."
        )
        if any(code in POLICIES and _keeping(code) for code in self._rows):
            hint += " The recipe's section [policy] decides what happens to odd rows."
        total = self._rows.total()
        rows = "the only row" if total == 1 else f"all {total:,} rows"
        return LuthierError(
            "Nothing to train on", f"Luthier drops {rows}: {'; '.join(reasons)}.", hint
        )


def _decided(stop: Stop, choice: str) -> str:
    """What becomes of the rows at which a policy stops if the recipe says `choice`."""
    policy = POLICIES[stop.policy]
    rows = counted(stop.rows, "row")
    if choice == "drop":
        return f"{rows} would be left out ({policy.meets})"
    repair = f": {policy.repair}" if policy.repair else ""
    return f"{rows} would be kept ({policy.meets}){repair}"


def _instead(policy: str) -> str:
    """What to choose in the place of stop: what keeps the row, if anything does."""
    return " or ".join(f'"{choice}"' for choice in _keeping(policy) or ["drop"])


def _keeping(policy: str) -> list[str]:
    """The choices that keep the row, or what is left of it."""
    return [choice for choice in choices(policy) if choice not in ("stop", "drop")]


class LedgerError(AssertionError):
    """The books do not balance: a bug in Luthier."""


def summarise(entries: Iterable[Entry]) -> Summary:
    summary = Summary()
    for entry in entries:
        summary.add(entry)
    return summary


def read_ledger(path: Path) -> Iterator[Entry]:
    """The entries of a ledger, in the order of the rows."""
    yield from foreign.Decoder(Entry).lines(path)
