"""The recipe's section [trackers]: which experiment trackers hear of a run. None unless it names
them. Light."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import netrc
import os
import sys
from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit

import msgspec

from jobs.luthier_error import LuthierError
from trainer.key_facts import key

Tracker = Literal["tensorboard", "trackio", "wandb", "mlflow"]
# Any one of these modules will do.
_MODULES: dict[Tracker, tuple[str, ...]] = {
    "tensorboard": ("tensorboard", "tensorboardX"),
    "trackio": ("trackio",),
    "wandb": ("wandb",),
    "mlflow": ("mlflow",),
}


class Trackers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which trackers hear of a run. `report_to` as transformers has it; `project` is what wandb and
    trackio call a project and mlflow an experiment."""

    report_to: Annotated[
        list[Tracker],
        key(
            'the trackers that record the run: `"tensorboard"`, `"trackio"`, `"wandb"`, `"mlflow"`'
        ),
    ] = []
    project: Annotated[
        str,
        key(
            "the project (mlflow: the experiment) that the run is filed under",
            min_length=1,
            max_length=100,
        ),
    ] = "luthier"

    def check(self) -> None:
        """LuthierError if the package of one of them is not installed."""
        missing = [name for name in self.report_to if not installed_version(name)]
        if missing:
            packages = " ".join(missing)
            message = (
                f"trackers.report_to names {' and '.join(missing)}, which"
                f" {'is' if len(missing) == 1 else 'are'} not installed."
            )
            hint = (
                f"`{sys.executable} -m pip install {packages}` installs it; or remove it from the"
                " recipe."
            )
            raise LuthierError("A tracker is missing", message, hint)
        if "wandb" in self.report_to and not _wandb_may_run():
            message = "wandb has no key, and a run in the background cannot ask you for one."
            raise LuthierError(
                "wandb is not logged in",
                message,
                "Run `wandb login`, or set WANDB_API_KEY or WANDB_MODE=offline.",
            )


def _wandb_may_run() -> bool:
    """Whether it has a key, in the environment or in ~/.netrc, or needs none."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_MODE", "online") not in (
        "online",
        "shared",
    ):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def installed_version(tracker: Tracker) -> str:
    """The version of the tracker's package, "" if there is none."""
    for module in _MODULES[tracker]:
        if importlib.util.find_spec(module) is not None:
            try:
                return importlib.metadata.version(module)
            except importlib.metadata.PackageNotFoundError:
                return "unknown"
    return ""


def installed() -> dict[Tracker, str]:
    """The trackers that are here, and their versions."""
    return {name: version for name in get_args(Tracker) if (version := installed_version(name))}
