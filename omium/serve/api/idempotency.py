"""Requests by name: the ``Idempotency-Key`` header, and what it does to a request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, TypeAlias

from fastapi import Header

from omium.errors import RequestConflict, UserError
from omium.execution.events import Request as NamedRequest
from omium.serve.api.auth import request_digest
from omium.serve.api.context import Caller
from omium.serve.api.route import BoundedRequest
from omium.types import ExecutionId

IdempotencyKey: TypeAlias = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[ -~]+$",
        description="Your own name for this request. The same key and body have the effect of "
        "one request, for ever; another body is refused with 409.",
        examples=["order-4711"],
    ),
]


def named(request: BoundedRequest, key: str | None) -> NamedRequest | None:
    """What the coordinator is to call this request, of which all but the query counts."""
    if key is None:
        return None
    return NamedRequest(
        key=key, digest=request_digest(request.method, request.scope["path"], request.value)
    )


async def once(
    caller: Caller, request: NamedRequest | None, work: Callable[[], Awaitable[ExecutionId]]
) -> ExecutionId:
    """What ``work`` gives. Where it is refused although the same request was carried out before
    (since what that changed forbids it now), the execution that it concerned."""
    try:
        return await work()
    except RequestConflict:
        raise
    except UserError:
        found = await caller.client.carried_out(request) if request is not None else None
        if found is None:
            raise
        return found
