"""Where the things of a run lie in its folder. Nobody else names these files and folders."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

RECIPE_FILE = "recipe.toml"
ADAPTER_FOLDER = "adapter"
MODEL_FOLDER = "model"
MERGED_FOLDER = "merged"
CHAPTERS_FOLDER = "chapters"
HELDOUT_FILE = "heldout.jsonl"
TRAIN_FILE = "train.jsonl"
LEDGER_FILE = "ledger.jsonl"
COMPLETE = "COMPLETE"
_CHECKPOINTS_FOLDER = "checkpoints"
_STEP = "step-"


@dataclass(frozen=True)
class RunFolder:
    """A run's folder, or that of a look at data, which has the data of a run."""

    path: Path

    @property
    def recipe(self) -> Path:
        """The frozen recipe, every value written out."""
        return self.path / RECIPE_FILE

    @property
    def data(self) -> Path:
        """The prepared samples and their ledger."""
        return self.path / "data"

    @property
    def train_samples(self) -> Path:
        return self.data / TRAIN_FILE

    @property
    def heldout_samples(self) -> Path:
        """The conversations that the run was not trained on, tokenised."""
        return self.data / HELDOUT_FILE

    @property
    def ledger(self) -> Path:
        """What became of each row of the data."""
        return self.data / LEDGER_FILE

    def reference_scores(self, part: str) -> Path:
        """What the reference of a run of preferences thinks of its train or heldout samples."""
        return self.data / f"reference-{part}.json"

    @property
    def fingerprint(self) -> Path:
        """What the trained weights depend on, as it was when the run began to train."""
        return self.path / "fingerprint.json"

    @property
    def chapters(self) -> Path:
        """The further chapters of the certificate, each a file."""
        return self.path / CHAPTERS_FOLDER

    @property
    def first_adapter(self) -> Path:
        """A copy of the adapter that the run started from, if it started from one."""
        return self.path / "first-adapter"

    @property
    def sampler(self) -> Path:
        """The adapter as a server that samples for the run has loaded it last."""
        return self.path / "sampler"

    @property
    def adapter(self) -> Path:
        """The adapter that the run left, unless it trained every weight."""
        return self.path / ADAPTER_FOLDER

    @property
    def model(self) -> Path:
        """The model that a run left which trained every weight."""
        return self.path / MODEL_FOLDER

    @property
    def merged(self) -> Path:
        """The adapter merged into the base, unless another place was asked for."""
        return self.path / MERGED_FOLDER

    @property
    def checkpoints(self) -> Path:
        return self.path / _CHECKPOINTS_FOLDER

    def checkpoint(self, step: int) -> Path:
        return self.checkpoints / f"{_STEP}{step:06d}"

    def complete_checkpoints(self) -> list[tuple[int, Path]]:
        """Step and folder of each checkpoint with a COMPLETE, oldest first."""
        return sorted(
            (int(step), path)
            for step, path in self.saved_steps()
            if step.isdigit() and (path / COMPLETE).is_file()
        )

    def saved_steps(self) -> Iterator[tuple[str, Path]]:
        """What its name says of the step, and the folder, of all that looks like a checkpoint."""
        for path in self.checkpoints.glob(f"{_STEP}*"):
            yield path.name.removeprefix(_STEP), path

    @property
    def has_adapter(self) -> bool:
        return (self.adapter / "adapter_config.json").is_file()


def is_checkpoint(path: Path) -> bool:
    """Whether a folder is a checkpoint of a run, by where it lies."""
    return path.parent.name == _CHECKPOINTS_FOLDER
