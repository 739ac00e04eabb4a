"""``/v1/webhooks``: who is told when executions stop, and what became of that."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Request, Response

from omium.serve.api import schemas as s
from omium.serve.api.context import api_of, caller_of
from omium.serve.api.idempotency import IdempotencyKey, named
from omium.serve.api.route import ApiRoute, BoundedRequest, answer, needs
from omium.webhooks.records import Delivery, Webhook

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"], route_class=ApiRoute)

WebhookIdPath = Annotated[
    str, Path(description="The id of a webhook.", examples=["wh_4fj2x7qa5mzk3b6c"])
]
DeliveryIdPath = Annotated[
    str, Path(description="The id of a delivery.", examples=["ex_0kq3c8m0v1f2r4t6y@9"])
]


@router.post(
    "",
    status_code=201,
    response_model=s.WebhookMade,
    responses={
        200: {"model": s.WebhookMade, "description": "It was made before by the same request."},
        409: {},
        413: {},
        415: {},
    },
    openapi_extra=needs("admin"),
)
async def create_webhook(
    request: Request, body: s.WebhookBody, idempotency_key: IdempotencyKey = None
) -> Response:
    """Have a URL told of events. The secret that messages are signed with, by the scheme of
    Standard Webhooks, is in this answer and nowhere else: keep it."""
    assert isinstance(request, BoundedRequest)
    webhook, secret = await api_of(request).subscriptions.create(
        caller_of(request).client,
        body.url,
        body.events,
        body.description,
        request=named(request, idempotency_key),
    )
    return answer({**_shown(webhook), "secret": secret}, 201 if secret is not None else 200)


@router.get("", response_model=s.WebhookPage, openapi_extra=needs("admin"))
async def list_webhooks(request: Request, cursor: s.Cursor = None, limit: s.Limit = 50) -> Response:
    """List webhooks by id, without their secrets."""
    found = await api_of(request).subscriptions.page(
        caller_of(request).client, after=cursor or "", limit=limit + 1
    )
    page, more = found[:limit], len(found) > limit
    return answer(
        {
            "webhooks": [_shown(webhook) for webhook in page],
            "next_cursor": page[-1].id if more else None,
        }
    )


@router.get(
    "/{webhook_id}",
    response_model=s.WebhookInfo,
    responses={404: {}},
    openapi_extra=needs("admin"),
)
async def get_webhook(request: Request, webhook_id: WebhookIdPath) -> Response:
    """Get a webhook, without its secret."""
    client = caller_of(request).client
    return answer(_shown(await api_of(request).subscriptions.get(client, webhook_id)))


@router.delete(
    "/{webhook_id}",
    response_model=s.WebhookInfo,
    responses={404: {}, 409: {}},
    openapi_extra=needs("admin"),
)
async def delete_webhook(request: Request, webhook_id: WebhookIdPath) -> Response:
    """Delete a webhook and its log. What it was still to be told is told no more."""
    client = caller_of(request).client
    return answer(_shown(await api_of(request).subscriptions.delete(client, webhook_id)))


@router.post(
    "/{webhook_id}/rotate",
    response_model=s.WebhookMade,
    responses={404: {}, 409: {}},
    openapi_extra=needs("admin"),
)
async def rotate_secret(
    request: Request, webhook_id: WebhookIdPath, idempotency_key: IdempotencyKey = None
) -> Response:
    """Give a webhook a new secret, shown this once. For a day messages are signed with the old
    one as well."""
    assert isinstance(request, BoundedRequest)
    webhook, secret = await api_of(request).subscriptions.rotate(
        caller_of(request).client, webhook_id, request=named(request, idempotency_key)
    )
    return answer({**_shown(webhook), "secret": secret})


@router.post(
    "/{webhook_id}/test",
    status_code=202,
    response_model=s.DeliveryInfo,
    responses={404: {}, 409: {}},
    openapi_extra=needs("admin"),
)
async def test_webhook(
    request: Request, webhook_id: WebhookIdPath, idempotency_key: IdempotencyKey = None
) -> Response:
    """Send a message of the type `webhook.test`, and answer with its delivery."""
    assert isinstance(request, BoundedRequest)
    api, client = api_of(request), caller_of(request).client
    await api.subscriptions.get(client, webhook_id)
    delivery = await client.test_webhook(webhook_id, request=named(request, idempotency_key))
    return answer(_told(await api.subscriptions.delivery(client, webhook_id, delivery)), 202)


@router.get(
    "/{webhook_id}/deliveries",
    response_model=s.DeliveryPage,
    responses={404: {}},
    openapi_extra=needs("admin"),
)
async def list_deliveries(
    request: Request, webhook_id: WebhookIdPath, cursor: s.Cursor = None, limit: s.Limit = 50
) -> Response:
    """List what was sent to a webhook, or is to be sent again: the delivery log."""
    found = await api_of(request).subscriptions.deliveries(
        caller_of(request).client, webhook_id, after=cursor or "", limit=limit + 1
    )
    page, more = found[:limit], len(found) > limit
    return answer(
        {
            "deliveries": [_told(delivery) for delivery in page],
            "next_cursor": page[-1].id if more else None,
        }
    )


@router.post(
    "/{webhook_id}/deliveries/{delivery_id}/redeliver",
    status_code=202,
    response_model=s.DeliveryInfo,
    responses={404: {}, 409: {}},
    openapi_extra=needs("admin"),
)
async def redeliver(
    request: Request,
    webhook_id: WebhookIdPath,
    delivery_id: DeliveryIdPath,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Send a message once more, under the same id, with all its tries before it."""
    assert isinstance(request, BoundedRequest)
    api, client = api_of(request), caller_of(request).client
    await api.subscriptions.delivery(client, webhook_id, delivery_id)
    await client.redeliver(webhook_id, delivery_id, request=named(request, idempotency_key))
    return answer(_told(await api.subscriptions.delivery(client, webhook_id, delivery_id)), 202)


def _shown(webhook: Webhook) -> dict[str, Any]:
    return {
        "id": webhook.id,
        "url": webhook.url,
        "events": webhook.events,
        "description": webhook.description,
        "created_ms": webhook.created_ms,
    }


def _told(delivery: Delivery) -> dict[str, Any]:
    return msgspec.to_builtins(delivery)
