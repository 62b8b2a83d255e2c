"""What the files of a model say of it beside its weights: chat template, licence, where it came
from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs import foreign_json
from jobs.foreign_json import Damaged
from jobs.luthier_error import LuthierError
from models.folder import ModelFolder
from models.hashing import bytes_hash

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
class TemplateLabel:
    """A chat template in short: the family that its marks tell, "own" for others, and the start of
    its text's hash."""

    family: str
    hash: str

    def __str__(self) -> str:
        return f"{self.family}, fingerprint {self.hash}"


def template_label(directory: Path) -> TemplateLabel | None:
    """The chat template of a model's folder, None if it has none."""
    try:
        text = ModelFolder(directory).chat_template
    except LuthierError:
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
    noted = ModelFolder(directory).shown_card.license
    if noted:
        return noted.lower()
    declared = front_matter(directory / "README.md").get("license", "")
    if declared:
        return str(declared)
    for path in sorted(directory.glob("LICEN[SC]E*")):
        head = _head(path)
        recognised = next(
            (name for mark, name in _LICENCE_TEXTS if mark.lower() in head.lower()), ""
        )
        if recognised:
            return recognised
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
