"""What a making would do, for a person to look at before it asks. Light."""

from __future__ import annotations

import msgspec

from workshop.making.location import Location

PLAN_FILE = "plan.json"


class DocumentPlan(msgspec.Struct):
    file: str
    kind: str
    characters: int
    passages: int
    language: str
    left_out: dict[str, int]


class SpeakerPlan(msgspec.Struct):
    """`role` is empty where it is still to be said."""

    name: str
    role: str
    turns: int
    words: int
    first: str


class PassagePlan(msgspec.Struct):
    location: Location
    text: str


class Plan(msgspec.Struct):
    documents: list[DocumentPlan]
    speakers: list[SpeakerPlan]
    unclear: str
    """Why the speakers' roles are not clear; empty if they are."""
    examples: list[PassagePlan]
    passages: int
    usable: int
    """Those that are long enough and repeat no other."""
    requests: int
    most_tokens: int
    most_cost: float
