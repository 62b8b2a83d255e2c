"""Export as compressed-tensors, which vLLM serves as it is: the command that writes the folder."""

from __future__ import annotations

import sys
from pathlib import Path

from jobs.luthier_error import LuthierError
from models.export.formats import CALIBRATED, SCHEMES
from models.export.tools import interpreter

_SCRIPT = Path(__file__).with_name("llmcompressor_script.py")


def commands(folder: Path, out: Path, kind: str, samples: Path | None) -> list[list[str]]:
    """`samples` are a run's prepared conversations, which AWQ and GPTQ look at."""
    if kind not in CALIBRATED:
        return [
            [
                *(sys.executable, "-P", "-m", "models.export.compressed_writer"),
                *(str(folder), str(out), SCHEMES[kind]),
            ]
        ]
    if samples is None:
        raise LuthierError(
            "No data to calibrate with",
            f"{kind.upper()} measures which weights matter on conversations, and this model is not"
            " of a run whose data is here.",
            "Export a run, or choose fp8 or int8, which need no data.",
        )
    python = interpreter("llmcompressor_python", "llmcompressor")
    if python is None:
        raise LuthierError(
            "llm-compressor is missing",
            f"Luthier makes {kind.upper()} with llmcompressor, which needs another version of"
            " compressed-tensors than vLLM: it lives in an environment of its own.",
            "python -m venv ~/llmcompressor && ~/llmcompressor/bin/pip install llmcompressor, then"
            ' set llmcompressor_python = "~/llmcompressor/bin/python" under [tools] in'
            " config.toml.",
        )
    return [[python, "-I", str(_SCRIPT), str(folder), str(out), kind, str(samples)]]
