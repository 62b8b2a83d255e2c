"""What a teacher says of a student's answers: its whole distributions, where it is a model on this
machine, or the likelihood of each token, where it is asked over an API."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from jobs.luthier_error import LuthierError
from models.attention import implementation
from models.folder import ModelFolder
from models.registry import resolve
from trainer.plan.plan import Plan
from trainer.run.loading import ATTENTION
from trainer.run.patient_client import PatientClient, at_once
from trainer.teacher import EndpointTeacher, LocalTeacher, check_vocabulary

_AT_ONCE = 8
_PROBED = 256  # tokens whose meaning an endpoint is asked for


class ModelTeacher:
    """A frozen model in the training process, computed in the student's numbers. Where its head is
    padded further than the student's, the rows that both have count."""

    def __init__(
        self,
        teacher: LocalTeacher,
        plan: Plan,
        tokenizer: PreTrainedTokenizerBase,
        device: torch.device,
    ) -> None:
        base = resolve(str(teacher.base))
        teacher_tokenizer = AutoTokenizer.from_pretrained(
            teacher.tokens.path, local_files_only=True
        )
        check_vocabulary(tokenizer.get_vocab(), teacher_tokenizer.get_vocab(), teacher.title)
        in_float32 = plan.compute.compute_dtype == "float32"
        model: Any = AutoModelForCausalLM.from_pretrained(
            base,
            dtype=torch.float32 if in_float32 else torch.bfloat16,
            attn_implementation=implementation(base, ATTENTION[plan.compute.attention]),
            local_files_only=True,
            use_safetensors=True,
        )
        if teacher.adapter is not None:
            model = PeftModel.from_pretrained(model, teacher.adapter, local_files_only=True)
        self._model = model.to(device).eval().requires_grad_(False)

    def logits(self, batch: dict[str, torch.Tensor], scored: torch.Tensor) -> torch.Tensor:
        """Of what follows each token before a scored one: a row for each `scored` place."""
        with torch.no_grad():
            logits = self._model(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                use_cache=False,
            ).logits
        rows: torch.Tensor = logits[:, :-1][scored].float()
        return rows


@dataclass(frozen=True)
class Row:
    """A prompt and its answer."""

    prompt: list[int]
    answer: list[int]


class EndpointScorer:
    """A model that scores over the OpenAI API's completions: `prompt_logprobs`, as vLLM has them,
    or else `echo` with `logprobs`. It gets token ids, so that no tokenizer is between. LuthierError
    where it cannot."""

    def __init__(self, teacher: EndpointTeacher, tokenizer: PreTrainedTokenizerBase) -> None:
        self._client = PatientClient(teacher.endpoint, "teacher")
        # vLLM's engine for CPUs takes one such request at a time
        self._threads = 1 if self._client.is_near else _AT_ONCE
        self._model = teacher.model or self._only_model()
        self._check_tokens(tokenizer)

    def scores(self, rows: Sequence[Row]) -> list[list[float]]:
        """The log-probability of each token of each answer."""
        return at_once(self._score, rows, self._threads)

    def _score(self, row: Row) -> list[float]:
        tokens = [*row.prompt, *row.answer]
        return [value for value, _ in self._prompt_scores(tokens)[len(row.prompt) :]]

    def _prompt_scores(self, tokens: list[int]) -> list[tuple[float, str | None]]:
        """Of each token its log-probability and its text, if the endpoint tells it; of the first
        nan."""
        body = {"model": self._model, "prompt": tokens, "max_tokens": 1, "temperature": 0}
        choice = self._client.completed({**body, "prompt_logprobs": 0})
        entries = choice.get("prompt_logprobs")
        if isinstance(entries, list) and len(entries) == len(tokens):
            try:
                return [
                    (float("nan"), None)
                    if entry is None
                    else (
                        float(entry[str(token)]["logprob"]),
                        entry[str(token)].get("decoded_token"),
                    )
                    for token, entry in zip(tokens, entries, strict=True)
                ]
            except (KeyError, TypeError, ValueError, AttributeError):
                raise self._client.unusable(
                    "prompt_logprobs without the prompt's own tokens"
                ) from None
        echoed = (
            self._client.completed({**body, "echo": True, "logprobs": 0}).get("logprobs")
        ) or {}
        values, texts = echoed.get("token_logprobs"), echoed.get("tokens")
        if not isinstance(values, list) or not isinstance(texts, list):
            raise self._client.unusable("neither prompt_logprobs nor echoed logprobs")
        if min(len(values), len(texts)) < len(tokens):
            raise self._client.unusable(f"{len(values)} log-probabilities of {len(tokens)} tokens")
        return [
            (float("nan") if value is None else float(value), str(text))
            for value, text in zip(values[: len(tokens)], texts[: len(tokens)], strict=True)
        ]

    def _check_tokens(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """That ids mean the same there: those spread evenly over the vocabulary whose text stands
        by itself."""
        size = len(tokenizer)
        ids = sorted({number * size // _PROBED for number in range(_PROBED)})
        texts = {token: str(tokenizer.decode([token])) for token in ids}
        probed = [token for token in ids if texts[token] and "\ufffd" not in texts[token]]
        scored = self._prompt_scores(probed)[1:]
        other = [
            (token, text)
            for token, (_, text) in zip(probed[1:], scored, strict=True)
            if text is not None and not _same(text, token, texts[token], tokenizer)
        ]
        if all(text is None for _, text in scored):
            raise self._client.unusable("no texts of tokens, which vocabularies are compared by")
        if other:
            token, text = other[0]
            raise LuthierError(
                "The teacher has another tokenizer",
                f"{self._client.address} scores the student's own tokens, but {len(other)} of"
                f" {len(scored)} probed ids mean something else there: {token} is"
                f" {texts[token]!r} here and {text!r} there.",
                "Choose a teacher of the student's own family. To learn from any other model, have"
                " it write answers (`luthier make`) and fine-tune on them.",
            )

    def _only_model(self) -> str:
        names = [str(card.get("id")) for card in self._client.cards()]
        if len(names) != 1:
            raise LuthierError(
                "Which model is the teacher?",
                f"{self._client.address} has {len(names)} models: {', '.join(names[:8])}.",
                "Name it with objective.teacher_model.",
            )
        return names[0]


def _same(text: str, token: int, text_here: str, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Servers tell a token's text decoded or as its vocabulary writes it."""
    return text in (text_here, tokenizer.convert_ids_to_tokens(token))


def stop_tokens(model_directory: str, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """What ends an answer of the student, as a server of it has it."""
    return ModelFolder(Path(model_directory)).stop_ids_with(tokenizer.eos_token_id)
