"""Every method trains a tiny model in the real worker: stopped and resumed it is the same to the
bit, merged it has the trained logits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from jobs.job import Job
from models.folder import ModelFolder
from models.merge.plan import plan_merge
from models.merge.planner import Into
from models.run_folder import RECIPE_FILE
from models.runs import Run
from models.template import load_tokenizer
from serve.certificate.measured import ORDERS_FILE, REFERENCE_FILE, Orders, Reference, Scores, write
from serve.certificate.turns import PROBES, choose_samples
from tests.real.forks import Forks, events, outcome
from tests.real.tiny import write_tiny_model
from trainer.launch import frozen_recipe
from trainer.plan.plan import Plan
from trainer.run.checkpoints import complete_checkpoints
from trainer.run.tokens_and_template import run_tokenizer

pytestmark = pytest.mark.real

SHORT: dict[str, Any] = {
    "epochs": 0.6,
    "evaluations": 2,
    "every_steps": 3,
    "dropout": 0.1,
    "padding_free": '"auto"',
}
METHODS: dict[str, dict[str, str]] = {
    "rslora, targets": {
        "lora": 'rslora = true\ntargets = ["q_proj", "layers.1.mlp.up_proj"]',
        "train": "neftune_alpha = 5.0",
    },
    "dora": {"lora": "dora = true"},
    "LoRA+": {"lora": "plus_ratio = 16.0", "train": "weight_decay = 0.01"},
    "new tokens": {"tokens": 'template = "chatml"\nadd = ["<|aye|>"]'},
    "4 bits": {"train": 'base_bits = 4\noptimizer = "paged_adamw_8bit"'},
    "8 bits": {"train": "base_bits = 8"},
    "full": {"train": 'method = "full"'},
    "full with new tokens": {
        "train": 'method = "full"\nbase_bits = 16',
        "tokens": 'template = "chatml"',
    },
}


@pytest.fixture(scope="module")
def plain_base(forks: Forks) -> Path:
    """The same model as a base that has never seen a chat: without the tokens, without a template,
    ending with another token."""
    folder = forks.folder / "plain"
    shutil.copytree(forks.model, folder)
    (folder / "chat_template.jinja").unlink()
    tokenizer = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(
        tokenizer.replace("<|im_start|>", "<unused>").replace("<|im_end|>", "</s>")
    )
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "eos_token": "</s>"}))
    return folder


@pytest.fixture(scope="module")
def plain(forks: Forks) -> Job:
    """A run of plain LoRA, to compare with."""
    job = forks.make(**SHORT)
    assert forks.work(job) == 0
    return job


@pytest.fixture(scope="module")
def wide_base(forks: Forks) -> Path:
    """bitsandbytes' CPU kernels get 4-bit blocks of 64 values wrong where a row has fewer."""
    return write_tiny_model(forks.folder / "wide", hidden=64)


@pytest.mark.parametrize("name", METHODS)
def test_stopped_and_resumed_it_is_the_same_and_merged_it_is_what_was_trained(
    forks: Forks, plain_base: Path, wide_base: Path, name: str, tmp_path: Path
) -> None:
    base = plain_base if "tokens" in METHODS[name] else wide_base if "bits" in name else forks.model
    settings = {**SHORT, "sections": METHODS[name], "model": base}
    calm, stopped = forks.make(**settings), forks.make(**settings)
    assert forks.work(calm) == 0, (calm.directory / "output.log").read_text()[-3000:]
    assert forks.work(stopped, ["stop_in", ["step", 4]]) == 0
    assert not events(stopped, "result")
    assert forks.work(stopped) == 0
    assert outcome(stopped) == outcome(calm)
    losses = [loss for loss, _ in outcome(calm).steps.values()]
    assert losses[-1] < losses[0]
    model = calm.directory / "model" if "full" in name else _merged(calm, tmp_path / "merged")
    _answers_as_trained(calm, model)
    if "tokens" in METHODS[name]:
        _knows_its_tokens(calm, model)
        _is_certified_from_where_it_began(calm, model, tmp_path / "certify")


def _merged(job: Job, out: Path) -> Path:
    from models.merge.merging import merge

    into: Into = "dequantised" if job.spec.settings["base_bits"] == 4 else "base"
    plan = plan_merge(
        Path(job.spec.settings["model_directory"]), job.directory / "adapter", into=into
    )
    merge(plan, out, stops=lambda folder: Run(job).trained_stops or [])
    return out


def _answers_as_trained(job: Job, made: Path) -> None:
    """A model's logits on held-out turns are those of the last checkpoint, in the model that
    training built."""
    import torch
    from peft import PeftModel
    from peft.utils import set_peft_model_state_dict
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    from trainer.run.loading import load_model

    plan, recipe = Plan.from_json(job.spec.settings), frozen_recipe(job)
    trained = load_model(
        plan, recipe, run_tokenizer(job.directory, Path(plan.model_directory), recipe.tokens)
    )
    checkpoint = complete_checkpoints(job.directory)[-1].path
    if isinstance(trained, PeftModel):
        found = load_file(checkpoint / "adapter_model.safetensors")
        assert {tensor.dtype for tensor in found.values()} == {torch.float32}
        assert not set_peft_model_state_dict(trained, found).unexpected_keys
    else:
        trained = AutoModelForCausalLM.from_pretrained(checkpoint)
    served = AutoModelForCausalLM.from_pretrained(made)
    assert served.dtype == torch.bfloat16
    row = json.loads((job.directory / "data" / "heldout.jsonl").read_text().splitlines()[0])
    ids = torch.tensor([row["input_ids"]])
    with torch.inference_mode():
        wanted, found = (
            model.float().eval()(input_ids=ids).logits[0].log_softmax(-1)
            for model in (trained, served)
        )
    before = AutoModelForCausalLM.from_pretrained(plan.model_directory).float().eval()
    size = before.get_input_embeddings().weight.shape[0]
    with torch.inference_mode():
        change = wanted[:, :size] - before(input_ids=ids.clamp(max=size - 1)).logits[0].log_softmax(
            -1
        )
    # of the change: weights are rounded to bfloat16, 8 bits to the base's 16
    share = {8: 0.15, 4: 0.08}.get(plan.compute.base_bits, 0.02)
    assert (wanted - found).abs().mean() < share * change.abs().mean()


def _knows_its_tokens(job: Job, model: Path) -> None:
    """Tokenizer, template, stops and embedding rows of a model whose base had none of them."""
    tokenizer, config = load_tokenizer(model), json.loads((model / "config.json").read_text())
    (end,) = tokenizer.encode("<|im_end|>", add_special_tokens=False)
    assert tokenizer.eos_token == "<|im_end|>"
    assert (
        config["vocab_size"]
        == len(tokenizer)
        > json.loads((Path(job.spec.settings["model_directory"]) / "config.json").read_text())[
            "vocab_size"
        ]
    )
    assert ModelFolder(model).stop_ids == {2, end}
    row = json.loads((job.directory / "data" / "heldout.jsonl").read_text().splitlines()[0])
    assert end in row["labels"]
    assert (
        tokenizer.apply_chat_template(row["messages"], tokenize=True)["input_ids"][
            : len(row["input_ids"])
        ]
        == row["input_ids"]
    )


def _is_certified_from_where_it_began(job: Job, model: Path, folder: Path) -> None:
    """What transformers says for a certificate: the base with its new rows, the trained model, and
    the merged or saved one."""
    folder.mkdir()
    result = next(
        job.directory / name for name in ("adapter", "model") if (job.directory / name).is_dir()
    )
    trained = result if result.name == "adapter" else complete_checkpoints(job.directory)[-1].path
    from serve.certificate import reference

    _, samples = choose_samples(job.directory / "data", None)
    stops = Run(job).trained_stops or []
    grown = str(folder / "base")
    base = job.spec.settings["model_directory"]
    orders = Orders(base, str(trained), str(model), "cpu", samples[:4], list(PROBES), grown, stops)
    write(folder / ORDERS_FILE, orders)
    reference.main(folder)
    found = msgspec.json.decode((folder / REFERENCE_FILE).read_bytes(), type=Reference)
    assert (
        isinstance(found.base, Scores)
        and isinstance(found.tuned, Scores)
        and isinstance(found.merged, Scores)
    )
    assert found.tuned.nll < found.base.nll - 0.1
    assert abs(found.merged.nll - found.tuned.nll) < 0.02
    assert found.prompts == [
        sample.input_ids[: turn.start] for sample in samples[:4] for turn in sample.turns
    ]
    assert found.stop_ids == found.merged_stop_ids == sorted(stops)


def test_neftune_is_in_no_evaluation_and_in_every_step(forks: Forks, plain: Job) -> None:
    noisy = forks.make(**SHORT, sections={"train": "neftune_alpha = 5.0"})
    assert forks.work(noisy) == 0
    assert outcome(noisy).evaluations[0] == outcome(plain).evaluations[0]
    assert outcome(noisy).steps[1] != outcome(plain).steps[1]


def test_the_rates_of_lora_plus_are_kept_where_the_recipe_lowers_them(forks: Forks) -> None:
    """B learns 16 times as fast as A, also after a resume with another rate."""
    import torch

    job = forks.make(**SHORT, sections=METHODS["LoRA+"])
    assert forks.work(job, ["stop_in", ["step", 4]]) == 0
    recipe = job.directory / RECIPE_FILE
    recipe.write_text(recipe.read_text().replace("learning_rate = 0.01", "learning_rate = 0.001"))
    (job.directory / "resume.json").write_text('{"forced": true}')
    assert forks.work(job) == 0
    rates = []
    for checkpoint in complete_checkpoints(job.directory)[-2:]:
        groups = torch.load(checkpoint.path / "optimizer.pt", weights_only=True)["param_groups"]
        rates.append([group["initial_lr"] for group in groups])
    assert rates[-1] == [pytest.approx(rate) for rate in (0.001, 1e-6, 0.016, 0.016)]
