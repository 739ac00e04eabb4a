"""What becomes of an execution when a part of the runtime is lost under it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from omium.actors import messages as m
from omium.actors.attempt import AttemptSession
from omium.actors.supervision import LOSSES_MAX
from omium.clock import ManualClock
from omium.errors import AttemptFenced, ExecutionFailed
from omium.execution.events import (
    AgentCompleted,
    AttemptEnded,
    FailureRecorded,
    StepCompleted,
    type_of,
)
from omium.execution.records import Failure, Payload
from omium.frameworks.hook import CallSite
from omium.frameworks.protocol import Assignment, ModelEndpoint
from omium.testing.runtime import QUICK
from omium.testing.scripted import Answer, Rule, When
from omium.types import Json
from tests.actors.dying import dying_stage
from tests.actors.gates import gate
from tests.actors.hand_made import HandMadeWorker
from tests.actors.stage import Stage, agent, stage, workflow

LONG_S = 600.0
"""Longer than anything waits. What the machine's own slowness costs is nothing to that."""

BLOCKING = {"entrypoint": "script_blocking"}


def ends(entries: list[Any]) -> list[str]:
    return [e.event.end for e in entries if isinstance(e.event, AttemptEnded)]


def session_of(s: Stage, worker: HandMadeWorker, lease: m.Lease) -> AttemptSession:
    """The session of an adapter that runs ``lease`` in a worker made by hand."""
    flow = workflow(agent("doer"))
    assignment = Assignment(
        execution_id=lease.execution_id,
        workflow=flow,
        agent=flow.agent("doer"),
        epoch=lease.epoch,
        inputs={},
        outputs={},
        saved=None,
        steps=(),
        endpoint=ModelEndpoint(base_url=s.runtime.gateway_url, api_key="k", model="m"),
    )
    site = CallSite(
        tenant=lease.tenant,
        execution_id=lease.execution_id,
        agent=lease.agent,
        epoch=lease.epoch,
        gateway_url=s.runtime.gateway_url,
        api_key="k",
    )
    return AttemptSession(assignment, lease.tenant, site, worker.link, s.runtime.blobs)


# ------------------------------------------------------------------ workers


@pytest.mark.parametrize("fields", [{}, BLOCKING], ids=["async", "blocking"])
async def test_another_worker_goes_on_from_the_checkpoint(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    async with stage(tmp_path) as s:
        with gate() as till, gate() as held:
            till.open()
            put = "put_blocking" if fields else "put"
            execution_id = await s.do(
                {"ask": "before"},
                {"checkpoint": "first"},
                {"ask": "after", "stream": True},
                {"tool": put, "with": {"till": till.name, "amount": 3}},
                {"hold": held.name},
                {"ask": "last"},
                **fields,
            )
            await held.reached()
            lost = s.kill()
            await held.reached(2)
            held.open()
            result = await s.result(execution_id)
        assert result == {"heard": ["echo: before", "echo: after", 3, "echo: last"]}
        # Two attempts, and yet each call was made once.
        assert len(till.notes) == 1
        assert [c.body["messages"][0]["content"] for c in s.provider.calls] == [
            "before",
            "after",
            "last",
        ]
        entries = await s.journal(execution_id)
        starts = [e.event for e in entries if type_of(e.event) == "attempt.started"]
    assert ends(entries) == ["worker_lost"]
    assert [start.epoch for start in starts] == [1, 2]  # pyright: ignore
    assert starts[0].worker == lost != starts[1].worker  # pyright: ignore
    assert starts[1].cause == "worker_lost"  # pyright: ignore


async def test_a_call_made_from_a_thread_without_context_is_not_repeated(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        with gate() as held:
            execution_id = await s.do({"thread": "aside"}, {"hold": held.name}, **BLOCKING)
            await held.reached()
            s.kill()
            await held.reached(2)
            held.open()
            assert await s.result(execution_id) == {"heard": ["echo: aside"]}
    assert s.provider.received == 1


async def test_equal_calls_of_one_step_are_told_apart_after_a_kill(tmp_path: Path) -> None:
    rules = [Rule(answer=Answer(content=str(number)), times=1) for number in range(3)]
    async with stage(tmp_path, rules) as s:
        with gate() as held:
            same = {"ask": "again"}
            execution_id = await s.do(same, same, {"hold": held.name}, same)
            await held.reached()
            s.kill()
            await held.reached(2)
            held.open()
            assert await s.result(execution_id) == {"heard": ["0", "1", "2"]}
    assert s.provider.received == 3


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("fields", [{}, BLOCKING], ids=["async", "blocking"])
async def test_the_call_in_flight_of_a_killed_agent_is_answered_to_its_successor(
    tmp_path: Path, fields: dict[str, Any], stream: bool
) -> None:
    with gate() as upstream:

        def held_answer(_: dict[str, Any]) -> Answer:
            upstream.hold()
            return Answer(content="late")

        async with stage(tmp_path, [Rule(answer=held_answer)]) as s:
            execution_id = await s.do({"ask": "slow", "stream": stream}, **fields)
            await upstream.reached()
            s.kill()
            started = await s.until(execution_id, "attempt.started", times=2)
            assert started.event.epoch == 2  # pyright: ignore
            # The provider answers only now, and its answer goes to the second attempt.
            upstream.open()
            assert await s.result(execution_id) == {"heard": ["late"]}
            assert s.provider.received == 1
            assert (await s.types(execution_id)).count("call.intended") == 1


async def test_a_worker_that_dies_each_time_ends_in_a_crash_loop(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        with gate() as held:
            execution_id = await s.do({"checkpoint": "good"}, {"hold": held.name})
            for attempt in range(LOSSES_MAX):
                await held.reached(attempt + 1)
                s.kill()
            with pytest.raises(ExecutionFailed, match="5 workers in a row died") as failed:
                await s.result(execution_id)
        view = await s.client.view(execution_id)
    assert failed.value.failure_kind == "crash_loop"
    assert view.failure is not None and view.failure.checkpoint == 3
    assert len(held.notes) == LOSSES_MAX


async def test_deaths_with_progress_in_between_are_no_crash_loop(tmp_path: Path) -> None:
    async with stage(tmp_path) as s, AsyncExitStack() as stack:
        gates = [stack.enter_context(gate()) for _ in range(LOSSES_MAX + 1)]
        actions = [[{"checkpoint": str(n)}, {"hold": g.name}] for n, g in enumerate(gates)]
        execution_id = await s.do(*chain.from_iterable(actions), {"ask": "end"})
        for held in gates:
            await held.reached()
            s.kill()
            await held.reached(2)
            held.open()
        assert await s.result(execution_id) == {"heard": ["echo: end"]}


async def test_a_silent_worker_is_ended_and_its_agent_goes_to_another(tmp_path: Path) -> None:
    clock = ManualClock()
    async with stage(tmp_path, clock=clock) as s, HandMadeWorker(s.runtime) as silent:
        execution_id = await s.do({"ask": "hello"})
        assert (await silent.leased()).epoch == 1
        clock.advance(QUICK.heartbeat_timeout_s - 0.1)
        await s.ticked()
        assert (await s.client.view(execution_id)).agents[0].epoch == 1
        clock.advance(LONG_S)
        assert await s.result(execution_id) == {"heard": ["echo: hello"]}
        entries = await s.journal(execution_id)
        (lost,) = [e.event for e in entries if isinstance(e.event, AttemptEnded)]
    assert lost.end == "worker_lost"
    assert lost.detail.startswith("silent for ")


async def test_the_time_in_which_a_coordinator_was_stuck_is_held_against_nobody(
    tmp_path: Path,
) -> None:
    clock = ManualClock()
    async with stage(tmp_path, clock=clock) as s, HandMadeWorker(s.runtime) as unread:
        execution_id = await s.do({"ask": "hello"}, timeout_s=60)
        await unread.leased()
        # Behind a slow disk, say: the heartbeats of that time are still in the socket.
        clock.advance(100)
        await s.ticked(late_s=99.8)
        assert (await s.client.view(execution_id)).agents[0].epoch == 1
        clock.advance(LONG_S)
        assert await s.result(execution_id) == {"heard": ["echo: hello"]}


async def test_a_worker_that_keeps_beating_is_left_alone(tmp_path: Path) -> None:
    clock = ManualClock()
    async with stage(tmp_path, clock=clock) as s, HandMadeWorker(s.runtime) as quiet:
        execution_id = await s.do({"ask": "hello"})
        await quiet.leased()
        for _ in range(3):
            clock.advance(QUICK.heartbeat_timeout_s - 0.1)
            quiet.link.send(m.Heartbeat())
            await s.ticked()
        assert (await s.client.view(execution_id)).agents[0].epoch == 1


@pytest.mark.parametrize("fields", [{}, BLOCKING], ids=["async", "blocking"])
async def test_a_step_that_reaches_its_deadline_fails(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    clock = ManualClock()
    settings = replace(QUICK, heartbeat_timeout_s=10_000, stop_grace_s=10_000)
    async with stage(tmp_path, clock=clock, settings=settings) as s:
        with gate() as held:
            execution_id = await s.do(
                {"checkpoint": ""}, {"hold": held.name}, {"ask": "never"}, timeout_s=30, **fields
            )
            await held.reached()
            clock.advance(LONG_S)
            with pytest.raises(ExecutionFailed, match="took longer than 30 s") as failed:
                await s.result(execution_id)
            assert failed.value.failure_kind == "deadline_exceeded"
            if fields:
                # A thread cannot be interrupted: the worker waits for it and says so then.
                assert [w.attempts for w in (await s.client.runtime()).workers] == [1]
        await s.idle()
        view = await s.client.view(execution_id)
        assert view.failure is not None and view.failure.checkpoint == 3
        assert ends(await s.journal(execution_id)) == ["step_timeout"]
    assert s.provider.received == 0


async def test_a_worker_that_does_not_stop_when_told_is_ended(tmp_path: Path) -> None:
    async with stage(tmp_path, settings=replace(QUICK, stop_grace_s=0.05)) as s:
        with gate() as held:
            execution_id = await s.do({"hold": held.name}, {"ask": "never"}, **BLOCKING)
            await held.reached()
            await s.client.cancel(execution_id)
            async with asyncio.timeout(10):
                while s.runtime.spawner.workers:
                    await s.ticked()
    assert s.provider.received == 0


# ------------------------------------------------------------------ fencing


async def test_a_fenced_attempt_can_do_nothing_more(tmp_path: Path) -> None:
    clock = ManualClock()
    async with stage(tmp_path, clock=clock) as s, HandMadeWorker(s.runtime) as zombie:
        with gate() as held:
            execution_id = await s.do({"hold": held.name}, {"ask": "mine"})
            lease = await zombie.leased()
            clock.advance(LONG_S)
            await held.reached()
            # It was declared dead, comes back, and is told to stop.
            assert (await zombie.stopped()).epoch == 1
            before = (await s.client.view(execution_id)).row.last_index
            state = Payload(inline="stolen")
            for answer in (
                await zombie.append(lease, 1, StepCompleted(agent="doer", step="0", state=state)),
                await zombie.append(lease, 1, AgentCompleted(agent="doer", output=state)),
                await zombie.begin(lease, "put", idempotent=True),
            ):
                assert isinstance(answer, m.Refused)
                assert answer.refusal.code == "stale_epoch"
                assert answer.refusal.current_epoch == 2
            await zombie.over(lease, end="failed", failure=Failure(kind="agent", message="!"))
            assert (await s.client.view(execution_id)).row.last_index == before
            held.open()
            assert await s.result(execution_id) == {"heard": ["echo: mine"]}


async def test_a_session_that_is_refused_raises_and_stays_fenced(tmp_path: Path) -> None:
    clock = ManualClock()
    async with stage(tmp_path, clock=clock) as s, HandMadeWorker(s.runtime) as zombie:
        with gate() as held:
            await s.do({"hold": held.name})
            lease = await zombie.leased()
            clock.advance(LONG_S)
            await held.reached()
            session = session_of(s, zombie, lease)
            ran: list[Json] = []

            async def run(arguments: Json) -> Json:
                ran.append(arguments)
                return arguments

            with pytest.raises(AttemptFenced, match="superseded"):
                await session.call_tool("put", {}, run, idempotent=True)
            with pytest.raises(AttemptFenced, match="superseded"):
                await session.complete_step("0", "stolen")
            assert isinstance(session.site.stopped, AttemptFenced)
            assert ran == []


# ------------------------------------------------------------------ the coordinator


@pytest.mark.parametrize("fields", [{}, BLOCKING], ids=["async", "blocking"])
async def test_work_goes_on_when_the_coordinator_comes_back(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    async with stage(tmp_path) as s:
        with gate() as till:
            pay = "pay_blocking" if fields else "pay"
            execution_id = await s.do(
                {"ask": "one"},
                {"checkpoint": ""},
                {"ask": "two"},
                {"tool": pay, "with": {"till": till.name, "amount": 5}},
                {"ask": "three"},
                **fields,
            )
            await till.reached()
            await s.runtime.stop_coordinator()
            # The tool ends while there is nobody to tell.
            till.open()
            await s.runtime.start_coordinator()
            assert await s.result(execution_id) == {
                "heard": ["echo: one", "echo: two", 5, "echo: three"]
            }
        assert len(till.notes) == 1
        assert s.provider.received == 3
        # The same attempt went on.
        assert (await s.types(execution_id)).count("attempt.started") == 1


async def test_a_call_goes_through_when_the_coordinator_comes_back(tmp_path: Path) -> None:
    with gate() as upstream:

        def held_answer(_: dict[str, Any]) -> Answer:
            upstream.hold()
            return Answer(content="late")

        async with stage(tmp_path, [Rule(answer=held_answer)]) as s:
            execution_id = await s.do({"ask": "slow"})
            await upstream.reached()
            await s.runtime.stop_coordinator()
            upstream.open()
            await asyncio.to_thread(s.provider.wait, answered=1)
            await s.runtime.start_coordinator()
            assert await s.result(execution_id) == {"heard": ["late"]}
            assert s.provider.received == 1


@pytest.mark.parametrize(
    "event",
    [
        "attempt.started",
        "call.intended",
        "call.completed",
        "step.completed",
        "agent.completed",
        "execution.completed",
    ],
)
@pytest.mark.parametrize("committed", [False, True], ids=["before", "after"])
async def test_a_coordinator_that_dies_around_a_commit_loses_nothing(
    tmp_path: Path, event: str, committed: bool
) -> None:
    async with dying_stage(tmp_path, event, committed=committed) as (s, back):
        with gate() as till:
            till.open()
            execution_id = await s.do(
                {"ask": "one"},
                {"checkpoint": ""},
                {"tool": "put", "with": {"till": till.name, "amount": 5}},
                {"checkpoint": ""},
            )
            await back()
            assert await s.result(execution_id) == {"heard": ["echo: one", 5]}
            types = await s.types(execution_id)
        assert s.provider.received == 1
        assert len(till.notes) == 1
        # Neither call is intended once more by being asked about once more.
        assert types.count("call.intended") == 2


async def test_a_lease_that_never_arrived_is_given_again(tmp_path: Path) -> None:
    async with stage(tmp_path) as s, HandMadeWorker(s.runtime) as hand:
        execution_id = await s.do({"ask": "hello"})
        assert (await hand.leased()).epoch == 1
        hand.forget()
        await s.runtime.stop_coordinator()
        await s.runtime.start_coordinator()
        lease = await hand.leased()
        assert lease.epoch == 2
        assert lease.execution_id == execution_id


async def test_a_worker_that_does_not_come_back_is_replaced(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        async with HandMadeWorker(s.runtime) as gone:
            execution_id = await s.do({"ask": "hello"})
            await gone.leased()
            await s.runtime.stop_coordinator()
        await s.runtime.start_coordinator()
        assert await s.result(execution_id) == {"heard": ["echo: hello"]}
        assert ends(await s.journal(execution_id)) == ["worker_lost"]


async def test_executions_that_nobody_asked_for_stay_as_they_are(tmp_path: Path) -> None:
    clock = ManualClock()
    settings = replace(QUICK, heartbeat_timeout_s=10_000)
    async with stage(tmp_path, clock=clock, settings=settings) as s:
        with gate() as held:
            execution_id = await s.do({"hold": held.name}, {"ask": "x"})
            await held.reached()
    clock.advance(60)
    later = replace(settings, awake_from_ms=clock.now_ms())
    async with stage(tmp_path, clock=clock, settings=later) as s:
        await s.ticked()
        assert not s.runtime.spawner.workers
        with gate() as other:
            other.open()
            fresh = await s.do({"hold": other.name})
            await s.result(fresh)
        assert (await s.client.view(execution_id)).agents[0].epoch == 1
        await s.client.resume(execution_id)
        await s.result(execution_id)


# ------------------------------------------------------------------ the gateway


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("fields", [{}, BLOCKING], ids=["async", "blocking"])
async def test_a_call_goes_through_when_the_gateway_comes_back(
    tmp_path: Path, fields: dict[str, Any], stream: bool
) -> None:
    with gate() as upstream:

        def held_answer(_: dict[str, Any]) -> Answer:
            upstream.hold()
            return Answer(content="late")

        async with stage(tmp_path, [Rule(answer=held_answer)]) as s:
            execution_id = await s.do({"ask": "slow", "stream": stream}, **fields)
            await upstream.reached()
            await s.runtime.stop_gateway()
            upstream.open()
            await s.runtime.start_gateway()
            assert await s.result(execution_id) == {"heard": ["late"]}
            # Nobody recorded the first answer, so it was asked for again: never a third time.
            assert s.provider.received == 2
            assert (await s.types(execution_id)).count("attempt.started") == 1


async def test_agents_are_leased_while_the_gateway_is_away(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        await s.result(await s.do({"ask": "x"}))
        await s.runtime.stop_gateway()
        execution_id = await s.do({"ask": "x"})
        await s.until(execution_id, "attempt.started")
        await s.runtime.start_gateway()
        assert await s.result(execution_id)
        assert "attempt.ended" not in await s.types(execution_id)


@pytest.mark.parametrize("fields", [{}, BLOCKING], ids=["async", "blocking"])
async def test_a_gateway_lost_in_mid_stream_costs_an_attempt_and_no_execution(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    slow = Answer(content="one two three four", chunk_delay_s=60)
    quick = Rule(when=When(contains="x"), answer=Answer(content="first"))
    first_piece = Answer(content="one two", chunks=2)
    rules = [quick, Rule(answer=slow, times=1), Rule(answer=first_piece)]
    async with stage(tmp_path, rules) as s:
        with gate() as pieces:
            execution_id = await s.do({"ask": "x"}, {"ask": "y", "stream": pieces.name}, **fields)
            await s.asked(2)
            await pieces.reached()
            await s.runtime.stop_gateway()
            await s.runtime.start_gateway()
            assert await s.result(execution_id) == {"heard": ["first", "one two"]}
        assert s.provider.received == 3
        entries = await s.journal(execution_id)
        (failure,) = [e.event.failure for e in entries if isinstance(e.event, FailureRecorded)]
    assert failure.kind == "unavailable"
    assert ends(entries) == ["failed"]
