"""Whether the ingredients of a run are here as they were, each by hash; and what a result that
differs may be called."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from jobs import foreign_json
from models import provenance
from models.certificate import Check, Verdict
from models.hashing import Hasher, file_hash, text_of
from models.provenance import file_changes
from models.registry import resolve
from models.run_folder import HELDOUT_FILE, TRAIN_FILE
from trainer.data.files import source_files
from trainer.data.hub import HUB
from trainer.recipe import Recipe
from trainer.resume import identity, installed_versions
from workshop.reproduction.original import Original

_LISTED = 3
_UNIT = "nats a token"
_NEAR = 0.25
"""A reproduction is near if it is within a quarter of what another seed does."""


def ingredients(original: Original) -> list[Check]:
    """Base, template, data, versions and device, as they are here."""
    directory = resolve(original.recipe.model).resolve()
    now = provenance.base_hashes(directory)
    checks = [
        _part(part, file_changes(before, now.base.get(part, {}), directory))
        for part, before in original.base.items()
    ]
    if original.template:
        changed = [] if now.template == original.template else ["its text is another"]
        checks.append(_part("chat template", changed))
    checks.append(_data(original))
    checks.append(_versions(original.versions))
    return checks


def prepared(original: Path, again: Path) -> list[Check]:
    """The samples that were made of the data, token by token."""
    changed = []
    for name in (TRAIN_FILE, HELDOUT_FILE):
        before, after = original / name, again / name
        if before.is_file() and (not after.is_file() or _tokens_of(before) != _tokens_of(after)):
            changed.append(f"{name} has other tokens")
    return [_part("prepared samples", changed)]


def threads(before: int | None, now: int | None) -> list[Check]:
    """The order of a sum's terms depends on their number, and with it the last bit."""
    if before is None or now is None or before == now:
        return []
    sentence = f"The original trained with {before} threads, this run with {now}."
    return [Check("threads", "amber", sentence)]


def weights(original: Mapping[str, str], result: Path) -> tuple[bool, Check]:
    """Whether the trained weights are the same, to the bit."""
    expected = {name: text for name, text in original.items() if name.endswith(".safetensors")}
    if not expected:
        return False, Check("weights", "amber", "The original recorded no hashes of its weights.")
    differing = [
        name
        for name, text in expected.items()
        if not (result / name).is_file() or file_hash(result / name) != text
    ]
    if differing:
        sentence = f"The trained weights are not the same bits: {', '.join(differing[:_LISTED])}."
        return False, Check("weights", "amber", sentence, len(differing), 0, None, "differences")
    sentence = "The trained weights are the same bits."
    return True, Check("weights", "green", sentence, 0, 0, None, "differences")


def distance(measured: float, of_seeds: float | None) -> Check:
    """How far the reproduction is from the original, beside what another seed does."""
    sentence = f"The reproduction is {measured:.4f} nats a token from the original"
    if of_seeds is None:
        sentence += "." if measured == 0 else "; --another-seed says how much that is."
        return Check("distance", _verdict(measured, 0.0, None), sentence, measured, unit=_UNIT)
    sentence += f"; another seed is {of_seeds:.4f} away."
    near = _NEAR * of_seeds
    verdict = _verdict(measured, near, of_seeds)
    return Check("distance", verdict, sentence, measured, near, of_seeds, _UNIT)


def _verdict(measured: float, near: float, far: float | None) -> Verdict:
    if measured <= near:
        return "green"
    return "amber" if far is None or measured <= far else "red"


def _part(name: str, changes: list[str]) -> Check:
    if not changes:
        return Check(name, "green", "The same, byte for byte.", 0, 0, 0, "differences")
    remainder = f" and {len(changes) - _LISTED} more" if len(changes) > _LISTED else ""
    sentence = f"Not as it was: {', '.join(changes[:_LISTED])}{remainder}."
    return Check(name, "red", sentence, len(changes), 0, 0, "differences")


def _data(original: Original) -> Check:
    now = _data_here(original.recipe)
    if not original.data and not now:
        return Check("data", "amber", "It comes from the hub; the prepared samples are compared.")
    changes = [
        f"{name} is missing" if name not in now else f"{name} has changed"
        for name, before in original.data.items()
        if list(now.get(name, [])) != list(before)
    ]
    if len(original.data) == len(now) == 1 and list(*now.values()) == list(*original.data.values()):
        changes = []  # the same file under another name
    return _part("data", changes)


def _data_here(recipe: Recipe) -> dict[str, list[object]]:
    return {
        path.name: identity(path)
        for source in recipe.data_settings.all_sources
        if not source.path.startswith(HUB)
        for path in source_files(source.path).data
    }


def _versions(before: Mapping[str, str]) -> Check:
    now = installed_versions()
    changes = [
        f"{name} was {version}, is {now.get(name) or 'absent'}"
        for name, version in before.items()
        if version and now.get(name) != version
    ]
    if changes:
        return Check("versions", "amber", f"{', '.join(changes[:5])}: the bits may differ.")
    names = ", ".join(f"{name} {before[name]}" for name in ("torch", "transformers", "trl", "peft"))
    return Check("versions", "green", f"The same: {names}." if before else "None were recorded.")


def _tokens_of(path: Path) -> str:
    """A hash of what is trained and how, without where the rows came from."""
    hasher = Hasher()
    with path.open("rb") as file:
        for line in file:
            sample = foreign_json.decode_object(line, path, lenient=True)
            sample.pop("source", None)
            hasher.update(json.dumps(sample, sort_keys=True).encode())
    return text_of(hasher)
