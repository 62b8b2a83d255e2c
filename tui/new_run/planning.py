"""What a draft comes to, or why it cannot be planned: worked out in a thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobs.luthier_error import LuthierError
from tui.new_run.first_rows import FirstRow, as_in_the_file, as_read
from tui.new_run.outlook_text import Outlook

if TYPE_CHECKING:
    from trainer.data.refused_data import ProposedChange
    from trainer.recipe import Recipe
    from trainer.recipe_draft import RecipeDraft

MOST_ROWS = 4


@dataclass(frozen=True)
class Refusal:
    """Why a recipe cannot be planned."""

    error: LuthierError
    field: str = ""
    """The field that is to blame; "" for something else in the recipe."""
    first_rows: Sequence[FirstRow] = ()

    @property
    def proposals(self) -> Sequence[ProposedChange]:
        """What the recipe could say instead."""
        from trainer.data.refused_data import RefusedData

        return self.error.proposals if isinstance(self.error, RefusedData) else ()


def outlook_of(draft: RecipeDraft) -> Outlook | Refusal:
    from models.registry import described_directory
    from trainer.plan.methods import consequences
    from trainer.plan.plan import make_plan
    from trainer.sweep import recipes_of
    from workshop.runs.forecast import earlier_speed

    try:
        recipes = recipes_of(draft.asked())
        plan = make_plan(recipes[0])
        directory = described_directory(plan.model)
        alone = consequences(recipes[0], directory)
        speed = earlier_speed(plan)
        return Outlook(recipes[0], plan, speed, alone, len(recipes), _first_rows(recipes[0]))
    except LuthierError as error:
        return refusal_of(error, draft)


def refusal_of(error: LuthierError, draft: RecipeDraft) -> Refusal:
    """Where the draft is to blame for the error."""
    from models.registry import planned_directory
    from trainer.data.preview import look
    from trainer.sweep import recipes_of

    try:
        recipe = recipes_of(draft.asked())[0]
    except LuthierError:
        return Refusal(error)
    rows = _first_rows(recipe)
    try:
        planned_directory(recipe.model)
    except LuthierError:
        return Refusal(error, "model", rows)
    try:
        look(recipe.data_settings)
    except LuthierError:
        return Refusal(error, "data", rows)
    return Refusal(error, "", rows)


def with_proposal(draft: RecipeDraft, proposal: ProposedChange) -> RecipeDraft:
    for key, value in proposal.values.items():
        draft = draft.with_value(key, value)
    return draft


def _first_rows(recipe: Recipe) -> list[FirstRow]:
    """Conversations; where the rows become none, the rows themselves."""
    from trainer.data.preview import first_conversations, first_raw_rows

    settings = recipe.data_settings
    try:
        if conversations := first_conversations(settings, MOST_ROWS):
            return [as_read(row) for row in conversations]
    except LuthierError:
        pass
    try:
        return [as_in_the_file(row) for row in first_raw_rows(settings, MOST_ROWS)]
    except LuthierError:
        return []
