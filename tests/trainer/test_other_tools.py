"""Settings of other tools in a recipe, whole recipes of theirs, and other files that are no recipe:
each is told with what to write."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from jobs.luthier_error import LuthierError
from trainer import other_tools
from trainer.other_tools import SETTINGS, Untranslatable
from trainer.recipe import Recipe, decode, keys, load, parse, parse_toml
from trainer.sweep import load_runs


def told(text: str) -> LuthierError:
    with pytest.raises(LuthierError) as caught:
        parse(f'data = ["x"]\n{text}', "my.toml")
    return caught.value


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (
            "[train]\nnum_train_epochs = 3",
            "TRL's num_train_epochs is train.epochs here: epochs = 3.",
        ),
        (
            "[train]\nmax_steps = 60",
            "TRL's max_steps has no counterpart: a run's length is train.epochs.",
        ),
        (
            "[train]\nsave_steps = 50",
            "TRL's save_steps is checkpoints.every_steps here: every_steps = 50.",
        ),
        (
            "[train]\nper_device_train_batch_size = 2",
            "is train.micro_batch here: global_batch = 2, micro_batch = 2",
        ),
        (
            "[train]\ngradient_accumulation_steps = 4",
            "this value times the conversations at a time times the GPUs",
        ),
        ("[train]\nwarmup_ratio = 0.1", "warmup = 0.1"),
        ("[train]\nwarmup_steps = 10", "train.warmup is a share of all steps"),
        ('[train]\nlr_scheduler_type = "cosine"', 'schedule = "cosine"'),
        ('[train]\nlr_scheduler_type = "polynomial"', 'it takes "cosine", "linear", "constant"'),
        ('[train]\noptim = "paged_adamw_8bit"', 'optimizer = "paged_adamw_8bit"'),
        ("[train]\nbf16 = true", "Luthier computes in bfloat16"),
        (
            "max_seq_length = 4096",
            "TRL's max_seq_length is train.max_length here: max_length = 4096.",
        ),
        (
            "sequence_len = 4096",
            "axolotl's sequence_len is train.max_length here: max_length = 4096.",
        ),
        (
            "cutoff_len = 4096",
            "LLaMA-Factory's cutoff_len is train.max_length here: max_length = 4096.",
        ),
        (
            "sample_packing = true",
            "axolotl's sample_packing is called train.padding_free here. Leave it out",
        ),
        ("load_in_4bit = true", "Unsloth's load_in_4bit is train.base_bits here: base_bits = 4."),
        ("load_in_4bit = false", "Leave it out: the default does the same"),
        (
            'finetuning_type = "full"',
            'LLaMA-Factory\'s finetuning_type is train.method here: method = "full".',
        ),
        ('finetuning_type = "freeze"', 'it takes "lora", "full"'),
        (
            'base_model = "Qwen/Qwen3-0.6B"',
            (
                'axolotl\'s base_model is model here: model = "Qwen3-0.6B" (run `luthier models'
                " import"
            ),
        ),
        ('dataset_name = "tatsu-lab/alpaca"', 'data = ["hub:tatsu-lab/alpaca"]'),
        ('dataset = "identity,alpaca_en"', "is a name from that tool's registry: name its files"),
        ("val_set_size = 0.1", "axolotl's val_set_size is heldout.share here: share = 0.1."),
        ("[lora]\nlora_alpha = 16", "PEFT's lora_alpha is lora.alpha here: alpha = 16."),
        ("[lora]\nrank = 8", "torchtune's rank is lora.r here: r = 8."),
        ('target_modules = ["q_proj"]', 'targets = ["q_proj"]'),
        ('lora_target = "q_proj,v_proj"', 'targets = ["q_proj", "v_proj"]'),
        ('lora_alpha = "many"', "'many' has no counterpart here"),
        ("[train]\nlr = 1e-4", "train.learning_rate here: learning_rate = 0.0001"),
    ],
)
def test_a_setting_of_another_tool_is_told_with_our_key_and_the_line_to_paste(
    text: str, hint: str
) -> None:
    error = told(text)
    assert "unknown key" in error.message
    assert hint in error.hint


def test_all_of_one_file_stand_in_one_error_with_the_recipe_to_paste() -> None:
    error = told(
        "lora_r = 8\nepochs = 2\n[train]\nper_device_train_batch_size ="
        " 2\ngradient_accumulation_steps = 4\nmax_steps = 60\nlearnig_rate ="
        " 1e-4\n[training]\nsave_steps = 50\nweight_decay = 0.01\n"
    )
    for key in (
        "lora_r",
        "train.max_steps",
        "train.learnig_rate",
        "training",
        "save_steps",
        "epochs",
    ):
        assert key in error.message
    for part in (
        "has no counterpart",
        "did you mean train.learning_rate?",
        "training: did you mean train?",
        "epochs belongs to [train].",
    ):
        assert part in error.hint
    pasted = parse_toml(error.hint.partition("In a recipe:\n")[2], "pasted")
    assert pasted == {
        "train": {"epochs": 2, "global_batch": 8, "micro_batch": 2, "weight_decay": 0.01},
        "lora": {"r": 8},
        "checkpoints": {"every_steps": 50},
    }


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("[train]\ngradient_checkpointing = true", 'Write gradient_checkpointing = "standard".'),
        ('[train]\nlearning_rate = "2e-4"', "Write learning_rate = 0.0002."),
        ('[train]\noptimizer = "adamw_torch"', 'Write optimizer = "adamw".'),
        ('[train]\nschedule = "constant_with_warmup"', 'Write schedule = "constant".'),
        ('[train]\nattention = "flash_attention_2"', 'Write attention = "flash".'),
        ('[train]\nepochs = "3"', "Write epochs = 3."),
        ('[heldout]\nshare = "0.1"', "Write share = 0.1."),
        ('[trackers]\nreport_to = "none"', "Write report_to = []."),
        ('[train]\nschedule = "sine"', "docs/recipe.md lists them."),
        ("[train]\nepochs = true", "docs/recipe.md lists them."),
    ],
)
def test_a_value_of_another_tool_in_a_key_of_ours_is_told_with_the_line_to_write(
    text: str, hint: str
) -> None:
    assert told(text).hint == hint


@pytest.mark.parametrize(
    "key", ["save_step", "max_stepz", "zzz", "grad_accum", "foo_bar", "x", "n_layers", "bits"]
)
def test_what_is_near_nothing_gets_no_proposal(key: str) -> None:
    assert "Did you mean" not in told(f"[train]\n{key} = 1").hint


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("[train]\nepoch = 1", "Did you mean train.epochs?"),
        ("[train]\ndrop_out = 0.1", "Did you mean lora.dropout?"),
        ("epoch = 1", "Did you mean train.epochs?"),
        ("[train]\nmax_lenght = 1", "Did you mean train.max_length?"),
        ("[evalution]\ntimes = 1", "Did you mean evaluation?"),
    ],
)
def test_a_misspelt_key_is_sought_in_all_sections(text: str, meant: str) -> None:
    assert told(text).hint == meant


def test_every_translation_is_a_key_of_ours() -> None:
    known = {f"{section}.{key}".lstrip(".") for section, names in keys().items() for key in names}
    samples = (
        1,
        0.5,
        True,
        "cosine",
        "adamw_torch",
        "lora",
        "chatml",
        "no",
        "a/b",
        ["q_proj"],
        4,
        "epoch",
        "sdpa",
        "eval_loss",
        "unsloth",
        "x",
    )
    for name in SETTINGS:
        assert name not in keys()[""] and name not in keys()["train"]
        for value in samples:
            try:
                assert other_tools.translated(name, value, {name: value}).keys() <= known
            except Untranslatable:
                continue
            assert other_tools.explained(name, value, {name: value}).endswith(".")


AXOLOTL = """
base_model: NousResearch/Llama-3.2-1B
load_in_4bit: true
datasets:
  - path: teknium/GPT4-LLM-Cleaned
    type: alpaca
val_set_size: 0.1
output_dir: ./outputs/qlora-out
adapter: qlora
sequence_len: 2048
sample_packing: true
lora_r: 32
lora_alpha: 16
lora_target_modules: [gate_proj, down_proj]
gradient_accumulation_steps: 4
micro_batch_size: 2
num_epochs: 1
optimizer: adamw_8bit
lr_scheduler: cosine
learning_rate: 2e-4
gradient_checkpointing: true
warmup_ratio: 0.1
"""
FACTORY = """
### model
model_name_or_path: meta-llama/Meta-Llama-3-8B-Instruct
stage: sft
finetuning_type: lora
lora_target: all
dataset: data/mine.json
template: llama3
cutoff_len: 2048
per_device_train_batch_size: 1
gradient_accumulation_steps: 8
learning_rate: 1.0e-4
num_train_epochs: 3.0
"""
TORCHTUNE = """
model:
  _component_: torchtune.models.llama3_2.lora_llama3_2_1b
  lora_attn_modules: ['q_proj', 'v_proj']
  lora_rank: 64
  lora_alpha: 128
tokenizer:
  max_seq_len: 2048
optimizer:
  _component_: torch.optim.AdamW
  lr: 3e-4
batch_size: 4
gradient_accumulation_steps: 8
epochs: 1
"""


@pytest.mark.parametrize(
    ("name", "text", "tool", "expected"),
    [
        (
            "axolotl.yaml",
            AXOLOTL,
            "axolotl",
            {
                "model": "Llama-3.2-1B",
                "data": ["hub:teknium/GPT4-LLM-Cleaned"],
                "base_bits": 4,
                "global_batch": 8,
                "learning_rate": 2e-4,
            },
        ),
        (
            "sft.yml",
            FACTORY,
            "LLaMA-Factory",
            {"data": ["data/mine.json"], "global_batch": 8, "epochs": 3.0, "max_length": 2048},
        ),
        (
            "tune.yaml",
            TORCHTUNE,
            "torchtune",
            {"r": 64, "alpha": 128, "learning_rate": 3e-4, "global_batch": 32, "epochs": 1},
        ),
        (
            "args.json",
            json.dumps({"num_train_epochs": 2, "per_device_train_batch_size": 4, "lora_r": 8}),
            "TRL",
            {"epochs": 2, "r": 8},
        ),
        ("axolotl.toml", AXOLOTL, "axolotl", {"model": "Llama-3.2-1B"}),
    ],
)
def test_a_whole_recipe_of_another_tool_is_refused_with_its_translation(
    tmp_path: Path, name: str, text: str, tool: str, expected: dict[str, object]
) -> None:
    (tmp_path / name).write_text(text)
    for read in (load, load_runs):
        with pytest.raises(LuthierError) as caught:
            read(tmp_path / name)
    assert (caught.value.title, tool in caught.value.message) == ("A recipe for another tool", True)
    translation = caught.value.hint.partition("\n")[2]
    values = parse_toml(translation, "translation")
    recipe: Recipe = decode({"data": ["x"], **values}, "translation")
    flat = {
        key: value
        for section in (values, *values.values())
        if isinstance(section, dict)
        for key, value in section.items()
    }
    assert {key: flat[key] for key in expected} == expected
    assert recipe == decode(msgspec.to_builtins(recipe), "again")


@pytest.mark.parametrize(
    ("name", "text", "message", "hint"),
    [
        ("x.jsonl", '{"messages": []}\n', "x.jsonl holds data", 'data = ["x.jsonl"]'),
        ("x.csv", "a,b\n", "holds data", 'data = ["x.csv"]'),
        ("x.parquet", "PAR1", "holds data", 'data = ["x.parquet"]'),
        ("x.json", '[{"messages": []}]', "contains a list, which is data", 'data = ["x.json"]'),
        ("train.py", "import trl", "is a program", ""),
        ("plain.yaml", "hello: there\n", "is YAML", "A recipe is TOML"),
        ("a.toml", "", "data is required", 'data = ["file.jsonl"]'),
        ("a.toml", "# nothing\n\n# yet\n", "data is required", 'data = ["file.jsonl"]'),
        ("a.toml", 'data = ["x"]\ncertify = False\n', "line 2", "true and false"),
        ("a.toml", 'data = ["x"]\nmodel = builtin\n', "line 2", "Strings need quotes"),
        ("a.toml", 'data = ["x"]\n[train]\nepochs: 3\n', "line 3", "not key: value"),
        ("a.toml", 'data = ["C:\\Users\\me\\x.jsonl"]\n', "line 1", "single quotes"),
        (
            "a.toml",
            'data = ["x"]\n[train]\nepochs = 1\n[train]\nseed = 1\n',
            "line 4",
            "appears twice",
        ),
        ("a.toml", 'data = ["x"]\nname = "x', "line 2", "Strings need quotes"),
    ],
)
def test_what_is_no_recipe_is_told_with_the_line_and_what_to_write(
    tmp_path: Path, name: str, text: str, message: str, hint: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(LuthierError) as caught:
        load_runs(tmp_path / name)
    assert message in f"{caught.value.message}" and hint in caught.value.hint


def test_a_recipe_that_is_not_there_is_told_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "captain.toml").write_text('data = ["x.jsonl"]\n')
    for name, hint in (
        ("captian.toml", f"Did you mean {tmp_path / 'captain.toml'}?"),
        ("captain", f"Did you mean {tmp_path / 'captain.toml'}?"),
        ("llama-3-8b-alpaca", "luthier recipes llama-3-8b-alpaca > llama-3-8b-alpaca.toml"),
        ("qwertz.toml", "`luthier recipes` lists recipes to start from."),
    ):
        with pytest.raises(LuthierError, match="does not exist") as caught:
            load(tmp_path / name)
        assert hint in caught.value.hint
    with pytest.raises(LuthierError, match="holds data") as caught:
        load(Path("hub:tatsu-lab/alpaca"))
    assert 'data = ["hub:tatsu-lab/alpaca"]' in caught.value.hint


def test_a_recipe_with_a_mark_of_byte_order_is_read_and_a_folder_names_its_recipes(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.toml").write_bytes(b'\xef\xbb\xbfdata = ["x.jsonl"]\n')
    assert load(tmp_path / "a.toml").name == "a"
    with pytest.raises(LuthierError, match="is a folder") as caught:
        load(tmp_path)
    assert "a.toml" in caught.value.hint
