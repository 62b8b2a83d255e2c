"""What a recipe wants and the model or the machine cannot give, in words. Light."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from jobs.counting import counted
from trainer.plan.compute import Compute
from trainer.plan.learning_rate import LearningRate
from trainer.plan.memory.predict import Memory
from trainer.recipe import Recipe, short_value

# With fewer steps at the cautious rate of preferences a model hardly leaves its reference.
_ENOUGH_STEPS_OF_PREFERENCES = 10
# 64 conversations of the built-in model: held-out loss 2.72 after 9 steps of 16, and 0.95 after 36
# steps of 4 with the same tokens.
_ENOUGH_STEPS_OF_TURNS = 30
# What the process of a run on a CPU takes beside its tensors, measured with the built-in model
# (bench/RESULTS.md): libraries and compiled products, and the blocks that the allocator keeps
# between those of a step.
_LIBRARIES = 1_300_000_000
_FREE_BLOCKS = 0.9  # of what a step allocates


def beyond_positions(
    recipe: Recipe, positions: int | None, tokens: Sequence[int], *, exact: bool
) -> str:
    """Where train.max_length lets samples be longer than the model has positions. `tokens` are
    estimates of the conversations seen."""
    longest = recipe.train.max_length
    if positions is None or longest <= positions:
        return ""
    beyond = sum(count > positions for count in tokens)
    conversations = f"{'' if exact else 'the first '}{len(tokens):,} conversations"
    verb = "is" if beyond == 1 else "are"
    longer = (
        f", and about {beyond:,} of {conversations} {verb} longer than that by their text"
        if beyond
        else ""
    )
    return (
        f"train.max_length is {longest:,}, but the model has {positions:,} positions"
        f" (max_position_embeddings){longer}. Tokens beyond that cannot be served. Set max_length"
        f" = {positions} to split longer conversations at turn boundaries. `luthier data check`"
        " counts them exactly."
    )


def few_steps(recipe: Recipe, rate: LearningRate, steps_of: Callable[[int], int]) -> str:
    """The warning that the steps are too few for the model to change much; "" if they are not.
    `steps_of` has the run's steps for a global batch, 0 if they are unknown."""
    if recipe.objective.scoring == "turns":
        return _few_steps_of_turns(recipe.train.global_batch, steps_of)
    steps = steps_of(recipe.train.global_batch)
    if not rate.reason or not 0 < steps < _ENOUGH_STEPS_OF_PREFERENCES:
        return ""
    number = counted(steps, "step")
    return (
        f"Only {number} at a learning rate of {short_value(rate.value)}: the model will hardly"
        f" differ from its reference. Make more steps (train.global_batch = 2, more train.epochs)"
        f" and set a higher rate: up to {short_value(rate.highest)} is usual."
    )


def _few_steps_of_turns(batch: int, steps_of: Callable[[int], int]) -> str:
    steps = steps_of(batch)
    if not 0 < steps < _ENOUGH_STEPS_OF_TURNS:
        return ""
    powers_of_two = (1 << exponent for exponent in reversed(range((batch - 1).bit_length())))
    smaller_batch = next(
        (size for size in powers_of_two if steps_of(size) >= _ENOUGH_STEPS_OF_TURNS), 1
    )
    if steps_of(smaller_batch) <= steps:
        return ""
    return (
        f"Only {counted(steps, 'step')}: the model may learn little. A smaller batch makes more"
        f" steps from the same data: train.global_batch = {smaller_batch} (now {batch}) makes"
        f" about {steps_of(smaller_batch)}."
    )


def samples_beyond_positions(positions: int | None, lengths: dict[int, int]) -> str:
    """The same of finished samples, counted by length."""
    beyond = (
        0
        if positions is None
        else sum(count for length, count in lengths.items() if length > positions)
    )
    if not beyond:
        return ""
    samples = "1 sample is" if beyond == 1 else f"{beyond:,} samples are"
    return (
        f"{samples} longer than the model's {positions:,} positions (max_position_embeddings):"
        f" tokens beyond that cannot be served. train.max_length = {positions} splits such"
        " conversations at turn boundaries."
    )


def beyond_main_memory(
    recipe: Recipe, total: int, compute: Compute, memory_of: Callable[[Compute], Memory | None]
) -> str:
    """Where a run on the CPU is predicted to take more than there is, with what would help."""
    memory = memory_of(compute)
    if memory is None or _of_process(memory) <= total:
        return ""
    prediction = (
        f"The run is predicted to need {_gb(_of_process(memory))} of main memory, and this"
        f" machine has {_gb(total)}."
    )
    one_at_a_time = compute.with_micro_batch(1)
    thriftier = {
        "micro_batch = 1": one_at_a_time,
        'micro_batch = 1 and gradient_checkpointing = "standard"': replace(
            one_at_a_time, gradient_checkpointing="standard"
        ),
    }
    needs = {
        text: _of_process(predicted)
        for text, smaller in thriftier.items()
        if (predicted := memory_of(smaller)) is not None
    }
    for text, size in needs.items():
        if size <= total:
            return f"{prediction} With {text} in [train] it would need {_gb(size)}."
    if memory.fixed + _LIBRARIES > total:
        remedy = (
            "a smaller model"
            if recipe.train.method == "lora"
            else 'a smaller model, or method = "lora"'
        )
        return (
            f"{prediction} {_gb(memory.fixed)} of it do not depend on the batch, so it cannot"
            f" fit. Use {remedy}."
        )
    return (
        f"{prediction} Even {text} needs {_gb(size)}: lower train.max_length (now"
        f" {recipe.train.max_length:,}), or choose a smaller model."
    )


def _of_process(memory: Memory) -> int:
    """What the whole process takes, where its tensors take this."""
    of_step = memory.peak - memory.fixed
    return memory.peak + round(_FREE_BLOCKS * of_step) + _LIBRARIES


def beyond_card(recipe: Recipe, needs: int, card: int) -> str:
    """Where nothing is predicted to fit on a GPU of `card` bytes."""
    changes = [
        f"lower train.max_length (now {recipe.train.max_length:,})",
        "choose a smaller model",
    ]
    if recipe.train.method == "full":
        changes.append('choose method = "lora"')
    elif recipe.train.base_bits in (16, 8):
        changes.append("set base_bits = 4")
    return (
        f"The run is not predicted to fit: it needs at least {_gb(needs)}, and the GPU has"
        f" {_gb(card)}. These changes help: {', '.join(changes)}."
    )


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
