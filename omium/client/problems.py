"""Problems of the API (RFC 9457) turned back into the errors that they were.

A caller handles the same exceptions whether Omium runs in its own process or behind HTTP.
"""

from __future__ import annotations

import re

import msgspec

from omium.errors import (
    AnswerError,
    ConfigError,
    Conflict,
    DeadlineExceeded,
    DefinitionError,
    ExecutionCancelled,
    ExecutionFailed,
    ExecutionPaused,
    InputError,
    ModelUnreachable,
    NotFound,
    OmiumError,
    PermissionRefused,
    PlatformError,
    RequestConflict,
    StorageFull,
    Unavailable,
)


class _Mistake(msgspec.Struct):
    field: str
    message: str
    line: int | None = None


class _Failure(msgspec.Struct):
    kind: str = "internal"


class _Problem(msgspec.Struct):
    type: str = ""
    detail: str = ""
    status: int = 0
    errors: list[_Mistake] = []
    execution: str = ""
    failure: _Failure | None = None
    error_id: str = ""
    call: int = 0


_PREFIX = "urn:omium:problem:"
_NO_SUCH = re.compile(r"no (.+?) '(.*)'")
_SIMPLE: dict[str, type[OmiumError]] = {
    "unauthorized": PermissionRefused,
    "forbidden": PermissionRefused,
    "conflict": Conflict,
    "limit_reached": Conflict,
    "idempotency_conflict": RequestConflict,
    "config": ConfigError,
    "unavailable": Unavailable,
    "too_many_streams": Unavailable,
    "storage_full": StorageFull,
}


def error_of(status: int, body: bytes) -> OmiumError:
    """The error that an answer with ``status`` and ``body`` tells of."""
    problem = _problem_in(body)
    if problem is None:
        # A proxy's, while nobody is behind it; or another server's.
        text = body[:200].decode("utf-8", "replace").strip()
        return Unavailable(f"no answer of Omium's: HTTP {status}" + (f": {text}" if text else ""))
    kind = problem.type.rpartition(":")[2]
    match kind:
        case "not_found":
            named = _NO_SUCH.fullmatch(problem.detail)
            return NotFound(*named.groups()) if named else NotFound("such thing", problem.detail)
        case "execution_failed":
            failed = problem.failure.kind if problem.failure is not None else "internal"
            return ExecutionFailed(problem.execution, problem.detail, failed)
        case "execution_paused":
            return ExecutionPaused(problem.execution, problem.detail)
        case "execution_cancelled":
            return ExecutionCancelled(problem.execution, problem.detail)
        case "definition":
            return DefinitionError("definition", _lines(problem))
        case "answer":
            return AnswerError(
                problem.call, [line.removeprefix("answer.") for line in _lines(problem)]
            )
        case "model_unreachable" | "model_refused":
            return ModelUnreachable("the service's", problem.detail)
        case "deadline_exceeded":
            return DeadlineExceeded(problem.detail or "the request", 0)
        case _ if kind in _SIMPLE:
            return _SIMPLE[kind](problem.detail)
        case "invalid" if problem.errors:
            # Its detail is the first of them.
            return InputError("\n".join(_lines(problem)))
        case _ if 400 <= status < 500:
            return InputError("\n  ".join([problem.detail, *_lines(problem)]))
        case _:
            return PlatformError(problem.detail or f"HTTP {status}")


def _lines(problem: _Problem) -> list[str]:
    return [
        (f"line {mistake.line}: " if mistake.line is not None else "")
        + (f"{mistake.field}: " if mistake.field else "")
        + mistake.message
        for mistake in problem.errors
    ]


def _problem_in(body: bytes) -> _Problem | None:
    try:
        problem = msgspec.json.decode(body, type=_Problem)
    except msgspec.DecodeError:
        return None
    return problem if problem.type.startswith(_PREFIX) else None


def is_omiums(body: bytes) -> bool:
    """Whether a failure is told of by Omium, and not by a proxy in front of it or by a stranger."""
    return _problem_in(body) is not None


def is_passing(status: int, body: bytes) -> bool:
    """Whether the same request may work in a moment.

    It may after anything that Omium did not say: for a moment after its start the proxy in front
    of a service answers everything with 404.
    """
    return status in (429, 502, 503, 504) or not is_omiums(body)
