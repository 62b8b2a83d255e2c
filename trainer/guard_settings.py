"""The recipe's section [guard]: what a tuned model may lose against its base. Light."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec

from jobs.luthier_error import LuthierError
from jobs.near import near
from models import registry
from models.regression_guard import ALL, BASE, DEFAULT_TEXT_LOSS, FAMILIES
from models.runs import Run
from trainer.key_facts import key

_Points = Annotated[float, msgspec.Meta(ge=0, le=100)]


class Guard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The bounds of a regression guard, and what it asks beside Luthier's own probes."""

    after_run: Annotated[
        bool,
        key(
            "whether a guard follows the run",
            default="true if the recipe has this section",
        ),
    ] = False
    at_most_lower: Annotated[
        dict[str, _Points],
        key(
            "by probe family, how many percentage points fewer items may pass than with the base,"
            " such as `{instructions = 3.0, all = 2.0}`; 10 for each that is not named"
        ),
    ] = {}
    text_loss: Annotated[
        float,
        key("how much higher the loss on plain text may be, in nats a token", ge=0),
    ] = DEFAULT_TEXT_LOSS
    probes: Annotated[
        list[str],
        key("files of further probes: of your own, or of IFEval, GSM8K or MMLU-Pro"),
    ] = []
    only: Annotated[
        list[str],
        key("the probe families that are asked; all if it is empty"),
    ] = []
    against: Annotated[
        str,
        key(
            "a run of the same base, whose model takes the base's place; the run of `start_from`"
            " shows what this training alone won and lost"
        ),
    ] = ""

    def settled(self, model: str) -> Guard:
        """With the id of the run that it is against. LuthierError if that is none of this
        model."""
        if self.against in ("", BASE):
            return msgspec.structs.replace(self, against="")
        earlier = Run.named(self.against)
        check_reference(earlier, model)
        return msgspec.structs.replace(self, against=earlier.id)

    @property
    def settings(self) -> dict[str, Any]:
        """What the guard that follows a run is started with, once it is settled."""
        earlier = Run.named(self.against).folder.path if self.against else ""
        return {
            "points": dict(self.at_most_lower),
            "text_loss": self.text_loss,
            "probes": self.probes,
            "only": self.only,
            "against": str(earlier),
        }

    def check(self) -> None:
        """LuthierError for a bound of probes that there are not, or a file that is not there."""
        for path in self.probes:
            if not Path(path).is_file():
                raise LuthierError(
                    "No such file of probes", f"guard.probes names {path}.", "Check the path."
                )
        if not self.probes:  # further probes have families of their own
            check_families("guard.at_most_lower names", self.at_most_lower, [*FAMILIES, ALL])
            check_families("guard.only names", self.only, FAMILIES)


def check_families(who: str, names: Iterable[str], families: Sequence[str]) -> None:
    """LuthierError for the first name that is none of these families; `who` begins its
    sentence."""
    unknown = next((name for name in names if name not in families), None)
    if unknown is not None:
        nearest = near(unknown, families)
        meant = f"Did you mean {nearest[0]}? " if nearest else ""
        raise LuthierError(
            "No such probes",
            f"{who} {unknown}, but there are no such probes.",
            f"{meant}There are {', '.join(families)}.",
        )


def check_reference(earlier: Run, model: str) -> None:
    """LuthierError if this run cannot take the place of a base model in a guard."""
    if not earlier.job.directory.is_dir():
        raise LuthierError(
            "The run was removed",
            f"{earlier.id}, which takes the base's place in this guard, is not there any more.",
            "Name another run, or base.",
        )
    if earlier.base_name != model and earlier.base.resolve() != registry.resolve(model).resolve():
        raise LuthierError(
            "Another base model",
            f"{earlier.id} was trained on {earlier.base_name}, not on {model}, so no one server has"
            " both.",
            "A guard compares runs of one base; `luthier runs` lists them.",
        )
    if not earlier.can_talk:
        raise LuthierError(
            "Nothing to ask",
            f"{earlier.id} has left neither an adapter nor a model.",
            f"`luthier runs` shows its state, `luthier log {earlier.id}` the reason.",
        )
