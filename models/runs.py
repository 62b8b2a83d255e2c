"""A run, read: what it was started with, what it left, and what it is served as.

The one reader of a run's settings and folder outside the trainer; `models.run_folder` has the
paths. Light.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path, PurePath
from typing import Any

from jobs.events import Follower
from jobs.job import Job, all_jobs, find
from jobs.luthier_error import LuthierError
from models import foreign
from models.adapters import MustBeMerged, check_servable, read_adapter
from models.events import Template, of_kind
from models.folder import ModelFolder
from models.model_directory import is_model_directory
from models.run_folder import MERGED_FOLDER, MODEL_FOLDER, RunFolder
from models.stored_sample import StoredConversation


@dataclass(frozen=True)
class AsAdapter:
    """Beside its base, by one server."""

    path: Path


@dataclass(frozen=True)
class AsModel:
    """As a model of its own: the one it trained, or its merged one."""

    name: str
    """What `models.registry.resolve` takes: RUN/model or RUN/merged."""
    path: Path


@dataclass(frozen=True)
class NeedsMerge:
    """vLLM does not take the adapter, and it is not merged yet."""

    name: str
    """What the merged model will be called."""
    reason: str


@dataclass(frozen=True)
class Nothing:
    """The run has left nothing to serve."""

    error: LuthierError


Served = AsAdapter | AsModel | NeedsMerge | Nothing


@dataclass(frozen=True)
class SweepPlace:
    """What binds a run to the others of its sweep."""

    id: str
    """The same for all of them."""
    name: str
    number: int
    """From 1."""
    of: int
    """How many runs the sweep has."""
    varies: dict[str, Any]
    """This run's values of the keys that vary, by their short names."""


_JUDGED = 200  # conversations that are looked at for what all of them have
_FINE_TUNING = "fine_tuning"
LONGEST_MODEL_NAME = 64
MODEL_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._@-]{{0,{LONGEST_MODEL_NAME - 1}}}")
"""What a model of a server may be called."""
_NOT_IN_MODEL_NAME = re.compile(r"[^A-Za-z0-9._@-]+")


class Run:
    """A job of kind "run"."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.folder = RunFolder(job.directory)

    @classmethod
    def named(cls, text: str) -> Run:
        """By its id, a unique part of it, or its name: the newest. LuthierError if there is
        none."""
        return cls(find(text, "run"))

    @classmethod
    def all(cls) -> list[Run]:
        """The newest first."""
        return [cls(job) for job in all_jobs("run")]

    @property
    def id(self) -> str:
        return self.job.id

    def model_name(self, suffix: str = "") -> str:
        """What a server calls its adapter: its name, and a suffix such as @STEP. Where a model
        cannot be called so ("my data"), hyphens stand for what does not fit; its id, if nothing
        does."""
        wanted_name = f"{self.name}{suffix}"
        if MODEL_NAME.fullmatch(wanted_name):
            return wanted_name
        fitting = _NOT_IN_MODEL_NAME.sub("-", self.name).strip("-._@")
        return f"{fitting[: LONGEST_MODEL_NAME - len(suffix)] or self.id}{suffix}"

    @property
    def name(self) -> str:
        return self.job.spec.name

    # what it was started with

    @property
    def base_name(self) -> str:
        """The base model, by the name its recipe has for it."""
        return str(self.job.spec.settings["model"])

    @property
    def base(self) -> Path:
        """The base model's folder."""
        return Path(str(self.job.spec.settings["model_directory"]))

    @property
    def names_its_base(self) -> bool:
        """Whether its settings are whole enough to say; those of a damaged folder may not be."""
        return {"model", "model_directory"} <= self.job.spec.settings.keys()

    @property
    def slots(self) -> list[str]:
        return [str(slot) for slot in self.job.spec.settings["slots"]]

    @property
    def on_gpu(self) -> bool:
        return self.job.spec.settings.get("device") == "gpu"

    @property
    def is_certified(self) -> bool:
        """Whether it orders a certificate once it is done."""
        return any(order.get("kind") == "certify" for order in self.job.spec.then)

    @property
    def warnings(self) -> list[str]:
        """What its plan warned of."""
        return [str(warning) for warning in self.job.spec.settings.get("warnings", [])]

    @property
    def learning_rate(self) -> float | None:
        """The highest one of its plan; None in runs of versions that did not tell it."""
        value = self.job.spec.settings.get("learning_rate")
        return float(value) if isinstance(value, int | float) and value > 0 else None

    @property
    def data_names(self) -> list[str]:
        """The names of its data files, without their folders."""
        formats = self.job.spec.settings.get("formats")
        files = [
            file
            for group in (formats if isinstance(formats, list) else [])
            if isinstance(group, dict) and isinstance(group.get("files"), list)
            for file in group["files"]
        ]
        return [PurePath(str(file)).name or str(file) for file in files]

    @property
    def sweep(self) -> SweepPlace | None:
        sweep: dict[str, Any] = self.job.spec.settings.get("sweep") or {}
        if not sweep:
            return None
        return SweepPlace(sweep["id"], sweep["name"], sweep["number"], sweep["of"], sweep["varies"])

    @property
    def fine_tuning(self) -> dict[str, Any]:
        """What a program asked for through the API; empty for a run that the API has not made."""
        return dict(self.job.spec.settings.get(_FINE_TUNING) or {})

    @property
    def made_by_program(self) -> dict[str, Any]:
        """The setting that `fine_tuning` reads; none for a run that the API has not made."""
        return {_FINE_TUNING: self.fine_tuning} if self.fine_tuning else {}

    # what it left

    @property
    def has_model(self) -> bool:
        """Whether it has trained every weight, and left the model."""
        return is_model_directory(self.folder.model)

    @property
    def can_talk(self) -> bool:
        """Whether it has left something to talk to: an adapter, or a model."""
        return self.folder.has_adapter or (self.folder.model / "config.json").is_file()

    def adapter(self) -> Path:
        """The adapter that it left. LuthierError if it has none."""
        if self.has_model:
            raise LuthierError(
                "A model, not an adapter",
                f"{self.id} trained every weight, so its result is a model:"
                f" {self.id}/{MODEL_FOLDER}.",
                f"`luthier serve {self.id}` serves it as it is; there is nothing to merge.",
            )
        if not self.folder.has_adapter:
            raise LuthierError(
                "No adapter yet",
                f"{self.id} has no adapter.",
                f"`luthier runs` shows its state, `luthier log {self.id}` the reason.",
            )
        return self.folder.adapter

    def served_as(self) -> Served:
        """How a server has what it left. A damaged adapter counts as one: whoever serves it says
        what is wrong with it."""
        if self.has_model:
            return AsModel(f"{self.id}/{MODEL_FOLDER}", self.folder.model)
        try:
            adapter = self.adapter()
        except LuthierError as error:
            return Nothing(error)
        reason = self.server_ignores
        try:
            check_servable(read_adapter(adapter), self.base)
        except MustBeMerged as refusal:
            reason = refusal.message
        except LuthierError:
            return AsAdapter(adapter)
        if not reason:
            return AsAdapter(adapter)
        name = f"{self.id}/{MERGED_FOLDER}"
        if is_model_directory(self.folder.merged):
            return AsModel(name, self.folder.merged)
        return NeedsMerge(name, reason)

    @property
    def server_ignores(self) -> str:
        """That vLLM loads its adapter and answers as the base does, as a sentence; "" if its
        certificate does not say so, or speaks of files that have changed since."""
        from models import certificate  # it is made of runs

        try:
            written = certificate.read(self.folder.path)
        except LuthierError:
            return ""
        if (
            written is None
            or not written.ignored_by_server
            or certificate.touched_since(written.files)
        ):
            return ""
        return (
            f"vLLM loads the adapter of {self.id} but ignores it: the answers are the base model's"
            " (see the check adapter effect, vLLM in the certificate)."
        )

    @cached_property
    def trained_stops(self) -> list[int] | None:
        """The token ids that it trained answers to end with: by the card of what it left or, in
        runs of earlier versions, by its events. None if neither says."""
        result = self.folder.model if self.has_model else self.folder.adapter
        stop_ids = ModelFolder(result).shown_card.stop_ids
        if stop_ids is not None:
            return stop_ids
        follower = Follower(self.job.events_path)
        while events := follower.read():
            for template in of_kind(events, Template):
                if template.stop_ids is not None:
                    return template.stop_ids
        return None

    @cached_property
    def system_prompt(self) -> str:
        """The one with which all its conversations begin, by those that it held out (else by the
        first that it trained on); "" if they differ or have none, or cannot be read."""
        decoder = foreign.Decoder(StoredConversation)
        try:
            for path in (self.folder.heldout_samples, self.folder.train_samples):
                prompts = {
                    _system_prompt(line.messages) for line in islice(decoder.lines(path), _JUDGED)
                }
                if prompts:
                    return prompts.pop() if len(prompts) == 1 else ""
        except (LuthierError, OSError):
            pass
        return ""


def _system_prompt(messages: list[dict[str, Any]]) -> str:
    first = messages[0] if messages else {}
    content = first.get("content") if first.get("role") == "system" else ""
    return content if isinstance(content, str) else ""


def model_of(job: Job) -> str:
    """The model that a job of any kind is about, by its name; "" if its settings name none."""
    settings = job.spec.settings
    return str(settings.get("model") or settings.get("base_name", ""))


def run_of(job: Job) -> Job | None:
    """The run that a job of another kind is about; None if it names none, or that one is gone."""
    run = job.spec.settings.get("run")
    if not run:
        return None
    try:
        return find(Path(run).name, "run")
    except LuthierError:
        return None


def one_base(runs: Iterable[Run]) -> Run:
    """The first of these runs. LuthierError if their base models differ: one server has one."""
    first, *further = runs
    bases = sorted({str(run.base) for run in (first, *further)})
    if len(bases) > 1:
        raise LuthierError(
            "More than one base model",
            f"The runs have different base models: {', '.join(bases)}.",
            "Serve them one base at a time.",
        )
    return first
