"""The teacher of an on-policy distillation: which model that is, and whether its tokens are the
student's. Light.

A teacher scores the student's own tokens, so both must mean the same by each id: the vocabularies
are compared before the run, and in the worker once more as the tokenizers have them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from jobs.files import expanded
from jobs.luthier_error import LuthierError
from models import registry
from models.adapters import other_base, read_adapter
from models.endpoints import HostedEndpoint, hosted_endpoints
from models.folder import ModelFolder
from models.runs import Run
from trainer.plan.memory.shape import read_shape
from trainer.recipe import Recipe

_SHOWN = 3  # tokens of a difference


@dataclass(frozen=True)
class LocalTeacher:
    """A model on this machine, with an adapter or without."""

    title: str
    base: Path
    adapter: Path | None = None

    @property
    def tokens(self) -> ModelFolder:
        """The folder that has its tokenizer."""
        if self.adapter is not None and ModelFolder(self.adapter).has_tokenizer:
            return ModelFolder(self.adapter)
        return ModelFolder(self.base)

    @property
    def files(self) -> list[Path]:
        """Those that its scores depend on."""
        folders = [self.base, *([] if self.adapter is None else [self.adapter])]
        names = ("*.safetensors", "config.json", "adapter_config.json")
        return sorted(path for folder in folders for name in names for path in folder.glob(name))

    @property
    def parameters(self) -> int | None:
        shape = read_shape(self.base)
        return None if shape is None else shape.parameters


@dataclass(frozen=True)
class EndpointTeacher:
    """A model that answers over the OpenAI API and tells the log-probabilities of a prompt. `model`
    is "" for the only one of the endpoint."""

    title: str
    endpoint: HostedEndpoint
    model: str


Teacher = LocalTeacher | EndpointTeacher


def teacher_of(recipe: Recipe) -> Teacher:
    """LuthierError if nothing goes by this name."""
    name = recipe.objective.teacher
    if not name:
        raise LuthierError(
            "No teacher",
            'objective.kind = "distill" needs objective.teacher: what scores the answers.',
            "Name a run, a model, an adapter's folder, or an endpoint's address.",
        )
    if "://" in name:
        return _at(HostedEndpoint("the teacher", name), recipe)
    path = expanded(name)
    if path.is_dir() and ("/" in name or name.startswith(".")):
        return _in_folder(path.absolute(), recipe)
    hosted = [endpoint for endpoint in hosted_endpoints() if endpoint.name == name]
    local = _named(name, recipe)
    if hosted and not isinstance(local, LuthierError):
        raise LuthierError(
            "Two teachers of this name",
            f"{name!r} is an endpoint in config.toml and also {local.title}.",
            "Give the endpoint's address, or the folder of the model.",
        )
    if hosted:
        return _at(hosted[0], recipe)
    if isinstance(local, LuthierError):
        raise LuthierError(
            "No such teacher",
            f"objective.teacher = {name!r}: no run, model, adapter's folder or endpoint of"
            " config.toml has this name.",
            "`luthier runs`, `luthier models` and `luthier endpoints` list them.",
        )
    return local


def sampler_of(recipe: Recipe) -> HostedEndpoint | None:
    """The server that writes the answers; None for the training process itself. LuthierError if it
    is unknown."""
    name = recipe.objective.sampler
    if not name:
        return None
    if "://" in name:
        return HostedEndpoint("the sampler", name)
    hosted = [endpoint for endpoint in hosted_endpoints() if endpoint.name == name]
    if not hosted:
        raise LuthierError(
            "No such sampler",
            f"objective.sampler = {name!r}: config.toml has no endpoint of this name.",
            f"`luthier endpoints add {name} URL --key-file FILE` adds it, with the key that may"
            " load adapters.",
        )
    return hosted[0]


def settled(recipe: Recipe) -> Recipe:
    """The recipe with its teacher by a name that stays: of a run its id."""
    if recipe.objective.kind != "distill":
        return recipe
    teacher, name = teacher_of(recipe), recipe.objective.teacher
    if isinstance(teacher, LocalTeacher) and "/" not in name and _is_run(name):
        name = Run.named(name).id
    objective = msgspec.structs.replace(recipe.objective, teacher=name)
    return msgspec.structs.replace(recipe, objective=objective)


def files(recipe: Recipe) -> list[Path]:
    """Those of a teacher on this machine; none without one."""
    teacher = teacher_of(recipe) if recipe.objective.kind == "distill" else None
    return teacher.files if isinstance(teacher, LocalTeacher) else []


def title(recipe: Recipe) -> str:
    """The teacher in words; "" without one."""
    return teacher_of(recipe).title if recipe.objective.kind == "distill" else ""


def check(recipe: Recipe, student: Path) -> None:
    """LuthierError for a teacher that this student cannot learn from. `student` is the folder of
    its base model."""
    if recipe.objective.kind != "distill":
        return
    _check_sampler(recipe)
    teacher = teacher_of(recipe)
    if isinstance(teacher, EndpointTeacher):
        _check_endpoint(recipe)
        return
    if _is_student(teacher, recipe, student):
        raise LuthierError(
            "Teacher and student are the same model",
            f"{teacher.title} is what the run starts from, so it has nothing to learn from it.",
            "Name a larger model or a run as the teacher. `train.base_bits = 4` distils the model"
            " as it was before it was quantised.",
        )
    tokens, teacher_tokens = ModelFolder(student).token_ids, teacher.tokens.token_ids
    if tokens and teacher_tokens:
        check_vocabulary(tokens, teacher_tokens, teacher.title)


def warnings(recipe: Recipe, student: Path, longest: int) -> list[str]:
    """What speaks against learning from this teacher, with figures. `longest` is the longest
    conversation of the data in tokens, about."""
    objective = recipe.objective
    if objective.kind != "distill":
        return []
    teacher = teacher_of(recipe)
    checks = [_off_policy(recipe), _beyond(recipe, student, longest)]
    if isinstance(teacher, LocalTeacher):
        checks += [_size(teacher, student), _template(teacher, student)]
        if teacher.adapter is not None:
            checks.append(other_base(read_adapter(teacher.adapter), teacher.base))
    elif teacher.endpoint.warning:
        checks.append(teacher.endpoint.warning)
    return [warning for warning in checks if warning]


def weight_bytes(recipe: Recipe) -> int:
    """What the teacher's weights take beside the student's, in 16 bits."""
    if recipe.objective.kind != "distill":
        return 0
    teacher = teacher_of(recipe)
    if isinstance(teacher, EndpointTeacher):
        return 0
    return 2 * (teacher.parameters or 0)


# ---- vocabularies


def vocabulary_hash(tokens: Mapping[str, int]) -> str:
    """12 hexadecimal digits of the tokens and their ids."""
    lines = json.dumps(sorted(tokens.items()), ensure_ascii=True)
    return hashlib.blake2b(lines.encode(), digest_size=6).hexdigest()


def check_vocabulary(student: Mapping[str, int], teacher: Mapping[str, int], title: str) -> None:
    """LuthierError unless each token has the same id."""
    if vocabulary_hash(student) == vocabulary_hash(teacher):
        return
    different = [
        token
        for token in (*student, *(token for token in teacher if token not in student))
        if student.get(token) != teacher.get(token)
    ]
    examples = ", ".join(
        f"{token!r} is {_id(student, token)} here and {_id(teacher, token)} there"
        for token in different[:_SHOWN]
    )
    raise LuthierError(
        "The teacher has another tokenizer",
        f"{title} scores the student's own tokens, but the vocabularies differ in"
        f" {len(different):,} tokens: the student has {len(student):,}"
        f" ({vocabulary_hash(student)}), the teacher {len(teacher):,}"
        f" ({vocabulary_hash(teacher)}). {examples}.",
        "Choose a teacher of the student's own family. To learn from any other model, have it"
        " write answers (`luthier make`) and fine-tune on them.",
    )


def _id(tokens: Mapping[str, int], token: str) -> str:
    return str(tokens[token]) if token in tokens else "missing"


# ---- what a name means


def _at(endpoint: HostedEndpoint, recipe: Recipe) -> EndpointTeacher:
    model = recipe.objective.teacher_model
    title = f"{model} at {endpoint.url}" if model else f"the model at {endpoint.url}"
    return EndpointTeacher(title, endpoint, model)


def _in_folder(folder: Path, recipe: Recipe) -> LocalTeacher:
    if not ModelFolder(folder).is_adapter:
        return LocalTeacher(folder.name, registry.resolve(str(folder)))
    base = registry.described_directory(recipe.model)
    read_adapter(folder)
    return LocalTeacher(f"the adapter {folder.name} on {recipe.model}", base, folder)


def _named(name: str, recipe: Recipe) -> LocalTeacher | LuthierError:
    if _is_run(name):
        run = Run.named(name)
        title = f"the run {run.id}"
        if run.has_model:
            return LocalTeacher(title, run.folder.model)
        return LocalTeacher(title, _prepared(run.base), run.adapter())
    try:
        return LocalTeacher(name, registry.described_directory(name))
    except LuthierError as error:
        return error


def _is_run(name: str) -> bool:
    return any(name in (run.id, run.name) for run in Run.all())


def _prepared(base: Path) -> Path:
    """A run's base; the built-in model's description while that is not prepared."""
    return registry.described_directory(str(base)) if not base.is_dir() else base


# ---- checks


def _check_endpoint(recipe: Recipe) -> None:
    objective = recipe.objective
    why = "An endpoint gives the likelihood of the sampled token alone"
    if objective.on_policy < 1:
        raise LuthierError(
            "The teacher scores only the student's own answers",
            f"{why}, from which the distance is estimated only where the student has sampled it,"
            f" but objective.on_policy = {objective.on_policy:g}.",
            "Leave out objective.on_policy, or name a teacher on this machine.",
        )
    if objective.temperature != 1:
        raise LuthierError(
            "The temperature does not fit this teacher",
            f"{why}, so that answers must be sampled as the student is, at temperature 1, but"
            f" objective.temperature = {objective.temperature:g}.",
            "Leave out objective.temperature, or name a teacher on this machine.",
        )


def _check_sampler(recipe: Recipe) -> None:
    if sampler_of(recipe) is None:
        return
    if recipe.train.method == "full" or recipe.lora.dora:
        key = 'train.method = "full"' if recipe.train.method == "full" else "lora.dora = true"
        raise LuthierError(
            "A server samples only with plain LoRA",
            f"objective.sampler names a server, which loads an adapter at each step, but {key}.",
            "Leave out one of the two.",
        )


def _is_student(teacher: LocalTeacher, recipe: Recipe, student: Path) -> bool:
    if teacher.base.resolve() != student.resolve() or recipe.train.base_bits in (4, 8):
        return False
    if not recipe.start_from or teacher.adapter is None:
        return not recipe.start_from and teacher.adapter is None
    return Path(recipe.start_from).resolve() == teacher.adapter.resolve()


def _size(teacher: LocalTeacher, student: Path) -> str:
    shape = read_shape(student)
    if shape is None or teacher.parameters is None or teacher.parameters >= shape.parameters:
        return ""
    return (
        f"The teacher is smaller than the student: {teacher.parameters / 1e6:,.0f} against"
        f" {shape.parameters / 1e6:,.0f} million parameters. The student learns its mistakes, too."
    )


def _template(teacher: LocalTeacher, student: Path) -> str:
    template, teacher_template = ModelFolder(student).chat_template, teacher.tokens.chat_template
    if teacher_template is None:
        return (
            f"{teacher.title} has no chat template: it is probably no chat model, and scores"
            " answers in a form that it was not trained on."
        )
    if template == teacher_template:
        return ""
    return (
        f"{teacher.title} has another chat template than the student. It scores answers in the"
        " student's, which it may not have been trained on."
    )


def _off_policy(recipe: Recipe) -> str:
    if recipe.objective.on_policy:
        return ""
    return (
        "objective.on_policy = 0: the model writes no answers itself and learns only on the data's,"
        " as in plain distillation. Its own mistakes are not corrected."
    )


def _beyond(recipe: Recipe, student: Path, longest: int) -> str:
    positions, most = ModelFolder(student).context_length, recipe.objective.sample_tokens
    if positions is None or longest + most <= positions:
        return ""
    return (
        f"The longest conversation has about {longest:,} tokens and answers may have {most:,}, but"
        f" the model has {positions:,} positions: its longest answers are cut."
    )
