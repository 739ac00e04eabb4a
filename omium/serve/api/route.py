"""What every route has in common: who calls, how much may be sent, and how errors look.

A route says which scope it needs with ``openapi_extra=needs(...)``; one that says nothing
cannot be built, so none is open by accident. The key is looked at before the body is read.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

import msgspec
from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from omium.serve.api.auth import Scope
from omium.serve.api.context import CALLER, api_of
from omium.serve.api.problems import ProblemError, limited, problem_of
from omium.types import Json

SCOPE_FIELD = "x-omium-scope"
NO_SCOPE = "none"
SECURITY_SCHEME = "ApiKey"
INTEGER_BITS_MAX = 64
_LONG_NUMBER = re.compile(rb"[0-9]{19}")


def needs(scope: Scope | None, **extra: Any) -> dict[str, Any]:
    """What a route declares: the scope that a key must have, None for a route without keys."""
    security = [{SECURITY_SCHEME: []}] if scope is not None else []
    return {SCOPE_FIELD: scope or NO_SCOPE, "security": security, **extra}


class BoundedRequest(Request):
    """A request whose body is bounded by the setting ``limit_name``, and read as strict JSON
    (RFC 8259)."""

    wants_json = False
    limit_name = "body_bytes_max"
    _value: Any = None

    async def stream(self) -> AsyncGenerator[bytes, None]:
        limit = getattr(api_of(self).settings, self.limit_name)
        declared = self.headers.get("content-length", "")
        received = int(declared) if declared.isdecimal() and len(declared) < 20 else 0
        if received > limit:
            raise _too_large(self.limit_name, limit)
        received = 0
        try:
            async for block in super().stream():
                received += len(block)
                if received > limit:
                    raise _too_large(self.limit_name, limit)
                yield block
        except ClientDisconnect as error:
            # Nobody is told, and it is no failure of the service's.
            raise ProblemError("malformed", "the body was cut off") from error

    async def body(self) -> bytes:
        body = await super().body()
        if body and self.wants_json and media_type(self) != "application/json":
            raise ProblemError(
                "unsupported_media_type", "send JSON with content-type: application/json"
            )
        return body

    async def json(self) -> Any:
        self._value = read_json(await self.body())
        return self._value

    @property
    def value(self) -> Json:
        """The body as it was sent, once it has been read as JSON."""
        return self._value


def media_type(request: Request) -> str:
    """The media type of the body, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def read_json(body: bytes) -> Json:
    """The JSON value in ``body``. Raises a ``malformed`` problem, and an
    ``invalid`` one for an integer that no record holds."""
    try:
        value: Json = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProblemError("malformed", f"the body is not JSON: {error}") from error
    except RecursionError as error:
        raise ProblemError("malformed", "the body is nested too deep") from error
    if _LONG_NUMBER.search(body) is not None and _has_long_integer(value):
        raise ProblemError("invalid", f"body: an integer of more than {INTEGER_BITS_MAX} bits")
    return value


def _has_long_integer(value: Json) -> bool:
    waiting: list[Json] = [value]
    while waiting:
        match waiting.pop():
            case list() as items:
                waiting += items
            case dict() as members:
                waiting += members.values()
            case int() as number if not -(2**63) <= number < 2**63:
                return True
            case _:
                pass
    return False


def _too_large(name: str, limit: int) -> ProblemError:
    return limited(name, limit, f"the body is over {limit} bytes")


class ApiRoute(APIRoute):
    """See the module's docstring."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()
        is_plain = _takes_plain_requests(self)
        endpoint = self.endpoint
        extra = self.openapi_extra or {}
        assert SCOPE_FIELD in extra, f"{self.path} does not say which scope it needs"
        scope: Scope | None = extra[SCOPE_FIELD] if extra[SCOPE_FIELD] != NO_SCOPE else None
        wants_json = self.body_field is not None
        path = self.path_format

        async def guarded(request: Request) -> Response:
            started_s = time.perf_counter()
            bounded = BoundedRequest(request.scope, request.receive)
            bounded.wants_json = wants_json
            try:
                api = api_of(request)
                if scope is not None:
                    header = request.headers.get("authorization", "")
                    request.scope[CALLER] = await api.caller(header, scope)
                if is_plain and not request.scope["query_string"]:
                    response = await endpoint(bounded, **request.path_params)
                else:
                    response = await handler(bounded)
            except Exception as error:  # noqa: BLE001 - told to the caller, or logged with an id
                response = problem_of(error).response(request.scope["path"])
            _count(request, path, response.status_code, started_s)
            return response

        return guarded


def _takes_plain_requests(route: APIRoute) -> bool:
    """Whether nothing has to be validated of a request without a query, so that the endpoint
    can be called as it is. The framework's own way takes longer than most reads."""
    dependant = route.dependant
    if dependant.header_params or dependant.cookie_params or dependant.dependencies:
        return False
    if route.body_field is not None or dependant.request_param_name != "request":
        return False
    plain = all(
        field.field_info.annotation is str and not field.field_info.metadata
        for field in dependant.path_params
    )
    return plain and not any(field.field_info.is_required() for field in dependant.query_params)


def _count(request: Request, path: str, status: int, started_s: float) -> None:
    caller = request.scope.get(CALLER)
    if caller is not None:
        figures = api_of(request).figures.of(caller.tenant)
        figures.answered(request.method, path, status, time.perf_counter() - started_s)


def answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer in JSON. The value may hold records of ``msgspec``."""
    return Response(
        msgspec.json.encode(value),
        status_code=status,
        headers=headers,
        media_type="application/json",
    )
