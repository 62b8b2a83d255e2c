"""Every candidate of a setting, measured with a trainer that is ready for its first step
(bench/gpu/regret.py)."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.gpu.regret import Bench, Setting

_STEPS = 2000  # of the run that auto has
_NEAR, _TURNS = 0.7, 3  # of the best speed: measured again, by turns
_BATCHES = 3  # that a candidate's speed is of


def tell(**fields: Any) -> None:
    print("\nRESULT " + json.dumps(fields), flush=True)  # whatever a library has begun to print


@dataclass(frozen=True)
class Grid:
    """What is measured of one setting."""

    setting: Setting
    plan: Any
    contenders: list[Any]
    candidates: list[Any]
    all_candidates: int
    """With those that are left out."""
    ends: float


class _Measured(Exception):
    """All is measured: the trainer need not train."""


class ReadyTrainer:
    """A trainer that measures in the place of its first step, as a run's does."""

    def __init__(self, bench: Bench, trainer: Any) -> None:
        self._bench = bench
        self._trainer = trainer

    def measure(self, grid: Grid) -> dict[str, Any]:
        from transformers import TrainerCallback

        from trainer.run.run_trainer import free_memory

        figures: dict[str, Any] = {}
        bench = self

        class Instead(TrainerCallback):  # type: ignore[misc]
            def on_train_begin(self, *arguments: Any, **keywords: Any) -> None:
                figures.update(bench.figures(grid, keywords["train_dataloader"]))
                raise _Measured

        self._trainer.add_callback(Instead())
        try:
            self._trainer.train()
        except _Measured:
            pass
        finally:
            self._trainer.model.zero_grad(set_to_none=True)
            free_memory()
        return figures

    def figures(self, grid: Grid, loader: Any) -> dict[str, Any]:
        from trainer.plan import trials
        from trainer.plan.trials import span
        from trainer.run.trials import Allowance, Batches, Rounds

        bench = self._bench
        compute = grid.plan.compute
        batches = Batches.of(loader, compute, grid.candidates)
        loaded = replace(compute, gradient_checkpointing="none")
        rounds = Rounds(self._trainer, bench.engine, loader, batches, loaded, bench.products, None)
        as_loaded = replace(grid.contenders[0], gradient_checkpointing="none", float8=False)
        share = span(grid.contenders) / compute.conversations
        allowance = Allowance(_STEPS, share, forced=False, clock=time.monotonic)
        began = time.monotonic()
        auto_batches = Batches.of(loader, compute, grid.contenders)
        auto = Rounds(
            self._trainer, bench.engine, loader, auto_batches, loaded, bench.products, None
        )
        tried = auto.run(grid.contenders, allowance, None)
        auto.use(as_loaded)
        seconds = time.monotonic() - began
        quickest = trials.quickest(tried) or grid.contenders[0]
        speeds, failed = self._every(grid, rounds, batches)
        rounds.use(as_loaded)
        best = max(speeds, key=lambda name: speeds[name], default="")
        names = {
            "auto": quickest.in_words(),
            "predicted": grid.contenders[0].in_words(),
        }

        def regret(name: str) -> float | None:
            return round(1 - speeds[name] / speeds[best], 4) if name in speeds else None

        return {
            "chosen": names["auto"],
            "best": best,
            "regret": regret(names["auto"]),
            "predicted": names["predicted"],
            "predicted_regret": regret(names["predicted"]),
            "tokens_per_second": speeds,
            "trial_seconds": round(seconds, 2),
            "trial_allowed": round(allowance.seconds, 2),
            "tried": {
                trial.in_words(): trial.outcome or round(trial.tokens_per_second) for trial in tried
            },
            "tokens_a_batch": batches.tokens(batches.median),
            "partial": len(speeds) + failed < len(grid.candidates),
            "left_out": grid.all_candidates - len(grid.candidates),
        }

    def _every(self, grid: Grid, rounds: Any, batches: Any) -> tuple[dict[str, float], int]:
        """Tokens a second by candidate, of those that could be measured, and how many failed."""
        failed = 0
        speeds: dict[str, float] = {}
        head = {"line": "candidate", "model": self._bench.name, "setting": str(grid.setting)}
        for trial in grid.candidates:
            if time.monotonic() > grid.ends - 3:
                break
            figures: dict[str, Any] = {}
            try:
                self._reset_peak()
                rounds.use(trial)
                best = max(speeds.values(), default=0.0)
                speed, settled = self._speed(rounds, batches, trial.micro_batch, best)
                speeds[trial.in_words()] = speed
                figures = {"tokens_per_second": speed, "settled": settled, **self._peak(rounds)}
            except Exception as error:  # noqa: BLE001 - a candidate that fails is a figure
                figures = {"failed": f"{type(error).__name__}: {error}"[:300]}
            if self._bench.is_lost():
                tell(**head, settings=trial.in_words(), **figures)
                raise RuntimeError(f"{trial.in_words()} has ended the process")
            failed += "failed" in figures
            rounds.forget(collect="failed" in figures)
            tell(**head, settings=trial.in_words(), **figures)
        self._again(grid, rounds, batches, speeds)
        return speeds, failed

    def _again(self, grid: Grid, rounds: Any, batches: Any, speeds: dict[str, float]) -> None:
        """Those near the best by turns, and the best of all turns: a drift of the machine, or a
        second in which its host is slow, is no one's merit."""
        enough = _NEAR * max(speeds.values(), default=0.0)
        near = [each for each in grid.candidates if speeds.get(each.in_words(), 0.0) >= enough]
        if len(near) < 2:
            return
        for trial in near * _TURNS:
            if time.monotonic() > grid.ends - 3:
                return
            try:
                rounds.use(trial)
                speed, _ = self._speed(rounds, batches, trial.micro_batch, 0.0)
            except RuntimeError:
                return
            name = trial.in_words()
            speeds[name] = max(speeds[name], speed)

    def _speed(self, rounds: Any, batches: Any, size: int, best: float) -> tuple[float, bool]:
        """Over batches that differ, after passes over the median one that are settled; or what the
        best of these shows of one that has lost."""
        from trainer.run.trials import is_settled

        tokens = batches.tokens(batches.median)
        times: list[float] = []
        while len(times) < 5 and not is_settled(times):
            times.append(rounds.seconds_of(batches.median, size))
            if len(times) > 1 and tokens / min(times) < best / 1.3:
                return round(tokens / min(times), 1), False
        measured = batches.some(_BATCHES)
        seconds = [rounds.seconds_of(numbers, size) for numbers in measured]
        total = sum(batches.tokens(numbers) for numbers in measured)
        return round(total / sum(seconds), 1), True

    def _reset_peak(self) -> None:
        if self._bench.on_gpu:
            self._bench.torch.cuda.reset_peak_memory_stats()

    def _peak(self, rounds: Any) -> dict[str, float]:
        if not self._bench.on_gpu:
            return {}
        peak = self._bench.torch.cuda.max_memory_allocated() - rounds.products.spare_bytes
        return {"peak_gb": round(peak / 1e9, 2)}
