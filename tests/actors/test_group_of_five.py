"""Five coordinators: a minority of two may be lost; without three nothing is acknowledged."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from omium.actors.link import Link
from omium.errors import Unavailable
from omium.types import DEFAULT_TENANT
from tests.actors.gates import gate
from tests.actors.stage import MODEL, agent, workflow
from tests.actors.test_group import WAIT_S, contents, group

SEATS = (1, 2, 3, 4, 5)
PATIENCE_S = 3.0
"""How long is asked while nobody can answer: longer than an election takes here."""


@pytest.mark.slow
@pytest.mark.parametrize("third", ["leader", "follower"])
async def test_five_go_on_without_two_and_wait_without_three(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, third: str
) -> None:
    async with group(tmp_path, coordinators=5) as runtime:
        client = runtime.client
        with gate() as held:
            flow = workflow(agent("doer"))
            execution = await client.submit(flow, {"do": [{"hold": held.name}]}, model=MODEL)
            await held.reached()
            assert await client.put_record("n", "a", "with five") == 1

            leader = await runtime.leader()
            lost = [leader, next(seat for seat in SEATS if seat != leader)]
            for seat in lost:
                await runtime.stop_seat(seat)
            assert await client.put_record("n", "a", "with three") == 2
            leader = await runtime.leader()
            followers = [seat for seat in runtime.seats if seat != leader]
            last = leader if third == "leader" else followers[0]
            await runtime.stop_seat(last)
            with monkeypatch.context() as patched:
                patience = (Link.call.__kwdefaults__ or {}) | {"deadline_s": PATIENCE_S}
                patched.setattr(Link.call, "__kwdefaults__", patience)
                asked = await asyncio.gather(
                    client.put_record("n", "a", "with two"),
                    client.put_record("n", "b", "with two"),
                    client.record("n", "a"),
                    return_exceptions=True,
                )
            for answer in asked:
                assert isinstance(answer, Unavailable), answer
                assert f"within {PATIENCE_S:g} s" in str(answer)
            assert not any(seat.member.leads for seat in runtime.seats.values())

            await runtime.start_seat(last)
            found = await client.record("n", "a")
            # What nobody was told of may have happened or not; what somebody was told has.
            assert found is not None
            assert (found.version, found.body) in [(2, "with three"), (3, "with two")]
            assert await client.put_record("n", "a", "with three again") == found.version + 1
            held.open()
            await client.result(execution, timeout_s=WAIT_S)

        for seat in lost:
            await runtime.start_seat(seat)
        await runtime.agreed()
        first, *others = (contents(runtime, seat) for seat in SEATS)
        assert others == [first] * 4
        for seat in SEATS:
            kept = runtime.replica_of(seat).catalog.record(DEFAULT_TENANT, "n", "a")
            assert kept is not None
            assert kept.body == "with three again"
