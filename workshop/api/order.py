"""A request for a fine-tuning job: read strictly, and made into the recipe of a run. Light."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from jobs.files import encoded
from jobs.foreign_json import Damaged
from jobs.luthier_error import LuthierError
from models import foreign, registry
from trainer.data.preview import look, look_at_heldout
from trainer.plan.learning_rate import learning_rate
from trainer.plan.memory.shape import read_shape
from trainer.recipe import Recipe, decode
from workshop.api.errors import ApiError, refused
from workshop.api.fields import check_fields
from workshop.api.files import StoredFile, stored_file
from workshop.api.names import Tuned, checkpoint_folder, named

Auto = Literal["auto"]
Method = Literal["supervised", "dpo"]
_METHODS: tuple[Method, ...] = get_args(Method)
_SUFFIX, _METADATA, _KEY, _VALUE = 64, 16, 64, 512
_LONGEST_NAME = 60
_MOST_BETA = 2.0
"""OpenAI's limit."""
_NOT_OF_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_OUR_OWN = ("data", "model", "name")
DEFAULTS = Recipe(data=["-"])


class Hyperparameters(msgspec.Struct, frozen=True):
    """As a program gave them."""

    n_epochs: float | Auto = "auto"
    batch_size: float | Auto = "auto"
    learning_rate_multiplier: float | Auto = "auto"
    beta: float | Auto = "auto"
    """Of DPO alone."""


class Order(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a program asked for. It lies in the run's settings as `fine_tuning`."""

    model: str
    """As the program named it."""
    training_file: str
    validation_file: str | None = None
    suffix: str | None = None
    seed: int | None = None
    metadata: dict[str, str] = {}
    method: Method = "supervised"
    hyperparameters: Hyperparameters = Hyperparameters()
    wandb_project: str | None = None
    luthier: dict[str, Any] = {}
    """Further keys of the recipe."""
    digest: str = ""
    """Of the request, by which the same one is known when a client sends it again."""
    idempotency_key: str = ""

    @property
    def files(self) -> list[str]:
        return [file for file in (self.training_file, self.validation_file) if file is not None]

    def to_json(self) -> dict[str, Any]:
        built: dict[str, Any] = msgspec.to_builtins(self)
        return built


def order_of(fine_tuning: Mapping[str, Any]) -> Order | None:
    """The order in a run's settings; None where there is none, or a damaged one."""
    if not fine_tuning:
        return None
    try:
        return foreign.convert(dict(fine_tuning), Order, "fine_tuning")
    except Damaged:
        return None


def read_order(body: dict[str, Any], idempotency_key: str = "") -> Order:
    """The body of a request. ApiError names the first field that is wrong or not honoured."""
    check_fields(body, "jobs")
    values = {name: value for name, value in body.items() if value is not None}
    method, hyperparameters, where = _method(values)
    return Order(
        model=_text(values, "model"),
        training_file=_text(values, "training_file"),
        validation_file=_text(values, "validation_file") if "validation_file" in values else None,
        suffix=_suffix(values),
        seed=_seed(values),
        metadata=_metadata(values),
        method=method,
        hyperparameters=Hyperparameters(
            n_epochs=_number(hyperparameters, "n_epochs", where, most=10_000),
            batch_size=_number(hyperparameters, "batch_size", where, most=65_536),
            learning_rate_multiplier=_number(
                hyperparameters, "learning_rate_multiplier", where, most=1e6, has_fraction=True
            ),
            beta=_number(hyperparameters, "beta", where, most=_MOST_BETA, has_fraction=True),
        ),
        wandb_project=_wandb(values),
        luthier=_luthier(values),
        digest=hashlib.sha256(encoded(body, sort_keys=True)).hexdigest(),
        idempotency_key=idempotency_key[:200],
    )


def recipe_of(order: Order, aliases: Mapping[str, str]) -> Recipe:
    """The run's recipe. ApiError where the model, a file or the data in it cannot be used."""
    model, start_from = _model(order.model, aliases)
    if start_from and "start_from" in order.luthier:
        raise _wrong("luthier.start_from", "luthier.start_from: the field `model` says that.")
    training = stored_file(order.training_file, "training_file")
    validation = (
        None
        if order.validation_file is None
        else stored_file(order.validation_file, "validation_file")
    )
    base = {"model": model, **({"start_from": start_from} if start_from else {})}
    recipe = _checked_recipe(order, base, training, validation)
    for file, param in ((training, "training_file"), (validation, "validation_file")):
        if file is not None:
            _check_data(recipe, file, param)
    return recipe


def _checked_recipe(
    order: Order, base: dict[str, str], training: StoredFile, validation: StoredFile | None
) -> Recipe:
    values: dict[str, Any] = {
        **order.luthier,
        **base,
        "data": [str(training.path)],
        "name": _run_name(order.suffix or Path(training.filename).stem),
    }
    hyperparameters = order.hyperparameters
    train: dict[str, Any] = {}
    if hyperparameters.n_epochs != "auto":
        train["epochs"] = float(hyperparameters.n_epochs)
    if hyperparameters.batch_size != "auto":
        train["global_batch"] = int(hyperparameters.batch_size)
    if order.seed is not None:
        train["seed"] = order.seed
    _join(values, "train", train)
    if validation is not None:
        _join(values, "heldout", {"files": [str(validation.path)]})
    if order.method == "dpo":
        beta = {} if hyperparameters.beta == "auto" else {"beta": hyperparameters.beta}
        _join(values, "objective", {"kind": "dpo", **beta})
    if order.wandb_project is not None:
        project = order.wandb_project
        _join(values, "trackers", {"report_to": ["wandb"], "project": project})
    try:
        recipe = decode(values, "luthier")
    except LuthierError as error:
        raise refused(error, "invalid_recipe", "luthier") from None
    try:
        recipe.trackers.check()
    except LuthierError as error:
        raise refused(error, "integration_unavailable", "integrations") from None
    multiplier = hyperparameters.learning_rate_multiplier
    if multiplier == "auto":
        return recipe
    return msgspec.structs.replace(
        recipe,
        train=msgspec.structs.replace(recipe.train, learning_rate=_rate(recipe) * multiplier),
    )


def _join(values: dict[str, Any], section: str, keys: dict[str, Any]) -> None:
    """Put keys into a section of the recipe. ApiError where `luthier` has another word for one."""
    if not keys:
        return
    other_keys = values.get(section, {})
    if not isinstance(other_keys, dict):
        raise _wrong(f"luthier.{section}", f"luthier.{section} is an object.")
    for key in keys:
        if key in other_keys:
            raise _wrong(
                f"luthier.{section}.{key}", f"luthier.{section}.{key} says what another field says."
            )
    values[section] = {**other_keys, **keys}


def _rate(recipe: Recipe) -> float:
    """The learning rate that the plan would choose, which the multiplier multiplies."""
    if recipe.train.learning_rate != "auto":
        return recipe.train.learning_rate
    shape = read_shape(registry.resolve(recipe.model))
    return learning_rate(recipe, None if shape is None else shape.parameters).value


def _check_data(recipe: Recipe, file: StoredFile, param: str) -> None:
    """Look at a file's rows as the plan does. ApiError with the rows and the reasons."""
    settings = recipe.data_settings
    try:
        look(settings) if param == "training_file" else look_at_heldout(settings)
    except LuthierError as error:
        message = error.message.replace(str(file.path), file.filename)
        reason = LuthierError(error.title, message, error.hint)
        raise refused(reason, f"invalid_{param}", param) from None


def _model(name: str, aliases: Mapping[str, str]) -> tuple[str, str]:
    """The base model, and the adapter from which training starts where the name is a tuned
    model's. A path is none: programs name what this home has."""
    model = aliases.get(name, name)
    start_from = ""
    if model.startswith("ft:"):
        tuned = named(model, aliases)
        assert isinstance(tuned, Tuned)  # a name with this prefix is nothing else
        run, model = tuned.run, tuned.run.base_name
        start_from = run.id if tuned.step is None else str(checkpoint_folder(tuned))
    ready = [base.name for base in registry.list_models() if base.ready]
    if model not in ready:
        model_names = ", ".join([*aliases, *ready]) or "none yet (`luthier models import builtin`)"
        raise ApiError(
            404,
            "model_not_found",
            f"The model {name[:200]!r} cannot be fine-tuned here. There are: {model_names}."
            " `luthier api --alias NAME=MODEL` gives one the name that a program has for it.",
            "model",
        )
    return model, start_from


def _run_name(text: str) -> str:
    """A name that a server can have for the model: letters, digits, dots, hyphens, underscores."""
    return _NOT_OF_A_NAME.sub("-", text).strip("._-")[:_LONGEST_NAME] or "tuned"


def _method(values: dict[str, Any]) -> tuple[Method, dict[str, Any], str]:
    """The method with its hyperparameters, or with the older ones beside it, and where these
    stand."""
    older, method = values.get("hyperparameters"), values.get("method")
    if older is not None and not isinstance(older, dict):
        raise _wrong("hyperparameters", "hyperparameters is an object.")
    if method is None:
        return "supervised", older or {}, "hyperparameters"
    if not isinstance(method, dict):
        raise _wrong("method", "method is an object with a type.")
    kind = method.get("type")
    if kind == "reinforcement":
        raise ApiError(
            400,
            "unsupported_method",
            'Luthier does not train with graders: method.type is "supervised" or "dpo".',
            "method.type",
        )
    if kind not in _METHODS:
        raise _wrong("method.type", 'method.type is "supervised" or "dpo".')
    if older:
        raise _wrong("hyperparameters", "Give hyperparameters in method, or beside it: not both.")
    for other in _METHODS:
        if other != kind and method.get(other) is not None:
            raise _wrong(f"method.{other}", f'method.type is "{kind}": leave out method.{other}.')
    path = f"method.{kind}"
    inner = _object(_object(method, kind, path), "hyperparameters", f"{path}.hyperparameters")
    return kind, inner, f"{path}.hyperparameters"


def _object(values: dict[str, Any], name: str, path: str) -> dict[str, Any]:
    """An object in another one; an empty one where it is left out."""
    value = values.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _wrong(path, f"{path} is an object.")
    return value


def _number(
    values: dict[str, Any], name: str, where: str, *, most: float, has_fraction: bool = False
) -> float | Auto:
    value, path = values.get(name), f"{where}.{name}"
    if value is None or value == "auto":
        return "auto"
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 < value <= most or not (has_fraction or value == int(value)):
        kind = "a number" if has_fraction else "a whole number"
        raise _wrong(path, f'{path} is {kind} above 0, at most {most:,.0f}, or "auto".')
    return float(value) if has_fraction else int(value)


def _text(values: dict[str, Any], name: str) -> str:
    if name not in values:
        raise ApiError(
            400, "missing_required_parameter", f"Missing required parameter: {name!r}.", name
        )
    value = values[name]
    if not isinstance(value, str) or not value:
        raise _wrong(name, f"{name} is a text.")
    return value


def _suffix(values: dict[str, Any]) -> str | None:
    if values.get("suffix", "") == "":
        return None
    suffix = _text(values, "suffix")
    if len(suffix) > _SUFFIX or not suffix.isprintable():
        raise _wrong("suffix", f"suffix is a line of at most {_SUFFIX} characters.")
    return suffix


def _seed(values: dict[str, Any]) -> int | None:
    seed = values.get("seed")
    if seed is not None and (
        not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32
    ):
        raise _wrong("seed", "seed is a whole number from 0 to 4294967295.")
    return seed


def _metadata(values: dict[str, Any]) -> dict[str, str]:
    metadata = values.get("metadata", {})
    if not isinstance(metadata, dict) or len(metadata) > _METADATA:
        raise _wrong("metadata", f"metadata is an object of at most {_METADATA} texts.")
    for key, value in metadata.items():
        if len(key) > _KEY or not isinstance(value, str) or len(value) > _VALUE:
            raise _wrong(
                f"metadata.{key[:_KEY]}",
                f"metadata has keys of at most {_KEY} characters and texts of at most {_VALUE}.",
            )
    return metadata


def _wandb(values: dict[str, Any]) -> str | None:
    integrations = values.get("integrations", [])
    if not isinstance(integrations, list) or len(integrations) > 1:
        raise _wrong("integrations", "integrations is a list, of wandb alone.")
    for integration in integrations:
        if not isinstance(integration, dict) or integration.get("type") != "wandb":
            raise ApiError(
                400,
                "unsupported_integration",
                'The only integration is of the type "wandb".',
                "integrations[0].type",
            )
        settings = integration.get("wandb")
        project = settings.get("project") if isinstance(settings, dict) else None
        if not isinstance(project, str) or not 0 < len(project) <= 100:
            path = "integrations[0].wandb.project"
            raise _wrong(path, f"{path} is a text of at most 100 characters.")
        return project
    return None


def _luthier(values: dict[str, Any]) -> dict[str, Any]:
    further = values.get("luthier", {})
    if not isinstance(further, dict):
        raise _wrong("luthier", "luthier is an object of a recipe's keys.")
    for name in _OUR_OWN:
        if name in further:
            raise _wrong(
                f"luthier.{name}", f"luthier.{name}: other fields of the request say that."
            )
    heldout = further.get("heldout")
    if isinstance(heldout, dict) and "files" in heldout:
        raise _wrong("luthier.heldout.files", "luthier.heldout.files: validation_file says that.")
    objective = further.get("objective")
    for key in ("teacher", "sampler"):
        # else whoever has the API's key could have this machine ask any address
        if isinstance(objective, dict) and "://" in str(objective.get(key, "")):
            raise _wrong(
                f"luthier.objective.{key}",
                f"luthier.objective.{key}: an endpoint goes by its name in `luthier endpoints`.",
            )
    return further


def _wrong(param: str, message: str) -> ApiError:
    return ApiError(400, "invalid_value", message, param)
