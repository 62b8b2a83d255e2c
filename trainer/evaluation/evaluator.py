"""When a run is evaluated, what is asked then, what the answers are worth, and whether to stop
early. Heavy: for workers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from jobs.luthier_error import LuthierError
from jobs.worker import WorkerContext
from models import events
from trainer.distributed import ranks
from trainer.distributed.sharding import is_sharded
from trainer.evaluation.generation import Generator
from trainer.evaluation.history import Found, History
from trainer.evaluation.labels import no_labels
from trainer.evaluation.metrics import Scores, score
from trainer.evaluation.prompts import Prompt, Prompter, answer_text, spread
from trainer.evaluation.settings import Evaluation, Metric
from trainer.run.saving import EvaluationStopped

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase

    from models.preflight import TemplateReport

_LONGEST_TEXT = 2000  # characters of a text in a sample event
_TELL_SECONDS = 2.0


class Answer(NamedTuple):
    """`complete` is False where the answer reached the longest length."""

    text: str
    complete: bool


class Questions:
    """The prompts of a run: `samples` are told with their answers, `scored` are measured by
    `metrics`. LuthierError where the recipe asks for what the held-out conversations (None: there
    are none) do not give."""

    def __init__(
        self,
        settings: Evaluation,
        tokenizer: PreTrainedTokenizerBase,
        report: TemplateReport,
        heldout: Path | None,
    ) -> None:
        self._tokenizer = tokenizer
        self._generator = Generator(report.stop_ids, settings.answer_tokens)
        self.metrics: list[Metric] = list(settings.metrics)
        prompter = Prompter(tokenizer, report)
        if self.metrics:
            count = settings.conversations
        else:
            count = 0 if settings.prompts else settings.samples
        of_heldout = prompter.of_heldout(heldout, count) if heldout is not None and count else []
        self.scored: list[Prompt] = of_heldout if self.metrics else []
        self.samples: list[Prompt] = (
            prompter.of_user(settings.prompts)
            if settings.prompts
            else spread(of_heldout, settings.samples)
        )
        self.any = heldout is not None or bool(self.samples)
        if settings.patience and heldout is None:
            message = (
                "evaluation.patience needs the loss on held-out conversations, but there are none."
            )
            raise LuthierError(
                "No held-out conversations",
                message,
                "Raise heldout.share or heldout.at_least, or leave out patience.",
            )
        self._check_metrics()

    def ask(
        self,
        model: PeftModel,
        batch: int,
        progress: Callable[[range, int], None],
        stopping: Callable[[], bool],
    ) -> dict[Prompt, Answer]:
        """All of them, `batch` at a time. Raises EvaluationStopped."""
        prompts = list(dict.fromkeys((*self.scored, *self.samples)))
        generated = (
            self._generator.answers(
                model, [prompt.input_ids for prompt in prompts], batch, progress, stopping
            )
            if prompts
            else []
        )
        texts = [
            str(self._tokenizer.decode(answer.tokens, skip_special_tokens=True)).strip()
            for answer in generated
        ]
        answers = zip(texts, (answer.stopped for answer in generated), strict=True)
        return {prompt: Answer(*answer) for prompt, answer in zip(prompts, answers, strict=True)}

    def _check_metrics(self) -> None:
        """The accuracy of labels joins the other metrics where the references are labels."""
        if not self.metrics:
            return
        if not self.scored:
            message = (
                f"evaluation.metrics ({', '.join(self.metrics)}) compares answers with held-out"
                " ones, but there are none."
            )
            raise LuthierError(
                "No held-out conversations",
                message,
                "Raise heldout.share or heldout.at_least, or leave out metrics.",
            )
        why = no_labels([prompt.reference for prompt in self.scored])
        if why and "label_accuracy" in self.metrics:
            message = (
                "evaluation.metrics contains label_accuracy, but the held-out answers are not"
                f" labels: {why}."
            )
            raise LuthierError(
                "The answers are not labels",
                message,
                "Leave out label_accuracy; exact_match counts equal answers of any kind.",
            )
        if not why and "label_accuracy" not in self.metrics:
            self.metrics.append("label_accuracy")


class Evaluator(TrainerCallback):
    """Asks for evaluations at the recipe's steps, answers the questions in them, tells of both and
    stops the run when the recipe says so.

    It comes before the callback that saves checkpoints, which looks at `control.should_evaluate`.
    `early_stop` is the reason, once there is one; `measured` are figures that the trainer itself
    takes of what is held out. Raises EvaluationStopped out of an evaluation
    when the run is to stop.
    """

    name = "evaluation"

    def __init__(
        self,
        context: WorkerContext,
        settings: Evaluation,
        questions: Questions,
        steps_per_epoch: int,
    ) -> None:
        self.context = context
        self.settings = settings
        self.history = History(settings)
        self.early_stop = ""
        self.measured: dict[str, float] = {}
        self._questions = questions
        self._steps_per_epoch = steps_per_epoch
        self._steps: frozenset[int] = frozenset()
        self._total = 0
        self._scores = Scores({})
        self._began = self._told = 0.0
        self._told_numbers = range(0)
        self._answers, self._answer_seconds = 0, 0.0

    def state(self) -> dict[str, Any]:
        """For a checkpoint: see trainer.run.checkpoints.Remembering."""
        return {"found": [asdict(evaluation) for evaluation in self.history.all()]}

    def restore(self, state: dict[str, Any]) -> None:
        self.history = History(
            self.settings, (Found(**evaluation) for evaluation in state["found"])
        )
        self.early_stop = self.history.stop_reason()

    @property
    def has_work(self) -> bool:
        """Whether there is anything to evaluate, at any step."""
        return bool(self.settings.times or self.settings.every) and self._questions.any

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._steps = (
            self.settings.steps(state.max_steps, self._steps_per_epoch)
            if self.has_work
            else frozenset()
        )
        self._total = state.max_steps
        self.history.forget_after(state.global_step)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.global_step in self._steps:
            control.should_evaluate = True

    def begin(self) -> None:
        self._began = self._told = time.monotonic()
        self._told_numbers = range(0)

    def answer(self, model: PeftModel, step: int, batch: int) -> dict[str, float]:
        """Ask everything, `batch` prompts at a time, tell the samples, and give the metrics. The
        first rank does it for all, unless it needs the others' shards of the model."""
        answers = ranks.from_first(
            self._asked(model, step, batch) if ranks.first() or is_sharded(model) else None
        )
        if answers is None:
            raise EvaluationStopped
        self._scores, self._answers, self._answer_seconds = answers
        return self._scores.values

    def _asked(self, model: PeftModel, step: int, batch: int) -> tuple[Scores, int, float] | None:
        """None if a stop broke it off."""
        began = time.monotonic()
        # The last evaluation is not broken off: the run is nearly done.
        try:
            answers = self._questions.ask(
                model,
                batch,
                self._progress,
                lambda: step < self._total and self.context.stopping.is_set(),
            )
        except EvaluationStopped:
            return None
        for index, prompt in enumerate(self._questions.samples):
            answer = answers[prompt]
            sample = events.Sample(
                step=step,
                index=index,
                prompt=prompt.text[:_LONGEST_TEXT],
                reference=prompt.reference[:_LONGEST_TEXT],
                answer=answer.text[:_LONGEST_TEXT],
                complete=answer.complete,
            )
            events.tell(self.context, sample)
        scored = self._questions.scored
        texts, references = (
            [answer_text(answers[prompt].text) for prompt in scored],
            [prompt.reference for prompt in scored],
        )
        scores = score(self._questions.metrics, texts, references) if scored else Scores({})
        return scores, len(answers), time.monotonic() - began

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float],
        **kwargs: Any,
    ) -> None:
        loss = metrics.get("eval_loss")
        evaluation = Found(
            state.global_step,
            round(float(state.epoch or 0.0), 4),
            None if loss is None else float(loss),
            {**self._scores.values, **self.measured},
        )
        self.history.add(evaluation)
        self._tell(evaluation)
        if self._told > self._began:
            self.context.phase("training")
        self.early_stop = self.history.stop_reason()
        if self.early_stop and state.global_step < state.max_steps:
            control.should_training_stop = True
            stop = events.EarlyStop(step=state.global_step, reason=self.early_stop)
            events.tell(self.context, stop)

    def _tell(self, evaluated: Found) -> None:
        labels = {name: counts._asdict() for name, counts in self._scores.labels.items()}
        evaluation = events.Eval(
            step=evaluated.step,
            epoch=evaluated.epoch,
            loss=evaluated.loss,
            metrics={**evaluated.metrics},
            seconds=round(time.monotonic() - self._began, 2),
            answers=self._answers or None,
            answer_seconds=round(self._answer_seconds, 2) if self._answers else None,
            labels=labels or None,
            signatures=self._scores.signatures or None,
        )
        events.tell(self.context, evaluation)

    def _progress(self, numbers: range, total: int) -> None:
        """Tell which answers are being written, unless they are soon done."""
        if numbers == self._told_numbers or time.monotonic() - self._told < _TELL_SECONDS:
            return
        self._told, self._told_numbers = time.monotonic(), numbers
        first, last = numbers[0], numbers[-1]
        answers = f"answer {first}" if first == last else f"answers {first} to {last}"
        self.context.phase(f"evaluating: {answers} of {total}", done=first - 1, total=total)
