"""What transformers says of a shipped file or folder: `python -P -m
serve.shipped.transformers_scores QUESTION ANSWER`.

It dequantises a GGUF file, so this proves the file's weights and sizes, not llama.cpp's kernels.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, GgufConfig

from models import foreign
from models.attention import implementation
from models.imports.gguf_reading import parse_once
from models.weights import weight_files
from serve.certificate.measured import Broken, write
from serve.certificate.teacher_forcing import scores
from serve.shipped.measured import Question, Said, broken

_UNREADABLE = (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError, ImportError)
_ENGINE = "transformers"


def main(question_path: Path, answer_path: Path) -> None:
    question = foreign.read(question_path, Question)
    try:
        write(answer_path, _answer(question))
    except _UNREADABLE as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        write(answer_path, broken(reason, _ENGINE))


def _answer(question: Question) -> Said:
    model, missing = _load(Path(question.path), question.dtype or "bfloat16")
    if missing:
        names = ", ".join(missing[:3])
        return Said(Broken(f"its files lack {names}"), _ENGINE)
    model = model.to(question.device).eval()
    began = time.monotonic()
    scored = scores(model, question.device, question.samples, lambda _: None)
    seconds = time.monotonic() - began
    # compressed weights are whole ones once they have been used
    moved = _distances(model, Path(question.trained)) if question.trained else {}
    return Said(scored, _ENGINE, seconds, moved=moved)


def _distances(model: Any, trained: Path) -> dict[str, float]:
    """Of each tensor that both have, in shares of the trained one's size."""
    loaded = dict(model.named_parameters())
    moved: dict[str, float] = {}
    for file in weight_files(trained):
        with safe_open(str(file), framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118 - it is no mapping
                values = weights.get_tensor(name).float()
                other = loaded.get(name)
                if other is not None and other.shape == values.shape and values.any():
                    away = (other.detach().float().cpu() - values).norm()
                    moved[name] = float(away / values.norm())
    return moved


def _load(path: Path, dtype: str) -> tuple[Any, list[str]]:
    if path.is_file():
        parse_once()
        options: dict[str, Any] = {
            "gguf_file": path.name,
            "quantization_config": GgufConfig(dequantize=True),
        }
        folder = path.parent
    else:
        folder = path
        options = {"use_safetensors": True, "attn_implementation": implementation(path, "sdpa")}
    model, report = AutoModelForCausalLM.from_pretrained(
        str(folder),
        dtype=getattr(torch, dtype),
        local_files_only=True,
        output_loading_info=True,
        **options,
    )
    return model, sorted(report["missing_keys"])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
