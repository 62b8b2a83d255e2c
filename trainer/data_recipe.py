"""The recipe of a data file: what `luthier train mine.jsonl` trains without a recipe. Light."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import msgspec
import tomlkit

from jobs import foreign_json
from jobs.luthier_error import LuthierError
from models.hub_names import HUB
from trainer.data.files import FROM_DOCUMENTS, UnknownKind, read_rows
from trainer.data.hub import parsed
from trainer.data_endings import DATA_ENDINGS
from trainer.recipe import Recipe, keys, placed, read_text
from trainer.recipe_errors import no_such_data
from trainer.unknown_keys import has_other_settings

_LONGEST_NAME = 60
_RECIPE_ENDINGS = (".toml", ".yaml", ".yml", ".py", ".ipynb", ".sh")
# A longer JSON file is data: no recipe of any tool has so many characters.
_LONGEST_RECIPE = 200_000
_KNOWN = (
    "A recipe is TOML: key = value. Data is JSON, JSON Lines, CSV, TSV or Parquet, plain, .gz or"
    f" .zst. {FROM_DOCUMENTS}"
)
# Only a file that has such a line was probably meant as a recipe: TOML's complaint then helps.
_RECIPE_LINE = re.compile(r"^\s*(\[[\w.]+\]|[\w.]+\s*=)", re.MULTILINE)


def is_data(path: Path) -> bool:
    """Whether a file, a folder or `hub:owner/name` is data and not a recipe. LuthierError for a
    data file that is not there and for a file that is neither."""
    if str(path).startswith(HUB):
        return True
    if path.is_dir():
        return not any(path.glob("*.toml"))
    ending = path.suffix.lower()
    is_named_data = ending in (*DATA_ENDINGS, ".json")
    if not path.exists():
        if is_named_data:
            raise no_such_data(path)
        return False
    if ending in _RECIPE_ENDINGS or not path.is_file():
        return False
    if ending == ".json":
        return not _is_other_recipe(path)
    return is_named_data or _is_data_inside(path)


def recipe_of_data(path: Path, model: str | None = None) -> Recipe:
    """The recipe with the defaults for a data source; its paths are absolute."""
    recipe = Recipe(data=[str(path)], model=model or "builtin", name=name_of_data(path))
    return placed(recipe, Path.cwd() / "recipe.toml", has_name=True)


def recipe_text(recipe: Recipe, folder: Path) -> str:
    """The recipe file for `folder` with what a user changes first, as TOML."""
    document = tomlkit.document()
    document["name"] = recipe.name
    document["model"] = recipe.model
    document["data"] = [_relative(source.path, folder) for source in recipe.sources]
    document["train"] = {
        "epochs": recipe.train.epochs,
        "learning_rate": recipe.train.learning_rate,
    }
    return tomlkit.dumps(document)


def name_of_data(path: Path) -> str:
    """The name of a run of this data: the file's or the folder's without its endings."""
    if str(path).startswith(HUB):
        return parsed(str(path)).name.rpartition("/")[2][:_LONGEST_NAME]
    base = path.absolute() if path.name else path.resolve()
    name = base.name
    while Path(name).suffix.lower() in (*DATA_ENDINGS, ".json", ".txt"):
        name = Path(name).stem
    return name[:_LONGEST_NAME] or "run"


def _is_other_recipe(path: Path) -> bool:
    """Whether a JSON file has the settings of another tool."""
    if path.stat().st_size > _LONGEST_RECIPE:
        return False
    try:
        values = foreign_json.decode(path.read_text(encoding="utf-8-sig"), path)
    except (ValueError, RecursionError, msgspec.DecodeError):
        return False
    return isinstance(values, dict) and has_other_settings(values, keys())


def _is_data_inside(path: Path) -> bool:
    """Whether a file whose name does not say so contains data rather than a recipe. LuthierError if
    it is neither."""
    try:
        if path.stat().st_size <= _LONGEST_RECIPE:
            tomllib.loads(read_text(path))
            return False
        reason = ""
    except tomllib.TOMLDecodeError as error:
        reason = f" As a recipe: {error}." if _RECIPE_LINE.search(read_text(path)) else ""
    except (LuthierError, RecursionError):
        reason = ""
    try:
        first = next(read_rows(str(path)), None)
    except UnknownKind:
        first = None
    if first is not None and first.value is not None:
        return True
    raise LuthierError(
        "Neither a recipe nor data",
        f"{path} is neither a recipe (TOML) nor a data file that Luthier can read.{reason}",
        _KNOWN,
    )


def _relative(source: str, folder: Path) -> str:
    path = Path(source)
    is_below = path.is_absolute() and path.is_relative_to(folder)
    return str(path.relative_to(folder)) if is_below else source
