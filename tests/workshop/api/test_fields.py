"""The table of fields against OpenAI's own types, the code and the docs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from typing_extensions import is_typeddict

from workshop.api.errors import ApiError
from workshop.api.fields import FIELDS, check_fields, table
from workshop.api.order import Hyperparameters, Order, order_of, read_order

DOCS = Path(__file__).parents[3] / "docs" / "api.md"
MINIMAL = {"model": "builtin", "training_file": "file-1"}


def dpo(hyperparameters: Any) -> dict[str, Any]:
    return {**MINIMAL, "method": {"type": "dpo", "dpo": {"hyperparameters": hyperparameters}}}


def nested(path: str, value: Any) -> dict[str, Any]:
    """The request in which this field has the value: "a[].b" is {"a": [{"b": value}]}."""
    for name in reversed(path.split(".")):
        value = {name.removesuffix("[]"): [value] if name.endswith("[]") else value}
    assert isinstance(value, dict)
    return value


@pytest.mark.parametrize("path", [field.path for field in FIELDS["jobs"] if not field.honoured])
def test_what_is_not_honoured_is_refused_by_name(path: str) -> None:
    with pytest.raises(ApiError) as refusal:
        check_fields({**MINIMAL, **nested(path, "x")}, "jobs")
    assert refusal.value.param == path.replace("[]", "[0]")
    assert refusal.value.code == "unsupported_parameter"


@pytest.mark.parametrize("request_name", ["files", "jobs"])
def test_the_docs_have_the_table(request_name: Any) -> None:
    assert table(request_name) in DOCS.read_text(encoding="utf-8")


@pytest.mark.heavy
def test_every_field_of_openais_client_is_honoured_or_refused() -> None:
    from openai.types.file_create_params import FileCreateParams
    from openai.types.fine_tuning.job_create_params import JobCreateParams

    opaque = ("metadata", "method.reinforcement", "expires_after")
    jobs = {field.path for field in FIELDS["jobs"]} - {"luthier"}
    assert {path for path in paths(JobCreateParams) if not path.startswith(inside(opaque))} == jobs
    files = {field.path for field in FIELDS["files"]}
    assert {
        path for path in paths(FileCreateParams) if not path.startswith(inside(opaque))
    } == files


def inside(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{name}." for name in names)


def paths(kind: Any, prefix: str = "") -> Iterator[str]:
    """The fields of a TypedDict with those inside them."""
    for name, hint in get_type_hints(kind).items():
        path = f"{prefix}.{name}" if prefix else name
        yield path
        for part in dicts_in(hint):
            is_list = "Iterable" in str(hint)
            yield from paths(part, f"{path}[]" if is_list else path)


def dicts_in(hint: Any) -> Iterator[Any]:
    if is_typeddict(hint):
        yield hint
    elif get_origin(hint) is not None:
        for part in get_args(hint):
            yield from dicts_in(part)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "model"),
        ({"model": "builtin"}, "training_file"),
        ({**MINIMAL, "model": 3}, "model"),
        ({**MINIMAL, "n_epochs": 3}, "n_epochs"),
        ({**MINIMAL, "hyperparameters": {"n_epoch": 3}}, "hyperparameters.n_epoch"),
        ({**MINIMAL, "hyperparameters": {"n_epochs": 0}}, "hyperparameters.n_epochs"),
        ({**MINIMAL, "hyperparameters": {"n_epochs": 1.5}}, "hyperparameters.n_epochs"),
        ({**MINIMAL, "hyperparameters": {"batch_size": True}}, "hyperparameters.batch_size"),
        (dpo({"beta": 0}), "method.dpo.hyperparameters.beta"),
        (dpo({"beta": 2.5}), "method.dpo.hyperparameters.beta"),
        (dpo({"beta": "much"}), "method.dpo.hyperparameters.beta"),
        (dpo({"beta": True}), "method.dpo.hyperparameters.beta"),
        (dpo({"n_epochs": 1.5}), "method.dpo.hyperparameters.n_epochs"),
        (dpo({"betta": 1}), "method.dpo.hyperparameters.betta"),
        (dpo([]), "method.dpo.hyperparameters"),
        ({**MINIMAL, "method": {"type": "dpo", "dpo": 3}}, "method.dpo"),
        ({**MINIMAL, "method": {"type": "dpo", "supervised": {}}}, "method.supervised"),
        ({**MINIMAL, "method": {"type": "supervised", "dpo": {}}}, "method.dpo"),
        ({**MINIMAL, "method": {"dpo": {}}}, "method.type"),
        ({**dpo({}), "hyperparameters": {"n_epochs": 2}}, "hyperparameters"),
        ({**MINIMAL, "method": {"type": "reinforcement"}}, "method.type"),
        ({**MINIMAL, "method": {"type": "supervised", "supervised": 3}}, "method.supervised"),
        (
            {
                **MINIMAL,
                "method": {"type": "supervised", "supervised": {}},
                "hyperparameters": {"n_epochs": 2},
            },
            "hyperparameters",
        ),
        ({**MINIMAL, "seed": -1}, "seed"),
        ({**MINIMAL, "suffix": "x" * 65}, "suffix"),
        ({**MINIMAL, "metadata": {"a": 1}}, "metadata.a"),
        ({**MINIMAL, "metadata": {str(number): "" for number in range(17)}}, "metadata"),
        ({**MINIMAL, "integrations": [{"type": "mlflow"}]}, "integrations[0].type"),
        ({**MINIMAL, "luthier": {"model": "x"}}, "luthier.model"),
        (
            {
                **MINIMAL,
                "luthier": {"objective": {"kind": "distill", "teacher": "http://10.0.0.1"}},
            },
            "luthier.objective.teacher",
        ),
    ],
)
def test_what_is_wrong_is_named(body: dict[str, Any], param: str) -> None:
    with pytest.raises(ApiError) as refusal:
        read_order(body)
    assert (refusal.value.status, refusal.value.param) == (400, param)


def test_an_order_is_read_whole_and_comes_back_from_a_runs_settings() -> None:
    body = {
        **MINIMAL,
        "validation_file": "file-2",
        "suffix": "mate",
        "seed": 5,
        "metadata": {"who": "me"},
        "method": {
            "type": "supervised",
            "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": "auto"}},
        },
        "integrations": [{"type": "wandb", "wandb": {"project": "tunes"}}],
        "luthier": {"lora": {"r": 8}},
        "hyperparameters": None,
    }
    order = read_order(body)
    assert order.hyperparameters.n_epochs == 2
    assert order.hyperparameters.batch_size == "auto"
    assert order.wandb_project == "tunes"
    assert order_of(order.to_json()) == order
    assert order_of({}) is None
    assert order_of({"model": 3}) is None


def test_dpo_has_its_hyperparameters() -> None:
    order = read_order(dpo({"beta": 0.3, "n_epochs": 2, "batch_size": "auto"}))
    assert order.method == "dpo"
    assert order.hyperparameters == Hyperparameters(n_epochs=2, beta=0.3)
    assert order_of(order.to_json()) == order
    assert read_order({**MINIMAL, "method": {"type": "dpo"}}).hyperparameters == Hyperparameters()
    # as orders of earlier versions lie in their runs
    assert order_of({"model": "x", "training_file": "y"}) == Order("x", "y")
