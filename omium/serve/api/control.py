"""What may be done to an execution: cancel, interrupt, resume, retry, signal, fork."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from fastapi import APIRouter, Request, Response

from omium.actors.client import Client
from omium.definitions import Workflow, workflow_from
from omium.errors import Conflict, InputError
from omium.execution.events import Created
from omium.execution.events import Request as NamedRequest
from omium.execution.fork import changed
from omium.serve.api import schemas as s
from omium.serve.api.code import refusal_of
from omium.serve.api.context import Api, Caller, api_of, caller_of
from omium.serve.api.executions import execution_id as id_of
from omium.serve.api.executions import pending, shown, view_of
from omium.serve.api.idempotency import IdempotencyKey, named, once
from omium.serve.api.problems import FieldError, ProblemError
from omium.serve.api.route import ApiRoute, BoundedRequest, answer, needs
from omium.serve.api.workflows import check_workflow
from omium.serve.shipping import unpacked
from omium.types import ExecutionId, Json

router = APIRouter(prefix="/v1/executions/{execution_id}", tags=["control"], route_class=ApiRoute)

_ERRORS: dict[int | str, dict[str, Any]] = {404: {}, 409: {}, 413: {}, 415: {}}


async def _done(
    request: Request,
    text: str,
    key: str | None,
    act: Callable[[Client, ExecutionId, NamedRequest | None], Awaitable[None]],
) -> Response:
    """Do something once to the caller's execution, and show it."""
    assert isinstance(request, BoundedRequest)
    caller, target = caller_of(request), id_of(text)
    request_name = named(request, key)

    async def work() -> ExecutionId:
        await act(caller.client, target, request_name)
        return target

    await once(caller, request_name, work)
    return answer(shown(await view_of(request, text)))


@router.post("/cancel", response_model=s.Execution, responses=_ERRORS, openapi_extra=needs("run"))
async def cancel(
    request: Request, execution_id: s.ExecutionIdPath, idempotency_key: IdempotencyKey = None
) -> Response:
    """Stop an execution for good. One that was cancelled before stays as it is."""
    by = caller_of(request).name
    return await _done(
        request,
        execution_id,
        idempotency_key,
        lambda client, target, name: client.cancel(target, by, request=name),
    )


@router.post(
    "/interrupt", response_model=s.Execution, responses=_ERRORS, openapi_extra=needs("run")
)
async def interrupt(
    request: Request,
    execution_id: s.ExecutionIdPath,
    body: s.Remark | None = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Pause an execution until it is resumed. What was answered stays answered."""
    by, detail = caller_of(request).name, body.detail if body is not None else ""
    return await _done(
        request,
        execution_id,
        idempotency_key,
        lambda client, target, name: client.interrupt(target, by=by, detail=detail, request=name),
    )


@router.post("/resume", response_model=s.Execution, responses=_ERRORS, openapi_extra=needs("run"))
async def resume(
    request: Request,
    execution_id: s.ExecutionIdPath,
    body: s.Resumption | None = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Let a paused or failed execution go on, with a decision where it waits for one.

    What is asked gets an `answer`, an approval `approve`, `deny`, or an `answer` with other
    arguments. Of a call whose outcome is unknown, `retry` makes it again, `answer` is its
    result, `fail` lets it have failed. Of a rejected handoff, `retry` runs its giver again,
    `answer` is handed over instead, `approve` lets it be taken as it is, and `fail` ends the
    execution. An answer that does not fit is a 422 with each mistake,
    and changes nothing. While more is asked the execution stays paused.
    """
    by = caller_of(request).name
    told = None if body is None or isinstance(body, s.Undecided) else body
    decision = None if told is None else told.decision
    call, reason = (0, "") if told is None else (told.call or 0, told.reason)
    value = body.answer if isinstance(body, s.Answered) else None
    return await _done(
        request,
        execution_id,
        idempotency_key,
        lambda client, target, name: client.resume(
            target,
            decision=decision,
            answer=value,
            call=call,
            reason=reason,
            by=by,
            request=name,
        ),
    )


@router.post("/retry", response_model=s.Execution, responses=_ERRORS, openapi_extra=needs("run"))
async def retry(
    request: Request, execution_id: s.ExecutionIdPath, idempotency_key: IdempotencyKey = None
) -> Response:
    """Try again what failed, from the last checkpoint. Only a failed execution is retried."""
    by = caller_of(request).name

    async def act(client: Client, target: ExecutionId, name: NamedRequest | None) -> None:
        view = await client.view(target)
        if view.status != "failed":
            raise Conflict(f"{target} is {view.status}: only what failed is retried")
        await client.resume(target, by=by, request=name)

    return await _done(request, execution_id, idempotency_key, act)


@router.post("/signal", response_model=s.Execution, responses=_ERRORS, openapi_extra=needs("run"))
async def signal(
    request: Request,
    execution_id: s.ExecutionIdPath,
    body: s.SignalBody,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Send data to an execution that has not ended. It is recorded in its journal."""
    by, value = caller_of(request).name, body.payload

    async def act(client: Client, target: ExecutionId, name: NamedRequest | None) -> None:
        # Before the payload is stored: a stranger's execution stores nothing.
        await client.view(target)
        await client.signal(target, body.name, value, by=by, request=name)

    return await _done(request, execution_id, idempotency_key, act)


# ------------------------------------------------------------------ forks


@router.post(
    "/fork",
    status_code=202,
    response_model=s.Pending,
    responses={**_ERRORS, 202: {"model": s.Pending, "description": "The fork is durable."}},
    openapi_extra=needs("run"),
)
async def fork(
    request: Request,
    execution_id: s.ExecutionIdPath,
    body: s.ForkBody,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Create an execution from a point in this one's journal, which is only read.

    `changes` sets values by dotted path: `inputs.interest`, `agents.analyst.model`,
    `outputs.intake`.
    """
    assert isinstance(request, BoundedRequest)
    api, caller, origin = api_of(request), caller_of(request), id_of(execution_id)
    request_name = named(request, idempotency_key)

    async def work() -> ExecutionId:
        await _check_changes(api, caller, origin, body.changes)
        return await caller.client.fork(origin, body.at, dict(body.changes), request=request_name)

    created = await once(caller, request_name, work)
    return pending(created, "queued", location=f"/v1/executions/{created}")


async def _check_changes(
    api: Api, caller: Caller, origin: ExecutionId, changes: dict[str, Json]
) -> None:
    """Refuse a fork whose agents name code that may not be named here, unless the origin
    named it. What else is wrong is found by the coordinator."""
    if not any(path.split(".")[0] == "agents" for path in changes):
        return
    (first, *_) = await caller.client.entries(origin, limit=1)
    assert isinstance(first.event, Created)
    before: dict[str, Any] = first.event.definition.inline
    document: dict[str, Any] = {"agents": before["agents"]}
    for path, value in changes.items():
        if path.split(".")[0] == "agents":
            document = changed(document, path, value)
    if not isinstance(document["agents"], list):
        raise InputError("'agents' must stay a list of agents")
    after = workflow_from({**before, **document}, source=f"fork of {origin}")
    known = {agent.get("entrypoint") for agent in before["agents"]}
    code = first.event.code
    pinned = await caller.client.code(code) if code is not None else None
    # A folder that was none of the service's does not become one.
    folders = [path for path in first.event.import_paths if path in api.settings.import_paths]
    problems = await asyncio.to_thread(_code_problems, after, known, api, pinned, folders)
    if problems:
        raise ProblemError(
            "definition", f"{problems[0].field}: {problems[0].message}", errors=problems
        )
    check_workflow(after, api.settings, first.event.model or None)


def _code_problems(
    workflow: Workflow,
    known: set[str | None],
    api: Api,
    pinned: bytes | None,
    folders: Sequence[str],
) -> list[FieldError]:
    """A mistake for each entrypoint that is new and may not be named: of the code that the
    origin is ``pinned`` to, or else of its ``folders``. The fork runs on the same."""
    named = {
        f"agents.{agent.name}.entrypoint": agent.entrypoint
        for agent in workflow.agents
        if agent.entrypoint is not None and agent.entrypoint not in known
    }
    modules = api.settings.modules
    with unpacked(pinned) as paths:
        looked_in = folders if pinned is None else paths
        found = {field: refusal_of(name, looked_in, modules) for field, name in named.items()}
    return [
        FieldError(field=field, message=f"found {named[field]!r}: {refusal}")
        for field, refusal in found.items()
        if refusal is not None
    ]
