"""Which evaluation was the best, when a run stops early, and that its events tell the same."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from trainer.evaluation.history import Found, History, eval_events, read_history
from trainer.evaluation.settings import Evaluation


def history(losses: list[float], **settings: Any) -> History:
    """Evaluations at steps 0, 10, 20 and so on."""
    return History(
        Evaluation(**settings),
        [Found(10 * number, loss=loss) for number, loss in enumerate(losses)],
    )


def test_the_best_is_the_lowest_loss_and_never_the_base() -> None:
    best = history([0.5, 3.0, 2.0, 2.0, 2.5]).best()
    assert best is not None
    assert best.step == 20
    assert history([0.5]).best() is None
    among = history([0.5, 3.0, 2.0, 2.0, 2.5]).best(among={10, 40})
    assert among is not None
    assert among.step == 40


def test_metrics_are_better_when_higher_and_nan_is_never_the_best() -> None:
    found = [
        Found(10, loss=1.0, metrics={"bleu": 5.0}),
        Found(20, loss=9.0, metrics={"bleu": 8.0}),
        Found(30, loss=0.1, metrics={"bleu": math.nan}),
    ]
    best = History(Evaluation(metrics=["bleu"], metric="bleu"), found).best()
    assert best is not None
    assert best.step == 20


def test_patience_counts_evaluations_in_a_row_without_a_better_one() -> None:
    assert history([9, 3.0, 2.0, 2.1], patience=2).stop_reason() == ""
    assert history([9, 3.0, 2.0, 2.1, 1.9, 2.0], patience=2).stop_reason() == ""
    reason = history([9, 3.0, 2.0, 2.1, 2.0], patience=2).stop_reason()
    assert reason == "no loss better than 2 at step 20 in 2 evaluations"
    assert history([9, 3.0, 2.0, 2.1, 2.0, 2.0]).stop_reason() == ""  # off by default


def test_the_base_counts_neither_way() -> None:
    assert history([0.1, 3.0], patience=1).stop_reason() == ""
    assert history([0.1, 3.0, 2.9], patience=1).stop_reason() == ""


def test_small_improvements_add_up() -> None:
    """They count from the last one that was large enough (as in Keras), so that slow progress is
    not mistaken for none."""
    slow = [9, 3.0, 2.97, 2.94, 2.91, 2.88]
    assert history(slow, patience=2, min_improvement=0.05).stop_reason() == ""
    assert "by more than 0.5" in history(slow, patience=2, min_improvement=0.5).stop_reason()


def test_a_loss_that_is_no_number_is_no_improvement() -> None:
    assert (
        history([9, math.nan, math.nan], patience=2).stop_reason()
        == "loss could not be measured in 2 evaluations"
    )


def test_events_are_read_as_they_count(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    told: list[dict[str, Any]] = [
        {"kind": "eval", "step": 0, "loss": 4.0},
        {"kind": "step", "step": 5, "loss": 4.0},
        {"kind": "eval", "step": 10, "loss": 3.0, "epoch": 0.5, "metrics": {"bleu": 7.5}},
        {"kind": "eval", "step": 20, "loss": 1.0},
        {"kind": "resumed", "step": 10},
        {"kind": "eval", "step": 20, "loss": 2.0},
        {"kind": "eval", "step": 30, "loss": "nan"},
    ]
    path.write_text(
        "".join(json.dumps({"t": 1.0, **event}) + "\n" for event in told)
        + '{"t": 1, "kind": "eval", "st'
    )
    found = read_history(path, Evaluation()).all()
    assert [one.step for one in found] == [0, 10, 20, 30]
    assert found[1] == Found(10, 0.5, 3.0, {"bleu": 7.5})
    assert found[2].loss == 2.0
    assert math.isnan(found[3].value("loss"))
    assert eval_events(tmp_path / "none.jsonl") == []
