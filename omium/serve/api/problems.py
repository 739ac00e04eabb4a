"""Errors over HTTP: problem details for HTTP APIs (RFC 9457), one stable type for each kind.

Owns the kinds, their statuses and titles, and how errors of the tree in ``omium.errors`` look
to a caller. What is nobody's business is not told: see ``internal``.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import msgspec
from fastapi import HTTPException
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.responses import Response

from omium.errors import (
    AnswerError,
    DefinitionError,
    ExecutionFailed,
    InputError,
    NotFound,
    OmiumError,
)

log = logging.getLogger(__name__)

TYPE_PREFIX = "urn:omium:problem:"
MEDIA_TYPE = "application/problem+json"
ERRORS_MAX = 100


@dataclass(frozen=True, kw_only=True)
class Kind:
    """``status`` of HTTP and ``title`` of a kind of problem; the same for ever."""

    status: int
    title: str


KINDS: dict[str, Kind] = {
    "malformed": Kind(status=400, title="The request cannot be read"),
    "unauthorized": Kind(status=401, title="No valid API key"),
    "forbidden": Kind(status=403, title="The API key may not do this"),
    "not_found": Kind(status=404, title="There is no such thing"),
    "method_not_allowed": Kind(status=405, title="The path takes other methods"),
    "conflict": Kind(status=409, title="Its present state forbids this"),
    "idempotency_conflict": Kind(status=409, title="The idempotency key was used before"),
    "limit_reached": Kind(status=409, title="There are as many as there may be"),
    "execution_failed": Kind(status=409, title="The execution failed"),
    "execution_paused": Kind(status=409, title="The execution is paused"),
    "execution_cancelled": Kind(status=409, title="The execution was cancelled"),
    "too_large": Kind(status=413, title="Too large"),
    "unsupported_media_type": Kind(status=415, title="The body is of another type"),
    "invalid": Kind(status=422, title="The request has mistakes"),
    "input": Kind(status=422, title="The input does not fit"),
    "answer": Kind(status=422, title="The answer does not fit what was asked"),
    "definition": Kind(status=422, title="The definition has mistakes"),
    "config": Kind(status=422, title="This service lacks what is asked for"),
    "entrypoint": Kind(status=422, title="The code cannot be loaded"),
    "requirements": Kind(status=422, title="What the code requires cannot be installed"),
    "too_many_streams": Kind(status=429, title="Too many open streams"),
    "internal": Kind(status=500, title="An error of the service"),
    "model_unreachable": Kind(status=502, title="The model does not answer"),
    "model_refused": Kind(status=502, title="The model's provider refused"),
    "blob_store": Kind(status=503, title="The blob store does not answer"),
    "unavailable": Kind(status=503, title="A part of the service is down"),
    "not_shipped": Kind(status=503, title="The archive does not have it yet"),
    "deadline_exceeded": Kind(status=504, title="It took too long"),
    "storage_full": Kind(status=507, title="No space left"),
}

_BY_STATUS = {
    400: "malformed",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
}


class FieldError(BaseModel):
    """One mistake: where, what, and on which line of a definition's text."""

    field: str = Field(description="Where in the request, as a dotted path.")
    message: str = Field(description="What was found and what was expected.")
    line: int | None = Field(default=None, description="The line of a definition's text.")


class Problem(BaseModel):
    """What went wrong (RFC 9457). ``type`` is stable; programs tell problems apart by it."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "example": {
                "type": "urn:omium:problem:not_found",
                "title": "There is no such thing",
                "status": 404,
                "detail": "no execution 'ex_0kq3c8m0v1f2r4t6y'",
                "instance": "/v1/executions/ex_0kq3c8m0v1f2r4t6y",
            }
        },
    )

    type: str = Field(description="`urn:omium:problem:` and the kind; the same for ever.")
    title: str = Field(description="The kind in words.")
    status: int = Field(description="The status of the answer.")
    detail: str = Field(description="What happened this time, and what to do about it.")
    instance: str = Field(description="The path of the request.")
    errors: list[FieldError] = Field(default=[], description="Each mistake of the request.")


class ProblemError(HTTPException):
    """A problem on its way to the caller. ``extra`` are members beside those of every problem."""

    def __init__(
        self,
        kind: str,
        detail: str,
        *,
        errors: Iterable[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(status or KINDS[kind].status, detail, dict(headers or {}))
        self.kind = kind
        self.text = detail
        self.errors = tuple(errors)
        self.extra = dict(extra or {})

    def to_data(self, instance: str) -> dict[str, Any]:
        """The problem as JSON data; ``instance`` is the path of the request."""
        data: dict[str, Any] = {
            "type": TYPE_PREFIX + self.kind,
            "title": KINDS[self.kind].title,
            "status": self.status_code,
            "detail": self.text,
            "instance": instance,
            **self.extra,
        }
        if self.errors:
            data["errors"] = [e.model_dump(exclude_none=True) for e in self.errors[:ERRORS_MAX]]
        return data

    def response(self, instance: str) -> Response:
        return Response(
            msgspec.json.encode(self.to_data(instance)),
            status_code=self.status_code,
            headers=self.headers,
            media_type=MEDIA_TYPE,
        )


def problem_of(error: Exception) -> ProblemError:
    """The problem that tells a caller of ``error``, whatever that is."""
    match error:
        case ProblemError():
            return error
        case RequestValidationError():
            return _invalid(error.errors())
        case StarletteHTTPException():
            kind = _BY_STATUS.get(error.status_code, "malformed")
            return ProblemError(
                kind, str(error.detail), headers=error.headers, status=error.status_code
            )
        case DefinitionError():
            errors = definition_errors(error)
            return ProblemError("definition", _counted(errors), errors=errors)
        case AnswerError():
            errors = [_field_error(text, below="answer") for text in error.problems]
            return ProblemError(
                "answer", _counted(errors), errors=errors, extra={"call": error.call}
            )
        case InputError():
            return _input(error)
        case NotFound():
            # The hint is for people at a terminal.
            return ProblemError("not_found", f"no {error.what} {error.name!r}")
        case ExecutionFailed():
            failure = {"kind": error.failure_kind, "message": error.reason}
            return _of_execution(error.kind, error.reason, error.execution_id, failure=failure)
        case OmiumError() if error.kind in KINDS and KINDS[error.kind].status != 500:
            headers = {"Retry-After": "1"} if KINDS[error.kind].status == 503 else None
            return ProblemError(error.kind, str(error), headers=headers)
        case _:
            return internal(error)


def internal(error: Exception) -> ProblemError:
    """An error of the service itself: its id is in the log, and nothing else is told."""
    identifier = secrets.token_hex(8)
    log.error("error %s", identifier, exc_info=error)
    return ProblemError(
        "internal",
        f"an error of the service; its log has more under {identifier}",
        extra={"error_id": identifier},
    )


def limited(name: str, limit: float, detail: str, *, kind: str = "too_large") -> ProblemError:
    """A limit was reached: its name and value are told."""
    headers = {"Retry-After": "5"} if KINDS[kind].status == 429 else None
    return ProblemError(
        kind, detail, headers=headers, extra={"limit": {"name": name, "max": limit}}
    )


def execution_problem(
    status: str, execution_id: str, detail: str, failure: Mapping[str, Any] | None = None
) -> ProblemError:
    """Why an execution that has stopped has no result."""
    return _of_execution(f"execution_{status}", detail or status, execution_id, failure=failure)


def _of_execution(
    kind: str, detail: str, execution_id: str, *, failure: Mapping[str, Any] | None
) -> ProblemError:
    extra: dict[str, Any] = {"execution": execution_id}
    if failure is not None:
        extra["failure"] = failure
    return ProblemError(kind, detail, extra=extra)


# ------------------------------------------------------------------ mistakes, field by field

_LINE = re.compile(r"line (\d+): ")
_PLACE = re.compile(r"(?!YAML: )((?:[A-Za-z0-9_$.-]|\[\d+\]|\['[^']*'\])+): ")


def definition_errors(error: DefinitionError) -> list[FieldError]:
    """The mistakes of a definition, each with its place and its line."""
    return [_field_error(text) for text in error.problems]


def _input(error: InputError) -> ProblemError:
    head, *lines = str(error).splitlines() or [""]
    if not lines:
        return ProblemError("input", head)
    errors = [_field_error(line.strip(), below="inputs") for line in lines]
    return ProblemError("input", head, errors=errors)


def _field_error(text: str, *, below: str = "") -> FieldError:
    line: int | None = None
    if (numbered := _LINE.match(text)) is not None:
        line, text = int(numbered[1]), text[numbered.end() :]
    field = below
    if (placed := _PLACE.match(text)) is not None:
        field, text = (f"{below}.{placed[1]}" if below else placed[1]), text[placed.end() :]
    return FieldError(field=field, message=text, line=line)


def _invalid(errors: Sequence[Any]) -> ProblemError:
    found = [
        FieldError(
            field=".".join(str(part) for part in cast("tuple[Any, ...]", item["loc"])),
            message=str(item["msg"]),
        )
        for item in errors
    ]
    return ProblemError("invalid", _counted(found), errors=found)


def _counted(errors: Sequence[FieldError]) -> str:
    first = errors[0]
    where = f"{first.field}: " if first.field else ""
    more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
    return f"{where}{first.message}{more}"
