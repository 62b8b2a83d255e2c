"""What was measured, as values: the verdicts are functions of these alone."""

from __future__ import annotations

from pathlib import Path

import msgspec

from serve.certificate.turns import Probe, Sample

ORDERS_FILE, REFERENCE_FILE = "orders.json", "reference.json"


class Orders(msgspec.Struct, frozen=True):
    """What the process with transformers is to measure: folders, samples and probes. `adapter` is a
    model where all of one was trained. `grown` is where this process is to put what training began
    from, where that is not the base itself: other tokenizer, template and `stop_ids`, rows for new
    tokens. `device` is "cpu" or "cuda"."""

    base: str
    adapter: str
    merged: str | None
    device: str
    samples: list[Sample]
    probes: list[Probe]
    grown: str = ""
    stop_ids: list[int] = []


class Scores(msgspec.Struct, frozen=True, tag="scores"):
    """One implementation on the scored tokens of all samples, in their order: the log-probability
    of each token (natural logarithm) and which token the model would have chosen there.
    `resolution` is the mean distance of neighbouring numbers of the model's type at the largest
    logit (0.0625 for bfloat16 at 8 to 16), None where logits were not seen; `epsilon` is the same
    distance at 1 (2**-7 for bfloat16), 0 where the type is not known."""

    log_probabilities: list[float]
    first: list[int]
    resolution: float | None = None
    epsilon: float = 0.0

    @property
    def nll(self) -> float:
        return -sum(self.log_probabilities) / len(self.log_probabilities)


class Broken(msgspec.Struct, frozen=True, tag="broken"):
    """A model that could not be measured, and why in words."""

    reason: str


Scored = Scores | Broken


class Reference(msgspec.Struct, frozen=True):
    """What transformers and PEFT say.

    `prompts` are the trainer's renderings of each turn's prompt and of the probes (None: the
    template refuses), made anew; `stop_ids` the tokens that end an answer by the base's files,
    `merged_stop_ids` by the merged model's, if they can be read. `dated`: the template writes
    today's date.
    """

    base: Scored
    tuned: Scored | None
    merged: Scored | None
    prompts: list[list[int] | None]
    probes: list[list[int] | None]
    stop_ids: list[int]
    merged_stop_ids: list[int] | Broken
    dated: bool
    versions: dict[str, str]


def write(path: Path, value: msgspec.Struct) -> None:
    path.write_bytes(msgspec.json.encode(value))


class Answer(msgspec.Struct, frozen=True):
    """How one generated answer ended: by a stop token (`stopped`) or by length. `ran_past` is a
    trained stop token it went on after."""

    stopped: bool
    tokens: int
    ran_past: int | None = None


class Served(msgspec.Struct, frozen=True):
    """What one model of a vLLM server says. No answers where it could not be scored, or where no
    turn is short enough."""

    scores: Scored
    answers: list[Answer]


class Rendered(msgspec.Struct, frozen=True):
    """The token ids that the server makes of the prompts of all turns and of the probes; a text is
    its refusal."""

    prompts: list[list[int] | str]
    probes: list[list[int] | str]
