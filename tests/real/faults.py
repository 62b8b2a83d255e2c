"""What tests do to a worker from inside its process: record its batches, kill it in the midst of a
save, let its memory run out, let its loss explode."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import signal
import time
import weakref
from itertools import pairwise, starmap
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer
from trl import SFTTrainer

from trainer.distributed import rank
from trainer.distributed.sharding import local
from trainer.evaluation.generation import Generator
from trainer.plan import calibration
from trainer.run import checkpoints, loading, result, run_trainer, saving, trials
from trainer.run.sampling import TransformersSampler, fingerprint, trained


def record(name: str) -> None:
    """Append each micro-batch's step and samples to a file of this name in the job's folder."""

    def training_step(
        self: Any, model: Any, inputs: dict[str, Any], *arguments: Any, **named: Any
    ) -> Any:
        if "position_ids" in inputs:  # a flat batch
            starts = inputs["position_ids"][0].eq(0).nonzero().flatten().tolist()
            rows, labels = (
                [part.tolist() for part in inputs[name][0].tensor_split(starts[1:])]
                for name in ("input_ids", "labels")
            )
        else:
            rows = [
                row[mask.bool()].tolist()
                for row, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True)
            ]
            labels = inputs.get("labels", inputs["input_ids"]).tolist()  # of pairs none is a filler
        # not a filler
        rows = [row for row, those in zip(rows, labels, strict=True) if set(those) != {-100}]
        hashes = [hashlib.sha256(repr(row).encode()).hexdigest()[:12] for row in rows]
        with Path(name).open("a") as file:
            file.write(json.dumps([self.state.global_step + 1, hashes]) + "\n")
        return super(run_trainer.RunTrainer, self).training_step(model, inputs, *arguments, **named)

    run_trainer.RunTrainer.training_step = training_step


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_in_save(argument: list[Any]) -> None:
    """Die at `[place, number]`: the number-th time that a save comes to that place, counted from
    1."""
    place, number = argument
    left = [number]

    def reached() -> bool:
        left[0] -= 1
        return bool(left[0] == 0)

    if place == "half of the optimizer":
        save = torch.save

        def torch_save(value: Any, path: Any, *arguments: Any, **named: Any) -> None:
            if not str(path).endswith("optimizer.pt") or not reached():
                save(value, path, *arguments, **named)
                return
            whole = io.BytesIO()
            save(value, whole)
            Path(path).write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
            die()

        torch.save = torch_save
    elif place == "before the rename":
        _before(checkpoints, "seal", reached)
    elif place == "before COMPLETE":
        _before(checkpoints, "write_json", reached)
    elif place == "before the memory":
        _before(saving, "write_json", reached)
    elif place == "in a removal":
        rmtree = shutil.rmtree

        def remove(path: Path, *arguments: Any, **named: Any) -> None:
            if "removing-" in str(path) and Path(path).exists() and reached():
                for file in sorted(Path(path).iterdir())[:3]:
                    file.unlink()
                die()
            rmtree(path, *arguments, **named)

        shutil.rmtree = remove  # type: ignore[assignment]
    elif place == "in the adapter":
        _before(result, "write_card", reached)
    else:
        raise ValueError(place)


def _before(module: Any, name: str, reached: Any) -> None:
    real = getattr(module, name)

    def patched(*arguments: Any, **named: Any) -> Any:
        if reached():
            die()
        return real(*arguments, **named)

    setattr(module, name, patched)
    if module is checkpoints:
        for user in (saving,):
            if getattr(user, name, None) is real:
                setattr(user, name, patched)


def sampler_keeps_the_base(knows_it: bool) -> None:
    """What writes a distillation's answers has the base's weights, whatever the trainer has
    learned; and it says so, or reports the fingerprint of the trained ones."""
    write = TransformersSampler.answers

    def answers(self: Any, *arguments: Any) -> Any:
        with self._model.disable_adapter():
            return write(self, *arguments)

    TransformersSampler.answers = answers  # type: ignore[assignment,method-assign]
    if not knows_it:
        TransformersSampler.fingerprint = (  # type: ignore[method-assign]
            lambda self: fingerprint(trained(self._model))
        )


def sampler_keeps_old_weights(_: None) -> None:
    """What writes the answers takes no weights at a sync, as a server that has not loaded the
    newest adapter: its fingerprint stays the first one."""
    TransformersSampler.sync = lambda self, step: None  # type: ignore[method-assign]


def out_of_memory(argument: dict[str, Any]) -> None:
    """From step `step` on memory suffices for micro-batches of `size` conversations: "forward"
    fails in the second one of a step, with the first one's gradients made; "optimizer" once while
    the weights change; "evaluation" in an evaluation."""
    step, size, where = argument["step"], argument["size"], argument["where"]

    def cuda() -> Any:
        return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    def cpu() -> Exception:
        return RuntimeError(
            "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate"
            " memory: 9 bytes."
        )

    if where == "forward":
        before, seen = SFTTrainer.training_step, [0]

        def training_step(
            self: Any, model: Any, inputs: dict[str, Any], *arguments: Any, **named: Any
        ) -> Any:
            seen[0] += 1
            if (
                self.state.global_step + 1 >= step
                and self.args.per_device_train_batch_size > size
                and seen[0] % 2 == 0
            ):
                seen[0] = 0
                raise cuda()
            return before(self, model, inputs, *arguments, **named)

        SFTTrainer.training_step = training_step
    elif where == "optimizer":
        adam, calls = torch.optim.AdamW.step, [0]

        def optimizer_step(self: Any, *arguments: Any, **named: Any) -> Any:
            calls[0] += 1
            if calls[0] == step:
                with torch.no_grad():
                    self.param_groups[0]["params"][0].add_(1.0)
                raise cpu()
            return adam(self, *arguments, **named)

        torch.optim.AdamW.step = optimizer_step
    else:
        predict = SFTTrainer.prediction_step

        def prediction_step(
            self: Any, model: Any, inputs: dict[str, Any], *arguments: Any, **named: Any
        ) -> Any:
            if self.state.global_step >= step and self.args.per_device_eval_batch_size > size:
                raise cpu()
            return predict(self, model, inputs, *arguments, **named)

        SFTTrainer.prediction_step = prediction_step


def no_number(step: int) -> None:
    """The loss of this step is NaN, and so are its gradients."""
    compute = SFTTrainer.compute_loss

    def compute_loss(self: Any, *arguments: Any, **named: Any) -> Any:
        answer = compute(self, *arguments, **named)
        if not self.model.training or self.state.global_step + 1 != step:
            return answer
        return (
            (answer[0] * float("nan"), *answer[1:])
            if isinstance(answer, tuple)
            else answer * float("nan")
        )

    SFTTrainer.compute_loss = compute_loss


def explode(step: int) -> None:
    """From this step on the learning rate is 100."""
    before = SFTTrainer.training_step

    def training_step(self: Any, *arguments: Any, **named: Any) -> Any:
        if self.state.global_step + 1 == step:
            self.lr_scheduler.base_lrs = [100.0] * len(self.lr_scheduler.base_lrs)
        return before(self, *arguments, **named)

    SFTTrainer.training_step = training_step


def no_room_for_the_optimizer(step: int) -> None:
    """The disk is full when the optimizer of this step's checkpoint is written."""
    save = torch.save

    def torch_save(value: Any, path: Any, *arguments: Any, **named: Any) -> None:
        full = str(path).endswith(f"checkpoint-{step}/optimizer.pt")
        save(value, "/dev/full" if full else path, *arguments, **named)

    torch.save = torch_save


def stop_in(argument: list[Any]) -> None:
    """Ask for a stop, as the supervisor would, `["step" or "evaluation", number]`: in that step, or
    in that step's evaluation."""
    where, step = argument
    is_step = where == "step"
    name = "training_step" if is_step else "prediction_step"
    trainer: Any = Trainer if is_step else run_trainer.RunTrainer  # whatever is learned
    before = getattr(trainer, name)

    def patched(self: Any, *arguments: Any, **named: Any) -> Any:
        if self.state.global_step + is_step == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return before(self, *arguments, **named)

    setattr(trainer, name, patched)


def count_models(name: str) -> None:
    """Append to a file of this name how many models were still in memory each time that one was
    loaded."""
    load = loading.load_model
    loaded: list[Any] = []

    def load_model(*arguments: Any) -> Any:
        with Path(name).open("a") as file:
            file.write(f"{sum(reference() is not None for reference in loaded)}\n")
        model = load(*arguments)
        loaded.append(weakref.ref(model))
        return model

    loading.load_model = load_model  # type: ignore[assignment]


def on_rank(argument: list[Any]) -> None:
    """Have another fault `[rank, name, argument]` on one of several ranks."""
    number, name, inner = argument
    main = rank.main

    def patched(*arguments: Any) -> Any:
        if os.environ["RANK"] == str(number):
            globals()[name](inner)
        return main(*arguments)

    rank.main = patched  # type: ignore[assignment]


def die_in(step: int) -> None:
    """Be killed in this step."""
    before = SFTTrainer.training_step

    def training_step(self: Any, *arguments: Any, **named: Any) -> Any:
        if self.state.global_step + 1 == step:
            die()
        return before(self, *arguments, **named)

    SFTTrainer.training_step = training_step


def stop_ranks_in(step: int) -> None:
    """Ask for a stop as the supervisor would, by a signal to the launcher, in this step."""
    before = SFTTrainer.training_step

    def training_step(self: Any, *arguments: Any, **named: Any) -> Any:
        if self.state.global_step + 1 == step and os.environ["RANK"] == "0":
            os.kill(os.getppid(), signal.SIGTERM)
            while not Path(rank.FOLDER, rank.STOP_FILE).exists():
                time.sleep(0.01)
        return before(self, *arguments, **named)

    SFTTrainer.training_step = training_step


def stop_in_answers(step: int) -> None:
    """A stop is asked for in this step's answers, and this rank sees it before the others do."""
    before, train = Generator.answers, SFTTrainer.training_step
    at = [0]

    def training_step(self: Any, *arguments: Any, **named: Any) -> Any:
        at[0] = self.state.global_step + 1
        return train(self, *arguments, **named)

    def answers(self: Any, *arguments: Any, **named: Any) -> Any:
        if at[0] == step:
            rank.StopFile.is_set = lambda self: True  # type: ignore[method-assign]
        try:
            return before(self, *arguments, **named)
        finally:
            if at[0] == step:
                os.kill(os.getppid(), signal.SIGTERM)

    SFTTrainer.training_step, Generator.answers = training_step, answers  # type: ignore[method-assign]


def spoil_weights(step: int) -> None:
    """Before the checkpoint of this step is saved, a weight of this rank becomes NaN."""
    save = run_trainer.RunTrainer._save_checkpoint

    def spoiled(self: Any, *arguments: Any, **named: Any) -> None:
        if self.state.global_step == step:
            weights = next(one for one in self.model.parameters() if one.requires_grad)
            local(weights.detach()).view(-1)[0] = float("nan")
        save(self, *arguments, **named)

    run_trainer.RunTrainer._save_checkpoint = spoiled  # type: ignore[method-assign]


def watch_forward(name: str) -> None:
    """Write to a file of this name what the first micro-batch is when the engine's model gets it,
    and what its logits there depend on: `ids` and `labels` by conversation; `others` and `own`, by
    how much the logits of all others and its own later ones change when the first token of one
    conversation changes; `alone`, by how much logits differ from those of the conversation by
    itself."""

    def training_step(
        self: Any, model: Any, inputs: dict[str, Any], *arguments: Any, **named: Any
    ) -> Any:
        base, given = self.model.get_base_model(), {}
        forward = base.forward
        base.forward = lambda *positional, **values: (
            given.update(values),
            forward(*positional, **values),
        )[1]
        loss = SFTTrainer.training_step(self, model, inputs, *arguments, **named)
        base.forward = forward
        if not Path(name).exists():
            Path(name).write_text(json.dumps(_dependence(self.model, given)))
        return loss

    run_trainer.RunTrainer.training_step = training_step


def _dependence(model: Any, given: dict[str, Any]) -> dict[str, Any]:
    ids, labels, positions = (given[key][0] for key in ("input_ids", "labels", "position_ids"))
    borders = [*positions.eq(0).nonzero().flatten().tolist(), len(ids)]
    # the last one may be a filler
    spans = [span for span in starmap(slice, pairwise(borders)) if labels[span].max() > 0]
    rest = {
        key: value
        for key, value in given.items()
        if key not in ("labels", "num_items_in_batch", "return_dict")
    }
    assert rest.get("attention_mask") is None
    training = model.training
    model.eval()

    def logits(row: torch.Tensor, **values: Any) -> torch.Tensor:
        with torch.no_grad():
            found: torch.Tensor = (
                model(**{**values, "input_ids": row[None], "use_cache": False}).logits[0].float()
            )
        return found

    plain = logits(ids, **rest)
    others, own = [], []
    for span in spans:
        changed = ids.clone()
        changed[span.start] = (changed[span.start] + 1) % 100
        change = (logits(changed, **rest) - plain).abs().amax(dim=1)
        own.append(float(change[span].amax()))
        change[span] = 0
        others.append(float(change.amax()))
    alone = [float((logits(ids[span]) - plain[span]).abs().max()) for span in spans]
    model.train(training)
    parts = {
        "ids": [ids[span].tolist() for span in spans],
        "labels": [labels[span].tolist() for span in spans],
    }
    return {**parts, "others": others, "own": own, "alone": alone}


def try_settings(argument: dict[str, Any]) -> None:
    """Try settings as on a GPU. What is tried is really computed; `seconds` are what a pass shows,
    by its micro-batch and its kind of checkpointing ("4 none"), one second where they are not
    given. Memory does not suffice for those in `too_large`; in pass number `stop` the run is asked
    to stop."""
    os.environ["LUTHIER_TRIALS"] = "always"
    really, number = trials.Rounds.seconds_of, [0]

    def one_pass(self: Any, numbers: Any, size: int) -> float:
        number[0] += 1
        name = f"{size} {self._kind}"
        if number[0] == argument.get("stop"):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.1)
        really(self, numbers, size)
        if name in argument.get("too_large", ()):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return float(argument.get("seconds", {}).get(name, 1.0))

    trials.Rounds.seconds_of = one_pass  # type: ignore[method-assign]


def measure(argument: dict[str, Any]) -> None:
    """Calibrate as on a GPU, by a meter that shows `peaks` in turn, where there is `room`."""
    peaks = list(argument["peaks"])

    class Meter:
        def start(self) -> None:
            pass

        def peak(self) -> int:
            return int(peaks.pop(0))

        def room(self) -> int:
            return int(argument["room"])

    calibration.meter_of = lambda plan: Meter()
