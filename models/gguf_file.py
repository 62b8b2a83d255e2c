"""What a GGUF file says: the one reader of its header and its tensors. numpy loads with it."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import gguf
import numpy

from jobs.luthier_error import LuthierError


class GgufFile:
    """LuthierError if the file is damaged, or one of several parts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._reader = gguf.GGUFReader(str(path))
            self.values: dict[str, Any] = {
                name: entry.contents()
                for name, entry in self._reader.fields.items()
                if not name.startswith("GGUF.")
            }
        except (ValueError, IndexError, KeyError, OSError, OverflowError) as error:
            raise LuthierError(
                "Unreadable GGUF file",
                f"{path} is cut off or damaged: {error}.",
                "Download it again.",
            ) from error
        if int(self.values.get("split.count", 1) or 1) > 1:
            hint = "Join them first: llama-gguf-split --merge FIRST.gguf WHOLE.gguf"
            raise LuthierError(
                "One of several parts",
                f"{path.name} is one of {self.values['split.count']} files of a model.",
                hint,
            )

    def token_setting(self, name: str) -> Any:
        """A value of its tokenizer; None if the file does not say it."""
        return self.values.get(f"tokenizer.ggml.{name}")

    @property
    def template(self) -> str:
        return str(self.values.get("tokenizer.chat_template") or "")

    @property
    def kind(self) -> str:
        """The type of most of its weights, as `--as gguf:TYPE` has it; "" if it says none."""
        try:
            name = gguf.LlamaFileType(int(self.values["general.file_type"])).name
        except (KeyError, ValueError):
            return ""
        return name.removeprefix("MOSTLY_").removeprefix("ALL_").lower()

    @cached_property
    def tensors(self) -> dict[str, Any]:
        return {tensor.name: tensor for tensor in self._reader.tensors}

    def tensor_values(self, name: str) -> numpy.ndarray[Any, Any]:
        """A tensor in 32 bits."""
        tensor = self.tensors[name]
        values: numpy.ndarray[Any, Any] = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        return values
