"""The recipe: a TOML file that says what to train on what. Decoded strictly."""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import tomlkit

from jobs.errors import LuthierError
from jobs.files import expanded
from models.hub_names import is_url
from trainer.data.formats import Mapping
from trainer.data.hub import HUB
from trainer.data.policies import Policies
from trainer.data.settings import DataSettings, Mask, Source
from trainer.data.split import Heldout, Share
from trainer.evaluation.settings import Evaluation
from trainer.run.trackers import Trackers
from trainer.unknown_keys import check_keys, check_kind, instead, other_recipe

_LISTED = "docs/recipe.md lists them."
Positive = Annotated[int, msgspec.Meta(ge=1)]
Factor = Annotated[float, msgspec.Meta(ge=0)]
Schedule = Literal["cosine", "linear", "constant"]
Engine = Literal["auto", "unsloth", "trl"]
Method = Literal["lora", "full"]
BaseBits = Literal["auto", 16, 8, 4]
Optimizer = Literal["auto", "adamw", "adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit"]
Checkpointing = Literal["auto", "none", "standard", "unsloth"]
Attention = Literal["auto", "sdpa", "flex", "flash"]
Sharding = Literal["auto", "none", "fsdp2"]
Float8 = Literal["auto"] | bool
ComputeDtype = Literal["auto", "bfloat16", "float32"]
CHATML, CHATML_TOKENS = "chatml", ("<|im_start|>", "<|im_end|>")
TEMPLATES = (CHATML, "alpaca", "vicuna")  # trainer/chat_templates


class Lora(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """LoRA (Hu et al. 2021, arXiv:2106.09685) on the layers whose names end like one of `targets`,
    or on every linear layer but the head.

    Scaling is alpha / r, with `rslora` alpha / sqrt(r) (arXiv:2312.03732). `dora`:
    weight-decomposed (arXiv:2402.09353). `plus_ratio`: the learning rate of B over that of A
    (LoRA+, arXiv:2402.12354); 0: the same.
    """

    r: Annotated[int, msgspec.Meta(ge=1, le=512)] = 16
    alpha: Positive = 32
    dropout: Share = 0.0
    targets: Literal["all-linear"] | list[str] = "all-linear"
    rslora: bool = False
    dora: bool = False
    plus_ratio: Factor = 0.0


class Tokens(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Tokens that the base model lacks, and the chat template that uses them: one of TEMPLATES, a
    file, or "" for the model's own."""

    add: list[str] = []
    template: str = ""

    @property
    def wanted(self) -> list[str]:
        """The tokens that there must be."""
        return list(dict.fromkeys([*(CHATML_TOKENS if self.template == CHATML else ()), *self.add]))


class Train(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`global_batch` conversations make one optimizer step, `micro_batch` of them at a time on each
    GPU (0: chosen by the plan).

    `method`: "lora" trains an adapter, "full" every weight. `base_bits`: what a weight of the base
    model takes; 4 is nf4 with double quantisation (QLoRA, arXiv:2305.14314), 8 is LLM.int8
    (arXiv:2208.07339). `float8`: whether products with frozen 16-bit weights are computed in float8
    (trainer.kernels.float8). `compute_dtype`: the number type that a CPU computes in.
    `padding_free`: the conversations of a micro-batch behind each other rather than padded to the
    longest one. `neftune_alpha`: noise on the embeddings (arXiv:2310.05914); 0: none. What is
    "auto" the plan chooses.
    """

    method: Method = "lora"
    base_bits: BaseBits = "auto"
    float8: Float8 = "auto"
    compute_dtype: ComputeDtype = "auto"

    epochs: Annotated[float, msgspec.Meta(gt=0)] = 3.0
    learning_rate: Literal["auto"] | Annotated[float, msgspec.Meta(gt=0)] = "auto"
    schedule: Schedule = "cosine"
    warmup: Share = 0.05
    weight_decay: Factor = 0.0
    max_gradient_norm: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    global_batch: Positive = 16
    micro_batch: Annotated[int, msgspec.Meta(ge=0)] = 0
    max_length: Annotated[int, msgspec.Meta(ge=8)] = 2048
    gradient_checkpointing: Checkpointing = "auto"
    padding_free: Literal["auto"] | bool = "auto"
    attention: Attention = "auto"
    optimizer: Optimizer = "auto"
    neftune_alpha: Factor = 0.0
    seed: Annotated[int, msgspec.Meta(ge=0)] = 42


class Checkpoints(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One at each evaluation, at the end, and whenever `every_steps` or `every_minutes` have gone
    by (0: not for that reason). The best and the last `keep` stay. `result` says which one becomes
    the adapter; "auto": the best if early stopping is on, else the last."""

    every_steps: Annotated[int, msgspec.Meta(ge=0)] = 0
    every_minutes: Annotated[float, msgspec.Meta(ge=0)] = 10.0
    keep: Positive = 2
    result: Literal["auto", "last", "best"] = "auto"


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`model` is a name or a folder, `data` files, folders or data sets of the hub; paths are
    relative to the recipe's own folder.

    `gpus`: how many GPUs it runs on. `sharding`: whether each of them has the whole model ("none")
    or a share of its weights. `certify`: a certificate is made when the run is done.
    """

    data: Annotated[list[str | Source], msgspec.Meta(min_length=1)]
    model: str = "builtin"
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=60)] = "run"
    engine: Engine = "auto"
    gpus: Positive | Literal["all"] = 1
    sharding: Sharding = "auto"
    share_gpu: bool = False
    certify: bool = True
    train: Train = Train()
    lora: Lora = Lora()
    tokens: Tokens = Tokens()
    checkpoints: Checkpoints = Checkpoints()
    heldout: Heldout = Heldout()
    format: Mapping = Mapping()
    policy: Policies = Policies()
    mask: Mask = Mask()
    evaluation: Evaluation = Evaluation()
    trackers: Trackers = Trackers()

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
    """Read a recipe file; its paths come back absolute. LuthierError names the file, the key and
    the nearest valid one."""
    text = read_text(path)
    return placed(parse(text, str(path)), path, named="name" in tomlkit.parse(text))


def read_text(path: Path) -> str:
    check_kind(path)
    try:
        return path.read_text(encoding="utf-8-sig")
    except IsADirectoryError:
        inside = ", ".join(sorted(found.name for found in path.glob("*.toml"))[:3])
        hint = f"In it: {inside}." if inside else "`luthier data check` looks at a folder of data."
        raise LuthierError("A folder, no recipe", f"{path} is a folder.", hint) from None
    except (FileNotFoundError, NotADirectoryError):
        raise _no_such_recipe(path) from None
    except OSError as error:
        raise LuthierError(
            "The recipe cannot be read", f"{path}: {error.strerror}.", "Check its permissions."
        ) from None
    except UnicodeDecodeError as error:
        raise LuthierError(
            "The recipe is not UTF-8", f"{path}, byte {error.start}.", "Save it as UTF-8."
        ) from None


def _no_such_recipe(path: Path) -> LuthierError:
    """With the file beside it that is named nearly so, or the known recipe of that name
    (trainer.presets)."""
    if (Path(__file__).parent / "recipes" / f"{path.stem}.toml").is_file():
        hint = (
            f"Luthier knows a recipe of that name: `luthier recipes {path.stem} > {path.stem}.toml`"
            " writes it down."
        )
        return LuthierError("No such recipe", f"{path} is not there.", hint)
    beside = [found.name for found in path.parent.glob("*.toml")] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, beside, n=1, cutoff=0.7)
    hint = (
        f"Did you mean {path.parent / close[0]}?"
        if close
        else "examples/captain/recipe.toml is one to start from."
    )
    return LuthierError("No such recipe", f"{path} is not there.", hint)


def placed(recipe: Recipe, path: Path, *, named: bool) -> Recipe:
    """A recipe read from `path`, with its paths made absolute and, unless it is `named`, the file's
    name."""
    folder = path.absolute().parent
    data = [_in_folder(entry, folder) for entry in recipe.data]
    model = str(_absolute(recipe.model, folder)) if _is_path(recipe.model, folder) else recipe.model
    template = recipe.tokens.template
    tokens = (
        recipe.tokens
        if template in ("", *TEMPLATES)
        else Tokens(recipe.tokens.add, str(_absolute(template, folder)))
    )
    return msgspec.structs.replace(
        recipe, data=data, model=model, tokens=tokens, name=recipe.name if named else path.stem
    )


def parse(text: str, where: str) -> Recipe:
    """Decode TOML text strictly. `where` names it in errors."""
    return decode(parse_toml(text, where), where)


def parse_toml(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise other_recipe(text, Path(where), keys()) or _no_toml(text, error, where) from None
    except RecursionError:
        raise LuthierError(
            "The recipe is no TOML",
            f"{where}: it is nested too deeply.",
            "A recipe has sections and values.",
        ) from None


def _no_toml(text: str, error: tomllib.TOMLDecodeError, where: str) -> LuthierError:
    """With the line, and a hint that fits what people write."""
    found = re.search(r"at line (\d+)", str(error))
    number = int(found[1]) if found else len(text.splitlines())
    line = next(iter(text.splitlines()[number - 1 : number]), "").strip()
    hint = "Strings need quotes; a section begins with [train]."
    if re.search(r"=\s*(True|False|None|null)\b", line):
        hint = "TOML writes true and false; what is not set is left out."
    elif re.fullmatch(r"[\w-]+:.*", line):
        hint = "TOML writes key = value, not key: value."
    elif "\\" in line:
        hint = "A backslash needs single quotes around the text: 'C:\\data', say."
    elif "Cannot overwrite" in str(error) or "Cannot declare" in str(error):
        hint = "This key or section stands twice: leave one of them."
    reason = re.sub(r" \(at .*\)", "", str(error))
    shown = f" That line is: {line[:120]}" if line else ""
    return LuthierError("The recipe is no TOML", f"{where}, line {number}: {reason}.{shown}", hint)


def decode(values: dict[str, Any], where: str) -> Recipe:
    """A recipe of what its TOML text holds."""
    check_keys(values, keys(), where)
    try:
        return msgspec.convert(values, Recipe)
    except msgspec.ValidationError as error:
        raise _explained(str(error), where, values) from None


def to_toml(recipe: Recipe) -> str:
    """The recipe with every value written out."""
    return tomlkit.dumps(msgspec.to_builtins(recipe))


def short_value(value: Any) -> str:
    """2e-4 rather than 0.0002; other values as a recipe has them."""
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value).lower() if isinstance(value, bool) else str(value)
    if value and (abs(value) <= 0.01 or abs(value) >= 1e6):
        exponent = math.floor(math.log10(abs(value)))
        return f"{float(f'{value / 10**exponent:.6g}'):g}e{exponent}"
    return f"{value:g}"


def _in_folder(entry: str | Source, folder: Path) -> str | Source:
    if isinstance(entry, Source):
        return msgspec.structs.replace(entry, path=_in_folder(entry.path, folder))
    return entry if entry.startswith(HUB) or is_url(entry) else str(_absolute(entry, folder))


def _is_path(model: str, folder: Path) -> bool:
    """Whether a model is given as a path: as one that is relative without a dot only if it is there
    ("RUN/merged" is a name)."""
    return model.startswith(("~", ".", "/")) or (
        "/" in model and not is_url(model) and (folder / model).exists()
    )


def _absolute(entry: str, folder: Path) -> Path:
    path = expanded(entry)
    return path if path.is_absolute() else folder / path


def _explained(message: str, where: str, values: dict[str, Any]) -> LuthierError:
    """msgspec's message in a user's words: "Expected `int`, got `str` - at `$.train`" and the
    like."""
    what, _, at = message.partition(" - at `")
    section = at.rstrip("`").removeprefix("$").lstrip(".")
    missing = re.fullmatch(r"Object missing required field `(.+)`", what)
    if missing:
        return LuthierError(
            "Missing key in the recipe",
            f"{where}: {missing[1]} is required.",
            f'Add {missing[1]} = ["file.jsonl"], say.',
        )
    line = instead(section, _at(section, values))
    hint = f"Write {line}." if line else _LISTED
    choice = re.fullmatch(r"Invalid enum value (.+)", what)
    if choice and (allowed := _values(section)):
        said = choice[1].strip("'")
        return LuthierError(
            "Wrong value in the recipe",
            f"{where}: {section} is one of {', '.join(allowed)}; it says {said}.",
            hint,
        )
    if section == "data" and what.endswith("got `str`"):
        return LuthierError(
            "Wrong value in the recipe",
            f"{where}: data is a list.",
            'Write data = ["file.jsonl"], with brackets.',
        )
    sweep = (
        "A list of values makes a sweep, which `luthier plan` and `luthier train` take."
        if what.endswith("got `array`")
        else ""
    )
    message = f"{where}: {section}: {what[:1].lower()}{what[1:]}."
    return LuthierError("Wrong value in the recipe", message, sweep or hint)


def _at(key: str, values: Any) -> Any:
    """The value at "train.epochs"; None where there is none."""
    for part in key.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values


def _values(key: str) -> list[str]:
    """What a key takes of which there are a few; none for others."""
    hint: Any = Recipe
    for part in key.split("."):
        hint = get_type_hints(hint).get(part) if isinstance(hint, type) else None
    kinds = [hint] if get_origin(hint) is Literal else [*get_args(hint)]
    values = [
        str(value) for kind in kinds if get_origin(kind) is Literal for value in get_args(kind)
    ]
    others = [
        "true, false" if kind is bool else "a list" if get_origin(kind) is list else "a number"
        for kind in kinds
    ]
    return (
        values
        + [
            other
            for other, kind in zip(others, kinds, strict=True)
            if get_origin(kind) is not Literal
        ]
        if values
        else []
    )


def keys() -> dict[str, list[str]]:
    """The recipe's keys by section; "" is the top level."""
    sections: dict[str, list[str]] = {
        "": [*Recipe.__struct_fields__],
        "data": [*Source.__struct_fields__],
    }
    for name, hint in get_type_hints(Recipe).items():
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            sections[name] = [*hint.__struct_fields__]
    return sections
