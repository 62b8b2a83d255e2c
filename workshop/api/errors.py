"""Errors in the shape of OpenAI's: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

from typing import Any

from jobs.luthier_error import LuthierError

REQUEST, PERMISSION, SERVER = "invalid_request_error", "permission_error", "server_error"


class ApiError(Exception):
    """Why a request was refused. `param` names the part of the request that is at fault."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        param: str | None = None,
        kind: str = REQUEST,
        retry_seconds: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.param, self.kind, self.retry_seconds = param, kind, retry_seconds

    def to_json(self) -> dict[str, Any]:
        return error_body(self.message, self.kind, self.param, self.code)


def error_body(message: str, kind: str, param: str | None, code: str | None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def in_sentences(error: LuthierError) -> str:
    """What happened, why and what to do, as one text."""
    parts = (f"{error.title}:" if error.message else error.title, error.message, error.hint)
    return " ".join(part for part in parts if part)


def refused(
    error: LuthierError, code: str, param: str | None = None, status: int = 400
) -> ApiError:
    """A reason of Luthier's as the answer to a request."""
    return ApiError(status, code, in_sentences(error), param)


def no_such_file(file_id: str, param: str | None = None) -> ApiError:
    return ApiError(404, "file_not_found", f"No such File object: {file_id}", param or "id")


def no_such_job(job_id: str) -> ApiError:
    return ApiError(
        404,
        "fine_tune_not_found",
        f"Could not find fine tune: {job_id}. It was removed, or never was.",
        "fine_tune_id",
    )
