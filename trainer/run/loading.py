"""The base model with what is trained on it, as the recipe's method wants it, by transformers and
PEFT."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, set_seed

from jobs.luthier_error import LuthierError
from models.attention import implementation
from models.merge.experts import EXPERT_PARAMETERS
from models.new_tokens import add_rows
from trainer.plan.lora_targets import ALL_LINEAR
from trainer.plan.methods import check_installed
from trainer.plan.plan import Plan
from trainer.recipe import Recipe, Tokens
from trainer.run.tokens_and_template import new_token_ids

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_SHOWN_PARTS = 3  # of a parameter's name: mlp.experts.down_proj
_OF_MAMBA = ("A_log", "D", "out_proj")
# None of these names lets transformers fetch a kernel from the hub in place of a package that is
# missing.
ATTENTION = {"sdpa": "sdpa", "flex": "flex_attention", "flash": "flash_attention_2"}


def load_model(
    plan: Plan, recipe: Recipe, tokenizer: PreTrainedTokenizerBase
) -> PeftModel | PreTrainedModel:
    """The base model with a fresh adapter or the one it starts from, or to be trained itself;
    seeded. `tokenizer` is the run's (trainer.run.tokens_and_template)."""
    check_installed(plan.compute.base_bits, plan.compute.optimizer, plan.compute.attention)
    set_seed(recipe.train.seed)
    model = AutoModelForCausalLM.from_pretrained(plan.model_directory, **loading_options(plan))
    model.config.use_cache = False
    if plan.compute.base_bits == 4 and plan.device == "cpu":
        _keep_unpacked(model)
    added = (
        new_token_ids(tokenizer, Path(plan.model_directory)) if recipe.tokens != Tokens() else []
    )
    if added:
        add_rows(model, added)
    if recipe.train.method == "full":
        return model
    if recipe.start_from:
        return PeftModel.from_pretrained(
            model, recipe.start_from, is_trainable=True, local_files_only=True
        )
    try:
        return get_peft_model(model, lora_config(recipe, model, _places(model, added)))
    except ValueError as error:  # PEFT knows layers that no LoRA goes on, such as a router
        raise LuthierError(
            "LoRA does not fit this model",
            f"PEFT refuses lora.targets = {recipe.lora.targets!r}: {error}",
            'Name other layers in lora.targets, or leave it out, which means "all-linear".',
        ) from error


def loading_options(plan: Plan) -> dict[str, Any]:
    """What from_pretrained gets. A base that is trained itself has float32 weights unless the
    recipe says 16 bits: an update of less than 1/256 of a weight is lost in bfloat16. One that is
    multiplied with in float32 has them too, rather than be cast in each product."""
    in_float32 = plan.compute.base_bits == 32 or plan.compute.compute_dtype == "float32"
    quantised = quantization(plan.compute.base_bits)
    return {
        "dtype": torch.float32 if in_float32 else torch.bfloat16,
        "attn_implementation": implementation(
            Path(plan.model_directory), ATTENTION[plan.compute.attention]
        ),
        "local_files_only": True,
        "use_safetensors": True,
        **({} if quantised is None else {"quantization_config": quantised}),
        **(
            {}
            if quantised is None or plan.device == "cpu"
            else {"device_map": {"": torch.cuda.current_device()}}
        ),
    }


def quantization(bits: int) -> BitsAndBytesConfig | None:
    """How bitsandbytes stores the base: QLoRA's nf4 with its constants quantised too, LLM.int8, or
    not at all.

    PEFT's prepare_model_for_kbit_training is not called: what it does beyond get_peft_model is to
    copy norms, embeddings and head into float32, 2 GB more for a model of 8B, which autocast takes
    back to bfloat16 wherever they are multiplied."""
    if bits == 4:
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
    return BitsAndBytesConfig(load_in_8bit=True) if bits == 8 else None


def lora_config(
    recipe: Recipe, model: PreTrainedModel, new_rows: dict[str, list[int]] | None = None
) -> LoraConfig:
    """What PEFT is to put on the base model. `new_rows`: by the name of an embedding the rows that
    are trained with it."""
    lora = recipe.lora
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=_linear_layers(model) if lora.targets == ALL_LINEAR else lora.targets,
        target_parameters=_experts(model) if lora.experts else None,
        exclude_modules=_left_alone(model) if lora.targets == ALL_LINEAR else None,
        use_rslora=lora.rslora,
        use_dora=lora.dora,
        trainable_token_indices=new_rows or None,
        task_type="CAUSAL_LM",
    )


def _linear_layers(model: PreTrainedModel) -> str | list[str]:
    """ "all-linear" as PEFT takes it; of some mixtures PEFT would make of it the router and the
    experts, too."""
    config = LoraConfig(target_modules=ALL_LINEAR)
    convert_peft_config_for_transformers(config, model, None)
    targets = config.target_modules
    return ALL_LINEAR if isinstance(targets, str) or targets is None else sorted(targets)


def _left_alone(model: PreTrainedModel) -> list[str] | None:
    """How the names of linear layers end that a LoRA layer cannot replace.

    Llama 4's router returns two tensors. The kernels of Mamba layers read the weights of `out_proj`
    past the layer: the adapter would be part of the model on a CPU and not on a GPU."""
    names = set()
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and name.endswith(".router"):
            names.add("router")
        if all(hasattr(module, part) for part in _OF_MAMBA):
            names.add(f"{name.rpartition('.')[2]}.out_proj")
    return sorted(names) or None


def _experts(model: PreTrainedModel) -> list[str]:
    """How the names of the matrices of its experts end, each one parameter for a whole layer."""
    return sorted(
        {
            ".".join(name.split(".")[-_SHOWN_PARTS:])
            for name, parameter in model.named_parameters()
            if parameter.dim() == 3 and name.rpartition(".")[2] in EXPERT_PARAMETERS
        }
    )


def _places(model: PreTrainedModel, tokens: list[int]) -> dict[str, list[int]]:
    """New tokens by the names of the embeddings that need them: PEFT gives the second of a tied
    pair the rows of the first."""
    if not tokens:
        return {}
    inside, outside = model.get_input_embeddings(), model.get_output_embeddings()
    layers = [inside] if outside.weight is inside.weight else [inside, outside]
    return {
        name: tokens
        for name, module in model.named_modules()
        if any(module is layer for layer in layers)
    }


def _keep_unpacked(model: PreTrainedModel) -> None:
    """An evaluation would have bitsandbytes pack 4-bit weights for the CPU's AVX-512, which the
    next training step cannot read."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
