"""The hub, through its own client: who we are there, calls that are tried again, and its errors in
words. Not light: for workers."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

import httpx
from huggingface_hub import HfApi, constants, get_token, utils
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from jobs.luthier_error import LuthierError

WAITS = (1.0, 2.0, 4.0, 8.0, 16.0)  # seconds between tries
_AGAIN = {408, 429, 500, 502, 503, 504}
_LOG_IN = "Log in with `hf auth login`, or set HF_TOKEN"
_T = TypeVar("_T")

# What a call of the hub's client may raise: HfHubHTTPError is one of httpx's errors, the rest are
# its own.
HUB_ERRORS = (httpx.HTTPError, HFValidationError, LocalTokenNotFoundError, OfflineModeIsEnabled)


def endpoint() -> str:
    """The hub's address: HF_ENDPOINT, or huggingface.co."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or constants.ENDPOINT


def headers() -> dict[str, str]:
    """For a download: the token, and no compression, so that ranges count the file's own bytes."""
    return dict(
        utils.build_hf_headers(library_name="luthier", headers={"Accept-Encoding": "identity"})  # type: ignore[attr-defined]
    )


def api() -> HfApi:
    """The client, with the token from the usual place: HF_TOKEN, or what `hf auth login` has
    left."""
    utils.disable_progress_bars()  # type: ignore[attr-defined]
    return HfApi(endpoint=endpoint(), library_name="luthier")


def again(
    call: Callable[[], _T],
    wait: Callable[[float], None],
    went_on: Callable[[], bool] = lambda: False,
) -> _T:
    """Call; after a failure that may pass (a cut connection, a server's error, too many requests)
    wait and call again, five times.

    `went_on` says that the last try has brought something: the count then begins anew.
    """
    tries = 0
    while True:
        try:
            return call()
        except httpx.HTTPError as error:
            tries = 0 if went_on() else tries
            if not _may_pass(error) or tries == len(WAITS):
                raise
            print(f"{_first_line(error)} Trying again in {WAITS[tries]:.0f} s.", flush=True)
            wait(WAITS[tries])
            tries += 1


def _may_pass(error: httpx.HTTPError) -> bool:
    if isinstance(error, HfHubHTTPError):
        return error.response is not None and error.response.status_code in _AGAIN
    return isinstance(error, httpx.TransportError)


def in_words(error: Exception, repository: str, doing: str = "reading") -> LuthierError:
    """An error of the hub as the user needs it. `doing` is "reading" or "writing"."""
    page = f"{endpoint()}/{repository}"
    status = (
        error.response.status_code
        if isinstance(error, HfHubHTTPError) and error.response is not None
        else None
    )
    message = str(error)
    if isinstance(error, OfflineModeIsEnabled):
        return LuthierError(
            "The hub is switched off",
            "HF_HUB_OFFLINE is set, so Luthier makes no network requests.",
            "Unset it.",
        )
    if isinstance(error, LocalTokenNotFoundError):
        return LuthierError(
            "Not logged in",
            "The hub requires a login, and there is no token on this machine.",
            f"{_LOG_IN}.",
        )
    if isinstance(error, GatedRepoError):
        return _gated(repository, page, awaiting="awaiting a review" in message)
    if status == 401 and ("Invalid" in message or "credentials" in message or doing == "writing"):
        return _bad_token(message)
    if isinstance(error, RevisionNotFoundError):
        return LuthierError(
            "No such revision",
            f"{repository} has no such branch, tag or commit.",
            f"{page}/tree/main shows which ones it has.",
        )
    if isinstance(error, RepositoryNotFoundError) or (status == 401 and doing == "reading"):
        private = (
            "It may be misspelt, or private"
            if get_token() is None
            else "It may be misspelt, or private and owned by somebody else"
        )
        return LuthierError(
            "No such repository",
            f"The hub shows us no repository {repository}.",
            f"{private}. {_LOG_IN} to see your own.",
        )
    if isinstance(error, RemoteEntryNotFoundError):
        return LuthierError(
            "A file is missing",
            f"{repository}: {_first_line(error)}",
            "The repository may have changed in the meantime. Start again.",
        )
    if status == 403:
        hint = (
            "Give the token write access (https://huggingface.co/settings/tokens), or choose an"
            " owner/name that belongs to you."
        )
        return LuthierError(
            "Not allowed",
            f"The token has no permission to {'write to' if doing == 'writing' else 'read'}"
            f" {repository}.",
            hint,
        )
    if status == 429:
        return LuthierError(
            "Too many requests",
            f"The hub is limiting requests: {_first_line(error)}",
            "Start it again in a few minutes.",
        )
    if status is not None and status >= 500:
        hint = "See https://status.huggingface.co. Start it again later to resume."
        return LuthierError(
            "The hub has a problem", f"It answered every request with {status}.", hint
        )
    if isinstance(error, httpx.TransportError):
        hint = "Check the network and HTTPS_PROXY. Then start it again to resume."
        return LuthierError(
            "The hub cannot be reached", f"{endpoint()}: {_first_line(error)}", hint
        )
    return LuthierError(
        "The hub refused", f"{repository}: {_first_line(error)}", "The log has the details."
    )


def _gated(repository: str, page: str, *, awaiting: bool) -> LuthierError:
    if awaiting:
        return LuthierError(
            "Access not granted yet",
            f"The authors of {repository} have not answered your request.",
            f"{page} shows its state.",
        )
    message = f"{repository} is only open to people who have accepted its terms."
    here = (
        f"{_LOG_IN} here"
        if get_token() is None
        else (
            "The token on this machine must belong to that account and have read access to gated"
            " repositories"
        )
    )
    return LuthierError(
        "A gated model",
        message,
        f"Open {page} in a browser, log in and accept the terms. {here}, then start it again.",
    )


def _bad_token(message: str) -> LuthierError:
    where = "HF_TOKEN" if os.environ.get("HF_TOKEN") else "the file that `hf auth login` wrote"
    if get_token() is None:
        return LuthierError(
            "Not logged in",
            "The hub requires a login, and there is no token on this machine.",
            f"{_LOG_IN}.",
        )
    hint = "Make a new one at https://huggingface.co/settings/tokens, then `hf auth login`."
    return LuthierError(
        "The hub does not accept the token",
        f"The token comes from {where}. It may have expired or be mistyped.",
        hint,
    )


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".") + "."
