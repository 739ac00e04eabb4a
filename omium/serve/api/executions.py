"""``/v1/executions``: created, listed, looked at, and their results."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request, Response
from pydantic import BeforeValidator

from omium.actors.client import Client
from omium.actors.messages import ExecutionView
from omium.definitions import Workflow
from omium.errors import NotFound
from omium.serve.api import schemas as s
from omium.serve.api.catalogue import Registered
from omium.serve.api.context import Api, Caller, api_of, caller_of
from omium.serve.api.idempotency import IdempotencyKey, named, once
from omium.serve.api.problems import ProblemError, execution_problem
from omium.serve.api.route import ApiRoute, BoundedRequest, answer, needs
from omium.serve.api.settings import ApiSettings
from omium.serve.api.workflows import check_workflow
from omium.types import ExecutionId, Status

router = APIRouter(prefix="/v1/executions", tags=["executions"], route_class=ApiRoute)

STATUSES_MAX = 6
QUERY_LABELS_MAX = 8
WAIT_S = 30.0

_ID_CHARS = frozenset("0123456789abcdefghijklmnopqrstuvwxyz_")
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")
_LOCATION = {"Location": {"description": "Where it is.", "schema": {"type": "string"}}}
_NOT_DONE: dict[str, Any] = {
    "model": s.Pending,
    "description": "It goes on.",
    "headers": _LOCATION,
}

Statuses = Annotated[
    list[Status] | None,
    Query(alias="status", max_length=STATUSES_MAX, description="Only these. May be repeated."),
]
LabelQuery = Annotated[
    list[Annotated[str, Query(max_length=300, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*:[ -~]*$")]]
    | None,
    Query(
        alias="label",
        max_length=QUERY_LABELS_MAX,
        description="`name:value`; all must fit. May be repeated.",
    ),
]


def _rfc3339(value: object) -> object:
    # Left to itself pydantic takes seconds since 1970, and times without a zone.
    if isinstance(value, str) and _RFC3339.fullmatch(value) is None:
        raise ValueError("expected an RFC 3339 time with a zone, such as 2026-11-24T08:00:00Z")
    return value


Time = Annotated[
    datetime | None,
    BeforeValidator(_rfc3339),
    Query(description="RFC 3339, such as 2026-11-24T08:00:00Z."),
]


def execution_id(text: str) -> ExecutionId:
    """``text`` as an id. Raises ``NotFound`` for what can be none."""
    if not text.startswith("ex_") or not _ID_CHARS.issuperset(text):
        raise NotFound("execution", text)
    return ExecutionId(text)


@router.post(
    "",
    status_code=202,
    response_model=s.Pending,
    responses={
        200: {"model": s.Result, "description": "It was waited for, and has completed."},
        202: _NOT_DONE,
        404: {},
        409: {},
        413: {},
        415: {},
        429: {},
    },
    openapi_extra=needs("run"),
)
async def create(
    request: Request,
    body: s.Submission,
    idempotency_key: IdempotencyKey = None,
    wait: s.Wait = False,
    timeout_s: s.TimeoutS = WAIT_S,
) -> Response:
    """Run a workflow.

    Answers with 202 and a `Location` once the execution is durable. With `wait=true` it waits
    for the end: 200 with the result, 409 where there is none, 202 where it takes longer.
    """
    assert isinstance(request, BoundedRequest)
    api, caller = api_of(request), caller_of(request)
    request_name = named(request, idempotency_key)
    fresh = caller.client.new_execution_id()

    async def submit() -> ExecutionId:
        registered = await api.catalogue.get(caller.client, body.workflow, body.version)
        workflow = with_model(registered.workflow, api.settings.model)
        check_workflow(workflow, api.settings, body.model)
        return await caller.client.submit(
            workflow,
            dict(body.inputs),
            model=body.model or "",
            import_paths=_import_paths(registered, api.settings),
            code=registered.code,
            execution_id=fresh,
            labels=body.labels,
            request=request_name,
        )

    created = await once(caller, request_name, submit)
    if wait:
        return await waited(api, caller, created, timeout_s)
    # One that was created before may be anywhere by now.
    status = "queued" if created == fresh else (await caller.client.view(created)).status
    return pending(created, status, location=f"/v1/executions/{created}")


@router.get("", response_model=s.ExecutionPage, openapi_extra=needs("read"))
async def list_executions(
    request: Request,
    statuses: Statuses = None,
    workflow: Annotated[str | None, Query(max_length=63, description="Only of this one.")] = None,
    id_prefix: Annotated[
        str | None, Query(max_length=63, description="Only those whose ids begin so.")
    ] = None,
    labels: LabelQuery = None,
    created_from: Time = None,
    created_to: Time = None,
    cursor: s.Cursor = None,
    limit: s.Limit = 50,
) -> Response:
    """List executions, the newest first.

    `created_from` is included, `created_to` is not. `cursor` goes on after a page; what has
    been created meanwhile does not move the pages that follow.
    """
    rows = await caller_of(request).client.executions(
        statuses=statuses or (),
        workflow=workflow,
        id_prefix=id_prefix,
        labels=dict(_pairs(labels or [])),
        created_from_ms=_ms(created_from),
        created_to_ms=_ms(created_to),
        before=cursor,
        limit=limit + 1,
    )
    page = rows[:limit]
    return answer({"executions": page, "next_cursor": page[-1].id if len(rows) > limit else None})


@router.get(
    "/{execution_id}",
    response_model=s.Execution,
    responses={404: {}},
    openapi_extra=needs("read"),
)
async def get_execution(request: Request, execution_id: s.ExecutionIdPath) -> Response:
    """Get an execution as it stands."""
    return answer(shown(await view_of(request, execution_id)))


@router.get(
    "/{execution_id}/result",
    response_model=s.Result,
    responses={202: _NOT_DONE, 404: {}, 409: {}, 429: {}},
    openapi_extra=needs("read"),
)
async def get_result(
    request: Request,
    execution_id: s.ExecutionIdPath,
    wait: s.Wait = False,
    timeout_s: s.TimeoutS = WAIT_S,
) -> Response:
    """Get the result of an execution.

    200 with the result, 202 while it goes on, and 409 where there is none: it failed, was
    cancelled, or is paused. The problem says why.
    """
    api, caller = api_of(request), caller_of(request)
    view = await view_of(request, execution_id)
    if wait and view.status in ("queued", "running"):
        return await waited(api, caller, view.row.id, timeout_s)
    return await result_of(caller.client, view)


# ------------------------------------------------------------------ shared with other routes


async def view_of(request: Request, text: str) -> ExecutionView:
    """The caller's execution of that id. Raises ``NotFound``."""
    return await caller_of(request).client.view(execution_id(text))


def shown(view: ExecutionView) -> dict[str, Any]:
    """An execution as the API shows it."""
    paused = view.status == "paused"
    return {
        **msgspec.structs.asdict(view.row),
        "agents": view.agents,
        "result": view.result,
        "failure": view.failure,
        "pause": {"reason": view.pause_reason, "call": view.pause_call} if paused else None,
        "questions": view.questions,
        "handoffs": view.handoffs,
    }


def pending(created: ExecutionId, status: Status, *, location: str) -> Response:
    return answer({"execution": created, "status": status}, 202, {"Location": location})


async def waited(api: Api, caller: Caller, created: ExecutionId, timeout_s: float) -> Response:
    """The result of an execution, waited for."""
    leave = api.slots.take(caller.principal)
    try:
        view = await caller.client.view(created)
        if view.status in ("queued", "running"):
            with suppress(TimeoutError):
                async with asyncio.timeout(min(timeout_s, api.settings.wait_s_max)):
                    # From here on: what was before is of no interest.
                    async for _ in caller.client.events(created, view.row.last_index):
                        pass
            view = await caller.client.view(created)
        return await result_of(caller.client, view)
    finally:
        leave()


async def result_of(client: Client, view: ExecutionView) -> Response:
    """The result, or 202 while it goes on. Raises the problem that says why there is none."""
    match view.status:
        case "completed":
            output = await client.output_of(view)
            return answer({"execution": view.row.id, "status": "completed", "output": output})
        case "queued" | "running":
            return pending(
                view.row.id, view.status, location=f"/v1/executions/{view.row.id}/result"
            )
        case status:
            raise execution_problem(status, view.row.id, view.row.detail, _failure(view))


def _failure(view: ExecutionView) -> dict[str, Any] | None:
    failure = view.failure
    if failure is None or view.status != "failed":
        return None
    return {
        "kind": failure.kind,
        "message": failure.message,
        "agent": failure.agent,
        "step": failure.step,
        "checkpoint": failure.checkpoint,
    }


def with_model(workflow: Workflow, model: str | None) -> Workflow:
    """The workflow with the service's model for agents that name none."""
    if workflow.model is not None or model is None:
        return workflow
    return workflow.model_copy(update={"model": model})


def _import_paths(registered: Registered, settings: ApiSettings) -> tuple[str, ...]:
    """Where an execution's modules are looked up, or were before they were pinned. What is
    pinned to having no code of the service's own finds none in its folders, ever."""
    if registered.uploaded or (registered.pinned and registered.code is None):
        return ()
    return settings.import_paths


def _pairs(labels: list[str]) -> list[tuple[str, str]]:
    pairs = [(name, value) for name, _, value in (label.partition(":") for label in labels)]
    if len({name for name, _ in pairs}) < len(pairs):
        raise ProblemError("invalid", "query.label: the same name twice")
    return pairs


def _ms(time: datetime | None) -> int | None:
    return round(time.timestamp() * 1000) if time is not None else None
