"""What a run optimises: the likelihood of answers, which of two answers is preferred, or how near
the model's own answers are to a teacher. Light."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from trainer.key_facts import key

Kind = Literal["sft", "dpo", "orpo", "kto", "distill"]
Scoring = Literal["turns", "pairs", "verdicts"]
"""What a sample holds: a conversation whose turns are trained, a pair of answers of which one is
preferred, or an answer that somebody called good or bad."""

_SCORINGS: dict[Kind, Scoring] = {
    "sft": "turns",
    "dpo": "pairs",
    "orpo": "pairs",
    "kto": "verdicts",
    "distill": "turns",
}
_TITLES: dict[Kind, str] = {
    "sft": "supervised fine-tuning",
    "dpo": "DPO",
    "orpo": "ORPO",
    "kto": "KTO",
    "distill": "on-policy distillation",
}


class Objective(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """DPO (Rafailov et al. 2023, arXiv:2305.18290), ORPO (Hong et al. 2024, arXiv:2403.07691),
    KTO (Ethayarajh et al. 2024, arXiv:2402.01306), on-policy distillation (Agarwal et al. 2024,
    arXiv:2306.13649; Gu et al. 2024, arXiv:2306.08543)."""

    kind: Annotated[
        Kind,
        key(
            '`"sft"`: the answers are learned; `"dpo"` and `"orpo"`: preference pairs; `"kto"`:'
            ' answers called good or bad ([preferences.md](preferences.md)); `"distill"`: a'
            " teacher scores the model's own answers ([distillation.md](distillation.md))",
            resume="never",
            short="",
        ),
    ] = "sft"
    beta: Annotated[
        float,
        key(
            "with DPO and KTO: how firmly the model is held to its reference; with ORPO: the weight"
            " of the odds ratio beside the chosen answer's likelihood",
            short="beta",
            gt=0,
        ),
    ] = 0.1
    teacher: Annotated[
        str,
        key(
            "with `\"distill\"`: a run, a model's name or folder, an adapter's folder, or an"
            " endpoint by its address or its name in `luthier endpoints`",
            resume="never",
            short="teacher",
        ),
    ] = ""
    teacher_model: Annotated[
        str,
        key(
            "the model of the teacher's endpoint; it need not be named if there is only one",
            resume="never",
            short="",
        ),
    ] = ""
    sample_tokens: Annotated[
        int,
        key(
            'with `"distill"`: the longest answer that the model writes in training, in tokens',
            short="sample",
            ge=1,
        ),
    ] = 256
    temperature: Annotated[
        float,
        key('with `"distill"`: the temperature that it writes them at', short="temp", gt=0),
    ] = 1.0
    sampler: Annotated[
        str,
        key(
            'with `"distill"`: a vLLM server of the same base that writes the answers and loads the'
            ' adapter at each step, by its address or its name in `luthier endpoints`; `""`: the'
            " training process itself",
            short="",
        ),
    ] = ""
    on_policy: Annotated[
        Annotated[float, msgspec.Meta(ge=0, le=1)],
        key(
            'with `"distill"`: the share of answers that the model writes itself; the others are'
            " the data's",
            short="on",
        ),
    ] = 1.0

    @property
    def scoring(self) -> Scoring:
        return _SCORINGS[self.kind]

    @property
    def has_reference(self) -> bool:
        """Whether the model is held to the one that it started as."""
        return self.kind in ("dpo", "kto")

    @property
    def title(self) -> str:
        return _TITLES[self.kind]
