"""A coordinator that takes over: whom it waits for, and whom not."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf
from pathlib import Path
from typing import Any, TypeVar

import pytest

from omium.actors import messages as m
from omium.actors.returning import Returning
from omium.actors.supervisor import LOOK_AFTER_S
from omium.actors.transport import Codec, Connection, serve, stop_listening
from omium.clock import ManualClock
from omium.errors import ExecutionFailed
from omium.execution.events import AttemptEnded, AttemptStarted
from omium.testing.runtime import QUICK, InProcessRuntime
from omium.types import ExecutionId, WorkerId
from tests.actors.gates import gate
from tests.actors.hand_made import HandMadeWorker
from tests.actors.stage import WAIT_S, Stage, stage

T = TypeVar("T")

ONE, TWO, THREE = WorkerId("w_1"), WorkerId("w_2"), WorkerId("w_3")
PATIENT = dataclasses.replace(QUICK, reconnect_grace_s=600.0)


def test_until_it_is_known_who_lives_anybody_may_come() -> None:
    returning = Returning()
    assert returning.awaited(0.0) == 0
    returning.begin(3.0)
    assert returning.may_come(ONE, 2.0)
    assert returning.awaited(2.0) == inf
    assert not returning.may_come(ONE, 3.0)
    assert returning.awaited(3.0) == 0


def test_of_those_who_live_each_is_waited_for_until_it_has_come() -> None:
    returning = Returning()
    returning.begin(3.0)
    returning.know({ONE, TWO}, {TWO})
    assert [returning.may_come(one, 0.0) for one in (ONE, TWO)] == [True, False]
    assert returning.awaited(0.0) == 1
    returning.came(ONE)
    assert not returning.may_come(ONE, 0.0)
    assert returning.awaited(0.0) == 0


def test_who_was_not_known_at_first_is_not_awaited_later() -> None:
    returning = Returning()
    returning.begin(3.0)
    returning.know({ONE, TWO}, set())
    # One has died, and another one was started meanwhile.
    returning.know({TWO, THREE}, set())
    assert [returning.may_come(one, 0.0) for one in (ONE, TWO, THREE)] == [False, True, False]


def test_time_in_which_nobody_could_be_heard_is_given_again() -> None:
    returning = Returning()
    returning.begin(3.0)
    returning.excuse(4.0)
    assert returning.may_come(ONE, 6.0)
    assert not returning.may_come(ONE, 7.0)


async def test_who_does_not_live_is_not_waited_for(tmp_path: Path) -> None:
    async with stage(tmp_path, settings=PATIENT) as s:
        with gate() as held:
            execution_id = await s.do({"hold": held.name}, {"checkpoint": "one"})
            await held.reached()
            await s.runtime.stop_coordinator()
            s.kill()
            await s.runtime.start_coordinator()
            await held.reached(2)
            held.open()
            assert await s.result(execution_id) == {"heard": []}


async def test_who_lives_goes_on_with_what_it_works_on(tmp_path: Path) -> None:
    async with stage(tmp_path, settings=PATIENT) as s:
        with gate() as held:
            execution_id = await s.do({"hold": held.name}, {"checkpoint": "one"})
            await held.reached()
            (worker,) = s.runtime.spawner.workers
            await s.runtime.stop_coordinator()
            await s.runtime.start_coordinator()
            # Another execution needs nobody new: it waits for the one that is to come back.
            other = await s.do({"checkpoint": "two"})
            held.open()
            assert await s.result(execution_id) == {"heard": []}
            assert await s.result(other) == {"heard": []}
            started = [
                entry.event.worker
                for one in (execution_id, other)
                for entry in await s.journal(one)
                if isinstance(entry.event, AttemptStarted)
            ]
    assert started == [worker, worker]


async def test_where_nobody_knows_who_lives_the_grace_decides(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        with gate() as held:
            execution_id = await s.do({"hold": held.name}, {"checkpoint": "one"})
            await held.reached()
            await s.runtime.stop_coordinator()
            s.kill()
            s.runtime.spawner.mute = True
            await s.runtime.start_coordinator()
            await held.reached(2)
            held.open()
            assert await s.result(execution_id) == {"heard": []}


async def test_who_dies_after_all_is_found_out_by_asking_again(tmp_path: Path) -> None:
    async with stage(tmp_path, settings=PATIENT) as s:
        async with HandMadeWorker(s.runtime) as gone:
            execution_id = await s.do({"ask": "hello"})
            await gone.leased()
            await s.runtime.stop_coordinator()
            await gone.link.close()
            await s.runtime.start_coordinator()
            assert (await s.client.view(execution_id)).agents[0].status == "leased"
        assert await s.result(execution_id) == {"heard": ["echo: hello"]}


async def test_an_attempt_that_has_ended_is_the_workers_until_it_was_heard_how(
    tmp_path: Path,
) -> None:
    heard: asyncio.Queue[Any] = asyncio.Queue()
    opened: list[Connection] = []

    async def until(kind: type[T]) -> T:
        async with asyncio.timeout(WAIT_S):
            while not isinstance(message := await heard.get(), kind):
                pass
            return message

    async with stage(tmp_path) as s:
        with gate() as held:
            execution_id = await s.do({"hold": held.name}, {"fail": "it broke"})
            await held.reached()
            await s.runtime.stop_coordinator()
            # Somebody who hears the worker, and answers nothing.
            deaf = await serve(
                *s.runtime.address,
                Codec(m.Messages),
                s.runtime.secret,
                handler=lambda _, message, __: heard.put_nowait(message),
                on_made=opened.append,
                on_closed=lambda connection, _: opened.remove(connection),
            )
            held.open()
            assert (await until(m.AttemptOver)).end == "failed"
            for connection in opened:
                connection.close()
            assert (await until(m.WorkerHello)).attempts == ((execution_id, "doer", 1),)
            await stop_listening(deaf)
            for connection in opened:
                connection.close()
            await s.runtime.start_coordinator()
        with pytest.raises(ExecutionFailed, match="it broke"):
            await s.result(execution_id)
        journal = await s.journal(execution_id)
    ends = [entry.event.end for entry in journal if isinstance(entry.event, AttemptEnded)]
    assert ends == ["failed"]


class Stillborn:
    """Starts ``count`` workers that die before they say anything, and then those of a runtime."""

    def __init__(self, runtime: InProcessRuntime, count: int) -> None:
        self._start, self._left = runtime.spawner.start, count
        runtime.spawner.start = self

    def __call__(self, framework: str) -> WorkerId:
        if self._left == 0:
            return self._start(framework)
        self._left -= 1
        return WorkerId(f"w_dead_{self._left}")

    async def none_left(self, runtime: InProcessRuntime, clock: ManualClock) -> None:
        async with asyncio.timeout(WAIT_S):
            while self._left:
                clock.advance(LOOK_AFTER_S)
                runtime.tick()
                await runtime.client.runtime()


@asynccontextmanager
async def after_dead_workers(
    directory: Path, count: int
) -> AsyncIterator[tuple[Stage, ExecutionId]]:
    """An execution of which it was noticed that ``count`` workers died while they were started."""
    clock = ManualClock()
    settings = dataclasses.replace(QUICK, start_timeout_s=100_000.0, heartbeat_timeout_s=100_000.0)
    async with stage(directory, clock=clock, settings=settings) as s:
        stillborn = Stillborn(s.runtime, count)
        execution_id = await s.do({"checkpoint": "one"})
        await stillborn.none_left(s.runtime, clock)
        clock.advance(LOOK_AFTER_S)
        await s.ticked()
        yield s, execution_id


async def test_a_worker_that_dies_while_it_is_started_is_not_waited_for(tmp_path: Path) -> None:
    async with after_dead_workers(tmp_path, 2) as (s, execution_id):
        assert await s.result(execution_id) == {"heard": []}


async def test_workers_that_die_one_after_the_other_fail_the_execution(tmp_path: Path) -> None:
    async with after_dead_workers(tmp_path, 3) as (s, execution_id):
        with pytest.raises(ExecutionFailed, match="'python' comes up: several in a row died"):
            await s.result(execution_id)
