"""Votes and corrections as the data of a next run."""

from __future__ import annotations

import time
from collections import Counter

from jobs.files import write_atomic
from jobs.home import home
from jobs.job import find
from jobs.luthier_error import LuthierError
from models.builtin import BUILTIN
from models.runs import Run
from serve.votes import export
from trainer.launch import frozen_recipe
from trainer.recipe_draft import RecipeDraft


def draft_of_votes(with_named: bool) -> RecipeDraft:
    """A recipe that learns the pairs by DPO, and goes on from the run that gave most of the better
    answers. Without `with_named` only blind votes count. LuthierError if they make no pair."""
    exported = export.collect(with_named)
    pairs = exported.pairs
    if not pairs:
        raise LuthierError(
            "There are no votes to train on",
            "A pair needs a vote for one of two different answers to the same conversation, or a"
            f" correction.{exported.left_out_note}",
            "In a chat, f2 votes and w corrects an answer."
            + ("" if with_named else " In the votes, n counts the named ones too."),
        )
    path = home() / "votes" / f"pairs-{time.strftime('%Y%m%d-%H%M%S')}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, export.to_jsonl(pairs))
    draft = RecipeDraft().with_value("data", [str(path)]).with_value("objective.kind", "dpo")
    return _continued(draft, pairs)


def _continued(draft: RecipeDraft, pairs: list[export.Row]) -> RecipeDraft:
    """From the run whose answers were chosen most, if it is still there."""
    winners = Counter(
        model["run"]
        for pair in pairs
        if (model := pair["provenance"].get("chosen_model")) and model["run"]
    )
    for run_id, _ in winners.most_common():
        try:
            run = Run(find(run_id))
        except LuthierError:  # it was removed
            continue
        if run.folder.has_adapter:
            model = frozen_recipe(run.job).model
            draft = draft if model == BUILTIN else draft.with_value("model", model)
            return draft.with_value("start_from", run_id)
    return draft
