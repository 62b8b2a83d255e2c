"""In which forms a model can be exported. Light."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jobs.luthier_error import LuthierError
from jobs.near import did_you_mean

CONVERTED = ("f32", "f16", "bf16", "q8_0")
"""The types of GGUF that llama.cpp's converter writes itself."""
ROUNDED = (*CONVERTED, "q4_0", "q4_1", "q5_0", "q5_1")
"""Those that the gguf package rounds to, for which nothing else is needed."""
QUANTISED = (
    *("q2_k", "q3_k_s", "q3_k_m", "q3_k_l", "q4_k_s", "q4_k_m", "q5_k_s", "q5_k_m", "q6_k"),
    *("iq2_m", "iq3_s", "iq3_m", "iq4_nl", "iq4_xs"),
)
"""Those that only llama-quantize makes."""
SCHEMES = {"fp8": "FP8_DYNAMIC", "int8": "INT8", "awq": "W4A16_ASYM", "gptq": "W4A16"}
"""The forms of compressed-tensors by what they are called here, as its presets are called."""
CALIBRATED = ("awq", "gptq")
"""Those that llm-compressor makes, looking at data."""

Family = Literal["gguf", "compressed-tensors"]


@dataclass(frozen=True)
class Form:
    """One form: GGUF of a type ("q8_0"), or compressed-tensors of a scheme ("fp8")."""

    family: Family
    kind: str

    def __str__(self) -> str:
        return f"gguf:{self.kind}" if self.family == "gguf" else self.kind


ALL = (
    *(Form("gguf", kind) for kind in (*ROUNDED, *QUANTISED)),
    *(Form("compressed-tensors", kind) for kind in SCHEMES),
)


def form_named(text: str) -> Form:
    """LuthierError if there is none of that name."""
    by_name = {str(form): form for form in ALL}
    name = text.strip().lower()
    if name not in by_name:
        schemes = ", ".join(SCHEMES)
        raise LuthierError(
            "Unknown export format",
            f"Luthier does not export {text!r}.",
            f"{did_you_mean(name, by_name)}It is gguf:TYPE (f16, bf16, q8_0, q4_0, q4_k_m ...) or"
            f" one of {schemes}.",
        )
    return by_name[name]
