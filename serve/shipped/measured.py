"""What a program is asked of a shipped file, and what it says."""

from __future__ import annotations

import msgspec

from serve.certificate.measured import Broken, Scored, Scores
from serve.certificate.turns import Sample


class Question(msgspec.Struct, frozen=True):
    """One file or folder and the samples to score. `texts` are prompts as they are sent, `stops`
    the tokens that training ended answers with: a program that reads the file's own tokenizer says
    what it makes of them. `dtype` "" is bfloat16. `trained`
    is the folder whose tensors the file's are held against."""

    path: str
    device: str
    samples: list[Sample]
    texts: list[str] = []
    stops: list[int] = []
    dtype: str = ""
    trained: str = ""


class Said(msgspec.Struct, frozen=True):
    """`seconds` went by while the samples were scored. `prompts` are the texts' token ids, `ends`
    those stops at which the program ends an answer; None where it reads no tokenizer. `moved` has
    each tensor's distance from the trained one, as a share of its size."""

    scores: Scored
    engine: str
    seconds: float = 0.0
    prompts: list[list[int]] | None = None
    ends: list[int] | None = None
    moved: dict[str, float] = {}

    def speed(self, samples: list[Sample]) -> float | None:
        """Prompt tokens a second."""
        tokens = sum(len(sample.input_ids) for sample in samples)
        return tokens / self.seconds if self.seconds and isinstance(self.scores, Scores) else None


def broken(reason: str, engine: str) -> Said:
    return Said(Broken(reason), engine)
