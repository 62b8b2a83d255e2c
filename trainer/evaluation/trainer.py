"""TRL's trainer with an evaluation that counts each token alike and leaves no trace in the training. Heavy: for workers."""

from __future__ import annotations

from typing import Any

import torch
from transformers.trainer_utils import EvalLoopOutput
from trl import SFTTrainer

from models.samples import UNTRAINED
from trainer.evaluation.evaluator import Evaluator
from trainer.evaluation.generation import undisturbed


class EvaluatingTrainer(SFTTrainer):
    """`evaluator` is set before training. The evaluation loss is the sum over all held-out trained tokens divided by their number, where
    TRL's is a mean of batch means, in which the tokens of short answers count more."""

    evaluator: Evaluator
    _sum: float | torch.Tensor = 0.0
    _tokens: int = 0

    def evaluate(self, *arguments: Any, **named: Any) -> dict[str, float]:
        self.evaluator.begin()
        with undisturbed(self.model):
            if self.eval_dataset is not None:
                return dict(super().evaluate(*arguments, **named))
            metrics = self._answered()
            self.log(metrics)
            self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
            return metrics

    def evaluation_loop(self, *arguments: Any, **named: Any) -> EvalLoopOutput:
        self._sum, self._tokens = 0.0, 0
        output = super().evaluation_loop(*arguments, **named)
        output.metrics["eval_loss"] = float(self._sum) / max(1, self._tokens)
        output.metrics.update(self._answered())
        return output

    def prediction_step(self, model: Any, inputs: dict[str, Any], *arguments: Any, **named: Any) -> Any:
        tokens = int(inputs["labels"][:, 1:].ne(UNTRAINED).sum())
        result = super().prediction_step(model, inputs, *arguments, **named)
        self._sum = self._sum + result[0].double() * tokens
        self._tokens += tokens
        return result

    def _answered(self) -> dict[str, float]:
        return {f"eval_{name}": value for name, value in self.evaluator.answer(self.model, self.state.global_step).items()}
