"""Evaluations on real parts: they change no weight, count every token alike, ask what a server
would be asked, and stop a run early."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.job import Job, create, find, wait
from models.conversations import read_prompts
from models.run_folder import RECIPE_FILE
from tests.real.forks import Forks, events
from trainer.launch import run_spec
from trainer.recipe import load, to_toml
from trainer.run.checkpoints import complete_checkpoints

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
TRAIN = (
    "[train]\nepochs = 2\nlearning_rate = 1e-2\nglobal_batch = 8\nmicro_batch = 4\n[lora]\nr ="
    " 4\ndropout = 0.1\n[heldout]\nat_least = 12\n"
)


class Runs(Forks):
    """Runs of the tiny model, by the real worker."""

    def run(self, text: str, data: Path | None = None) -> Job:
        path = self.folder / "recipe.toml"
        path.write_text(f'model = "{self.model}"\ndata = ["{data or self.data}"]\n{text}')
        recipe = load(path)
        job = create(run_spec(recipe))
        (job.directory / RECIPE_FILE).write_text(to_toml(recipe))
        self.work(job)
        return job


@pytest.fixture(scope="module")
def runs(luthier_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    made = Runs(tmp_path_factory.mktemp("evaluation"))
    yield made
    made.close()


def result(job: Job) -> dict[str, Any]:
    (found,) = events(job, "result")
    return found


def weights(folder: Path) -> bytes:
    return (folder / "adapter_model.safetensors").read_bytes()


@pytest.mark.parametrize("checkpointing", ["none", "standard"])
def test_a_run_with_evaluations_ends_with_the_same_weights_as_one_without(
    runs: Runs, checkpointing: str
) -> None:
    train = TRAIN.replace("[lora]", f'gradient_checkpointing = "{checkpointing}"\n[lora]')
    asked = (
        'times = 5\nmetrics = ["exact_match", "bleu", "chrf", "rouge"]\nconversations ='
        " 7\nanswer_tokens = 12\n"
    )
    watched, alone = (
        runs.run(f"{train}[evaluation]\n{asked}"),
        runs.run(f"{train}[evaluation]\ntimes = 0\n"),
    )
    assert weights(watched.directory / "adapter") == weights(alone.directory / "adapter")
    assert [event["loss"] for event in events(watched, "step")] == [
        event["loss"] for event in events(alone, "step")
    ]
    found, samples = events(watched, "eval"), events(watched, "sample")
    total = events(watched, "step")[-1]["total"]
    assert [event["step"] for event in found] == sorted(
        {0, *(-(-total * part // 5) for part in range(1, 6))}
    )
    assert [(event["step"], event["index"]) for event in samples] == [
        (event["step"], index) for event in found for index in range(3)
    ]
    assert all(
        set(event["metrics"]) == {"exact_match", "bleu", "chrf", "rouge1", "rouge2", "rougeL"}
        for event in found
    )
    assert not events(alone, "eval", "sample")
    heldout = [
        json.loads(line)["messages"]
        for line in (watched.directory / "data" / "heldout.jsonl").read_text().splitlines()
    ]
    pairs = [(messages[-2]["content"], messages[-1]["content"]) for messages in heldout]
    assert all((sample["prompt"], sample["reference"]) in pairs for sample in samples)


def test_every_held_out_token_counts_alike(runs: Runs) -> None:
    """Against sums made here, by hand; and a mean of batch means, which TRL gives, is another
    number."""
    import torch
    from transformers import AutoModelForCausalLM

    jobs = [
        runs.run(
            TRAIN.replace("micro_batch = 4", f"micro_batch = {size}")
            + "[evaluation]\ntimes = 1\nsamples = 0\n"
        )
        for size in (1, 8)
    ]
    told = [events(job, "eval")[0] for job in jobs]
    assert [event["step"] for event in told] == [0, 0]
    model = AutoModelForCausalLM.from_pretrained(runs.model, dtype=torch.bfloat16)
    sums, counts = [], []
    for line in (jobs[0].directory / "data" / "heldout.jsonl").read_text().splitlines():
        sample = json.loads(line)
        labels = torch.tensor([sample["labels"]])
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([sample["input_ids"]])).logits.float()
        losses = torch.nn.functional.cross_entropy(
            logits[:, :-1].transpose(1, 2), labels[:, 1:], ignore_index=-100, reduction="none"
        )
        sums.append(float(losses.sum()))
        counts.append(int(labels.ne(-100).sum()))
    expected, of_means = (
        sum(sums) / sum(counts),
        sum(total / count for total, count in zip(sums, counts, strict=True)) / len(sums),
    )
    assert told[0]["loss"] == pytest.approx(expected, rel=1e-3)
    assert told[1]["loss"] == pytest.approx(expected, rel=1e-3)
    assert abs(of_means - expected) > 3 * abs(told[0]["loss"] - expected)


def test_a_run_without_progress_stops_early_and_keeps_its_best(runs: Runs) -> None:
    train = TRAIN.replace("1e-2", "1e-4").replace("epochs = 2", "epochs = 4")
    job = runs.run(
        f"{train}[evaluation]\nevery = 3\npatience = 2\nmin_improvement = 1.0\nsamples = 0\n"
    )
    (stop,) = events(job, "early_stop")
    assert stop["step"] == 9 == events(job, "step")[-1]["step"] < events(job, "step")[-1]["total"]
    assert "no loss better than" in stop["reason"]
    found = result(job)
    assert (found["early_stop"], found["which"], found["from_step"]) == (
        stop["reason"],
        "best",
        found["best_step"],
    )
    best = min(
        (event for event in events(job, "eval") if event["step"]),
        key=lambda event: float(event["loss"]),
    )
    assert best["step"] == found["best_step"]
    checkpoint = next(
        one for one in complete_checkpoints(job.directory) if one.step == best["step"]
    )
    assert weights(job.directory / "adapter") == weights(checkpoint.path)
    steps = len(events(job, "step"))
    assert runs.work(job) == 0  # killed just before its end, say: it has stopped early already
    assert len(events(job, "step")) == steps
    assert events(job, "result")[-1]["early_stop"] == stop["reason"]


def test_labels_are_recognised_and_counted_each(runs: Runs) -> None:
    path = runs.folder / "labels.jsonl"
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"Is {n} even?"},
                {"role": "assistant", "content": "no" if n % 2 else "Yes"},
            ]
        }
        for n in range(80)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = runs.run(
        f'{TRAIN}[evaluation]\ntimes = 1\nmetrics = ["exact_match"]\nanswer_tokens = 4\n', path
    )
    last = events(job, "eval")[-1]
    assert set(last["metrics"]) == {"exact_match", "label_accuracy", "label_macro_f1"}
    assert set(last["labels"]) == {"yes", "no"}
    assert sum(counts["references"] for counts in last["labels"].values()) == last["answers"] == 12
    right = sum(counts["right"] for counts in last["labels"].values())
    assert last["metrics"]["label_accuracy"] == pytest.approx(right / 12, abs=1e-5)
    assert right >= 1  # one of two words is soon learnt


def test_answers_that_are_no_labels_stop_the_run_before_it_trains(runs: Runs) -> None:
    job = runs.run(
        f'{TRAIN}[evaluation]\nmetrics = ["label_accuracy"]\nmetric = "label_accuracy"\n'
    )
    (error,) = events(job, "error")
    assert error["title"] == "The answers are not labels"
    assert not events(job, "step")


def test_own_prompts_are_asked_where_nothing_is_held_out(runs: Runs) -> None:
    train = TRAIN.replace("at_least = 12", "share = 0.0")
    job = runs.run(
        f'{train}[evaluation]\ntimes = 2\nprompts = ["Where lies north?", "And the'
        ' tide?"]\nanswer_tokens = 5\n'
    )
    assert result(job)["which"] == "last"
    assert [event["loss"] for event in events(job, "eval")] == [None, None, None]
    samples = events(job, "sample")
    assert [sample["prompt"] for sample in samples[:2]] == ["Where lies north?", "And the tide?"]
    assert len(samples) == 6
    assert {sample["reference"] for sample in samples} == {""}


def test_answers_are_what_the_model_says_to_the_servers_prompt(builtin_model: Path) -> None:
    """The built-in model in 32 bits, in training with gradient checkpointing: batches, padded on
    the left, answer as each prompt alone."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from models.preflight import check_template
    from models.template import load_tokenizer
    from trainer.evaluation.generation import Generator
    from trainer.evaluation.prompts import Prompter
    from trainer.run.saving import EvaluationStopped

    tokenizer = load_tokenizer(builtin_model)
    report = check_template(tokenizer, builtin_model)
    base = AutoModelForCausalLM.from_pretrained(builtin_model, dtype=torch.float32)
    base.config.use_cache = False
    # what the model's own settings say is for chats
    base.generation_config.repetition_penalty = 3.0
    own = base.generation_config
    model = get_peft_model(
        base, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    model.gradient_checkpointing_enable()
    model.train()
    told = read_prompts(ROOT / "examples" / "captain" / "heldout.jsonl")
    questions = [*itertools.islice(told, 3), [{"role": "user", "content": "Say only: hi"}]]
    prompter = Prompter(tokenizer, report)
    prompts = [prompter.prompt(messages, None, "").input_ids for messages in questions]
    expected = [
        tuple(
            tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        )
        for messages in questions
    ]
    assert prompts == expected
    widths: list[int] = []
    hook = base.model.embed_tokens.register_forward_hook(
        lambda module, inputs, output: widths.append(inputs[0].shape[1])
    )
    before = torch.random.get_rng_state()
    being_written: list[tuple[range, int]] = []
    answers = Generator(report.stop_ids, 12).answers(
        model, prompts, 3, lambda numbers, total: being_written.append((numbers, total))
    )
    hook.remove()
    assert torch.equal(torch.random.get_rng_state(), before)
    # with the cache: two prompts' batches, then a token at a time
    assert widths.count(1) == len(widths) - 2
    # told with each token
    assert list(dict.fromkeys(being_written)) == [(range(1, 4), 4), (range(4, 5), 4)]
    assert len(being_written) == len(widths)
    assert model.training and base.generation_config is own and base.model.layers[0].training
    model.eval()
    for prompt, answer in zip(prompts, answers, strict=True):
        tokens = list(prompt)
        with torch.no_grad():
            for _ in range(12):
                tokens.append(int(model(input_ids=torch.tensor([tokens])).logits[0, -1].argmax()))
                if tokens[-1] in report.stop_ids:
                    break
        alone = [token for token in tokens[len(prompt) :] if token not in report.stop_ids]
        assert answer.tokens == alone
        assert answer.stopped == (tokens[-1] in report.stop_ids)
    asked = iter([False] * 5 + [True] * 1000)
    with pytest.raises(EvaluationStopped):
        Generator(report.stop_ids, 12).answers(model, prompts, 4, stopping=lambda: next(asked))


def luthier(*arguments: str) -> Any:
    answer = subprocess.run(
        [sys.executable, "-P", "-m", "tui.cli", *arguments, "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


def test_a_sweep_runs_one_after_the_other_and_is_compared(runs: Runs) -> None:
    path = runs.folder / "pair.toml"
    recipe = TRAIN.replace("1e-2", "[1e-2, 1e-6]")
    path.write_text(
        f'model = "{runs.model}"\ndata = ["{runs.data}"]\ncertify ='
        f" false\n{recipe}[evaluation]\ntimes = 2\nsamples = 0\n"
    )
    told = luthier("train", str(path))
    jobs = [find(run["id"]) for run in told["runs"]]
    assert [job.spec.name for job in jobs] == ["pair-lr1e-2", "pair-lr1e-6"]
    for job in jobs:
        assert wait(job, 240)
    first_end, second_start = events(jobs[0], "exited")[0]["t"], events(jobs[1], "started")[0]["t"]
    assert second_start >= first_end - 0.1  # one CPU slot
    compared = luthier("sweep", told["sweep"])["runs"]
    assert [(run["state"], run["varies"]) for run in compared] == [
        ("done", {"train.learning_rate": 1e-2}),
        ("done", {"train.learning_rate": 1e-6}),
    ]
    assert compared[0]["best"]["loss"] < compared[1]["best"]["loss"]
    assert compared[0]["last"] == compared[0]["best"]
    assert all(run["seconds"] > 0 for run in compared)
