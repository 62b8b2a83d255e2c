"""A run's figures as its log has them, in words."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right

from workshop import number_format
from workshop.runs.record import RunRecord

_FIGURE = re.compile(r"'(\w+)': '?([^',}]+)'?")
_SLACK = 0.01  # of an epoch, relative: a log has four digits of it


def in_words(line: str, record: RunRecord) -> str:
    """A line of figures that the trainer has printed as one sentence; any other as it is."""
    if not line.startswith("{'") or not line.endswith("}"):
        return line
    figures = dict(_FIGURE.findall(line))
    try:
        if "loss" in figures:
            return _step(figures, record)
        if "eval_loss" in figures:
            seconds = number_format.duration(float(figures["eval_runtime"]))
            margin = (
                f"   margin {float(figures['eval_heldout_margin']):+.3f}"
                if "eval_heldout_margin" in figures
                else ""
            )
            return f"evaluation   loss {_loss(figures['eval_loss'])}{margin}   {seconds}"
        if "train_runtime" in figures:
            return f"training ended   {number_format.duration(float(figures['train_runtime']))}"
    except (KeyError, ValueError):  # another version of the trainer prints other figures
        pass
    return line


def _step(figures: dict[str, str], record: RunRecord) -> str:
    step = _step_of(figures, record)
    parts = [f"loss {_loss(figures['loss'])}"]
    if "reward_margin" in figures:
        parts.append(f"margin {float(figures['reward_margin']):+.3f}")
    if "learning_rate" in figures:
        parts.append(f"rate {number_format.rate(float(figures['learning_rate']))}")
    if step is None:
        return "   ".join([f"epoch {figures['epoch']}", *parts])
    speed = record.figure("tokens_per_second", step)
    if speed is not None:
        parts.append(f"{number_format.count(speed)} tokens/s")
    return "   ".join([f"step {step:,}", *parts])


def _loss(text: str) -> str:
    return number_format.loss(float(text))


def _step_of(figures: dict[str, str], record: RunRecord) -> int | None:
    """The step whose figures these are; None where several might be, or none of those told."""
    epochs = record.curves.get("epoch")
    if not epochs:
        return None
    epoch = float(figures["epoch"])
    slack = _SLACK * max(epoch, _SLACK)
    near = epochs.steps[
        bisect_left(epochs.values, epoch - slack) : bisect_right(epochs.values, epoch + slack)
    ]
    fitting = [
        step
        for step in near
        if f"{epochs.value_at(step):.4g}" == f"{epoch:.4g}"
        and (loss := record.figure("loss", step)) is not None
        and f"{loss:.4g}" == f"{float(figures['loss']):.4g}"
    ]
    return fitting[0] if len(fitting) == 1 else None
