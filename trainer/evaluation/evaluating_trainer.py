"""What an engine's Trainer needs so that an evaluation also asks the run's questions. Heavy: for
workers."""

from __future__ import annotations

from typing import Any

from trainer.evaluation.evaluator import Evaluator


class Answering:
    """Comes before an engine's Trainer among a class's bases; `evaluator` is set before training.
    The answers' metrics are logged with the loss, so that trackers get them too. Where nothing is
    held out, an evaluation is the answers alone."""

    evaluator: Evaluator

    def evaluate(self, *arguments: Any, **named: Any) -> dict[str, float]:
        self.evaluator.begin()
        if self.eval_dataset is not None:  # type: ignore[attr-defined]
            return dict(super().evaluate(*arguments, **named))  # type: ignore[misc]
        metrics = self._answers()
        self.log({**metrics})  # type: ignore[attr-defined]
        self.control = self.callback_handler.on_evaluate(  # type: ignore[attr-defined]
            self.args,  # type: ignore[attr-defined]
            self.state,  # type: ignore[attr-defined]
            self.control,  # type: ignore[has-type]
            metrics,
        )
        return metrics

    def evaluation_loop(self, *arguments: Any, **named: Any) -> Any:
        output = super().evaluation_loop(*arguments, **named)  # type: ignore[misc]
        output.metrics.update(self._answers())
        return output

    def _answers(self) -> dict[str, float]:
        """In batches of the evaluation's size, which is halved where memory does not suffice."""
        batch, step = int(self.args.per_device_eval_batch_size), int(self.state.global_step)  # type: ignore[attr-defined]
        return {
            f"eval_{name}": value
            for name, value in self.evaluator.answer(self.model, step, batch).items()  # type: ignore[attr-defined]
        }
