"""The Trainers of preferences: TRL's DPO and KTO, and ORPO with a loss of Luthier's own.

They get token ids that Luthier has made and verified, and score the tokens whose labels say so;
TRL's own templating, tokenising, pairing and truncation are switched off. The reference is the
model as it starts, an untouched base or a frozen copy of the adapter: what DPO's thinks of the
data is computed once and kept, so that a run that goes on is held to the very same figures.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from peft import PeftModel
from torch.nn.functional import log_softmax, logsigmoid, pad
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer
from trl.trainer.utils import selective_log_softmax, use_adapter

from jobs import foreign_json
from jobs.files import write_json
from jobs.luthier_error import LuthierError
from models.run_folder import RunFolder
from models.stored_sample import UNTRAINED
from trainer.data.guard_rails import Figures
from trainer.run.dataset import PAIRS, VERDICTS, Vocabulary, dataset
from trainer.run.run_trainer import RunTrainer
from trainer.run.saving import EvaluationStopped
from trainer.run.trainer_parts import TrainerParts

if TYPE_CHECKING:
    from collections.abc import Iterator

# TRL's names of figures, and ours.
FIGURES = {
    "rewards/chosen": "reward_chosen",
    "rewards/rejected": "reward_rejected",
    "rewards/margins": "reward_margin",
    "rewards/accuracies": "reward_accuracy",
    "kl": "kl",
}
REFERENCE = "ref"  # TRL's name of the frozen copy of an adapter
_SCORES = ("ref_chosen_logps", "ref_rejected_logps")


# ---- batches


@dataclass(frozen=True)
class PairCollator:
    """Rows of chosen answers, then of the rejected ones, each after its prompt."""

    pad_token: int

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        sides = [
            (example[f"{side}input_ids"], example[f"{side}labels"])
            for side in ("", "rejected_")
            for example in examples
        ]
        batch = _padded(sides, self.pad_token)
        for name in _SCORES:
            if name in examples[0]:
                batch[name] = torch.tensor([float(example[name]) for example in examples])
        return batch


@dataclass(frozen=True)
class VerdictCollator:
    """Answers with their verdicts; and each prompt with the answer to another one of the batch, by
    which KTO estimates how far the model is from its reference."""

    pad_token: int

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        sides = [(example["input_ids"], example["labels"]) for example in examples]
        batch = _padded(sides, self.pad_token)
        crossed = [
            _crossed(side, other)
            for side, other in zip(sides, [sides[-1], *sides[:-1]], strict=True)
        ]
        for name, values in _padded(crossed, self.pad_token).items():
            batch[f"KL_{name}"] = values
        batch["label"] = torch.tensor([bool(example["label"]) for example in examples])
        return batch


Side = tuple[Sequence[int], Sequence[int]]


def _crossed(side: Side, other: Side) -> Side:
    """The prompt of one and the answer of another."""
    end, begin = _first_scored(side[1]), _first_scored(other[1])
    return (
        [*side[0][:end], *other[0][begin:]],
        [*[UNTRAINED] * end, *other[1][begin:]],
    )


def _first_scored(labels: Sequence[int]) -> int:
    return next(index for index, label in enumerate(labels) if label != UNTRAINED)


def _padded(sides: Sequence[Side], pad_token: int) -> dict[str, torch.Tensor]:
    width = max(len(ids) for ids, _ in sides)

    def rows(values: Sequence[Any], filler: int) -> torch.Tensor:
        tensors = [torch.as_tensor(value, dtype=torch.long) for value in values]
        return torch.stack([pad(row, (0, width - len(row)), value=filler) for row in tensors])

    labels = rows([label for _, label in sides], UNTRAINED)
    return {
        "input_ids": rows([ids for ids, _ in sides], pad_token),
        "attention_mask": rows([[1] * len(ids) for ids, _ in sides], 0),
        "completion_mask": labels.ne(UNTRAINED).long(),
    }


# ---- trainers


class PreferenceTrainer(RunTrainer):
    """Figures of an evaluation are means over all that is held out, whatever the batches."""

    _metrics: Any
    _held_out: dict[str, list[tuple[float, float]]]

    def _prepare_dataset(self, dataset: Any, *arguments: Any, **keywords: Any) -> Any:
        """It is prepared."""
        return dataset

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns = [column.name for column in (*PAIRS, *VERDICTS)]
        self._signature_columns += _SCORES

    def log(self, logs: dict[str, float], *arguments: Any, **keywords: Any) -> None:
        for name, figure in FIGURES.items():
            values = self._metrics["train"].get(name)
            if "loss" in logs and values:
                logs[figure] = sum(values) / len(values)
        super().log(logs, *arguments, **keywords)

    def evaluation_loop(self, *arguments: Any, **keywords: Any) -> Any:
        self._held_out = defaultdict(list)
        output = super().evaluation_loop(*arguments, **keywords)
        means = {
            f"heldout_{name.removeprefix('reward_')}": (
                sum(value * weight for value, weight in values)
                / sum(weight for _, weight in values)
            )
            for name, values in self._held_out.items()
        }
        self.evaluator.measured = means
        output.metrics.update({f"eval_{name}": value for name, value in means.items()})
        return output

    def prediction_step(
        self, model: Any, inputs: dict[str, Any], *arguments: Any, **keywords: Any
    ) -> Any:
        weight = self.weight_of(inputs)
        self._metrics["eval"].clear()
        prediction = super().prediction_step(model, inputs, *arguments, **keywords)
        for name, figure in FIGURES.items():
            if values := self._metrics["eval"].get(name):
                self._held_out[figure].append((values[-1], weight))
        self._metrics["eval"].clear()
        return prediction


class DpoTrainer(PreferenceTrainer, DPOTrainer):
    """What the reference thinks of the samples is computed before the first step, and kept in the
    run's folder."""

    precompute_ref_logps: bool
    train_dataset: Any
    eval_dataset: Any

    def __init__(self, **run: Any) -> None:
        super().__init__(**run)
        if not self.precompute_ref_logps:  # TRL would hash all weights to name a cache
            self.precompute_ref_logps = True
            size = self.args.per_device_eval_batch_size
            self.train_dataset = self._precompute_ref_logps(self.train_dataset, "train", size)
            if self.eval_dataset is not None:
                self.eval_dataset = self._precompute_ref_logps(self.eval_dataset, "eval", size)

    def weight_of(self, batch: dict[str, Any]) -> float:
        return len(batch["input_ids"]) / 2

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        context = self._saving.context
        part = "heldout" if name == "eval" else name
        path = RunFolder(context.directory).reference_scores(part)
        scores: list[list[float]] = []
        if path.is_file():
            scores = foreign_json.read_object(path)["scores"]
        if len(scores) != len(dataset):
            scores = []
            for first in range(0, len(dataset), batch_size):
                if context.stopping.is_set():
                    raise EvaluationStopped
                context.phase("scoring with the reference", done=first, total=len(dataset))
                numbers = range(first, min(first + batch_size, len(dataset)))
                scores += self._reference_scores([dataset[number] for number in numbers])
            write_json(path, {"scores": scores})
        for column, name_of_column in enumerate(_SCORES):
            dataset = dataset.add_column(name_of_column, [pair[column] for pair in scores])
        return dataset

    def _reference_scores(self, examples: list[dict[str, Any]]) -> list[list[float]]:
        """In the numbers that the model itself will be computed in, so that both agree before the
        first step."""
        batch = self._prepare_inputs(self.data_collator(examples))
        with torch.no_grad(), _as_in_an_evaluation(self.model), self._reference():
            with self.accelerator.autocast():
                logits = self.model(
                    input_ids=batch["input_ids"],
                    attention_mask=batch["attention_mask"],
                    use_cache=False,
                ).logits
            mask = batch["completion_mask"][:, 1:]
            scores = selective_log_softmax(
                logits[:, :-1].float(), batch["input_ids"][:, 1:], row_mask=mask
            )
            better, worse = (scores * mask).sum(1).chunk(2)
        return [list(map(float, pair)) for pair in zip(better, worse, strict=True)]

    def _reference(self) -> AbstractContextManager[Any]:
        """The model as it started: where every weight is trained only before the first step."""
        if not isinstance(self.model, PeftModel):
            return nullcontext()
        reference: AbstractContextManager[Any] = use_adapter(self.model, REFERENCE)
        return reference

    def prediction_step(
        self, model: Any, inputs: dict[str, Any], *arguments: Any, **keywords: Any
    ) -> Any:
        """With the distance of the model's next tokens from the reference's, where that can be
        asked: a model that is trained whole has replaced its reference."""
        prediction = super().prediction_step(model, inputs, *arguments, **keywords)
        if isinstance(self.model, PeftModel):
            batch = self._prepare_inputs(inputs)
            self._held_out["kl"].append((self._divergence(model, batch), self.weight_of(batch)))
        return prediction

    def _divergence(self, model: Any, batch: dict[str, Any]) -> float:
        """KL(model || reference) of the next token, the mean over the scored ones, in nats."""
        mask = batch["completion_mask"][:, 1:].bool()
        tokens = {name: batch[name] for name in ("input_ids", "attention_mask")}

        def distribution() -> torch.Tensor:
            logits = model(**tokens, use_cache=False).logits[:, :-1]
            return log_softmax(logits[mask].float(), dim=-1)

        with torch.no_grad(), self.compute_loss_context_manager():
            current = distribution()
            with self._reference():
                reference = distribution()
        return float((current.exp() * (current - reference)).sum(-1).mean())


class OrpoTrainer(DpoTrainer):
    """The odds ratio loss, which needs no reference. TRL's own trainer learns the prompts with the
    chosen answers; here only the answers are learned. Its two parts are means over the tokens of an
    answer, so that answers count alike whatever their length."""

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        return dataset

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        mask = inputs["completion_mask"][:, 1:]
        outputs = model(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False
        )
        scores = selective_log_softmax(
            outputs.logits[:, :-1], inputs["input_ids"][:, 1:], row_mask=mask
        )
        better, worse = (scores.sum(1) / mask.sum(1)).chunk(2)
        odds = better - worse - (_log_complement(better) - _log_complement(worse))
        loss = (-better - self.beta * logsigmoid(odds)).mean()
        better, worse = self.beta * better.detach(), self.beta * worse.detach()
        metrics = self._metrics["train" if self.model.training else "eval"]
        for name, value in {
            "rewards/chosen": better,
            "rewards/rejected": worse,
            "rewards/margins": better - worse,
            "rewards/accuracies": (better > worse).float(),
        }.items():
            metrics[name].append(float(value.mean()))
        return (loss, outputs) if return_outputs else loss


class KtoTrainer(PreferenceTrainer, KTOTrainer):
    """The distance from the reference is estimated in each batch as it is drawn."""

    def __init__(self, **run: Any) -> None:
        super().__init__(**run)
        # TRL makes its mismatched answers beforehand and must then keep the order of the data.
        self.args.train_sampling_strategy = "random"

    def weight_of(self, batch: dict[str, Any]) -> float:
        return float(len(batch["input_ids"]))


def _log_complement(score: torch.Tensor) -> torch.Tensor:
    """log(1 - exp(score)), for scores below 0."""
    score = score.clamp(max=-1e-6)
    return torch.where(
        score > -0.6931,
        torch.log(-torch.expm1(score)),
        torch.log1p(-torch.exp(score)),
    )


@contextmanager
def _as_in_an_evaluation(model: torch.nn.Module) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


# ---- building them


def build_trainer(parts: TrainerParts) -> PreferenceTrainer:
    """A trainer that logs each step, and evaluates and saves when the callbacks say so."""
    kind = parts.recipe.objective.kind
    return _BUILDERS[kind](parts)


def _dpo(parts: TrainerParts) -> PreferenceTrainer:
    return _of_pairs(parts, DpoTrainer)


def _orpo(parts: TrainerParts) -> PreferenceTrainer:
    return _of_pairs(parts, OrpoTrainer)


def _of_pairs(parts: TrainerParts, trainer: type[DpoTrainer]) -> PreferenceTrainer:
    arguments = DPOConfig(
        **parts.arguments(),
        beta=parts.recipe.objective.beta,
        precompute_ref_log_probs=not isinstance(parts.model, PeftModel),
        disable_dropout=False,
    )
    return _built(parts, trainer, arguments, PairCollator(_pad_token(parts)), PAIRS)


def _kto(parts: TrainerParts) -> PreferenceTrainer:
    figures = Figures(**parts.prepared.summary["preferences"])
    if parts.plan.compute.micro_batch < 2:
        raise LuthierError(
            "KTO needs two answers at a time",
            "It compares each prompt with the answer to another one of its micro-batch, but the"
            " micro-batch is 1.",
            "Set train.micro_batch = 2 or more, or free memory that other programs use.",
        )
    desirable, undesirable = verdict_weights(
        figures.good + figures.pairs, figures.bad + figures.pairs
    )
    arguments = KTOConfig(
        **parts.arguments(),
        beta=parts.recipe.objective.beta,
        desirable_weight=desirable,
        undesirable_weight=undesirable,
        train_sampling_strategy="sequential",
        disable_dropout=False,
    )
    return _built(parts, KtoTrainer, arguments, VerdictCollator(_pad_token(parts)), VERDICTS)


_BUILDERS: dict[str, Callable[[TrainerParts], PreferenceTrainer]] = {
    "dpo": _dpo,
    "orpo": _orpo,
    "kto": _kto,
}


def verdict_weights(good: int, bad: int) -> tuple[float, float]:
    """What a good and a bad answer count for, so that both kinds do as much in sum (equation 8 of
    KTO's paper, at its lower bound): the rarer kind counts for more."""
    if not good or not bad:
        return 1.0, 1.0
    return max(1.0, bad / good), max(1.0, good / bad)


def _built(
    parts: TrainerParts,
    kind: type[PreferenceTrainer],
    arguments: Any,
    collator: Any,
    columns: Any,
) -> PreferenceTrainer:
    vocabulary = Vocabulary.of(parts.model, parts.tokenizer)
    prepared = parts.prepared
    trainer = kind(
        train_dataset=dataset(prepared.train, vocabulary, columns),
        eval_dataset=dataset(prepared.heldout, vocabulary, columns)
        if prepared.summary["heldout"]
        else None,
        data_collator=collator,
        **parts.for_trainer(arguments),
    )
    parts.finish(trainer)
    return trainer


def _pad_token(parts: TrainerParts) -> int:
    tokenizer = parts.tokenizer
    return int(tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id)
