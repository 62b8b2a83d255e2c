"""How conversations are made: a folder with `recipe.toml` and the prompts, which a user copies and
edits. Light."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path
from string import Template
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from jobs.files import expanded
from jobs.luthier_error import LuthierError
from jobs.near import did_you_mean
from jobs.os_errors import in_words
from trainer.recipe_errors import no_toml, wrong_value

Method = Literal["interview", "qa", "dialogue", "continue"]
METHODS: tuple[Method, ...] = ("interview", "qa", "dialogue", "continue")
RECIPE_FILE = "recipe.toml"
_PACKAGED = Path(__file__).parent / "recipes"
T = TypeVar("T")


class Passages(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits in characters: shorter paragraphs are merged, longer ones cut between sentences."""

    shortest: Annotated[int, msgspec.Meta(ge=20)] = 300
    longest: Annotated[int, msgspec.Meta(ge=100)] = 1200
    fewest_words: Annotated[int, msgspec.Meta(ge=1)] = 12
    """What a chapter is left with may be short: with fewer words it is left out."""


class Checks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a question must be."""

    fewest_words: Annotated[int, msgspec.Meta(ge=1)] = 4
    most_words: Annotated[int, msgspec.Meta(ge=1)] = 40
    copied_words: Annotated[int, msgspec.Meta(ge=2)] = 7
    """So many of the passage's words in a row give the answer away."""
    never: list[str] = []
    """Words that no question may have."""
    language: bool = True
    """Whether it must be in the passage's language."""
    ask_back: bool = True
    """Whether the model must be able to answer it from the passage."""
    overlap: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.6
    """The share of that answer's words which the passage must have."""
    nearest: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.7
    """Questions and passages that have more than this share in common with an earlier one are left
    out."""


class Sampling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """As the endpoint is asked."""

    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = 0.7
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    seed: int | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] = 512

    def fields(self) -> dict[str, Any]:
        """Those that a request has."""
        values = {name: getattr(self, name) for name in self.__struct_fields__}
        return {name: value for name, value in values.items() if value is not None}


class MakingRecipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    method: Method
    system: str = ""
    """The system message of every conversation; none if it is empty."""
    turns: Annotated[int, msgspec.Meta(ge=1, le=50)] = 4
    """The most exchanges of a conversation; with qa, how many questions are asked back at once."""
    opening: str = "Continue this text:\n\n$previous"
    """What the user says first where the text goes on; $previous is the passage before."""
    onward: str = "Go on."
    """What the user says before each further passage."""
    heldout: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.1
    """The share of the conversations that is kept out of training."""
    passages: Passages = Passages()
    checks: Checks = Checks()
    sampling: Sampling = Sampling()

    @property
    def asks(self) -> bool:
        """Whether it needs an endpoint."""
        return self.method in ("interview", "qa")


class Prompt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Templates: $passages, $previous, $count, $title and $questions stand for what is asked
    about."""

    user: str
    system: str = ""

    def messages(self, **values: object) -> list[dict[str, Any]]:
        user = {"role": "user", "content": Template(self.user).substitute(values)}
        system = Template(self.system).substitute(values)
        return [{"role": "system", "content": system}, user] if system else [user]


class Making(msgspec.Struct, frozen=True):
    """A recipe with its prompts, as it is carried out and recorded."""

    recipe: MakingRecipe
    questions: Prompt | None = None
    """Asks for the questions."""
    answers: Prompt | None = None
    """Asks them back."""


_PROMPTS = {
    "questions": frozenset({"passages", "previous", "count", "title"}),
    "answers": frozenset({"passages", "questions", "count", "title"}),
}


def load(name: str) -> Making:
    """By the name of one that Luthier brings, or a folder of one's own, or a recipe file: its
    prompts lie beside it. LuthierError if it cannot be used."""
    if name in METHODS:
        folder = _PACKAGED / name
    else:
        path = expanded(name)
        folder = path if path.is_dir() else path.parent
        if not (path / RECIPE_FILE if path.is_dir() else path).is_file():
            raise LuthierError(
                "No such recipe",
                f"{name} is neither a recipe of Luthier's nor a folder with {RECIPE_FILE}.",
                f"{did_you_mean(name, METHODS)}Luthier has {', '.join(METHODS)};"
                " `luthier make --copy FOLDER --recipe qa` copies one to edit.",
            )
        if path.is_file():
            return _loaded(path)
    return _loaded(folder / RECIPE_FILE)


def copy(name: str, folder: Path) -> list[Path]:
    """Copy a recipe of Luthier's with its prompts. Nothing is overwritten."""
    if name not in METHODS:
        raise LuthierError(
            "Nothing to copy", f"Luthier has no recipe {name}.", f"It has {', '.join(METHODS)}."
        )
    if folder.exists() and any(folder.iterdir()):
        raise LuthierError(
            "The folder is in use", f"{folder} is not empty.", "Choose another folder for --copy."
        )
    folder.mkdir(parents=True, exist_ok=True)
    return [
        Path(shutil.copyfile(file, folder / file.name))
        for file in sorted((_PACKAGED / name).glob("*.toml"))
    ]


def _loaded(path: Path) -> Making:
    recipe = _decoded(path, MakingRecipe)
    if recipe.passages.longest < 2 * recipe.passages.shortest:
        raise LuthierError(
            "Wrong value in the recipe",
            f"{path}: passages.longest ({recipe.passages.longest}) is less than twice"
            f" passages.shortest ({recipe.passages.shortest}).",
            "A paragraph that is cut in two would then be too short.",
        )
    _check_template(recipe.opening, frozenset({"previous"}), f"{path}: opening")
    if not recipe.asks:
        return Making(recipe)
    return Making(recipe, _prompt(path, "questions"), _prompt(path, "answers"))


def _prompt(recipe_path: Path, name: str) -> Prompt:
    path = recipe_path.with_name(f"{name}.toml")
    prompt = _decoded(path, Prompt)
    for part in ("user", "system"):
        _check_template(getattr(prompt, part), _PROMPTS[name], f"{path}: {part}")
    return prompt


def _check_template(text: str, names: frozenset[str], where: str) -> None:
    template = Template(text)
    unknown = [] if not template.is_valid() else sorted({*template.get_identifiers()} - names)
    if unknown or not template.is_valid():
        sign = f"${unknown[0]}" if unknown else "a $"
        allowed = ", ".join(f"${name}" for name in sorted(names))
        raise LuthierError(
            "Wrong value in the prompt",
            f"{where}: {sign} stands for nothing.",
            f"It may have {allowed}; write $$ for a dollar sign.",
        )


def _decoded(path: Path, kind: type[T]) -> T:
    try:
        text = path.read_text(encoding="utf-8")
        values = tomllib.loads(text)
    except OSError as error:
        raise in_words(error) from error
    except UnicodeDecodeError as error:
        raise LuthierError(
            "The recipe is not text", f"{path} is not UTF-8.", "Save it as UTF-8."
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise no_toml(text, error, str(path)) from None
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        raise _unusable(str(error), path, values, kind) from None


def _unusable(message: str, path: Path, values: dict[str, Any], kind: type[Any]) -> LuthierError:
    if message.startswith("Object contains unknown field"):
        name = message.split("`")[1]
        section = message.partition("`$.")[2].rstrip("`") if "`$." in message else ""
        struct = {"passages": Passages, "checks": Checks, "sampling": Sampling}.get(section, kind)
        keys = list(struct.__struct_fields__)
        return LuthierError(
            "Unknown key in the recipe",
            f"{path}: unknown key {section + '.' if section else ''}{name}.",
            f"{did_you_mean(name, keys)}Known keys: {', '.join(keys)}.",
        )
    return wrong_value(message, str(path), values, kind)
