"""What follows from a try, and which deliveries are kept."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from omium.webhooks.decisions import (
    DELAYS_S,
    JITTER,
    KEPT,
    Answer,
    after_try,
    queued_again,
    surplus,
)
from omium.webhooks.records import Delivery

FRESH = Delivery(
    id="ex_1@9", webhook="wh_1", type="execution.completed", execution="ex_1", index=9, at_ms=1
)
DAY_S = 24 * 3_600


def tried(delivery: Delivery, status: int | None, chance: float = 0.5, **fields: Any) -> Delivery:
    return after_try(delivery, Answer(status=status, **fields), now_ms=1_000, chance=chance)


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_any_success_is_delivery(status: int) -> None:
    after = tried(replace(FRESH, error="x", next_ms=5), status, took_ms=7)
    assert (after.state, after.next_ms, after.error) == ("delivered", None, "")
    assert (after.attempts, after.tried_ms, after.took_ms, after.status) == (1, 1_000, 7, status)


@pytest.mark.parametrize("status", [None, 100, 199, 300, 302, 400, 404, 429, 500, 503])
def test_all_else_is_tried_again(status: int | None) -> None:
    after = tried(FRESH, status, error="it was bad")
    assert (after.state, after.next_ms, after.error) == ("pending", 6_000, "it was bad")


def test_who_is_gone_is_left_alone() -> None:
    assert tried(FRESH, 410).state == "given_up"


def test_tries_go_on_for_about_a_day_and_end() -> None:
    for chance, least, most in ((0.0, 0.75, 0.85), (0.5, 0.95, 1.05), (0.999, 1.15, 1.25)):
        delivery, now_ms, times = FRESH, 0, 0
        while delivery.state == "pending":
            delivery = after_try(delivery, Answer(status=500), now_ms=now_ms, chance=chance)
            times += 1
            now_ms = delivery.next_ms or now_ms
        assert times == len(DELAYS_S) + 1 == delivery.attempts
        assert delivery.state == "given_up" and delivery.next_ms is None
        assert least * DAY_S < now_ms / 1_000 < most * DAY_S


def test_chance_spreads_the_next_try() -> None:
    spread = [tried(FRESH, 500, chance).next_ms for chance in (0.0, 0.5, 1.0)]
    assert spread == [1_000 + round(5_000 * part) for part in (1 - JITTER, 1, 1 + JITTER)]


def test_a_receiver_may_ask_for_more_time_but_not_for_all_of_it() -> None:
    assert tried(FRESH, 429, retry_after_s=60).next_ms == 61_000
    assert tried(FRESH, 503, retry_after_s=1).next_ms == 6_000
    assert tried(FRESH, 503, retry_after_s=10**9).next_ms == 1_000 + 3_600_000


def test_queued_again_it_has_all_tries_before_it() -> None:
    given_up = replace(FRESH, state="given_up", attempts=12, status=500)
    again = queued_again(given_up, now_ms=5)
    assert (again.state, again.attempts, again.next_ms, again.id) == ("pending", 0, 5, FRESH.id)


def test_the_latest_settled_are_kept_and_all_that_are_pending() -> None:
    settled = [
        replace(FRESH, id=f"ex_1@{n}", state="delivered" if n % 2 else "given_up", tried_ms=n)
        for n in range(KEPT + 3)
    ]
    pending = [replace(FRESH, id=f"ex_2@{n}", tried_ms=0) for n in range(5)]
    dropped = surplus([*reversed(settled), *pending])
    assert [delivery.id for delivery in dropped] == ["ex_1@0", "ex_1@1", "ex_1@2"]
    assert surplus([*settled[:KEPT], *pending]) == []
