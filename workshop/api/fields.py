"""Every field of the requests that change something: honoured, or refused by name. docs/api.md has
this table; a test sends each refused one to the route.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from jobs.near import did_you_mean
from workshop.api.errors import ApiError

Request = Literal["files", "jobs"]


@dataclass(frozen=True)
class Field:
    """`path` as errors name it: "method.supervised.hyperparameters.n_epochs"; items of a list are
    `[]`. `meaning` is what becomes of it here, or why it is refused."""

    path: str
    meaning: str
    honoured: bool = True


def _refused(path: str, reason: str) -> Field:
    return Field(path, reason, honoured=False)


def _hyperparameters(prefix: str) -> tuple[Field, ...]:
    return (
        Field(f"{prefix}.n_epochs", 'the recipe\'s `train.epochs`; `"auto"`: 3'),
        Field(f"{prefix}.batch_size", 'the recipe\'s `train.global_batch`; `"auto"`: 16'),
        Field(
            f"{prefix}.learning_rate_multiplier",
            "times the learning rate that the plan would choose for this model and method;"
            ' `"auto"`: 1',
        ),
    )


FIELDS: dict[Request, tuple[Field, ...]] = {
    "files": (
        Field("file", "streamed to the disk, hashed, and checked row by row"),
        Field("purpose", '`"fine-tune"`; any other is refused'),
        _refused("expires_after", "files stay until they are deleted"),
    ),
    "jobs": (
        Field(
            "model",
            "a base model of this home by its name, an alias of `luthier api`, or a tuned model or"
            " checkpoint by its `ft:` name: training then starts from its adapter, which is also"
            " DPO's reference",
        ),
        Field("training_file", "the id of an uploaded file"),
        Field(
            "validation_file",
            "the id of an uploaded file, which is held out whole (`heldout.files`)",
        ),
        Field("suffix", "names the run and the tuned model, at most 64 characters"),
        Field("seed", "the recipe's `train.seed`, at least 0; the default is 42"),
        Field("metadata", "kept with the job: at most 16 texts of 512 characters, keys of 64"),
        Field("hyperparameters", "as in `method.supervised`, for requests without `method`"),
        *_hyperparameters("hyperparameters"),
        Field("method", "the training method"),
        Field("method.type", '`"supervised"` or `"dpo"`; `"reinforcement"` is refused'),
        Field("method.supervised", "the hyperparameters"),
        Field("method.supervised.hyperparameters", ""),
        *_hyperparameters("method.supervised.hyperparameters"),
        Field("method.dpo", "the hyperparameters; the files have [preferences](preferences.md)"),
        Field("method.dpo.hyperparameters", ""),
        *_hyperparameters("method.dpo.hyperparameters"),
        Field(
            "method.dpo.hyperparameters.beta",
            'the recipe\'s `objective.beta`, at most 2; `"auto"`: 0.1',
        ),
        _refused("method.reinforcement", "Luthier does not train with graders"),
        Field("integrations", "trackers that record the run, if they are installed"),
        Field("integrations[].type", '`"wandb"`'),
        Field("integrations[].wandb", ""),
        Field("integrations[].wandb.project", "the recipe's `trackers.project`"),
        _refused("integrations[].wandb.name", "the tracker shows a run under its job's name"),
        _refused(
            "integrations[].wandb.entity", "set WANDB_ENTITY in the environment of `luthier api`"
        ),
        _refused("integrations[].wandb.tags", "Luthier gives runs no tags"),
        Field(
            "luthier",
            "beyond OpenAI's fields: any key of a recipe but `data`, `model` and `name`, such as"
            ' `{"lora": {"r": 32}}`',
        ),
    ),
}
_OPEN = ("metadata", "luthier")
"""Objects with keys of the caller's own, or of a recipe."""


def check_fields(values: Mapping[str, Any], request: Request) -> None:
    """ApiError for a field that is refused, or that nothing is known of. One that is null counts as
    left out, as in OpenAI's client."""
    fields = {field.path: field for field in FIELDS[request]}
    for path, value in _walk(values, ""):
        general = _without_numbers(path)
        if value is None and general in fields:
            continue
        if general not in fields:
            raise _unknown(path, general, list(fields))
        if not fields[general].honoured:
            raise ApiError(
                400,
                "unsupported_parameter",
                f"{path} is not honoured here: {fields[general].meaning}.",
                path,
            )


def _walk(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every field with its path, outer ones first."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            inner = f"{path}.{name}" if path else str(name)
            yield inner, part
            if inner not in _OPEN:
                yield from _walk(part, inner)
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from _walk(part, f"{path}[{index}]")


def _without_numbers(path: str) -> str:
    """ "integrations[0].type" as "integrations[].type"."""
    pieces = path.split("[")
    return "[".join([pieces[0], *(piece[piece.find("]") :] for piece in pieces[1:])])


def _unknown(path: str, general: str, paths: list[str]) -> ApiError:
    meant = did_you_mean(general, paths)
    return ApiError(
        400, "unknown_parameter", f"Unknown parameter: {path[:200]!r}. {meant}".strip(), path[:200]
    )


def table(request: Request) -> str:
    """The fields as docs/api.md shows them."""
    rows = (
        f"| `{field.path}` | {'yes' if field.honoured else '**refused**'} | {field.meaning} |"
        for field in FIELDS[request]
    )
    return "\n".join(("| field | honoured | what it does |", "|---|---|---|", *rows))
