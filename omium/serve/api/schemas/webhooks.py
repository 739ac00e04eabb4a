"""Webhooks and what was delivered to them.

Owns the form of an address, not whether it may be posted to; and no shape of a message, which is
signed as it was written.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from omium.serve.api.schemas.parameters import AN_EXECUTION, Body, ShortText
from omium.webhooks.records import EVENTS, EventName


class WebhookBody(Body):
    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "url": "https://example.com/hooks/omium",
                "events": ["execution.completed", "execution.failed"],
            }
        }
    )

    url: Annotated[str, StringConstraints(pattern=r"^https?://[!-~]+$", max_length=2_000)] = Field(
        description="Where messages are posted to: https, at a public address, unless the "
        "service's setting `service.webhook_hosts` lists the host."
    )
    events: Annotated[list[EventName], Field(min_length=1, max_length=4)] = Field(
        default=list(EVENTS),
        description="What it is told of; all of these where it is left out.",
    )
    description: ShortText = ""


class WebhookInfo(BaseModel):
    """A webhook without its secret."""

    id: str = Field(examples=["wh_4fj2x7qa5mzk3b6c"])
    url: str
    events: list[EventName]
    description: str
    created_ms: int


class WebhookMade(WebhookInfo):
    secret: str | None = Field(
        description="What messages are signed with (`whsec_…`), shown this once; null where it "
        "was shown before."
    )


class WebhookPage(BaseModel):
    webhooks: list[WebhookInfo]
    next_cursor: str | None = Field(description="Null on the last page.")


class DeliveryInfo(BaseModel):
    """One message to a webhook, and how far it has come. Times are milliseconds since 1970."""

    id: str = Field(
        description="The message's id, the same in every try: the header `webhook-id`.",
        examples=[f"{AN_EXECUTION}@9"],
    )
    webhook: str
    type: str = Field(examples=["execution.completed"])
    execution: str
    index: int = Field(description="The journal index of the event.")
    at_ms: int = Field(description="When the event happened.")
    state: Literal["pending", "delivered", "given_up"]
    attempts: int = Field(description="How often it was tried.")
    tried_ms: int | None = Field(description="When it was tried last.")
    took_ms: int | None = Field(description="How long that took.")
    status: int | None = Field(description="The HTTP status that it was answered with.")
    error: str = Field(description="What was wrong with the last try.")
    next_ms: int | None = Field(description="When the next try is due.")


class DeliveryPage(BaseModel):
    deliveries: list[DeliveryInfo] = Field(
        description="Those that were tried, by id, and so by the age of their executions. Of "
        "the settled ones the latest 200 are kept, and some more for a while."
    )
    next_cursor: str | None = Field(description="Null on the last page.")
