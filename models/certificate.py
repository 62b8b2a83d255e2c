"""The certificate of a run: whether the trained, the merged and the served model are one.
`certificate.json` in the run's folder.

serve.certificate makes it; everybody reads it here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from jobs.files import write_json
from jobs.foreign_json import Damaged
from jobs.luthier_error import LuthierError
from jobs.spec import Spec
from models import foreign
from models.runs import Run

CERTIFICATE_FILE = "certificate.json"
_WORKER = "serve.certificate.worker"
_GPU_ROOM = 6_000_000_000
EFFECT_REFERENCE, EFFECT_SERVED = "adapter effect, transformers", "adapter effect, vLLM"
"""The checks of whether the adapter changes anything."""
_MODEL_FILES = (".safetensors", ".json", ".jinja", ".model", ".txt")

Verdict = Literal["green", "amber", "red"]
SEVERITY: tuple[Verdict, ...] = ("green", "amber", "red")


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    `threshold` is where green ends, `red` where red begins (between them: amber); both are None
    where a figure has no such bound, and the figure is None where nothing could be measured.
    `at_least`: larger figures are better. `sentence` is for a person.
    """

    name: str
    verdict: Verdict
    sentence: str
    figure: float | None = None
    threshold: float | None = None
    red: float | None = None
    unit: str = ""
    at_least: bool = False

    @property
    def is_of_merged(self) -> bool:
        """Whether it is about the merged model, such as "merged, vLLM, log-probs" and "stop tokens,
        merged"."""
        return "merged" in self.name.replace(",", "").split()


@dataclass(frozen=True)
class Column:
    """One implementation of a model on the held-out turns: mean negative log-likelihood in nats a
    token, over `tokens` tokens."""

    model: str
    engine: str
    nll: float
    tokens: int
    stopped: int | None = None
    answers: int | None = None


@dataclass(frozen=True)
class Stamp:
    """A file as it was when the certificate was made: enough to see cheaply that it was touched
    since."""

    path: str
    size: int
    modified: int


@dataclass(frozen=True)
class Certificate:
    """`made` is in unix seconds; `merged` the merged model's folder, None where there was none.
    `sample` says what was compared."""

    run: str
    base: str
    adapter: str
    merged: str | None
    made: float
    seconds: float
    sample: dict[str, Any]
    columns: list[Column]
    checks: list[Check]
    versions: dict[str, str]
    files: list[Stamp] = field(default_factory=list)
    format: int = 1

    @property
    def verdict(self) -> Verdict:
        return worst(check.verdict for check in self.checks)

    @property
    def faults(self) -> list[Check]:
        """The checks that are not green, the worst first."""
        return not_green(self.checks)

    @property
    def ignored_by_server(self) -> bool:
        """Whether vLLM loads the adapter and answers as the base does, while transformers shows
        what was learnt."""
        effect = {check.name: check for check in self.checks}
        learnt, served = effect.get(EFFECT_REFERENCE), effect.get(EFFECT_SERVED)
        return (
            learnt is not None
            and learnt.verdict == "green"
            and served is not None
            and served.figure is not None
            and served.figure <= (served.red or 0.0)
        )

    @property
    def reasons(self) -> list[str]:
        """Why it is not green, the worst first."""
        return [check.sentence for check in self.faults]

    def to_json(self) -> dict[str, Any]:
        return {"verdict": self.verdict, "reasons": self.reasons, **asdict(self)}


def worst(verdicts: Any) -> Verdict:
    return max(verdicts, key=SEVERITY.index, default="green")


def not_green(checks: Sequence[Check]) -> list[Check]:
    """The red ones, then the amber ones."""
    return [check for verdict in ("red", "amber") for check in checks if check.verdict == verdict]


def write(run_directory: Path, certificate: Certificate) -> None:
    write_json(run_directory / CERTIFICATE_FILE, certificate.to_json())


def read(run_directory: Path) -> Certificate | None:
    """The certificate of a run, None if it has none. LuthierError if it is damaged."""
    path = run_directory / CERTIFICATE_FILE
    try:
        return foreign.read(path, Certificate)
    except FileNotFoundError:
        return None
    except Damaged as error:
        raise LuthierError(
            "Unreadable certificate",
            f"{path} is damaged: {error.reason}.",
            "`luthier certify` makes a new one.",
        ) from error


def stamps(*directories: Path) -> list[Stamp]:
    """The files of these folders that make a model, as they are."""
    file_stamps = []
    for directory in directories:
        for path in sorted(directory.iterdir()):
            if path.suffix in _MODEL_FILES and path.is_file():
                stat = path.stat()
                file_stamps.append(Stamp(str(path), stat.st_size, stat.st_mtime_ns))
    return file_stamps


def touched_since(file_stamps: Iterable[Stamp]) -> list[str]:
    """The names of those files that are gone or were written since."""
    touched = []
    for stamp in file_stamps:
        try:
            stat = Path(stamp.path).stat()
        except OSError:
            touched.append(Path(stamp.path).name)
            continue
        if (stat.st_size, stat.st_mtime_ns) != (stamp.size, stamp.modified):
            touched.append(Path(stamp.path).name)
    return touched


def order(
    name: str, run: str, model: str, base: Path, slots: list[str], *, keeps_server: bool = False
) -> dict[str, Any]:
    """The job that certifies a run: `run` is its folder, or "{job}" where the order stands in the
    run's own `then`. One that `keeps_server` leaves the server that it asks to the chat."""
    on_gpu = any(slot.startswith("gpu") for slot in slots)
    return dataclasses.asdict(
        Spec(
            kind="certify",
            name=f"{name[:28]}-certificate",
            module=_WORKER,
            settings={"run": run, "model": model, "keeps_server": keeps_server},
            slots=slots,
            gpu_bytes=memory_needed(base) if on_gpu else 0,
            share_gpu=on_gpu and keeps_server,
            starts_jobs=keeps_server,
            grace_seconds=30.0,
        )
    )


def order_for(run: Run) -> dict[str, Any]:
    """The job that certifies this run."""
    return order(run.name, str(run.job.directory), run.base_name, run.base, run.slots)


def memory_needed(base: Path) -> int:
    """Bytes of GPU memory that vLLM needs to say what a certificate asks: the weights and some, and
    room for a few thousand tokens."""
    return int(1.2 * sum(path.stat().st_size for path in base.glob("*.safetensors"))) + _GPU_ROOM
