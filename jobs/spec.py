"""What a job is to do: `spec.json`, written once, before anything runs."""

from __future__ import annotations

import os
import re
import secrets
import sys
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from jobs import foreign_json
from jobs.files import write_json
from jobs.foreign_json import Damaged
from jobs.luthier_error import LuthierError

Kind = Literal[
    "run",
    "merge",
    "certify",
    "server",
    "api",
    "import",
    "export",
    "compare",
    "inspect",
    "prepare",
    "rescue",
    "make",
    "recites",
    "drift",
    "reproduce",
    "guard",
]
BesideServer = Literal["", "sleep", "share", "wait"]
Preempts = Literal["", "asks", "never"]

JOB_ID = re.compile(r"[0-9]{8}-[0-9]{4}-[a-z0-9][a-z0-9-]{0,39}-[0-9a-f]{4}")


# The types of the settings that others than the job's own worker read.
_SETTINGS: dict[str, Any] = {
    **dict.fromkeys(
        ("model", "model_directory", "base", "base_name", "source", "device", "warning"), str
    ),
    **dict.fromkeys(("run", "adapter", "out"), str | None),
    "sources": list[str],
    "context": int,
    "context_length": int | None,
    **dict.fromkeys(("sweep", "fine_tuning"), dict[str, Any]),
}
_SWEEP: dict[str, Any] = {
    "id": str,
    "name": str,
    "number": int,
    "of": int,
    "varies": dict[str, Any],
}


# Earlier versions had jobs of two more kinds as imports, and told these from others by the module;
# what else jobs/ needs to know of a job hung on its kind.
_KIND_OF_MODULE = {"trainer.data.worker": "inspect", "models.builtin_worker": "prepare"}
_ORDERS_OF_KIND: dict[object, dict[str, Any]] = {
    "run": {"preempts": "asks", "before_resting": True},
    "server": {"preempts": "never", "ready_phase": "ready"},
}


def _of_today(orders: dict[str, Any]) -> dict[str, Any]:
    """Orders of an earlier version as they are written now."""
    kind, module = orders.get("kind"), orders.get("module")
    if kind == "import" and isinstance(module, str):
        kind = _KIND_OF_MODULE.get(module, kind)
    of_kind = _ORDERS_OF_KIND.get(kind, {}) if isinstance(kind, str) else {}
    return {**of_kind, **orders, **({} if kind is None else {"kind": kind})}


class Settings(dict[str, Any]):
    """A job's settings as they were read. One that is asked for and not there is damage, not a
    fault of Luthier's."""

    def __missing__(self, name: str) -> Any:
        raise Damaged("the job's settings", f"{name} is missing from them")


def _check_settings(settings: dict[str, Any], where: Path) -> None:
    foreign_json.check(settings, _SETTINGS, f"{where}, settings")
    sweep = settings.get("sweep")
    if sweep:
        foreign_json.check({**dict.fromkeys(_SWEEP), **sweep}, _SWEEP, f"{where}, sweep")


@dataclass(frozen=True)
class Spec:
    """One job's orders.

    `module` is run as `python -P -m MODULE JOB_DIRECTORY` by `python`. `slots` are what must be
    free first: "cpu", "gpu" (any one), "gpu-0" (that one), each at most once a job but for "gpu".
    `then` are jobs that the supervisor starts when this one is done; in their `settings` the text
    "{job}" stands for this job's folder. `grace_seconds` is how long a stop may take before
    SIGKILL. A job with `share_gpu` takes its GPU beside others that have it too, if `gpu_bytes` are
    free there. One that `gives_way` can let go of its slots for a while (jobs.giving_way);
    `beside_server` says what a job does about such a one in its way: nothing said is the setting.
    `preempts` says whether it may have that one let go: as it and the setting say, or a person
    "asks" for it where both say nothing, or "never". A job that rests takes its slots back after
    all that wait `before_resting`. One with a `ready_phase` runs from that on; others run from
    their first step. The jobs that one starts which `starts_jobs` are their own: they live on when
    it ends.
    """

    kind: Kind
    name: str
    module: str
    settings: dict[str, Any] = field(default_factory=dict)
    slots: list[str] = field(default_factory=list)
    gpu_bytes: int = 0
    share_gpu: bool = False
    gives_way: bool = False
    beside_server: BesideServer = ""
    preempts: Preempts = ""
    before_resting: bool = False
    ready_phase: str = ""
    starts_jobs: bool = False
    then: list[dict[str, Any]] = field(default_factory=list)
    grace_seconds: float = 60.0
    python: str = sys.executable

    def write(self, directory: Path) -> None:
        write_json(directory / "spec.json", asdict(self))

    def replace(self, directory: Path) -> None:
        """Write these orders in place of the job's old ones. The file keeps its time, which is that
        of the job."""
        path = directory / "spec.json"
        times = path.stat()
        self.write(directory)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    @classmethod
    def of(cls, orders: Any, where: object) -> Spec:
        """Orders out of JSON, of any version. Damaged if they are none."""
        return foreign_json.as_type(
            _of_today(orders) if isinstance(orders, dict) else orders, cls, where
        )

    @classmethod
    def read(cls, directory: Path) -> Spec:
        path = directory / "spec.json"
        try:
            spec = cls.of(foreign_json.read(path), path)
            _check_settings(spec.settings, path)
            return replace(spec, settings=Settings(spec.settings))
        except FileNotFoundError:
            raise LuthierError(
                "No such job",
                f"{directory.name} has no spec.json.",
                "`luthier runs` lists the jobs.",
            ) from None
        except Damaged as error:
            raise Damaged(
                path,
                _reason(error, path),
                f"`luthier remove {directory.name}` deletes {directory}.",
            ) from None


def _reason(error: Damaged, path: Path) -> str:
    inside = str(error.where).removeprefix(str(path)).strip(", ")
    return f"{inside}: {error.reason}" if inside else error.reason


def slug(name: str) -> str:
    """The part of a job id that a person chose: lower case letters, digits and hyphens, at most
    40."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-") or "job"


def new_id(name: str) -> str:
    """An id that sorts by time and reads well: 20261122-1530-captain-7f3a."""
    return f"{time.strftime('%Y%m%d-%H%M')}-{slug(name)}-{secrets.token_hex(2)}"
