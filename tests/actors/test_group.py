"""Three coordinators: what is acknowledged survives any one of them, and happens once."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from omium.actors.client import Client
from omium.actors.group.looking import look
from omium.actors.group.seat import Timing
from omium.actors.group.talk import SeatView
from omium.clock import SystemClock
from omium.errors import ProtocolError, Unavailable
from omium.execution.events import Request, type_of
from omium.storage import group_store
from omium.testing.group import InProcessGroup
from omium.types import DEFAULT_TENANT, ExecutionId
from tests.actors.gates import gate
from tests.actors.proxies import Proxies
from tests.actors.stage import MODEL, agent, workflow

WAIT_S = 20.0


@asynccontextmanager
async def group(directory: Path, **options: Any) -> AsyncIterator[InProcessGroup]:
    runtime = InProcessGroup(directory, **options)
    try:
        await runtime.__aenter__()
        yield runtime
    finally:
        await runtime.__aexit__(None, None, None)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Look every now and then, for ``WAIT_S`` seconds."""
    async with asyncio.timeout(WAIT_S):
        while True:
            if await holds():
                return
            await asyncio.sleep(0.01)


async def submitted(client: Client, key: str = "") -> ExecutionId:
    request = Request(key=key, digest="d") if key else None
    return await client.submit(workflow(agent("doer")), {"do": []}, model=MODEL, request=request)


async def listens(address: tuple[str, int]) -> bool:
    try:
        _, writer = await asyncio.open_connection(*address)
    except OSError as error:
        assert error.errno == errno.ECONNREFUSED
        return False
    writer.close()
    await writer.wait_closed()
    return True


async def hung_up(address: tuple[str, int]) -> bool:
    return not await listens(address)


def contents(runtime: InProcessGroup, seat: int) -> object:
    replica = runtime.replica_of(seat)
    rows = replica.journal.executions()
    return rows, [list(replica.journal.all_entries(row.id)) for row in rows]


async def test_an_execution_is_on_every_disk(tmp_path: Path) -> None:
    async with group(tmp_path) as runtime:
        execution = await submitted(runtime.client)
        await runtime.client.result(execution, timeout_s=WAIT_S)
        await runtime.agreed()
        one, two, three = (contents(runtime, seat) for seat in (1, 2, 3))
        assert one == two == three
        assert [row.id for row in runtime.replica_of(2).journal.executions()] == [execution]


async def test_only_the_leader_listens(tmp_path: Path) -> None:
    async with group(tmp_path) as runtime:
        leader = await runtime.leader()
        found = {seat: await listens(runtime.address_of(seat)) for seat in (1, 2, 3)}
        assert found == {seat: seat == leader for seat in (1, 2, 3)}


async def test_what_was_acknowledged_survives_the_leader(tmp_path: Path) -> None:
    async with group(tmp_path) as runtime:
        told: list[int] = []
        for number in range(10):
            await runtime.client.put_record("n", f"{number}", number)
            told.append(number)
            if number == 4:
                leader = await runtime.leader()
                started = asyncio.get_running_loop().time()
                await runtime.stop_seat(leader)
                assert await runtime.leader() != leader
                # By the broken stream and not by the time-out of an election.
                assert asyncio.get_running_loop().time() - started < 5
        found = await runtime.client.records("n")
        assert [record.body for record in found] == told
        assert [record.version for record in found] == [1] * 10


async def test_a_dead_leader_is_found_by_its_streams(tmp_path: Path) -> None:
    """The time-out of an election is ten minutes here."""
    timing = Timing(tick_s=0.03, election_ticks=20_000)
    async with group(tmp_path, timing=timing) as runtime:
        await runtime.stop_seat(await runtime.leader())
        await runtime.leader()
        await runtime.client.put_record("n", "a", 1)


async def test_a_minority_acknowledges_nothing(tmp_path: Path) -> None:
    async with group(tmp_path) as runtime:
        await runtime.client.put_record("n", "a", 1)
        leader = await runtime.leader()
        others = [seat for seat in (1, 2, 3) if seat != leader]
        for seat in others:
            await runtime.stop_seat(seat)
        writing = asyncio.ensure_future(runtime.client.put_record("n", "a", 2))
        reading = asyncio.ensure_future(runtime.client.record("n", "a"))
        done, _ = await asyncio.wait([writing, reading], timeout=1.5)
        assert not done
        await runtime.start_seat(others[0])
        async with asyncio.timeout(WAIT_S):
            assert await writing >= 2
            found = await reading
            assert found is not None
            assert found.body in (1, 2)


async def test_an_execution_goes_on_under_the_next_leader(tmp_path: Path) -> None:
    async with group(tmp_path) as runtime:
        with gate() as held, gate() as till:
            till.open()
            put = {"tool": "put", "with": {"till": till.name, "amount": 3}}
            do = [put, {"checkpoint": "first"}, {"hold": held.name}, put]
            execution = await runtime.client.submit(
                workflow(agent("doer")), {"do": do}, model=MODEL
            )
            await held.reached()
            await runtime.stop_seat(await runtime.leader())
            await runtime.leader()
            held.open()
            assert await runtime.client.result(execution, timeout_s=WAIT_S) == {"heard": [3, 3]}
            # The attempt went on where it was: the worker found the next leader.
            entries = [entry async for entry in runtime.client.events(execution)]
            kinds = [type_of(entry.event) for entry in entries]
            assert kinds.count("attempt.started") == 1
            assert kinds.count("call.completed") == 2
            assert len(till.notes) == 2


async def test_a_request_that_is_made_again_elsewhere_happens_once(tmp_path: Path) -> None:
    async with group(tmp_path) as runtime:
        first = await submitted(runtime.client, "key")
        await runtime.stop_seat(await runtime.leader())
        assert await submitted(runtime.client, "key") == first
        assert [row.id for row in await runtime.client.executions()] == [first]


async def test_a_leader_that_is_cut_off_answers_nothing_old(tmp_path: Path) -> None:
    proxies = Proxies()
    async with group(tmp_path, route=proxies.route) as runtime:
        await runtime.client.put_record("n", "a", 1)
        old = await runtime.leader()
        direct = Client(
            runtime.address_of(old), runtime.secret, blobs=runtime.blobs, clock=SystemClock()
        )
        direct.open()
        assert (await direct.record("n", "a")) is not None
        proxies.isolate(old)
        reading = asyncio.ensure_future(direct.record("n", "a"))
        new = await runtime.leader(but=old)
        await runtime.client.put_record("n", "a", 2)
        # Deposed by its own check of the quorum, it has hung up.
        await until(lambda: hung_up(runtime.address_of(old)))
        assert not reading.done()
        await direct.close()
        with pytest.raises(Unavailable):
            await reading
        assert runtime.seats[new].member.leads
        proxies.mend()
        await runtime.agreed()
        for seat in (1, 2, 3):
            found = runtime.replica_of(seat).catalog.record(DEFAULT_TENANT, "n", "a")
            assert found is not None
            assert found.body == 2
    await proxies.close()


@pytest.mark.parametrize("kept", [16, 8_192])
async def test_a_lost_disk_comes_back_under_another_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    monkeypatch.setattr(group_store, "LOG_ENTRIES_KEPT", kept)
    async with group(tmp_path) as runtime:
        for number in range(60):
            await runtime.client.put_record("n", f"{number}", number)
        leader = await runtime.leader()
        lost = next(seat for seat in (1, 2, 3) if seat != leader)
        await runtime.stop_seat(lost, wipe=True)
        await runtime.client.put_record("n", "without", 1)
        await runtime.start_seat(lost)
        new = runtime.seats[lost].member.node.id
        assert new > 16

        async def seated() -> bool:
            return new in runtime.status(leader).membership.voters

        await until(seated)
        assert len(runtime.status(leader).membership.voters) == 3
        await runtime.agreed()
        one, two, three = (contents(runtime, seat) for seat in (1, 2, 3))
        assert one == two == three
        found = runtime.replica_of(lost).catalog.records(DEFAULT_TENANT, "n")
        assert len(found) == 61
        # It counts: with another member gone, its acknowledgement makes the majority.
        await runtime.stop_seat(next(s for s in (1, 2, 3) if s not in (leader, lost)))
        await runtime.client.put_record("n", "with", 1)
        assert not [*(runtime.folder(lost) / "incoming").glob("*")]


async def test_a_whole_group_starts_again(tmp_path: Path) -> None:
    async with group(tmp_path) as runtime:
        await runtime.client.put_record("n", "a", 1)
        for seat in (1, 2, 3):
            await runtime.stop_seat(seat)
        for seat in (1, 2, 3):
            await runtime.start_seat(seat)
        found = await runtime.client.record("n", "a")
        assert found is not None
        assert found.body == 1


async def test_a_stranger_is_no_peer(tmp_path: Path) -> None:
    async with group(tmp_path) as runtime:
        seat = await runtime.leader()
        address = runtime.seats[seat].settings.peers[seat]
        with socket.create_connection(address, timeout=5) as stranger:
            stranger.sendall(b"omium/1" + bytes(32) + bytes(32) + b"\0\0\0\1\xff")
            await asyncio.sleep(0)
            answer = await asyncio.to_thread(stranger.recv, 4_096)
            while answer:
                answer = await asyncio.to_thread(stranger.recv, 4_096)
        await runtime.client.put_record("n", "a", 1)


async def test_each_seat_says_what_it_is_to_who_knows_the_secret(tmp_path: Path) -> None:
    async with group(tmp_path) as runtime:
        await submitted(runtime.client)
        leader = await runtime.leader()

        async def seen() -> list[SeatView | None]:
            return await look(runtime.peer_addresses, runtime.secret, WAIT_S)

        async def alike() -> bool:
            found = [seat for seat in await seen() if seat is not None]
            return len({(seat.term, seat.leads, seat.applied, seat.last) for seat in found}) == 1

        await until(alike)
        seats = await seen()
        assert [seat.seat for seat in seats if seat is not None] == [1, 2, 3]
        roles = {seat.seat: seat.role for seat in seats if seat is not None}
        assert roles.pop(leader) == "leader"
        assert set(roles.values()) == {"follower"}
        with pytest.raises(ProtocolError):
            await look(runtime.peer_addresses, b"another secret", WAIT_S)

        # Without a majority nobody leads, and who is left says so all the same.
        for gone in (leader, min(roles)):
            await runtime.stop_seat(gone)

        async def leaderless() -> bool:
            found = await look(runtime.peer_addresses, runtime.secret, 0.5)
            left = [seat for seat in found if seat is not None]
            assert [seat.seat for seat in left] == [max(roles)]
            return left[0].role != "leader" and left[0].leads == 0

        await until(leaderless)
