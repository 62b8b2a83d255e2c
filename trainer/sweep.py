"""A sweep: a recipe with lists of values where one value is meant is a grid of runs. Light."""

from __future__ import annotations

import copy
import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from operator import itemgetter
from pathlib import Path
from typing import Any

import msgspec
from msgspec import inspect

from jobs.job import Job
from jobs.luthier_error import LuthierError
from jobs.near import did_you_mean
from jobs.spec import new_id
from models.runs import Run
from trainer.key_facts import described_keys
from trainer.launch import run_spec, submit_run
from trainer.recipe import Recipe, decode, parse_toml, placed, read_text, short_value

_MOST_RUNS = 200
_LONGEST_NAME = 60
_TABLES = (inspect.StructType, inspect.DictType)


@dataclass(frozen=True)
class Member:
    """One run of a sweep: its whole recipe, and the values by which it differs from the others, by
    key ("train.learning_rate")."""

    recipe: Recipe
    varies: dict[str, Any]


@dataclass(frozen=True)
class Sweep:
    name: str
    axes: dict[str, list[Any]]
    """The values of each key that varies."""
    members: list[Member]
    """All combinations."""


def load_runs(path: Path) -> Recipe | Sweep:
    """What a recipe file asks for: one run, or with lists of values a sweep. LuthierError as by
    trainer.recipe.load, for each combination."""
    return runs_of(read_text(path), path, str(path))


def runs_of(text: str, path: Path, where: str) -> Recipe | Sweep:
    """The same of a text that stands in the place of that file; `where` names it in errors."""
    values = parse_toml(text, where)
    has_name = "name" in values
    lists = list(_axes(values, inspect.type_info(Recipe), ()))
    if not lists:
        return placed(decode(values, where), path, has_name=has_name)
    axes = {_key(at): options for at, options in lists}
    _check(axes, where)
    members = []
    for combination in itertools.product(*axes.values()):
        varies = dict(zip(axes, combination, strict=True))
        recipe = placed(
            decode(_with(values, [at for at, _ in lists], combination), where),
            path,
            has_name=has_name,
        )
        members.append(Member(recipe, varies))
    name = members[0].recipe.name
    return Sweep(name, axes, _named(name, members))


def recipes_of(asked: Recipe | Sweep) -> list[Recipe]:
    return [member.recipe for member in asked.members] if isinstance(asked, Sweep) else [asked]


def start_sweep(sweep: Sweep) -> tuple[str, list[Job]]:
    """Queue all runs, in order: the sweep's id, and they. Everything that can be checked is, for
    all of them, before the first one starts."""
    identifier = new_id(f"{sweep.name[:30]}-sweep")
    specs = []
    for number, member in enumerate(sweep.members, start=1):
        bond = {
            "id": identifier,
            "name": sweep.name,
            "number": number,
            "of": len(sweep.members),
            "varies": member.varies,
        }
        specs.append(run_spec(member.recipe, bond))
    runs = [
        submit_run(member.recipe, spec) for member, spec in zip(sweep.members, specs, strict=True)
    ]
    return identifier, runs


def sweeps() -> dict[str, list[Job]]:
    """The runs of every sweep, in their order, by the sweep's id; the newest sweep first."""
    by_id: dict[str, list[tuple[int, Job]]] = {}
    for run in Run.all():
        membership = run.sweep
        if membership is not None:
            by_id.setdefault(membership.id, []).append((membership.number, run.job))
    return {
        identifier: [job for _, job in sorted(by_id[identifier], key=itemgetter(0))]
        for identifier in sorted(by_id, reverse=True)
    }


def _name(jobs: list[Job]) -> str:
    membership = Run(jobs[0]).sweep
    return membership.name if membership is not None else ""


def find_sweep(text: str) -> tuple[str, list[Job]]:
    """The sweep with this id, or the newest of that name, or the only one whose id contains
    `text`."""
    ids = sweeps()
    if text in ids:
        return text, ids[text]
    of_name = [name for name, jobs in ids.items() if _name(jobs) == text]
    partial = [name for name in ids if text in name]
    if of_name or len(partial) == 1:
        name = (of_name or partial)[0]
        return name, ids[name]
    if partial:
        raise LuthierError(
            "More than one match",
            f"{text!r} is part of {', '.join(partial[:5])}.",
            "Type more of it.",
        )
    raise LuthierError(
        "No such sweep",
        f"There is no sweep named {text!r}.",
        f"{did_you_mean(text, [*map(_name, ids.values()), *ids])}`luthier sweep` lists the sweeps.",
    )


def _axes(
    value: Any, kind: inspect.Type, at: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], list[Any]]]:
    """The places at which `value` has a list and the recipe one value. What fits nowhere is left to
    the decoder, which tells of it."""
    if isinstance(kind, inspect.Metadata):
        kind = kind.type
    kinds = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
    if isinstance(value, dict):
        for struct in kinds:
            if not isinstance(struct, inspect.StructType):
                continue
            types = {field.encode_name: field.type for field in struct.fields}
            for name, inner in value.items():
                if name in types:
                    yield from _axes(inner, types[name], (*at, name))
    elif isinstance(value, list):
        lists = [option for option in kinds if isinstance(option, inspect.ListType)]
        if lists:
            for number, inner in enumerate(value):
                yield from _axes(inner, lists[0].item_type, (*at, number))
        elif not any(isinstance(option, _TABLES) for option in kinds):
            yield at, value


def _key(at: tuple[str | int, ...]) -> str:
    return "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in at
    ).removeprefix(".")


def _check(axes: dict[str, list[Any]], where: str) -> None:
    title = "No sweep"
    if "name" in axes:
        raise LuthierError(
            title,
            f"{where}: name is a list.",
            "Write a single name: Luthier adds to it what varies between the runs.",
        )
    for key, options in axes.items():
        if not options:
            raise LuthierError(
                title, f"{where}: {key} is an empty list.", "Write one value or several."
            )
        if any(
            first == second and type(first) is type(second)
            for first, second in itertools.combinations(options, 2)
        ):
            raise LuthierError(
                title,
                f"{where}: {key} contains a value twice.",
                "Each combination runs once; vary train.seed to repeat one.",
            )
    runs = math.prod(len(options) for options in axes.values())
    if runs > _MOST_RUNS:
        raise LuthierError(
            title,
            f"{where}: its lists make {runs:,} combinations.",
            f"A sweep has at most {_MOST_RUNS} runs.",
        )


def _with(values: Any, places: list[tuple[str | int, ...]], combination: tuple[Any, ...]) -> Any:
    """A copy of a recipe's values with one value at each of the places."""
    copied = copy.deepcopy(values)
    for at, value in zip(places, combination, strict=True):
        inner = copied
        for part in at[:-1]:
            inner = inner[part]
        inner[at[-1]] = value
    return copied


def _named(name: str, members: list[Member]) -> list[Member]:
    """The members with names that say what varies; numbered where that is too long or not
    unique."""
    names = [
        "-".join([name, *(_label(key, value) for key, value in member.varies.items())])
        for member in members
    ]
    if len({*names}) < len(names) or max(map(len, names)) > _LONGEST_NAME:
        width = len(str(len(members)))
        names = [
            f"{name[: _LONGEST_NAME - width - 1]}-{number:0{width}}"
            for number in range(1, len(members) + 1)
        ]
    return [
        replace(member, recipe=msgspec.structs.replace(member.recipe, name=label))
        for label, member in zip(names, members, strict=True)
    ]


def _label(key: str, value: Any) -> str:
    last = re.sub(r"[\[\]]", "", key.rpartition(".")[2])
    short = _short_names().get(key, last.replace("_", "-"))
    if isinstance(value, bool):
        return short if value else f"no-{short}"
    if isinstance(value, str):
        text = re.sub(r"[^A-Za-z0-9.]+", "-", Path(value).name).strip("-.")
        return f"{short}-{text}" if short else text
    return f"{short}{short_value(value)}"


@cache
def _short_names() -> dict[str, str]:
    """How the names of the runs abbreviate keys; "" where the value says enough."""
    return {
        key.name: key.facts.short for key in described_keys(Recipe) if key.facts.short is not None
    }
