"""A client of an OpenAI-compatible endpoint that has patience: servers are busy, restart, and come
back while a run goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx

from jobs.luthier_error import LuthierError
from models.endpoints import HostedEndpoint

_SECONDS = httpx.Timeout(600.0, connect=10.0)
_TRIES = 6
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class PatientClient:
    """`purpose` is what the endpoint is to the run, as errors name it."""

    def __init__(self, endpoint: HostedEndpoint, purpose: str) -> None:
        opened = endpoint.open()
        host = urlsplit(opened.base_url).hostname
        self.address, self._purpose = opened.base_url, purpose
        self.is_near = host in _LOOPBACK
        self._client = httpx.Client(
            base_url=f"{opened.base_url}{opened.prefix}",
            headers={"Authorization": f"Bearer {opened.key}"} if opened.key else {},
            timeout=_SECONDS,
            trust_env=not self.is_near,
        )

    def sent(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """What is answered: JSON, or None where that is something else. LuthierError for a refusal,
        and when the patience ends."""
        reason = ""
        for attempt in range(_TRIES):
            if attempt:
                time.sleep(2.0 ** (attempt - 1))
            try:
                response = self._client.request(method, path, json=body)
            except httpx.HTTPError as error:
                reason = f"{type(error).__name__}: {error}"
                continue
            if response.status_code == 200:
                try:
                    return response.json()
                except ValueError:
                    return None
            reason = f"{response.status_code}: {response.text[:300]}"
            if response.status_code not in (408, 429) and response.status_code < 500:
                break
        raise LuthierError(
            f"The {self._purpose} does not answer",
            f"{self.address}{path}: {reason}",
            "Check its address and its key (`luthier endpoints add NAME URL --key-file FILE`, then"
            f" {self._purpose} = NAME); `luthier resume` continues from the last checkpoint.",
        )

    def completed(self, body: dict[str, Any]) -> dict[str, Any]:
        """The first choice of a completion."""
        answer = self.sent("POST", "/completions", body)
        if not isinstance(answer, dict):
            raise self.unusable("no JSON object")
        choices = answer.get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            raise self.unusable("no choices")
        return choices[0]

    def cards(self) -> list[dict[str, Any]]:
        """Its models as it lists them."""
        answer = self.sent("GET", "/models")
        listed = answer.get("data") if isinstance(answer, dict) else None
        return [card for card in listed or [] if isinstance(card, dict)]

    def unusable(self, reason: str) -> LuthierError:
        """For an answer that says too little."""
        return LuthierError(
            f"The {self._purpose}'s endpoint cannot be used",
            f"{self.address} answered with {reason}.",
            "It must give the log-probabilities of tokens, as vLLM does.",
        )


def at_once(
    work: Callable[[_Item], _Result], items: Iterable[_Item], threads: int
) -> list[_Result]:
    """The results in the order of the items."""
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, items))
