"""What goes together with learning from preferences, or from a teacher. Light."""

from __future__ import annotations

from jobs.luthier_error import LuthierError
from trainer.objective import Objective
from trainer.plan.compute import Reason
from trainer.recipe import Recipe, Tokens

_TEACHER_COST, _SAMPLING_COST = 1 / 3, 2.0


def check(recipe: Recipe) -> None:
    """LuthierError for what cannot be trained as the recipe says."""
    objective = recipe.objective
    _check_keys(objective)
    if objective.kind == "sft":
        return
    key = f'objective.kind = "{objective.kind}"'
    if objective.kind == "distill":
        _check_distillation(recipe, key)
        return
    if recipe.gpus != 1:
        raise LuthierError(
            "Preferences on several GPUs",
            f"{key} trains on one GPU, but gpus = {recipe.gpus}.",
            "Leave out gpus. A sweep trains several such runs side by side.",
        )
    if recipe.train.padding_free is True:
        raise LuthierError(
            "Preferences are not packed",
            f"{key} compares whole answers row by row, which TRL does only with padded batches, but"
            " train.padding_free = true.",
            "Leave out train.padding_free.",
        )
    if recipe.train.float8 is True:
        raise LuthierError(
            "No float8 with preferences",
            f"{key} compares small differences of likelihood; float8 products have not been proved"
            " for that.",
            "Leave out train.float8.",
        )
    if recipe.mask.turns != "all":
        raise LuthierError(
            "Preferences have their own mask",
            f"{key} scores the answers that differ and nothing else, but mask.turns ="
            f' "{recipe.mask.turns}".',
            "Leave out [mask].",
        )
    if recipe.tokens != Tokens():
        raise LuthierError(
            "No new tokens with preferences",
            f"{key} holds the model to what it was, but [tokens] adds embeddings that were nothing"
            " yet.",
            "Fine-tune with [tokens] first, merge, and start from the merged model.",
        )
    if objective.kind == "kto":
        _check_kto(recipe)


def _check_keys(objective: Objective) -> None:
    """A teacher that nobody asks would be left out in silence."""
    usual = Objective()
    names = ("teacher", "teacher_model", "sample_tokens", "temperature", "sampler", "on_policy")
    changed = [name for name in names if getattr(objective, name) != getattr(usual, name)]
    if changed and objective.kind != "distill":
        raise LuthierError(
            "Only distillation has a teacher",
            f'objective.{changed[0]} is set, but objective.kind = "{objective.kind}".',
            'Set objective.kind = "distill", or leave out the key.',
        )


def _check_distillation(recipe: Recipe, key: str) -> None:
    if recipe.gpus != 1:
        raise LuthierError(
            "Distillation on several GPUs",
            f"{key} trains on one GPU, but gpus = {recipe.gpus}.",
            "Leave out gpus.",
        )
    if recipe.train.padding_free is True:
        raise LuthierError(
            "The model's own answers are not packed",
            f"{key} trains on answers whose lengths are open until they are written, in padded"
            " batches, but train.padding_free = true.",
            "Leave out train.padding_free.",
        )
    if recipe.train.float8 is True:
        raise LuthierError(
            "No float8 with distillation",
            f"{key} compares small differences of likelihood; float8 products have not been proved"
            " for that.",
            "Leave out train.float8.",
        )
    if recipe.tokens != Tokens():
        raise LuthierError(
            "No new tokens with distillation",
            f"{key} has a teacher with the same tokens, but [tokens] adds some that it lacks.",
            "Fine-tune with [tokens] first, merge, and start from the merged model.",
        )


def _check_kto(recipe: Recipe) -> None:
    if recipe.train.method == "full":
        raise LuthierError(
            "KTO trains an adapter",
            "It asks its reference in every step, and where every weight is trained that would be a"
            " second model in memory.",
            'Leave out train.method, or choose objective.kind = "dpo" if you have pairs.',
        )
    if recipe.train.micro_batch == 1 or recipe.train.global_batch == 1:
        raise LuthierError(
            "KTO needs two answers at a time",
            "It compares each prompt with the answer to another one of its micro-batch.",
            "Set train.micro_batch to 2 or more, or leave it out.",
        )


def reasons(recipe: Recipe) -> list[Reason]:
    """What a step takes beside one of fine-tuning."""
    objective = recipe.objective
    if objective.kind == "sft":
        return []
    why = {
        "dpo": "a pair is two conversations, and the reference is asked once, before training",
        "orpo": "a pair is two conversations, and there is no reference",
        "kto": "model and reference are asked about each answer and about a mismatched one",
        "distill": "the model first writes its answers, token by token, and a teacher scores them",
    }[objective.kind]
    text = (
        f"a step of {objective.title} takes about {step_cost(recipe):.1f} times as long as one of"
        f" fine-tuning with as many conversations: {why}"
    )
    return [Reason("objective.kind", text)]


def step_cost(recipe: Recipe) -> float:
    """The work of a step in passes over a conversation, where fine-tuning's is 1: a backward pass
    costs two forward passes. A pair is two conversations, whose reference is asked once in the
    whole run; KTO asks model and reference once more for mismatched answers. For distillation
    it is an estimate: a small model writes an answer in about twice the time that a step on it
    takes."""
    if recipe.objective.kind == "dpo":
        return 2.0 + 2.0 / (3.0 * max(recipe.train.epochs, 1.0))
    if recipe.objective.kind == "distill":
        return 1.0 + _TEACHER_COST + _SAMPLING_COST * recipe.objective.on_policy
    return {"sft": 1.0, "orpo": 2.0, "kto": 2.0}[recipe.objective.kind]
