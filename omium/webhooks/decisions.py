"""What follows from a try of a delivery, and which settled ones are no longer kept. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from omium.webhooks.records import Delivery

_MINUTE_S, _HOUR_S = 60.0, 3_600.0
DELAYS_S: tuple[float, ...] = (
    5.0,
    30.0,
    2 * _MINUTE_S,
    10 * _MINUTE_S,
    30 * _MINUTE_S,
    1 * _HOUR_S,
    2 * _HOUR_S,
    3 * _HOUR_S,
    5 * _HOUR_S,
    6 * _HOUR_S,
    6 * _HOUR_S,
)
"""Between one try and the next: twelve tries over about a day."""

JITTER = 0.2
"""A delay is this part longer or shorter, so that what failed together is not tried together."""

RETRY_AFTER_S_MAX = _HOUR_S
GONE = 410
ERROR_CHARS_MAX = 500
KEPT = 200
"""Settled deliveries that are kept of each webhook."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """How a try went: the HTTP status, or None and ``error`` where there was no answer.

    ``retry_after_s`` is what the receiver asked for.
    """

    status: int | None
    error: str = ""
    took_ms: int = 0
    retry_after_s: float = 0.0


def after_try(
    delivery: Delivery,
    answer: Answer,
    *,
    now_ms: int,
    chance: float,
    delays_s: Sequence[float] = DELAYS_S,
) -> Delivery:
    """The delivery after a try. ``chance`` in [0, 1) spreads the next one.

    Any 2xx is delivery. 410 says that the receiver is gone for good; all else may pass.
    """
    attempts = delivery.attempts + 1
    tried = replace(
        delivery,
        attempts=attempts,
        tried_ms=now_ms,
        took_ms=answer.took_ms,
        status=answer.status,
        error=answer.error[:ERROR_CHARS_MAX],
        next_ms=None,
    )
    if answer.status is not None and 200 <= answer.status < 300:
        return replace(tried, state="delivered", error="")
    if answer.status == GONE or attempts > len(delays_s):
        return replace(tried, state="given_up")
    delay_s = delays_s[attempts - 1] * (1 + JITTER * (2 * chance - 1))
    asked_s = min(answer.retry_after_s, RETRY_AFTER_S_MAX)
    return replace(tried, state="pending", next_ms=now_ms + round(max(delay_s, asked_s) * 1_000))


def queued_again(delivery: Delivery, *, now_ms: int) -> Delivery:
    """The delivery as if it had never been tried, due now."""
    return replace(delivery, state="pending", attempts=0, next_ms=now_ms)


def surplus(deliveries: Sequence[Delivery], *, kept: int = KEPT) -> list[Delivery]:
    """The settled deliveries of a webhook that are beyond the latest ``kept``."""
    settled = [delivery for delivery in deliveries if delivery.state != "pending"]
    settled.sort(key=lambda delivery: (delivery.tried_ms or 0, delivery.id))
    return settled[: max(0, len(settled) - kept)]
