"""The Trainer of on-policy distillation: the model answers the data's prompts itself, and learns to
give each token of its answers the probability that a teacher gives it (reverse KL, a mean over
tokens).

A teacher on this machine gives whole distributions, and the loss is the exact divergence at each
token. An endpoint gives the likelihood of the sampled token, and the loss is the estimate whose
gradient is the same on average: the token's log-probability times how much likelier the model has
it than the teacher. TRL 1.14.2's own trainers are not used: GKDTrainer divides by the number of the
data's tokens rather than of the sampled ones, DistillationTrainer templates and tokenises the
prompts again and evaluates on other answers at each evaluation; neither checks its sampler.

All answers of a step are written before its first micro-batch, with the weights of the last step,
by a random state of their own: a run that goes on writes the same.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import log_softmax, pad
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerBase
from trl import SFTConfig, SFTTrainer

from jobs.worker import WorkerContext
from models import events
from models.folder import ModelFolder
from models.run_folder import RunFolder
from models.stored_sample import UNTRAINED
from trainer.evaluation.plan import rows_at_once
from trainer.run import weight_sync
from trainer.run.dataset import PLAIN, Vocabulary, dataset
from trainer.run.run_trainer import RunTrainer
from trainer.run.sampling import Answer, Sampler, SampleSettings, TransformersSampler, seed_of
from trainer.run.server_sampler import ServerSampler
from trainer.run.teaching import EndpointScorer, ModelTeacher, Row, stop_tokens
from trainer.run.trainer_parts import TrainerParts
from trainer.teacher import EndpointTeacher, sampler_of, teacher_of


@dataclass(frozen=True)
class Settings:
    """What the recipe says of the answers."""

    seed: int
    on_policy: float
    positions: int | None
    """The longest sequence that the model can read."""
    pad_token: int
    compute_dtype: str


class DistillationTrainer(RunTrainer, SFTTrainer):
    """`sampler` writes the answers, `teacher` scores them; the loss is the divergence of the two
    models on them. Figures of an evaluation are of answers to what is held out, which are written
    with one seed at all evaluations."""

    data_collator: Any

    def __init__(
        self,
        *,
        settings: Settings,
        teacher: ModelTeacher | EndpointScorer,
        sampler: Callable[[DistillationTrainer], Sampler],
        context: WorkerContext,
        **run: Any,
    ) -> None:
        self._settings, self._teacher, self._context = settings, teacher, context
        self._divergence = 0.0
        self._step_figures: dict[str, float] = {}
        self._synced, self._sampler_difference = -1, 0.0
        super().__init__(**run)
        # the loss is divided by the tokens of the whole step here
        self.model_accepts_loss_kwargs = True
        self.sampler = sampler(self)
        if isinstance(teacher, EndpointScorer):
            self.data_collator = _Unscored(self.data_collator)

    def _prepare_dataset(self, dataset: Any, *arguments: Any, **keywords: Any) -> Any:
        """It is prepared."""
        return dataset

    def weight_of(self, batch: dict[str, Any]) -> float:
        return float(batch["labels"][:, 1:].ne(UNTRAINED).sum())

    # ---- answers

    def step_batches(self, batches: list[Any], trained: Any) -> tuple[list[Any], Any]:
        step = int(self.state.global_step)
        samples = [sample for batch in batches for sample in _samples(batch)]
        draw = random.Random(seed_of(self._settings.seed, "turns", step))
        rows = [_turn(*sample, draw) for sample in samples]
        sampled_rows = [
            number
            for number in range(len(rows))
            if draw.random() < self._settings.on_policy or self._settings.on_policy == 1
        ]
        self._step_figures, self._divergence = {}, 0.0
        if sampled_rows:
            seed = seed_of(self._settings.seed, "answers", step)
            answers = self._written(
                [rows[number].prompt for number in sampled_rows], seed, lambda: False
            )
            for number, answer in zip(sampled_rows, answers, strict=True):
                rows[number] = Row(rows[number].prompt, answer.tokens)
            self._step_figures = {
                **_figures(answers),
                "sampler_difference": self._sampler_difference,
            }
        scores = self._scores(rows)
        step_batches, first = [], 0
        for batch in batches:
            part = slice(first, first + len(batch["input_ids"]))
            step_batches.append(self._batch(rows[part], scores and scores[part]))
            first = part.stop
        count = torch.tensor(sum(len(row.answer) for row in rows), device=self.args.device)
        return step_batches, count

    def _written(
        self, prompts: list[list[int]], seed: int, stopping: Callable[[], bool]
    ) -> list[Answer]:
        """Answers of the model as it is; checked, where it has changed since the last ones."""
        step = int(self.state.global_step)
        if self._synced != step:
            self.sampler.sync(step)
        answers = self.sampler.answers(prompts, seed, stopping)
        if self._synced != step:
            with self.compute_loss_context_manager():
                sync = weight_sync.checked(
                    self.model, self.sampler, prompts, answers, step, self._settings.compute_dtype
                )
            events.tell(self._context, sync)
            self._sampler_difference = float(sync.difference or 0.0)
            if not sync.ok:
                raise weight_sync.refusal(sync)
            self._synced = step
        return list(map(self._within, prompts, answers))

    def _within(self, prompt: list[int], answer: Answer) -> Answer:
        """The answer as far as the model can read it."""
        positions = self._settings.positions
        if positions is None or len(prompt) + len(answer.tokens) <= positions:
            return answer
        return Answer(answer.tokens[: max(1, positions - len(prompt))], stopped=False)

    def _scores(self, rows: list[Row]) -> list[list[float]]:
        """What an endpoint gives each answer; nothing of a teacher that is here, which is asked
        when the model is."""
        if isinstance(self._teacher, EndpointScorer):
            return self._teacher.scores(rows)
        return []

    def _batch(self, rows: Sequence[Row], scores: Sequence[list[float]]) -> dict[str, torch.Tensor]:
        width = max(len(row.prompt) + len(row.answer) for row in rows)

        def padded(values: list[list[Any]], filler: float, kind: torch.dtype) -> torch.Tensor:
            tensors = [torch.tensor(value, dtype=kind) for value in values]
            return torch.stack(
                [pad(row, (0, width - len(row)), value=filler) for row in tensors]
            ).to(self.args.device)

        sequences = [[*row.prompt, *row.answer] for row in rows]
        labels = [[*[UNTRAINED] * len(row.prompt), *row.answer] for row in rows]
        batch = {
            "input_ids": padded(sequences, self._settings.pad_token, torch.long),
            "attention_mask": padded([[1] * len(row) for row in sequences], 0, torch.long),
            "labels": padded(labels, UNTRAINED, torch.long),
        }
        if scores:
            teacher = [
                [*[0.0] * len(row.prompt), *values]
                for row, values in zip(rows, scores, strict=True)
            ]
            batch["teacher"] = padded(teacher, 0.0, torch.float32)
        return batch

    # ---- the loss

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        scored = inputs["labels"][:, 1:].ne(UNTRAINED)
        outputs = model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            use_cache=False,
        )
        logits = outputs.logits[:, :-1][scored].float()
        if isinstance(self._teacher, ModelTeacher):
            losses = divergence(logits, self._teacher.logits(inputs, scored))
        else:
            losses = estimate(
                logits, inputs["labels"][:, 1:][scored], inputs["teacher"][:, 1:][scored]
            )
        count = scored.sum() if num_items_in_batch is None else num_items_in_batch
        loss = losses.sum() / count
        if model.training:
            self._divergence += float(loss.detach())
        return (loss, outputs) if return_outputs else loss

    def log(self, logs: dict[str, float], *arguments: Any, **keywords: Any) -> None:
        if "loss" in logs:
            logs |= {"kl": self._divergence, **self._step_figures}
        super().log(logs, *arguments, **keywords)

    # ---- evaluations

    def get_eval_dataloader(self, *arguments: Any) -> Any:
        """Of answers to what is held out: to the same turns and with the same seed each time."""
        samples = [
            (list(map(int, row["input_ids"])), list(map(int, row["labels"])))
            for row in self.eval_dataset
        ]
        draw = random.Random(seed_of(self._settings.seed, "held-out turns", 0))
        prompts = [_turn(*sample, draw).prompt for sample in samples]
        seed = seed_of(self._settings.seed, "held-out answers", 0)
        self._context.phase("answering the held-out prompts", total=len(prompts))
        answers = self._written(prompts, seed, self._context.stopping.is_set)
        self._held_out_figures = _figures(answers)
        rows = [Row(prompt, answer.tokens) for prompt, answer in zip(prompts, answers, strict=True)]
        scores = self._scores(rows)
        size = int(self.args.per_device_eval_batch_size)
        return DataLoader(
            [
                self._batch(rows[first : first + size], scores[first : first + size])
                for first in range(0, len(rows), size)
            ],
            batch_size=None,
        )

    def evaluation_loop(self, *arguments: Any, **keywords: Any) -> Any:
        output = super().evaluation_loop(*arguments, **keywords)
        measured = {
            "heldout_kl": float(output.metrics["eval_loss"]),
            **{
                name.replace("sample", "heldout"): value
                for name, value in self._held_out_figures.items()
            },
        }
        self.evaluator.measured = measured
        output.metrics.update({f"eval_{name}": value for name, value in measured.items()})
        self._context.phase("training")
        return output


# ---- losses


def divergence(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """KL(student || teacher) of the next token, a value for each row of logits. Heads that are
    padded differently are compared in the rows that both have."""
    width = min(student.shape[-1], teacher.shape[-1])
    student_scores, teacher_scores = (
        log_softmax(student[:, :width], -1),
        log_softmax(teacher[:, :width], -1),
    )
    return (student_scores.exp() * (student_scores - teacher_scores)).sum(-1)


def estimate(student: torch.Tensor, tokens: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """log(student / teacher) of each sampled token, whose mean is the divergence; its gradient is
    that of the divergence on average (the score function's)."""
    student_scores = log_softmax(student, -1).gather(1, tokens[:, None])[:, 0]
    excess = (student_scores - teacher).detach()
    return excess + excess * (student_scores - student_scores.detach())


# ---- samples


@dataclass(frozen=True)
class _Unscored:
    """Batches of the data itself, by which a GPU's memory is measured: no teacher has seen them."""

    collator: Any

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        batch: dict[str, torch.Tensor] = self.collator(examples)
        return {**batch, "teacher": torch.zeros(batch["input_ids"].shape)}


def _samples(batch: dict[str, torch.Tensor]) -> list[tuple[list[int], list[int]]]:
    """Token ids and labels without padding."""
    return [
        (ids[mask].tolist(), labels[mask].tolist())
        for ids, labels, mask in zip(
            batch["input_ids"], batch["labels"], batch["attention_mask"].bool(), strict=True
        )
    ]


def _turn(ids: list[int], labels: list[int], draw: random.Random) -> Row:
    """One of the sample's trained turns, and all that precedes it."""
    starts = [
        index
        for index, label in enumerate(labels)
        if label != UNTRAINED and (index == 0 or labels[index - 1] == UNTRAINED)
    ]
    start = draw.choice(starts)
    end = next(
        (index for index in range(start, len(labels)) if labels[index] == UNTRAINED), len(labels)
    )
    return Row(ids[:start], ids[start:end])


def _figures(answers: Sequence[Answer]) -> dict[str, float]:
    return {
        "sample_length": sum(len(answer.tokens) for answer in answers) / len(answers),
        "sample_stopped": sum(answer.stopped for answer in answers) / len(answers),
    }


# ---- building it


def build_trainer(parts: TrainerParts, context: WorkerContext) -> DistillationTrainer:
    """A trainer that logs each step, and evaluates and saves when the callbacks say so."""
    plan, objective, tokenizer = parts.plan, parts.recipe.objective, parts.tokenizer
    vocabulary = Vocabulary.of(parts.model, tokenizer)
    arguments = SFTConfig(
        **parts.arguments(),
        dataset_kwargs={"skip_prepare_dataset": True},
        loss_type="nll",  # the chunked one would have the model return no logits
    )
    prepared = parts.prepared
    run = parts.for_trainer(arguments)
    context.phase("loading the teacher")
    trainer = DistillationTrainer(
        settings=Settings(
            seed=parts.recipe.train.seed,
            on_policy=objective.on_policy,
            positions=ModelFolder(Path(plan.model_directory)).context_length,
            pad_token=_pad_token(tokenizer),
            compute_dtype=plan.compute.compute_dtype,
        ),
        teacher=_teacher(parts, arguments.device),
        sampler=_sampler(parts, context),
        context=context,
        train_dataset=dataset(prepared.train, vocabulary, PLAIN),
        eval_dataset=dataset(prepared.heldout, vocabulary, PLAIN)
        if prepared.summary["heldout"]
        else None,
        **run,
    )
    parts.finish(trainer)
    return trainer


def _sampler(
    parts: TrainerParts, context: WorkerContext
) -> Callable[[DistillationTrainer], Sampler]:
    """What makes the sampler, given the trainer."""
    objective = parts.recipe.objective
    settings = SampleSettings(
        stop_tokens(parts.plan.model_directory, parts.tokenizer),
        objective.sample_tokens,
        objective.temperature,
        rows_at_once(parts.plan.global_batch, parts.plan.compute.micro_batch),
    )
    endpoint = sampler_of(parts.recipe)
    if endpoint is None:
        return lambda trainer: TransformersSampler(
            trainer.model, settings, trainer.compute_loss_context_manager
        )
    folder = RunFolder(context.directory).sampler
    return lambda trainer: ServerSampler(trainer.model, endpoint, folder, settings)


def _teacher(parts: TrainerParts, device: torch.device) -> ModelTeacher | EndpointScorer:
    teacher = teacher_of(parts.recipe)
    if isinstance(teacher, EndpointTeacher):
        return EndpointScorer(teacher, parts.tokenizer)
    return ModelTeacher(teacher, parts.plan, parts.tokenizer, device)


def _pad_token(tokenizer: PreTrainedTokenizerBase) -> int:
    return int(tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id)
