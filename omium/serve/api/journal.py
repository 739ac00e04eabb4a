"""``/v1/executions/{id}/journal`` and ``/blobs``: what happened, page by page, and large values."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Query, Request, Response

from omium.actors.client import Client
from omium.errors import NotFound
from omium.execution.blobref import BlobRef
from omium.execution.events import Entry, to_json
from omium.execution.records import Payload
from omium.serve.api import schemas as s
from omium.serve.api.context import caller_of
from omium.serve.api.executions import execution_id as id_of
from omium.serve.api.executions import view_of
from omium.serve.api.route import ApiRoute, answer, needs
from omium.types import ExecutionId

router = APIRouter(prefix="/v1/executions/{execution_id}", tags=["journal"], route_class=ApiRoute)

_DIGEST = re.compile(r"[0-9a-f]{64}")

After = Annotated[
    int, Query(ge=0, le=s.INDEX_MAX, description="Only what has a journal index above this one.")
]
JournalLimit = Annotated[
    int,
    Query(
        ge=1, le=s.JOURNAL_PAGE_MAX, description=f"At most so many; {s.JOURNAL_PAGE_MAX} at most."
    ),
]


@router.get(
    "/journal", response_model=s.JournalPage, responses={404: {}}, openapi_extra=needs("read")
)
async def get_journal(
    request: Request, execution_id: s.ExecutionIdPath, after: After = 0, limit: JournalLimit = 100
) -> Response:
    """Read the journal as it is now. `next_after` is the `after` of the next page."""
    entries = await caller_of(request).client.entries(id_of(execution_id), after=after, limit=limit)
    return answer(
        {
            "entries": [to_json(entry) for entry in entries],
            "next_after": entries[-1].index if len(entries) == limit else None,
        }
    )


@router.get(
    "/blobs/{sha256}",
    response_model=Any,
    responses={
        200: {"description": "The value, in JSON."},
        304: {"description": "You have it."},
        404: {},
        503: {},
    },
    openapi_extra=needs("read"),
)
async def get_blob(
    request: Request,
    execution_id: s.ExecutionIdPath,
    sha256: Annotated[
        str,
        Path(
            description="The digest of a reference in the journal, in hex.",
            examples=["e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"],
        ),
    ],
    index: Annotated[
        int | None,
        Query(
            ge=1, le=s.INDEX_MAX, description="The entry with the reference. Saves looking for it."
        ),
    ] = None,
) -> Response:
    """Get a value that the journal of this execution refers to. It never changes."""
    client = caller_of(request).client
    target = (await view_of(request, execution_id)).row.id
    reference = await _reference(client, target, sha256, index)
    headers = {"ETag": f'"{sha256}"', "Cache-Control": "private, max-age=31536000, immutable"}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return answer(await client.blob(reference), headers=headers)


async def _reference(
    client: Client, target: ExecutionId, sha256: str, index: int | None
) -> BlobRef:
    digest = f"sha256:{sha256}"
    if _DIGEST.fullmatch(sha256) is not None:
        if index is not None:
            entries = await client.entries(target, after=index - 1, limit=1)
        else:
            entries = all_entries(client, target)
        async for entry in _each(entries):
            for payload in _payloads(entry):
                if payload.blob is not None and payload.blob.digest == digest:
                    return payload.blob
    raise NotFound("blob", sha256)


async def all_entries(
    client: Client, target: ExecutionId, *, after: int = 0
) -> AsyncIterator[Entry]:
    """The journal after an index as it is now, read page by page."""
    while page := await client.entries(target, after=after):
        for entry in page:
            yield entry
        after = page[-1].index


async def _each(entries: list[Entry] | AsyncIterator[Entry]) -> AsyncIterator[Entry]:
    if isinstance(entries, list):
        for entry in entries:
            yield entry
    else:
        async for entry in entries:
            yield entry


def _payloads(entry: Entry) -> list[Payload]:
    values = msgspec.structs.astuple(entry.event)
    return [value for value in values if isinstance(value, Payload)]
