"""The recipe: a TOML file that says what to train on what. Decoded strictly."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import msgspec
import tomlkit

from jobs.files import expanded, why_missing
from jobs.luthier_error import LuthierError
from models.hub_names import is_url
from trainer.data.formats import Mapping
from trainer.data.hub import HUB
from trainer.data.policies import Policies
from trainer.data.settings import DataSettings, Mask, Source
from trainer.data.split import Heldout, Share
from trainer.evaluation.settings import Evaluation
from trainer.guard_settings import Guard
from trainer.key_facts import described_keys, key
from trainer.objective import Objective
from trainer.recipe_errors import no_such_recipe, no_toml, wrong_value
from trainer.run.trackers import Trackers
from trainer.unknown_keys import check_keys, check_kind, other_recipe

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
    """LoRA (Hu et al. 2021, arXiv:2106.09685). Scaling by `rslora`: arXiv:2312.03732; `dora`:
    arXiv:2402.09353; LoRA+, `plus_ratio`: arXiv:2402.12354."""

    r: Annotated[int, key("rank", resume="never", ge=1, le=512)] = 16
    alpha: Annotated[Positive, key("the adapter is scaled by alpha / r")] = 32
    dropout: Annotated[Share, key("dropout on the adapter's input")] = 0.0
    targets: Annotated[
        Literal["all-linear"] | list[str],
        key(
            'or a list of layer names or their endings, such as `["q_proj",'
            ' "layers.31.mlp.up_proj"]`',
            resume="never",
        ),
    ] = "all-linear"
    experts: Annotated[
        bool,
        key(
            "LoRA on each expert of a mixture of experts, too; must be merged before serving",
            resume="never",
        ),
    ] = False
    rslora: Annotated[bool, key("the adapter is scaled by alpha / sqrt(r)")] = False
    dora: Annotated[
        bool, key("weight-decomposed LoRA; must be merged before serving", resume="never")
    ] = False
    plus_ratio: Annotated[
        Factor, key("LoRA+: the learning rate of B over that of A; 0: the same", resume="never")
    ] = 0.0


class Tokens(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Tokens that the base model lacks, and the chat template that uses them."""

    add: Annotated[
        list[str],
        key(
            'such as `["<|im_start|>", "<|im_end|>"]`; their embeddings are trained', resume="never"
        ),
    ] = []
    template: Annotated[
        str,
        key(
            '`"chatml"` (which adds its two tokens by itself), `"alpaca"`, `"vicuna"` or'
            ' a Jinja file: the chat template that uses them; `""`: the model\'s own',
            resume="never",
        ),
    ] = ""

    @property
    def wanted(self) -> list[str]:
        """The tokens that there must be."""
        return list(dict.fromkeys([*(CHATML_TOKENS if self.template == CHATML else ()), *self.add]))


class Train(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How it is trained. What is "auto" the plan chooses (trainer.plan).

    4 bits are nf4 with double quantisation (QLoRA, arXiv:2305.14314), 8 are LLM.int8
    (arXiv:2208.07339). Float8 products: trainer.kernels.float8. NEFTune: arXiv:2310.05914.
    """

    method: Annotated[
        Method, key('`"lora"`, or `"full"` to train every weight; see below', resume="never")
    ] = "lora"
    base_bits: Annotated[
        BaseBits,
        key(
            'precision of the base model: 16, 8 or 4 (QLoRA); `"auto"`: 16 if it fits, else 4;'
            ' with `"full"`: 32, or 16 if you say so',
            resume="never",
        ),
    ] = "auto"
    float8: Annotated[
        Float8,
        key(
            "whether products with the frozen 16-bit weights are computed in float8: true (then"
            ' `"auto"` never chooses a 4-bit base), false, or `"auto"`: if it is measured or'
            " predicted to be faster ([engines.md](engines.md#float8-products))",
            resume="never",
        ),
    ] = "auto"
    compute_dtype: Annotated[
        ComputeDtype,
        key(
            'type that a CPU computes in: `"bfloat16"`, `"float32"`, or `"auto"` for whichever'
            " it multiplies faster ([plan.md](plan.md#on-a-cpu)); a GPU computes in bfloat16",
            resume="never",
        ),
    ] = "auto"

    epochs: Annotated[float, key("how many times the model sees each conversation", gt=0)] = 3.0
    learning_rate: Annotated[
        Literal["auto"] | Annotated[float, msgspec.Meta(gt=0)],
        key(
            'the peak learning rate; `"auto"`: chosen by method and size, [see'
            " below](#the-learning-rate); the run's frozen copy has the value",
            short="lr",
        ),
    ] = "auto"
    schedule: Annotated[
        Schedule, key('`"cosine"`, `"linear"` or `"constant"`, after the warm-up', short="")
    ] = "cosine"
    warmup: Annotated[Share, key("share of the steps in which the learning rate rises")] = 0.05
    weight_decay: Annotated[Factor, key("of AdamW", short="decay")] = 0.0
    max_gradient_norm: Annotated[
        float, key("gradients with a larger norm are clipped to this", short="clip", gt=0)
    ] = 1.0
    global_batch: Annotated[
        Positive, key("conversations per optimizer step", resume="never", short="batch")
    ] = 16
    micro_batch: Annotated[
        int,
        key(
            "conversations computed at once, a divisor of the global batch; 0: the plan chooses",
            resume="never",
            short="micro",
            ge=0,
        ),
    ] = 0
    max_length: Annotated[
        int,
        key(
            "in tokens; longer conversations are split at turn boundaries, or as"
            " `policy.too_long` says. The plan warns if this exceeds the model's positions or"
            " the server's context on this machine",
            short="length",
            ge=8,
        ),
    ] = 2048
    gradient_checkpointing: Annotated[
        Checkpointing,
        key(
            '`"none"`; `"standard"`: less memory, about a third slower; `"unsloth"`: even less,'
            ' with that engine; `"auto"`: none if it fits',
            resume="never",
        ),
    ] = "auto"
    padding_free: Annotated[
        Literal["auto"] | bool,
        key(
            "concatenate conversations instead of padding them to the longest; the same"
            " gradients with less work",
            resume="never",
        ),
    ] = "auto"
    attention: Annotated[
        Attention, key('`"sdpa"`, `"flex"`, or `"flash"` if it is installed', resume="never")
    ] = "auto"
    optimizer: Annotated[
        Optimizer,
        key(
            '`"adamw"` (torch\'s fused one), `"adamw_8bit"`, `"paged_adamw_8bit"`,'
            ' `"paged_adamw_32bit"` (bitsandbytes)',
            resume="never",
        ),
    ] = "auto"
    neftune_alpha: Annotated[
        Factor, key("noise on the embeddings in training (NEFTune); 0: none")
    ] = 0.0
    seed: Annotated[int, key("seed of the split, the order and the initial adapter", ge=0)] = 42


class Checkpoints(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When checkpoints are saved, which stay, and which one becomes the result."""

    every_steps: Annotated[int, key("after this many steps; 0: off", ge=0)] = 0
    every_minutes: Annotated[
        float,
        key("when this many minutes have passed since the last one; 0: off", ge=0),
    ] = 10.0
    keep: Annotated[Positive, key("how many of the newest stay; the best one stays too")] = 2
    result: Annotated[
        Literal["auto", "last", "best"],
        key(
            'the checkpoint that becomes the run\'s adapter: the `"last"`, or the `"best"` by'
            ' `evaluation.metric`; `"auto"`: the best with early stopping, else the last'
        ),
    ] = "auto"


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to train on what. Paths are relative to the recipe's own folder."""

    data: Annotated[
        list[str | Source],
        key(
            "a list of data files in any common format, folders of them, or data sets on the hub"
            " ([data.md](data.md)); a single one needs no brackets; an entry can be a table with"
            " the two keys below",
            default="required",
            min_length=1,
        ),
    ]
    model: Annotated[str, key("the base model", resume="never", short="")] = "builtin"
    start_from: Annotated[
        str,
        key(
            "a run, or the folder of an adapter, from which training starts instead of a fresh"
            " adapter; `[lora]` is then that adapter's. With DPO and KTO it is also the reference",
            resume="never",
            short="",
        ),
    ] = ""
    name: Annotated[
        str,
        key(
            "name of the run and of the tuned model",
            resume="free",
            default="the file's name",
            min_length=1,
            max_length=60,
        ),
    ] = "run"
    engine: Annotated[
        Engine,
        key(
            'the training library: `"unsloth"`, `"trl"`, or `"auto"` for the one that suits the'
            " machine and the model ([engines.md](engines.md))",
            resume="never",
        ),
    ] = "auto"
    gpus: Annotated[
        Positive | Literal["all"],
        key('how many GPUs of each machine the run uses, or `"all"`: [scale.md](scale.md)'),
    ] = 1
    sharding: Annotated[
        Sharding,
        key(
            'with several GPUs, whether each has the whole model (`"none"`) or a share of its'
            ' weights (`"fsdp2"`); `"auto"`: a share if nothing else fits'
            " ([scale.md](scale.md#a-model-that-fits-on-no-gpu))",
            resume="never",
        ),
    ] = "auto"
    share_gpu: Annotated[
        bool,
        key(
            "whether the run may share a GPU with other runs that have this set too, if its"
            " planned memory is free there",
            resume="free",
        ),
    ] = False
    certify: Annotated[
        bool,
        key(
            "whether Luthier makes a certificate when the run is done: a proof that the served"
            " model is the trained one ([certificate.md](certificate.md))",
            resume="free",
        ),
    ] = True
    objective: Annotated[Objective, key("what is learned from the data")] = Objective()
    train: Annotated[Train, key("how it is trained")] = Train()
    lora: Annotated[Lora, key("LoRA on every linear layer but the head")] = Lora()
    tokens: Annotated[Tokens, key("tokens that the base model does not have")] = Tokens()
    checkpoints: Annotated[
        Checkpoints,
        key(
            "Luthier saves one at each evaluation, at a stop and at the end"
            " ([runs.md](runs.md)); in addition:",
            resume="free",
        ),
    ] = Checkpoints()
    heldout: Annotated[
        Heldout,
        key("conversations kept out of training; never more than a quarter"),
    ] = Heldout()
    format: Annotated[
        Mapping,
        key("overrides the format that Luthier recognises from the rows ([data.md](data.md))"),
    ] = Mapping()
    policy: Annotated[
        Policies, key("what happens to odd rows; [data.md](data.md#policies) explains each policy")
    ] = Policies()
    mask: Annotated[Mask, key("which turns are trained")] = Mask()
    evaluation: Annotated[
        Evaluation, key("evaluations during the run; see below", resume="free")
    ] = Evaluation()
    guard: Annotated[
        Guard,
        key(
            "what the tuned model may lose against its base ([guard.md](guard.md)); if the recipe"
            " has this section, a guard follows the run",
            resume="free",
        ),
    ] = Guard()
    trackers: Annotated[Trackers, key("experiment trackers; see below", resume="free")] = Trackers()

    def check(self) -> None:
        """LuthierError for what a section says that cannot be."""
        self.trackers.check()
        self.guard.check()
        self.guard.settled(self.model)

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
            scoring=self.objective.scoring,
        )


def load(path: Path) -> Recipe:
    """Read a recipe file; its paths come back absolute. LuthierError names the file, the key and
    the nearest valid one."""
    text = read_text(path)
    return placed(parse(text, str(path)), path, has_name="name" in tomlkit.parse(text))


def read_text(path: Path) -> str:
    check_kind(path)
    try:
        return path.read_text(encoding="utf-8-sig")
    except IsADirectoryError:
        names = ", ".join(sorted(recipe.name for recipe in path.glob("*.toml"))[:3])
        hint = f"It contains {names}." if names else "`luthier data check` shows a folder of data."
        raise LuthierError("A folder, not a recipe", f"{path} is a folder.", hint) from None
    except (FileNotFoundError, NotADirectoryError):
        raise no_such_recipe(path) from None
    except OSError as error:
        raise LuthierError(
            "The recipe cannot be read", f"{path}: {error.strerror}.", "Check its permissions."
        ) from None
    except UnicodeDecodeError as error:
        raise LuthierError(
            "The recipe is not UTF-8", f"{path}, byte {error.start}.", "Save it as UTF-8."
        ) from None


def placed(recipe: Recipe, path: Path, *, has_name: bool) -> Recipe:
    """A recipe read from `path`, with its paths made absolute and, unless it `has_name` of its own,
    the file's."""
    folder = path.absolute().parent
    data = [_in_folder(entry, folder) for entry in recipe.data]
    model = str(_absolute(recipe.model, folder)) if _is_path(recipe.model, folder) else recipe.model
    start = recipe.start_from
    if _is_path(start, folder):
        start = str(_absolute(start, folder))
    teacher = recipe.objective.teacher
    if _is_path(teacher, folder):
        teacher = str(_absolute(teacher, folder))
    template = recipe.tokens.template
    tokens = (
        recipe.tokens
        if template in ("", *TEMPLATES)
        else Tokens(recipe.tokens.add, str(_absolute(template, folder)))
    )
    files = [str(_in_folder(entry, folder)) for entry in recipe.heldout.files]
    probes = [str(_absolute(entry, folder)) for entry in recipe.guard.probes]
    return msgspec.structs.replace(
        recipe,
        data=data,
        model=model,
        start_from=start,
        objective=msgspec.structs.replace(recipe.objective, teacher=teacher),
        tokens=tokens,
        heldout=msgspec.structs.replace(recipe.heldout, files=files),
        guard=msgspec.structs.replace(recipe.guard, probes=probes),
        name=recipe.name if has_name else path.stem,
    )


def parse(text: str, where: str) -> Recipe:
    """Decode TOML text strictly. `where` names it in errors."""
    return decode(parse_toml(text, where), where)


def parse_toml(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise other_recipe(text, Path(where), keys()) or no_toml(text, error, where) from None
    except RecursionError:
        raise LuthierError(
            "The recipe is not valid TOML",
            f"{where}: it is nested too deeply.",
            "A recipe has sections and values.",
        ) from None


def decode(values: dict[str, Any], where: str) -> Recipe:
    """A recipe of what its TOML text holds."""
    if isinstance(values.get("data"), str):
        values = {**values, "data": [values["data"]]}
    guard = values.get("guard")
    if isinstance(guard, dict):  # who writes the section wants one; a frozen copy has it always
        values = {**values, "guard": {"after_run": True, **guard}}
    check_keys(values, keys(), short_names(), where)
    try:
        return msgspec.convert(values, Recipe)
    except msgspec.ValidationError as error:
        raise wrong_value(str(error), where, values, Recipe) from None


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
        "/" in model and not is_url(model) and not why_missing(folder / model)
    )


def _absolute(entry: str, folder: Path) -> Path:
    path = expanded(entry)
    return path if path.is_absolute() else folder / path


def short_names() -> dict[str, str]:
    """The recipe's keys by what the runs of a sweep call them: "lr" is train.learning_rate."""
    return {each.facts.short: each.name for each in described_keys(Recipe) if each.facts.short}


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
