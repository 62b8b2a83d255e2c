"""What a making is asked to do: the settings of its job. Light."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, cast, get_args

import msgspec

from jobs.job import Job
from jobs.luthier_error import LuthierError
from jobs.spec import slug
from models import foreign
from serve.client import Endpoint
from workshop.asking.budget import Ceiling
from workshop.asking.opening import opened
from workshop.making.recipe import Making

Role = Literal["user", "assistant", "drop"]


class Terms(msgspec.Struct, frozen=True):
    """Which model is asked, and how."""

    model: str
    address: str
    """The endpoint's address, or its name in config.toml."""
    key_env: str = ""
    key_file: str = ""
    at_once: Annotated[int, msgspec.Meta(ge=1)] = 8
    tries: Annotated[int, msgspec.Meta(ge=1)] = 8
    timeout: float = 300.0
    per_minute: Annotated[int, msgspec.Meta(ge=1)] | None = None
    ceiling: Ceiling = Ceiling()

    def endpoint(self) -> Endpoint:
        """With its key, read now. LuthierError if the key is missing."""
        return opened(self.address, "the model that is asked", self.key_env, self.key_file)


class Order(msgspec.Struct, frozen=True):
    files: list[str]
    out: str
    """The folder for the conversations."""
    making: Making
    terms: Terms | None = None
    """None where no model is asked."""
    roles: dict[str, Role] = {}
    """What each speaker of the transcripts becomes."""
    limit: int | None = None
    """Only this many passages, from the first one."""
    only_plan: bool = False
    """Whether the documents are only read, for a person to look at."""


def roles_in(texts: Iterable[str], making: Making) -> dict[str, Role]:
    """Of texts like "Ada=assistant". LuthierError if they are none, or nobody speaks in what this
    recipe makes."""
    roles: dict[str, Role] = {}
    for text in texts:
        name, _, role = (part.strip() for part in text.rpartition("="))
        if not name or role not in get_args(Role):
            raise LuthierError(
                "Not a speaker", f"{text!r} is not NAME=ROLE.", "For example: Ada=assistant"
            )
        roles[name] = cast(Role, role)
    if roles and making.recipe.method != "dialogue":
        raise LuthierError(
            "Nobody speaks",
            f"The recipe {making.recipe.method} has no speakers.",
            "Speakers are for the recipe dialogue.",
        )
    return roles


def out_folder(first_document: Path, making: Making) -> Path:
    """Where the conversations go if nobody says where."""
    return Path(f"made-{slug(first_document.stem)}-{making.recipe.method}")


def order_of(job: Job) -> Order:
    """LuthierError if the settings of the job are damaged."""
    return foreign.settings_of(job, Order)
