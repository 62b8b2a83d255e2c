"""The names of a model's layers in its files, where they differ from those that transformers gives
the loaded model, and so PEFT the adapter's tensors."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator

# How a name of the loaded model begins -> how it begins in the files. A model of several media may
# be trained as its language model alone.
_BEGINNINGS = (
    ("model.", "model.language_model."),
    ("model.", "language_model.model."),
    ("model.language_model.", "language_model.model."),
    ("model.", "backbone."),
    ("lm_head", "language_model.lm_head"),
)


def candidates(name: str) -> Iterator[str]:
    """What the files may call a module, the likeliest first."""
    yield name
    for beginning, other in _BEGINNINGS:
        if name.startswith(beginning):
            yield other + name.removeprefix(beginning)


def name_in(names: Container[str], module: str, of: Callable[[str], str] = str) -> str | None:
    """What the files call a module; None if they do not have it. `of` makes the name to look for
    from a module's."""
    return next((name for name in candidates(module) if of(name) in names), None)
