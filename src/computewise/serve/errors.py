"""The errors of requests, in OpenAI's form."""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from computewise.errors import ComputewiseError, ModelError, ProblemError, ServerError, UsageError

INVALID = "invalid_request_error"
UPSTREAM = "upstream_error"
_LONGEST, _LONGEST_NAME = 1000, 100
"""Most characters of a message, which may quote the request."""


class ApiError(Exception):
    """An error with an HTTP status; `param` names the wrong field."""

    def __init__(
        self,
        message: str,
        status: int = 400,
        *,
        param: str | None = None,
        code: str | None = None,
        type: str = INVALID,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message, self.status, self.headers = message[:_LONGEST], int(status), headers or {}
        self.param, self.code, self.type = param and param[:_LONGEST_NAME], code, type

    @property
    def body(self) -> dict[str, Any]:
        """The error as OpenAI's JSON."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


def api_error_of(error: ApiError | ComputewiseError, problem: str = "messages") -> ApiError:
    """The client's error for an error of models or tasks; `problem` is the field that holds the problem.

    An upstream's status and its wish to be left alone are passed on.
    """
    if isinstance(error, ApiError):
        return error
    text = " ".join(str(error).split())
    if isinstance(error, ServerError):
        return _of_upstream(error, text)
    if isinstance(error, ModelError):
        return ApiError(text, HTTPStatus.BAD_GATEWAY, type=UPSTREAM, code="unreadable")
    if isinstance(error, ProblemError):
        return ApiError(text, param=problem, code="unreadable_problem")
    if isinstance(error, UsageError):
        return ApiError(text, code="unusable_setting")
    return ApiError(text, HTTPStatus.SERVICE_UNAVAILABLE, type="server_error")


def too_late(seconds: float) -> ApiError:
    """The error of a request whose time has passed without any solution."""
    text = f"no solution ended within {seconds:.2g} seconds"
    return ApiError(text, HTTPStatus.GATEWAY_TIMEOUT, type=UPSTREAM, code="timeout")


def wait_header(seconds: float) -> dict[str, str]:
    """The header Retry-After in whole seconds, at least one."""
    return {"retry-after": str(max(1, math.ceil(seconds)))}


def _of_upstream(error: ServerError, text: str) -> ApiError:
    if error.status is None:
        return ApiError(text, HTTPStatus.BAD_GATEWAY, type=UPSTREAM, code="unreachable")
    if error.status < HTTPStatus.BAD_REQUEST:
        return ApiError(text, HTTPStatus.BAD_GATEWAY, type=UPSTREAM, code="unreadable")
    kind = INVALID if error.status < HTTPStatus.INTERNAL_SERVER_ERROR else UPSTREAM
    headers = {} if error.wait is None else wait_header(error.wait)
    return ApiError(text, error.status, type=kind, code=f"upstream_{error.status}", headers=headers)
