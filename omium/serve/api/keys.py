"""``/v1/keys``: the API keys of the caller's tenant."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from omium.serve.api import schemas as s
from omium.serve.api.auth import ApiKey
from omium.serve.api.context import api_of, caller_of
from omium.serve.api.idempotency import IdempotencyKey, named
from omium.serve.api.route import ApiRoute, BoundedRequest, answer, needs

router = APIRouter(prefix="/v1/keys", tags=["keys"], route_class=ApiRoute)

KeyIdPath = Annotated[str, Path(description="The id of a key.", examples=["4fj2x7qa"])]


@router.post(
    "",
    status_code=201,
    response_model=s.KeyMade,
    responses={
        200: {"model": s.KeyMade, "description": "It was made before by the same request."},
        409: {},
        413: {},
        415: {},
    },
    openapi_extra=needs("admin"),
)
async def create_key(
    request: Request, body: s.KeyBody, idempotency_key: IdempotencyKey = None
) -> Response:
    """Make an API key. Its secret is in this answer and nowhere else: keep it."""
    assert isinstance(request, BoundedRequest)
    made = await api_of(request).keys.create(
        caller_of(request).tenant, body.name, body.scopes, request=named(request, idempotency_key)
    )
    status = 201 if made.secret is not None else 200
    return answer({**_shown(made.key), "secret": made.secret}, status)


@router.get("", response_model=s.KeyPage, openapi_extra=needs("admin"))
async def list_keys(request: Request, cursor: s.Cursor = None, limit: s.Limit = 50) -> Response:
    """List keys by id, revoked ones too, without their secrets."""
    keys = api_of(request).keys
    page, following = await keys.page(caller_of(request).tenant, after=cursor or "", limit=limit)
    return answer({"keys": [_shown(key) for key in page], "next_cursor": following})


@router.delete(
    "/{key_id}", response_model=s.KeyInfo, responses={404: {}}, openapi_extra=needs("admin")
)
async def revoke_key(request: Request, key_id: KeyIdPath) -> Response:
    """Revoke a key. It opens nothing after a second at most; it stays in the list."""
    return answer(_shown(await api_of(request).keys.revoke(caller_of(request).tenant, key_id)))


def _shown(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "scopes": key.scopes,
        "created_ms": key.created_ms,
        "revoked_ms": key.revoked_ms,
    }
