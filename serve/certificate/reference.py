"""What transformers and PEFT say of the held-out turns: `python -P -m serve.certificate.reference
JOB_DIRECTORY`.

A process of its own, ended before vLLM starts: the two never share one, nor the memory. One sample
at a time, and logits only where a trained token is predicted.
"""

from __future__ import annotations

import gc
import importlib.metadata
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from jobs.event_kinds import Phase
from jobs.events import EventLog
from jobs.luthier_error import LuthierError
from models import foreign
from models.attention import implementation
from models.folder import ModelFolder
from models.new_tokens import new_tokens, write_grown
from models.preflight import check_template
from models.template import (
    Template,
    TemplateRefusal,
    load_tokenizer,
    read_tokenizer,
    served_stop_ids,
)
from serve.certificate.measured import (
    ORDERS_FILE,
    REFERENCE_FILE,
    Broken,
    Orders,
    Reference,
    Scored,
    write,
)
from serve.certificate.teacher_forcing import scores

# What a model's files can be wrong in: a tensor of another shape, a file cut off, a config that
# names something unknown.
_UNREADABLE = (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError)


class Progress:
    """Tells the job's phases, with the time that the rest of this process takes at the pace so
    far."""

    def __init__(self, directory: Path, passes: int, samples: int) -> None:
        self._log = EventLog(directory / "events.jsonl")
        self._total, self._done = passes * samples, 0
        self._spent = 0.0
        self._told = 0.0

    def phase(self, name: str, seconds_left: float) -> None:
        self._log.tell(Phase(name, seconds_left=round(seconds_left)))

    def scored(self, model: str, seconds: float) -> None:
        self._done += 1
        self._spent += seconds
        if time.monotonic() - self._told > 1.0:
            self._told = time.monotonic()
            self.phase(
                f"{model} in transformers", self._spent / self._done * (self._total - self._done)
            )


def main(directory: Path) -> None:
    orders = foreign.read(directory / ORDERS_FILE, Orders)
    progress = Progress(directory, 3 if orders.merged else 2, len(orders.samples))
    base_directory = _began_from(orders)
    tokenizer = load_tokenizer(base_directory)
    template = Template(tokenizer, parts=check_template(tokenizer, base_directory).parts)
    base, tuned = _base_and_tuned(orders, str(base_directory), progress)
    merged = None if orders.merged is None else _merged(orders, Path(orders.merged), progress)
    reference = Reference(
        base=base,
        tuned=tuned,
        merged=merged,
        prompts=[
            _rendered(template, tokenizer, sample.messages[: turn.message], sample.tools)
            for sample in orders.samples
            for turn in sample.turns
        ],
        probes=[
            _rendered(template, tokenizer, probe.messages, probe.tools) for probe in orders.probes
        ],
        stop_ids=sorted(served_stop_ids(tokenizer, base_directory)),
        merged_stop_ids=_merged_stop_ids(Path(orders.merged)) if orders.merged else [],
        dated="strftime_now" in str(tokenizer.chat_template),
        versions={
            name: importlib.metadata.version(name) for name in ("torch", "transformers", "peft")
        },
    )
    write(directory / REFERENCE_FILE, reference)


def _rendered(
    template: Template,
    tokenizer: PreTrainedTokenizerBase,
    messages: list[dict[str, Any]],
    tools: list[dict[str, Any]] | None,
) -> list[int] | None:
    try:
        text = template.text(messages, tools, prompt=True)
    except TemplateRefusal:
        return None
    ids: list[int] = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
    return ids


def _merged_stop_ids(directory: Path) -> list[int] | Broken:
    try:
        return sorted(served_stop_ids(read_tokenizer(directory), directory))
    except (LuthierError, *_UNREADABLE) as error:
        return Broken(_reason(error))


def _load(directory: str, device: str) -> tuple[Any, list[str]]:
    """A model as training loads it, and the names of weights that its files lack."""
    model, loading_report = AutoModelForCausalLM.from_pretrained(
        directory,
        dtype=torch.bfloat16,
        local_files_only=True,
        attn_implementation=implementation(Path(directory), "sdpa"),
        use_safetensors=True,
        output_loading_info=True,
    )
    return model.to(device).eval(), sorted(loading_report["missing_keys"])


def _began_from(orders: Orders) -> Path:
    """The folder of the model that training began from."""
    base, trained = Path(orders.base), Path(orders.adapter)
    if not orders.grown:
        return base
    with_tokenizer = (
        trained if ModelFolder(trained).has_tokenizer else Path(orders.merged or orders.adapter)
    )
    return write_grown(
        base, with_tokenizer, new_tokens(base, trained), orders.stop_ids, Path(orders.grown)
    )


def _base_and_tuned(
    orders: Orders, base_directory: str, progress: Progress
) -> tuple[Scored, Scored | None]:
    device, samples = orders.device, orders.samples
    try:
        model, missing = _load(base_directory, device)
    except _UNREADABLE as error:
        return Broken(_reason(error)), None
    if missing:
        return Broken(_lacks(missing)), None
    base = scores(model, device, samples, partial(progress.scored, "the base model"))
    try:
        if ModelFolder(Path(orders.adapter)).is_adapter:
            model = PeftModel.from_pretrained(
                model, orders.adapter, torch_device=orders.device
            ).eval()
        else:
            del model
            model, _ = _load(orders.adapter, orders.device)
    except _UNREADABLE as error:
        return base, Broken(_reason(error))
    tuned = scores(model, device, samples, partial(progress.scored, "the tuned model"))
    return base, tuned


def _merged(orders: Orders, directory: Path, progress: Progress) -> Scored:
    gc.collect()
    try:
        model, missing = _load(str(directory), orders.device)
    except _UNREADABLE as error:
        return Broken(_reason(error))
    if missing:
        return Broken(_lacks(missing))
    return scores(
        model, orders.device, orders.samples, partial(progress.scored, "the merged model")
    )


def _lacks(names: list[str]) -> str:
    return (
        "its files lack"
        f" {', '.join(names[:3])}{f' and {len(names) - 3} more tensors' if len(names) > 3 else ''}"
    )


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
