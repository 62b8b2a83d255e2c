"""The settings of other tools, in a recipe's terms: theirs to ours, with the value translated, or
why there is none. Light.

The names are those of transformers' TrainingArguments and TRL's SFTConfig, PEFT's LoraConfig,
axolotl, LLaMA-Factory, Unsloth and torchtune. A name that several share is said to be the one's in
which it is best known.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from models.hub_names import HUB, hub_name

Values = dict[str, Any]
"""Our keys ("train.epochs") with their values."""
TRL, TRANSFORMERS, PEFT = "TRL", "transformers", "PEFT"
AXOLOTL, FACTORY, UNSLOTH, TORCHTUNE = "axolotl", "LLaMA-Factory", "Unsloth", "torchtune"


class Setting(NamedTuple):
    """`ours` is the key that it is here, "" where there is none. `translate` makes our values of
    theirs, with all that stands beside it; nothing where the default does the same. `why` is what
    there is to know, a whole sentence."""

    tool: str
    ours: str = ""
    translate: Callable[[Any, Mapping[str, Any]], Values] | None = None
    why: str = ""


class Untranslatable(Exception):
    """A value that has no counterpart. The text says which values there are."""


def translated(name: str, value: Any, beside: Mapping[str, Any]) -> Values:
    """Our values of one of their settings. Raises Untranslatable."""
    setting = SETTINGS[name]
    if setting.translate is None:
        return {}
    try:
        return setting.translate(value, beside)
    except (TypeError, ValueError, KeyError, AttributeError):
        raise Untranslatable(f"{value!r} has no counterpart here") from None


def explained(name: str, value: Any, beside: Mapping[str, Any]) -> str:
    """What one of their settings is here, as a sentence; a line to paste where there is one."""
    setting = SETTINGS[name]
    subject = f"{setting.tool}'s {name}"
    if not setting.ours:
        return f"{subject} has no counterpart: {setting.why}"
    why = f" ({setting.why.rstrip('.')})" if setting.why else ""
    try:
        values = translated(name, value, beside)
    except Untranslatable as error:
        return f"{subject} is called {setting.ours} here, but {error}{why}."
    if not values:
        return (
            f"{subject} is called {setting.ours} here. Leave it out: the default does the"
            f" same{why}."
        )
    lines = ", ".join(
        f"{key.rpartition('.')[2]} = {toml_value(translation)}"
        for key, translation in values.items()
    )
    return f"{subject} is {setting.ours} here: {lines}{why}."


def as_recipe(values: Values) -> str:
    """The TOML text of a recipe with these values."""
    sections: dict[str, list[str]] = {}
    for key, value in values.items():
        section, _, name = key.rpartition(".")
        sections.setdefault(section, []).append(f"{name} = {toml_value(value)}")
    top = sections.pop("", [])
    parts = ["\n".join(top)] if top else []
    parts += [f"[{section}]\n" + "\n".join(lines) for section, lines in sections.items()]
    return "\n\n".join(parts)


def toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'"{escaped}"'
    return re.sub(r"e-0*", "e-", repr(value))


# ---- translations


def _as(key: str, convert: Callable[[Any], Any]) -> Callable[[Any, Mapping[str, Any]], Values]:
    return lambda value, beside: {key: convert(value)}


def number(value: Any) -> float:
    """Also of text: YAML takes 2e-4 for one. Raises TypeError and ValueError."""
    if isinstance(value, bool):
        raise TypeError(value)
    parsed = float(value) if not isinstance(value, int) else value
    if isinstance(parsed, float) and not math.isfinite(parsed):
        raise ValueError(value)
    return int(parsed) if re.fullmatch(r"-?\d+", str(value).strip()) else parsed


def _whole(value: Any) -> int:
    parsed = number(value)
    if parsed != int(parsed):
        raise ValueError(value)
    return int(parsed)


def _one_of(key: str, choices: dict[Any, Any]) -> Callable[[Any, Mapping[str, Any]], Values]:
    """`choices` are theirs to ours; None for what the default does."""

    def translate(value: Any, beside: Mapping[str, Any]) -> Values:
        option = value.lower() if isinstance(value, str) else value
        if option not in choices:
            values = (toml_value(choice) for choice in choices.values() if choice is not None)
            raise Untranslatable(f"it takes {', '.join(dict.fromkeys(values))}")
        return {} if choices[option] is None else {key: choices[option]}

    return translate


def _micro_batch(value: Any, beside: Mapping[str, Any]) -> Values:
    size = _whole(value)
    accumulation = _whole(beside.get("gradient_accumulation_steps", 1))
    return {"train.global_batch": size * accumulation, "train.micro_batch": size}


def _accumulation(value: Any, beside: Mapping[str, Any]) -> Values:
    size = next((beside[name] for name in _MICRO_BATCHES if name in beside), None)
    if size is None:
        raise Untranslatable("that is this value times the conversations at a time times the GPUs")
    return {"train.global_batch": _whole(size) * _whole(value)}


def _lora_linear(value: Any, beside: Mapping[str, Any]) -> Values:
    return {"lora.targets": "all-linear"} if value else {}


def _targets(value: Any, beside: Mapping[str, Any]) -> Values:
    names = [name.strip() for name in value.split(",")] if isinstance(value, str) else [*value]
    if names in (["all"], ["all-linear"]):
        return {}
    return {"lora.targets": [str(name) for name in names]}


def _model(value: Any, beside: Mapping[str, Any]) -> Values:
    """A model of the hub has its own name here, once it is imported."""
    name = str(value)
    return {"model": hub_name(name).partition("/")[2] or name}


def _data(value: Any, beside: Mapping[str, Any]) -> Values:
    entries = [*value] if isinstance(value, list) else [value]
    paths = [str(entry["path"] if isinstance(entry, dict) else entry).strip() for entry in entries]
    return {"data": [f"{HUB}{hub_name(path)}" if hub_name(path) else path for path in paths]}


def _factory_data(value: Any, beside: Mapping[str, Any]) -> Values:
    """A path or a name of the hub; LLaMA-Factory's own names stand in its dataset_info.json."""
    names = [name.strip() for name in value.split(",")] if isinstance(value, str) else [*value]
    if not all(isinstance(name, str) and ("/" in name or "." in name) for name in names):
        raise Untranslatable(
            f"{value!r} is a name from that tool's registry: name its files instead, as in data ="
            ' ["train.jsonl"]'
        )
    return _data(names, beside)


def _held_out(value: Any, beside: Mapping[str, Any]) -> Values:
    share = number(value)
    if share == 0:
        return {"heldout.share": 0.0, "heldout.at_least": 0}
    return (
        {"heldout.share": share}
        if share < 1
        else {"heldout.at_least": int(share), "heldout.at_most": int(share)}
    )


def _steps_or_epoch(key: str, off: Values) -> Callable[[Any, Mapping[str, Any]], Values]:
    def translate(value: Any, beside: Mapping[str, Any]) -> Values:
        if value in ("no", False, None):
            return off
        return {key: "epoch"} if value == "epoch" else {}

    return translate


def _bits(count: int) -> Callable[[Any, Mapping[str, Any]], Values]:
    return lambda value, beside: {"train.base_bits": count} if value else {}


def _adapter(value: Any, beside: Mapping[str, Any]) -> Values:
    if value in ("qlora", "lora"):
        return {"train.method": "lora", **({"train.base_bits": 4} if value == "qlora" else {})}
    if value in ("", None):
        return {"train.method": "full"}
    raise Untranslatable('it takes "lora" or "full"')


def _reported(value: Any, beside: Mapping[str, Any]) -> Values:
    names = [value] if isinstance(value, str) else [*value]
    return {"trackers.report_to": [name for name in names if name not in ("none", "all")]}


def _project(value: Any, beside: Mapping[str, Any]) -> Values:
    return {"trackers.report_to": ["wandb"], "trackers.project": str(value)} if value else {}


def _checkpointing(value: Any, beside: Mapping[str, Any]) -> Values:
    return {
        "train.gradient_checkpointing": {"unsloth": "unsloth", True: "standard", False: "none"}[
            value
        ]
    }


def _whole_text(value: Any, beside: Mapping[str, Any]) -> Values:
    return {"mask.turns": "everything"} if value else {}


_MICRO_BATCHES = (
    "per_device_train_batch_size",
    "micro_batch_size",
    "batch_size",
    "train_batch_size",
)
_SCHEDULES = {
    "cosine": "cosine",
    "linear": "linear",
    "constant": "constant",
    "constant_with_warmup": "constant",
}
_OPTIMIZERS = {
    **dict.fromkeys(
        ("adamw", "adam", "adamw_hf", "adamw_torch", "adamw_torch_fused", "adamw_apex_fused"),
        "adamw",
    ),
    **dict.fromkeys(("adamw_8bit", "adamw_bnb_8bit"), "adamw_8bit"),
    **dict.fromkeys(("paged_adamw", "paged_adamw_32bit"), "paged_adamw_32bit"),
    "paged_adamw_8bit": "paged_adamw_8bit",
}
_ATTENTION: dict[Any, str | None] = {
    **dict.fromkeys(("flash_attention_2", "fa2", "flash", True), "flash"),
    **dict.fromkeys(("auto", False, None), None),
    "sdpa": "sdpa",
    "flex_attention": "flex",
}
_METHODS = {"lora": "lora", "full": "full", "qlora": "lora"}
_PRECISION = "Luthier computes in bfloat16 and keeps what is trained in float32."
_PACKED = "padding_free works without padding, and no conversation sees another one."
_STEPS = (
    "a run's length is train.epochs. An epoch has as many steps as there are conversations for each"
    " train.global_batch; `luthier plan` shows how many steps an epoch count makes."
)
_IMPORTED = (
    "run `luthier models import hub:owner/name` first: it downloads the model under that name"
)
_OWN_FOLDER = "each run has a folder of its own in $LUTHIER_HOME/jobs; `name` names it."
_BY_ITSELF = "Luthier handles that by itself. Leave it out."
_NO_MODULES = "apart from LoRA's own weights, only the embeddings of [tokens] are trained."
_COUNTED = "train.global_batch counts all the conversations of a step"
_ALL_BATCHES = "evaluations use the micro-batch of training."


# What has the same name in other tools as here, with the value translated.
SHARED: dict[str, Callable[[Any, Mapping[str, Any]], Values]] = {
    "learning_rate": _as("train.learning_rate", number),
    "weight_decay": _as("train.weight_decay", number),
    "seed": _as("train.seed", _whole),
    "epochs": _as("train.epochs", number),
    "max_length": _as("train.max_length", _whole),
    "schedule": _one_of("train.schedule", _SCHEDULES),
    "attention": _one_of("train.attention", _ATTENTION),
    "optimizer": _one_of("train.optimizer", _OPTIMIZERS),
    "gradient_checkpointing": _checkpointing,
    "r": _as("lora.r", _whole),
    "report_to": _reported,
}


def _same(
    tool: str, ours: str, convert: Callable[[Any], Any], *names: str, why: str = ""
) -> dict[str, Setting]:
    return {name: Setting(tool, ours, _as(ours, convert), why) for name in names}


def _none(tool: str, why: str, *names: str) -> dict[str, Setting]:
    return {name: Setting(tool, why=why) for name in names}


SETTINGS: dict[str, Setting] = {
    # model and data
    "model_name_or_path": Setting(TRANSFORMERS, "model", _model, _IMPORTED),
    "pretrained_model_name_or_path": Setting(TRANSFORMERS, "model", _model, _IMPORTED),
    "base_model": Setting(AXOLOTL, "model", _model, _IMPORTED),
    "model_name": Setting(UNSLOTH, "model", _model, _IMPORTED),
    **_same(TORCHTUNE, "model", str, "checkpoint_dir"),
    "datasets": Setting(AXOLOTL, "data", _data),
    "dataset": Setting(FACTORY, "data", _factory_data),
    **{
        name: Setting(TRL, "data", _data)
        for name in (
            "dataset_name",
            "dataset_path",
            "train_file",
            "train_files",
            "data_files",
            "data_path",
        )
    },
    "test_datasets": Setting(
        AXOLOTL, why="held-out conversations come from `data`; [heldout] says how many."
    ),
    "val_set_size": Setting(AXOLOTL, "heldout.share", _held_out),
    "val_size": Setting(FACTORY, "heldout.share", _held_out),
    "test_size": Setting("scikit-learn", "heldout.share", _held_out),
    **_none(FACTORY, "`data` names the files themselves.", "dataset_dir"),
    **_none(
        TRL,
        "Luthier recognises the format from the rows; [format] overrides that (docs/data.md).",
        "dataset_text_field",
        "formatting_func",
    ),
    **_none(
        FACTORY,
        "the model's own chat template is used; [tokens] template sets another one.",
        "template",
    ),
    "chat_template": Setting(
        AXOLOTL,
        "tokens.template",
        _one_of("tokens.template", {"chatml": "chatml", "tokenizer_default": None}),
        "the model's own chat template is used unless this sets another one.",
    ),
    # length and batches
    **_same(TRL, "train.max_length", _whole, "max_seq_length", "model_max_length"),
    **_same(AXOLOTL, "train.max_length", _whole, "sequence_len"),
    **_same(FACTORY, "train.max_length", _whole, "cutoff_len"),
    **_same(TORCHTUNE, "train.max_length", _whole, "max_seq_len"),
    "per_device_train_batch_size": Setting(TRL, "train.micro_batch", _micro_batch, _COUNTED),
    "train_batch_size": Setting(TRL, "train.micro_batch", _micro_batch, _COUNTED),
    "micro_batch_size": Setting(AXOLOTL, "train.micro_batch", _micro_batch, _COUNTED),
    "batch_size": Setting(TORCHTUNE, "train.micro_batch", _micro_batch, _COUNTED),
    "gradient_accumulation_steps": Setting(TRL, "a factor of train.global_batch", _accumulation),
    **_none(TRL, _ALL_BATCHES, "per_device_eval_batch_size", "eval_batch_size"),
    **{
        name: Setting(AXOLOTL, "train.padding_free", lambda value, _: {}, _PACKED)
        for name in ("sample_packing", "eval_sample_packing")
    },
    "pad_to_sequence_len": Setting(AXOLOTL, "train.padding_free", lambda value, _: {}, _PACKED),
    "packing": Setting(TRL, "train.padding_free", lambda value, _: {}, _PACKED),
    "neat_packing": Setting(FACTORY, "train.padding_free", lambda value, _: {}, _PACKED),
    # duration
    **_same(TRL, "train.epochs", number, "num_train_epochs"),
    **_same(AXOLOTL, "train.epochs", number, "num_epochs"),
    **_none(TRL, _STEPS, "max_steps"),
    **_none(TORCHTUNE, _STEPS, "max_steps_per_epoch"),
    # optimisation
    **_same(TORCHTUNE, "train.learning_rate", number, "lr"),
    "lr_scheduler_type": Setting(TRL, "train.schedule", _one_of("train.schedule", _SCHEDULES)),
    "lr_scheduler": Setting(AXOLOTL, "train.schedule", _one_of("train.schedule", _SCHEDULES)),
    **_same(TRL, "train.warmup", number, "warmup_ratio"),
    **_none(
        TRL,
        "train.warmup is a share of all steps, for example warmup = 0.05.",
        "warmup_steps",
        "num_warmup_steps",
    ),
    **_same(TRL, "train.max_gradient_norm", number, "max_grad_norm"),
    **_same(AXOLOTL, "train.max_gradient_norm", number, "gradient_clipping"),
    **_same(TORCHTUNE, "train.max_gradient_norm", number, "clip_grad_norm"),
    "optim": Setting(TRL, "train.optimizer", _one_of("train.optimizer", _OPTIMIZERS)),
    **_same(TRL, "train.neftune_alpha", number, "neftune_noise_alpha"),
    **_same(AXOLOTL, "train.neftune_alpha", number, "noisy_embedding_alpha"),
    **_same(UNSLOTH, "train.seed", _whole, "random_state"),
    **_same(TRL, "train.seed", _whole, "data_seed"),
    **_none(
        TRL, "AdamW's betas and epsilon are torch's.", "adam_beta1", "adam_beta2", "adam_epsilon"
    ),
    **_none(
        TRL,
        _PRECISION,
        "bf16",
        "fp16",
        "tf32",
        "torch_dtype",
        "dtype",
        "precision",
        "half_precision_backend",
        "pure_bf16",
    ),
    # method and adapter
    "finetuning_type": Setting(FACTORY, "train.method", _one_of("train.method", _METHODS)),
    "full_finetuning": Setting(
        UNSLOTH, "train.method", lambda value, _: {"train.method": "full"} if value else {}
    ),
    "adapter": Setting(AXOLOTL, "train.method", _adapter),
    "use_peft": Setting(
        TRL, "train.method", lambda value, _: {"train.method": "lora" if value else "full"}
    ),
    "load_in_4bit": Setting(UNSLOTH, "train.base_bits", _bits(4)),
    "load_in_8bit": Setting(UNSLOTH, "train.base_bits", _bits(8)),
    "load_in_16bit": Setting(UNSLOTH, "train.base_bits", _bits(16)),
    "quantization_bit": Setting(
        FACTORY, "train.base_bits", _one_of("train.base_bits", {4: 4, 8: 8, 16: 16})
    ),
    **_same(PEFT, "lora.r", _whole, "lora_r"),
    **_same(FACTORY, "lora.r", _whole, "lora_rank"),
    **_same(TORCHTUNE, "lora.r", _whole, "rank"),
    **_same(PEFT, "lora.alpha", _whole, "lora_alpha"),
    **_same(PEFT, "lora.dropout", number, "lora_dropout"),
    "target_modules": Setting(PEFT, "lora.targets", _targets),
    "lora_target_modules": Setting(AXOLOTL, "lora.targets", _targets),
    "lora_target": Setting(FACTORY, "lora.targets", _targets),
    "lora_target_linear": Setting(AXOLOTL, "lora.targets", _lora_linear),
    "use_rslora": Setting(PEFT, "lora.rslora", _as("lora.rslora", bool)),
    "use_dora": Setting(PEFT, "lora.dora", _as("lora.dora", bool)),
    "peft_use_dora": Setting(AXOLOTL, "lora.dora", _as("lora.dora", bool)),
    **_same(FACTORY, "lora.plus_ratio", number, "loraplus_lr_ratio"),
    **_none(PEFT, _NO_MODULES, "modules_to_save", "lora_modules_to_save", "additional_target"),
    **_none(
        PEFT,
        _BY_ITSELF,
        "task_type",
        "bias",
        "fan_in_fan_out",
        "inference_mode",
        "peft_type",
        "init_lora_weights",
        "loftq_config",
    ),
    "attn_implementation": Setting(
        TRANSFORMERS, "train.attention", _one_of("train.attention", _ATTENTION)
    ),
    "flash_attention": Setting(AXOLOTL, "train.attention", _one_of("train.attention", _ATTENTION)),
    "flash_attn": Setting(FACTORY, "train.attention", _one_of("train.attention", _ATTENTION)),
    "use_gradient_checkpointing": Setting(UNSLOTH, "train.gradient_checkpointing", _checkpointing),
    **_none(TRL, _BY_ITSELF, "gradient_checkpointing_kwargs", "model_init_kwargs"),
    # the loss
    "train_on_inputs": Setting(AXOLOTL, "mask.turns", _whole_text),
    "train_on_prompt": Setting(FACTORY, "mask.turns", _whole_text),
    "mask_history": Setting(
        FACTORY, "mask.turns", lambda value, _: {"mask.turns": "last"} if value else {}
    ),
    "assistant_only_loss": Setting(
        TRL, "mask.turns", lambda value, _: {} if value else {"mask.turns": "everything"}
    ),
    "completion_only_loss": Setting(
        TRL, "mask.turns", lambda value, _: {} if value else {"mask.turns": "everything"}
    ),
    # checkpoints and evaluation
    **_same(TRL, "checkpoints.every_steps", _whole, "save_steps"),
    **_same(TRL, "checkpoints.keep", _whole, "save_total_limit"),
    **_none(
        TRL,
        "Luthier saves checkpoints at each evaluation, every ten minutes and at the end;"
        " [checkpoints] changes that.",
        "save_strategy",
    ),
    **_none(
        AXOLOTL,
        "Luthier saves a checkpoint at each evaluation; [evaluation] times says how many.",
        "saves_per_epoch",
    ),
    **_same(TRL, "evaluation.every", _whole, "eval_steps"),
    **{
        name: Setting(
            TRL, "evaluation.every", _steps_or_epoch("evaluation.every", {"evaluation.times": 0})
        )
        for name in ("eval_strategy", "evaluation_strategy")
    },
    **_none(AXOLOTL, "[evaluation] times says how often in the whole run.", "evals_per_epoch"),
    "load_best_model_at_end": Setting(
        TRL,
        "checkpoints.result",
        lambda value, _: {"checkpoints.result": "best" if value else "last"},
    ),
    **_same(TRL, "evaluation.patience", _whole, "early_stopping_patience"),
    "metric_for_best_model": Setting(
        TRL,
        "evaluation.metric",
        _one_of("evaluation.metric", {"loss": "loss", "eval_loss": "loss"}),
    ),
    **_none(
        TRL,
        "the direction is fixed: lower is better for loss, higher for the others.",
        "greater_is_better",
    ),
    **_none(
        TRL,
        "`luthier resume ID` continues from a run's newest checkpoint.",
        "resume_from_checkpoint",
        "auto_resume_from_checkpoints",
    ),
    # the run
    **_same(TRL, "name", str, "run_name"),
    **_none(TRL, _OWN_FOLDER, "output_dir", "overwrite_output_dir", "logging_dir"),
    **_none(
        AXOLOTL,
        "Luthier caches prepared data by itself.",
        "dataset_prepared_path",
        "last_run_prepared_path",
    ),
    **_none(
        TRL, "Luthier logs every step.", "logging_steps", "logging_first_step", "logging_strategy"
    ),
    **_none(FACTORY, "`luthier chart` draws the loss.", "plot_loss"),
    "wandb_project": Setting(AXOLOTL, "trackers.project", _project),
    **_none(
        AXOLOTL,
        "a tracker gets the job's id as the run's name; [trackers] has the other settings.",
        "wandb_name",
        "wandb_run_id",
        "wandb_entity",
    ),
    **_none(
        TRL,
        "`luthier models push` publishes a result.",
        "push_to_hub",
        "hub_model_id",
        "hub_strategy",
        "hub_token",
        "hub_private_repo",
    ),
    **_same(TRANSFORMERS, "gpus", _whole, "num_gpus", "n_gpu", "nproc_per_node", "num_processes"),
    **_none(
        TRL,
        'sharding = "fsdp2" splits a model over the GPUs; without it the plan decides.',
        "deepspeed",
        "fsdp",
        "fsdp_config",
    ),
    **_none(
        FACTORY,
        "Luthier trains on conversations, which is supervised fine-tuning.",
        "stage",
        "do_train",
        "do_eval",
    ),
    **_none(
        TRANSFORMERS,
        "it is off: Luthier does not train models that bring their own code.",
        "trust_remote_code",
    ),
    **_none(
        FACTORY,
        'an entry of `data` can have a weight: {path = "a.jsonl", weight = 0.1} uses a tenth of'
        " it.",
        "max_samples",
    ),
    **_none(
        TRL,
        _BY_ITSELF,
        "group_by_length",
        "dataloader_num_workers",
        "preprocessing_num_workers",
        "dataset_num_proc",
        "remove_unused_columns",
        "ddp_find_unused_parameters",
        "ddp_timeout",
        "dataloader_pin_memory",
        "disable_tqdm",
        "include_num_input_tokens_seen",
    ),
    **_none(
        AXOLOTL,
        _BY_ITSELF,
        "strict",
        "special_tokens",
        "tokenizer_type",
        "model_type",
        "tokenizer_config",
        "is_llama_derived_model",
        "liger_plugin",
        "plugins",
        "xformers_attention",
        "overwrite_cache",
        "local_rank",
    ),
}
