"""Functions that Unsloth's models compute by, and ours in their place."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

Function = Callable[..., Any]


def replace_in_models(name: str, replacement: Callable[[Function], Function]) -> None:
    """Have all models of Unsloth that this process has loaded call what `replacement` makes of
    their function `name`. Done once, however often it is asked for."""
    for module_name, module in tuple(sys.modules.items()):
        usual = getattr(module, name, None) if module_name.startswith("unsloth.models.") else None
        if usual is not None and not hasattr(usual, "is_ours"):
            ours = replacement(usual)
            ours.is_ours = True  # type: ignore[attr-defined]
            setattr(module, name, ours)
