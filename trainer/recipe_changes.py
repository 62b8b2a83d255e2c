"""Changes of a recipe as they are typed: KEY=VALUE. Light."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.luthier_error import LuthierError
from jobs.near import did_you_mean
from trainer.key_values import from_text, key_types
from trainer.recipe_draft import RecipeDraft


def with_changes(draft: RecipeDraft, changes: Sequence[str]) -> RecipeDraft:
    """LuthierError if one is no change, or if the recipe is none any more."""
    for change in changes:
        key, equals, value = (part.strip() for part in change.partition("="))
        if key not in key_types():
            raise LuthierError(
                "No such key of a recipe",
                f"--set {change}: there is no key {key!r}.",
                f"{did_you_mean(key, key_types())}docs/recipe.md lists all keys.",
            )
        if not equals or not value:
            raise LuthierError(
                "Not a change", f"--set {change} is not KEY=VALUE.", "For example: train.epochs=1"
            )
        draft = draft.with_value(key, from_text(key, value))
    if changes:
        draft.asked()
    return draft
