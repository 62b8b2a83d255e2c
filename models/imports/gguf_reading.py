"""transformers' reading of a GGUF file, with each part of it done once.

transformers 5.17 parses the whole file for the config, the weights and the tokenizer each, and
makes the table of tensor names for every tensor: of 16 s for the built-in model 9 are spent so.
"""

from __future__ import annotations

from functools import cache

import gguf


def parse_once() -> None:
    """From now on, in this process. The file must not change meanwhile."""
    for name in ("GGUFReader", "get_tensor_name_map"):
        setattr(gguf, name, cache(getattr(gguf, name)))
