"""What a making leaves: the conversations as ordinary data files, a recipe that trains on them, a
data card, and where each conversation comes from. Light."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import tomlkit

from jobs.files import write_atomic, write_json
from jobs.foreign_json import Damaged
from jobs.luthier_error import LuthierError
from models import foreign
from workshop.asking.asker import Outcome
from workshop.making.document_files import names_of
from workshop.making.ledger import REASONS, Entry, counts
from workshop.making.names import (
    CARD_FILE,
    HELDOUT_FILE,
    LEDGER_FILE,
    ORIGINS,
    PROVENANCE_FILE,
    RECIPE_FILE,
    TRAIN_FILE,
)
from workshop.making.order import Order

RIGHTS = "Whether these texts may train a model is for whoever holds their rights to say."


class Provenance(msgspec.Struct, frozen=True):
    """What a folder's conversations depend on, and how many there are."""

    files: dict[str, str]
    """The SHA-256 of each document."""
    making: dict[str, Any]
    """The recipe with its prompts."""
    model: str = ""
    endpoint: str = ""
    roles: dict[str, str] = {}
    passages: int = 0
    counts: dict[str, int] = {}
    train: int = 0
    heldout: int = 0
    left_out: dict[str, int] = {}
    """What cleaning has taken out of the documents."""
    seconds: float = 0.0

    @property
    def identity(self) -> tuple[Any, ...]:
        """Equal for folders that one making may write."""
        return (self.files, self.making, self.model, self.endpoint, self.roles)


def provenance_of(order: Order, base_url: str) -> Provenance:
    paths = [Path(file) for file in order.files]
    files = {name: _hash(path) for name, path in zip(names_of(paths), paths, strict=True)}
    model = order.terms.model if order.terms else ""
    return Provenance(files, msgspec.to_builtins(order.making), model, base_url, dict(order.roles))


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        digest = sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_out(order: Order, provenance: Provenance) -> None:
    """LuthierError if the folder holds something else than this making's conversations: nothing is
    overwritten silently."""
    folder = Path(order.out)
    if not folder.exists() or (folder.is_dir() and not _has_files(folder)):
        return
    try:
        before = foreign.read(folder / ORIGINS / PROVENANCE_FILE, Provenance)
    except (OSError, Damaged):
        raise LuthierError(
            "The folder is in use",
            f"{folder} contains something other than conversations made by Luthier.",
            "Choose another folder with --out.",
        ) from None
    if before.identity != provenance.identity:
        raise LuthierError(
            "The folder is in use",
            f"{folder} holds conversations of other documents, or made with another recipe, model"
            " or roles.",
            "Choose another folder with --out.",
        )


def _has_files(folder: Path) -> bool:
    """Beside what a process that was killed has left half-written."""
    return any(path.is_file() and not path.name.startswith(".") for path in folder.rglob("*"))


def keep(
    order: Order,
    provenance: Provenance,
    rows: Mapping[str, Sequence[dict[str, Any]]],
    entries: Sequence[Entry],
    texts: Mapping[str, str],
    outcome: Outcome | None,
) -> Provenance:
    """Write the folder. `rows` are those of "train" and of "heldout", `texts` the cleaned documents
    by their file names."""
    folder = Path(order.out)
    origins = folder / ORIGINS
    origins.mkdir(parents=True, exist_ok=True)
    provenance = msgspec.structs.replace(
        provenance,
        passages=len(entries),
        counts=counts(entries),
        train=len(rows["train"]),
        heldout=len(rows["heldout"]),
        seconds=time.time(),
    )
    # first, so that the folder is known as this making's from then on
    write_json(origins / PROVENANCE_FILE, msgspec.to_builtins(provenance))
    for name, text in texts.items():
        path = origins / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, _plain(text))
    ledger = (msgspec.json.encode(entry).decode() + "\n" for entry in entries)
    write_atomic(origins / LEDGER_FILE, "".join(ledger))
    write_atomic(folder / TRAIN_FILE, _lines(rows["train"]))
    write_atomic(folder / HELDOUT_FILE, _lines(rows["heldout"]))
    write_atomic(folder / RECIPE_FILE, _training_recipe(folder.name, bool(rows["heldout"])))
    write_atomic(folder / CARD_FILE, _card(order, provenance, outcome))
    return provenance


def _plain(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _lines(rows: Sequence[dict[str, Any]]) -> str:
    return "".join(_plain(json.dumps(row, ensure_ascii=False)) + "\n" for row in rows)


def _training_recipe(name: str, has_heldout: bool) -> str:
    document = tomlkit.document()
    document["name"] = name[:60]
    document["model"] = "builtin"
    document["data"] = [TRAIN_FILE]
    document["heldout"] = {"files": [HELDOUT_FILE]} if has_heldout else {"share": 0.0}
    return tomlkit.dumps(document)


def _card(order: Order, provenance: Provenance, outcome: Outcome | None) -> str:
    recipe = order.making.recipe
    terms = order.terms
    tokens = {} if outcome is None else {"Tokens": f"{outcome.spent.total:,}"}
    cost = terms.ceiling.cost_of(outcome.spent) if terms and outcome else 0.0
    roles = ", ".join(f"{name} as {role}" for name, role in provenance.roles.items() if name)
    facts = {
        "Method": recipe.method,
        **({"Questions by": f"{provenance.model} at {provenance.endpoint}"} if terms else {}),
        **({"Speakers": roles} if roles else {}),
        "Conversations": f"{provenance.train:,} in {TRAIN_FILE}, {provenance.heldout:,} in"
        f" {HELDOUT_FILE}; none shares a passage with another",
        "Passages": f"{provenance.passages:,}, of which {provenance.counts.get('kept', 0):,} are"
        " answers",
        **tokens,
        **({"Cost": f"{cost:.4g}, by the prices that were given"} if cost else {}),
        "Made": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(provenance.seconds)),
    }
    return "\n".join(
        [
            f"# Conversations of {', '.join(provenance.files)[:80]}",
            "",
            "A conversation a line, as chat models are trained on them. The answers are the"
            f" documents' own words; `source` gives the position of each in `{ORIGINS}/FILE.txt`,"
            " the cleaned text.",
            "",
            *(f"- {name}: {value}" for name, value in facts.items()),
            "",
            "## Documents",
            "",
            *(f"- {name}, SHA-256 {digest}" for name, digest in provenance.files.items()),
            *(f"- Left out, {name}: {count:,}" for name, count in provenance.left_out.items()),
            "",
            *_rejections(provenance),
            RIGHTS,
            "",
        ]
    )


def _rejections(provenance: Provenance) -> list[str]:
    counts = provenance.counts
    reasons = {
        REASONS[name.partition(": ")[2]]: count
        for name, count in sorted(counts.items())
        if name.startswith("rejected: ")
    }
    if counts.get("unanswered"):
        reasons[REASONS["no_answer"]] = counts["unanswered"]
    if not reasons:
        return []
    lines = [f"- {count:,}: {reason}" for reason, count in reasons.items()]
    return ["## Passages that are no answers", "", *lines, ""]
