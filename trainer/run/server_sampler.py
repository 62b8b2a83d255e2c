"""A vLLM server that writes the answers: at each sync it loads the adapter as it is then, under a
name of its own.

This is where loops lose the weights: a server that is asked for a name that it has not loaded, that
keeps an earlier adapter, or that loads one and does not apply it. The fingerprint is that of the
folder that the server names for the model it was asked for; the log-probabilities are the server's.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from peft import PeftModel
from safetensors.torch import load_file

from models.endpoints import HostedEndpoint
from models.folder import ADAPTER_WEIGHTS_FILE
from trainer.run.patient_client import PatientClient, at_once
from trainer.run.sampling import RECORDED, Answer, SampleSettings, fingerprint
from trainer.run.saving import EvaluationStopped


class ServerSampler:
    """A server on this machine, or on one that sees the run's folder. `endpoint` has the key that
    may load adapters."""

    shared = False

    def __init__(
        self,
        model: PeftModel,
        endpoint: HostedEndpoint,
        folder: Path,
        settings: SampleSettings,
    ) -> None:
        self._model, self._folder = model, folder
        self._settings = settings
        self._client = PatientClient(endpoint, "sampler")
        self.title = f"vLLM at {self._client.address}"
        self._name = ""
        shutil.rmtree(folder, ignore_errors=True)

    def sync(self, step: int) -> None:
        before, name = self._name, f"student-{os.getpid()}-{step}"
        folder = self._folder / f"step-{step:06d}"
        self._model.save_pretrained(
            str(folder), selected_adapters=["default"], save_embedding_layers=False
        )
        if before:
            self._client.sent("POST", "/unload_lora_adapter", {"lora_name": before})
        self._client.sent(
            "POST", "/load_lora_adapter", {"lora_name": name, "lora_path": str(folder)}
        )
        self._name = name
        for earlier in self._folder.iterdir():
            if earlier != folder:
                shutil.rmtree(earlier)

    def answers(
        self,
        prompts: Sequence[Sequence[int]],
        seed: int,
        stopping: Callable[[], bool],
    ) -> list[Answer]:
        def written(numbered: tuple[int, Sequence[int]]) -> Answer:
            number, prompt = numbered
            if stopping():
                raise EvaluationStopped
            return self._answer(prompt, seed + number, keep_scores=number < RECORDED)

        return at_once(written, enumerate(prompts), self._settings.rows)

    def fingerprint(self) -> str:
        root = next(
            (card.get("root") for card in self._client.cards() if card.get("id") == self._name),
            None,
        )
        weights = Path(str(root)) / ADAPTER_WEIGHTS_FILE
        return fingerprint(load_file(weights)) if weights.is_file() else f"no {self._name}"

    def _answer(self, prompt: Sequence[int], seed: int, *, keep_scores: bool) -> Answer:
        choice = self._client.completed(
            {
                "model": self._name,
                "prompt": list(prompt),
                "max_tokens": self._settings.longest,
                "temperature": self._settings.temperature,
                "top_p": 1.0,
                "top_k": 0,
                "seed": seed,
                "logprobs": 0,
                "return_token_ids": True,
            }
        )
        tokens: Any = choice.get("token_ids")
        log_probs: Any = (choice.get("logprobs") or {}).get("token_logprobs")
        if not tokens or not _are(tokens, int) or not _are(log_probs, float):
            raise self._client.unusable("no token ids with their log-probabilities")
        if len(tokens) != len(log_probs):
            raise self._client.unusable(
                f"{len(log_probs)} log-probabilities of {len(tokens)} tokens"
            )
        is_stopped = choice.get("finish_reason") == "stop"
        return Answer(tokens, is_stopped, log_probs if keep_scores else [])


def _are(values: Any, kind: type) -> bool:
    return isinstance(values, list) and all(isinstance(value, kind) for value in values)
