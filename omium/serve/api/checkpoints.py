"""``/v1/executions/{id}/checkpoints``: the points to go on from, their states, and diffs."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import jsonpatch
import msgspec
from fastapi import APIRouter, Path, Request, Response

from omium.actors.client import PAGE_ENTRIES_MAX, Client
from omium.errors import NotFound
from omium.execution.events import Entry, StepCompleted
from omium.serve.api import schemas as s
from omium.serve.api.context import api_of, caller_of
from omium.serve.api.executions import execution_id as id_of
from omium.serve.api.executions import view_of
from omium.serve.api.journal import After
from omium.serve.api.problems import limited
from omium.serve.api.route import ApiRoute, answer, needs
from omium.types import ExecutionId, Json

router = APIRouter(
    prefix="/v1/executions/{execution_id}/checkpoints",
    tags=["checkpoints"],
    route_class=ApiRoute,
)

SCANNED_PAGES_MAX = 50


@router.get("", response_model=s.CheckpointPage, responses={404: {}}, openapi_extra=needs("read"))
async def list_checkpoints(
    request: Request, execution_id: s.ExecutionIdPath, after: After = 0, limit: s.Limit = 50
) -> Response:
    """List checkpoints in the order of the journal. `next_after` is the `after` of the next
    page, which may be empty in a long journal; null ends the list."""
    client = caller_of(request).client
    target = (await view_of(request, execution_id)).row.id
    found: list[dict[str, Any]] = []
    for _ in range(SCANNED_PAGES_MAX):
        entries = await client.entries(target, after=after)
        for entry in entries:
            if isinstance(entry.event, StepCompleted):
                found.append(_info(entry, entry.event))
                if len(found) == limit:
                    return answer({"checkpoints": found, "next_after": entry.index})
        if len(entries) < PAGE_ENTRIES_MAX:
            return answer({"checkpoints": found, "next_after": None})
        after = entries[-1].index
    return answer({"checkpoints": found, "next_after": after})


@router.get(
    "/{index}",
    response_model=s.Checkpoint,
    responses={404: {}, 503: {}},
    openapi_extra=needs("read"),
)
async def get_checkpoint(
    request: Request, execution_id: s.ExecutionIdPath, index: s.IndexPath
) -> Response:
    """Get the state that a checkpoint holds."""
    client = caller_of(request).client
    entry, event = await _checkpoint(client, id_of(execution_id), index)
    return answer({**_info(entry, event), "state": await client.value(event.state)})


@router.get(
    "/{index}/diff/{other}",
    response_model=s.Diff,
    responses={404: {}, 413: {}, 503: {}},
    openapi_extra=needs("read"),
)
async def diff_checkpoints(
    request: Request,
    execution_id: s.ExecutionIdPath,
    index: s.IndexPath,
    other: Annotated[
        int,
        Path(ge=1, le=s.INDEX_MAX, description="The journal index of another one.", examples=[14]),
    ],
) -> Response:
    """Say what changed between two checkpoints: a JSON Patch (RFC 6902) that turns the state
    of the first into that of the other."""
    client, target = caller_of(request).client, id_of(execution_id)
    states: list[Json] = []
    limit = api_of(request).settings.diff_bytes_max
    for at in (index, other):
        _, event = await _checkpoint(client, target, at)
        state = await client.value(event.state)
        size = len(msgspec.json.encode(state))
        if size > limit:
            raise limited(
                "diff_bytes_max",
                limit,
                f"the state at {at} has {size} bytes; states over {limit} are not compared",
            )
        states.append(state)
    patch = await asyncio.to_thread(difference, *states)
    return answer({"from": index, "to": other, "patch": patch})


def difference(one: Json, other: Json) -> list[dict[str, Any]]:
    """The operations of a JSON Patch that turns ``one`` into ``other``."""
    return list(jsonpatch.make_patch(one, other))


async def _checkpoint(
    client: Client, target: ExecutionId, index: int
) -> tuple[Entry, StepCompleted]:
    entries = await client.entries(target, after=index - 1, limit=1)
    if not entries or not isinstance(entries[0].event, StepCompleted):
        raise NotFound("checkpoint", str(index))
    return entries[0], entries[0].event


def _info(entry: Entry, event: StepCompleted) -> dict[str, Any]:
    return {
        "index": entry.index,
        "agent": event.agent,
        "step": event.step,
        "name": event.name,
        "at_ms": entry.at_ms,
        "bytes": event.state.blob.size if event.state.blob is not None else None,
    }
