"""The recipe: a TOML file that says what to train on what. Decoded strictly."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Annotated, Literal, get_type_hints

import msgspec
import tomlkit

from jobs.errors import LuthierError
from trainer.data.files import HUB
from trainer.data.formats import Mapping
from trainer.data.policies import Policies
from trainer.data.settings import DataSettings, Mask, Source
from trainer.data.split import Heldout, Share

Positive = Annotated[int, msgspec.Meta(ge=1)]
Schedule = Literal["cosine", "linear", "constant"]


class Lora(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """LoRA on every linear layer but the head (Hu et al. 2021, arXiv:2106.09685); scaling is alpha / r."""

    r: Annotated[int, msgspec.Meta(ge=1, le=512)] = 16
    alpha: Positive = 32
    dropout: Share = 0.0


class Train(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`global_batch` conversations make one optimizer step, `micro_batch` of them at a time (0: chosen by the plan)."""

    epochs: Annotated[float, msgspec.Meta(gt=0)] = 3.0
    learning_rate: Annotated[float, msgspec.Meta(gt=0)] = 2e-4
    schedule: Schedule = "cosine"
    warmup: Share = 0.05
    weight_decay: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    max_gradient_norm: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    global_batch: Positive = 16
    micro_batch: Annotated[int, msgspec.Meta(ge=0)] = 0
    max_length: Annotated[int, msgspec.Meta(ge=8)] = 2048
    gradient_checkpointing: bool = False
    evaluations: Annotated[int, msgspec.Meta(ge=0)] = 4
    seed: Annotated[int, msgspec.Meta(ge=0)] = 42


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`model` is a name or a folder, `data` files, folders or data sets of the hub; paths are relative to the recipe's own folder.

    `certify`: a certificate is made when the run is done.
    """

    data: Annotated[list[str | Source], msgspec.Meta(min_length=1)]
    model: str = "builtin"
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=60)] = "run"
    certify: bool = True
    train: Train = Train()
    lora: Lora = Lora()
    heldout: Heldout = Heldout()
    format: Mapping = Mapping()
    policy: Policies = Policies()
    mask: Mask = Mask()

    @property
    def sources(self) -> list[Source]:
        return [entry if isinstance(entry, Source) else Source(entry) for entry in self.data]

    @property
    def data_settings(self) -> DataSettings:
        return DataSettings(
            sources=self.sources,
            format=self.format,
            policy=self.policy,
            mask=self.mask,
            heldout=self.heldout,
            max_length=self.train.max_length,
            seed=self.train.seed,
        )


def load(path: Path) -> Recipe:
    """Read a recipe file; its paths come back absolute. LuthierError names the file, the key and the nearest valid one."""
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise LuthierError("No such recipe", f"{path} is not there.", "examples/captain/recipe.toml is one to start from.") from None
    except UnicodeDecodeError as error:
        raise LuthierError("The recipe is not UTF-8", f"{path}, byte {error.start}.", "Save it as UTF-8.") from None
    recipe = parse(text, str(path))
    folder = path.absolute().parent
    data = [_in_folder(entry, folder) for entry in recipe.data]
    model = str(_absolute(recipe.model, folder)) if "/" in recipe.model or recipe.model.startswith(("~", ".")) else recipe.model
    name = recipe.name if "name" in tomlkit.parse(text) else path.stem
    return msgspec.structs.replace(recipe, data=data, model=model, name=name)


def parse(text: str, where: str) -> Recipe:
    """Decode TOML text strictly. `where` names it in errors."""
    try:
        return msgspec.toml.decode(text, type=Recipe)
    except msgspec.ValidationError as error:
        raise _explained(str(error), where) from None
    except msgspec.DecodeError as error:
        raise LuthierError("The recipe is no TOML", f"{where}: {error}.", "Strings need quotes; a section begins with [train].") from None


def to_toml(recipe: Recipe) -> str:
    """The recipe with every value written out."""
    return tomlkit.dumps(msgspec.to_builtins(recipe))


def _in_folder(entry: str | Source, folder: Path) -> str | Source:
    if isinstance(entry, Source):
        return msgspec.structs.replace(entry, path=_in_folder(entry.path, folder))
    return entry if entry.startswith(HUB) else str(_absolute(entry, folder))


def _absolute(entry: str, folder: Path) -> Path:
    path = Path(entry).expanduser()
    return path if path.is_absolute() else folder / path


def _explained(message: str, where: str) -> LuthierError:
    """msgspec's message in a user's words: "Object contains unknown field `x` - at `$.train`" and the like."""
    what, _, at = message.partition(" - at `")
    section = at.rstrip("`").removeprefix("$").lstrip(".")
    unknown = re.fullmatch(r"Object contains unknown field `(.+)`", what)
    if unknown:
        key = f"{section}.{unknown[1]}" if section else unknown[1]
        return LuthierError("Unknown key in the recipe", f"{where}: {key} means nothing.", _nearest(unknown[1], section))
    missing = re.fullmatch(r"Object missing required field `(.+)`", what)
    if missing:
        return LuthierError("Missing key in the recipe", f"{where}: {missing[1]} is required.", f'Add {missing[1]} = ["file.jsonl"], say.')
    return LuthierError("Wrong value in the recipe", f"{where}: {section}: {what[:1].lower()}{what[1:]}.", "docs/recipe.md lists them.")


def keys() -> dict[str, list[str]]:
    """The recipe's keys by section; "" is the top level."""
    sections: dict[str, list[str]] = {"": [*Recipe.__struct_fields__], "data": [*Source.__struct_fields__]}
    for name, hint in get_type_hints(Recipe).items():
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            sections[name] = [*hint.__struct_fields__]
    return sections


def _nearest(key: str, section: str) -> str:
    known = keys()
    here = known.get(re.sub(r"\[\d+\]$", "", section), [])
    elsewhere = [name for name, fields in known.items() if key in fields]
    if elsewhere:
        return f"{key} belongs to {f'[{elsewhere[0]}]' if elsewhere[0] else 'the top of the recipe'}."
    close = difflib.get_close_matches(key, here, n=1, cutoff=0.5)
    if close:
        return f"Did you mean {f'{section}.' if section else ''}{close[0]}?"
    return f"Known here: {', '.join(here)}."
