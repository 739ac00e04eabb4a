"""Events each once and in order, whatever happens to the line or to the service."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from omium.client import AsyncClient, Event
from omium.errors import Unavailable
from omium.ports import free_ports
from omium.testing.script import Answer, Rule
from tests.actors.gates import gate
from tests.client.stage import cuttable
from tests.client.test_aio import client_of, doing
from tests.serve.api.stage import definition, served


def indexes(events: list[Event]) -> list[int]:
    return [event.index for event in events if event.index is not None]


def assert_whole(events: list[Event]) -> None:
    """Each entry once, in order, from the first to the end."""
    assert indexes(events) == [*range(1, len(indexes(events)) + 1)]
    assert events[0].type == "execution.created"
    assert events[-1].type == "execution.completed"
    assert all(event.data["type"] == event.type for event in events if event.index is not None)


async def test_the_whole_journal_and_nothing_after_its_end(tmp_path: Path) -> None:
    async with client_of(tmp_path) as (client, _):
        await client.register(definition())
        run = await client.run("tested", **doing({"ask": "one"}, {"checkpoint": "half"}))
        events = [event async for event in run.events()]
        assert_whole(events)
        assert [event.data for event in events] == [entry async for entry in run.journal()]
        assert [e.index async for e in run.events(after=3)] == indexes(events)[3:]
        assert [e async for e in run.events(after=len(events))] == []


async def test_through_a_line_that_is_cut_again_and_again(tmp_path: Path) -> None:
    async with (
        served(tmp_path) as s,
        cuttable(s.url) as way,
        AsyncClient(way.address, s.key, retry_s=20) as client,
    ):
        await client.register(definition())
        names = [f"step {n}" for n in range(12)]
        run = await client.run("tested", **doing(*({"checkpoint": name} for name in names)))
        seen: list[Event] = []
        async for event in run.events():
            seen.append(event)
            if event.type == "step.completed":
                way.cut()
        assert_whole(seen)
        assert [e.data["name"] for e in seen if e.type == "step.completed"] == names
        assert way.cuts == len(names)


async def test_a_cut_while_nothing_happens(tmp_path: Path) -> None:
    async with (
        served(tmp_path) as s,
        cuttable(s.url) as way,
        AsyncClient(way.address, s.key, retry_s=20) as client,
    ):
        await client.register(definition())
        with gate() as held:
            run = await client.run("tested", **doing({"hold": held.name}))
            seen: list[Event] = []
            async for event in run.events():
                seen.append(event)
                if event.type == "attempt.started":
                    await held.reached()
                    loop = asyncio.get_running_loop()
                    loop.call_later(0.1, way.cut)
                    loop.call_later(0.3, held.open)
            assert_whole(seen)
            assert way.cuts == 1


async def test_pieces_of_answers_come_where_they_are_wanted(tmp_path: Path) -> None:
    rules = [Rule(answer=Answer(content="one two three", chunks=3, chunk_delay_s=0.1))]
    async with served(tmp_path, rules) as s, AsyncClient(s.url, s.key, retry_s=5) as client:
        await client.register(definition())
        for live in (True, False):
            with gate() as held:
                run = await client.run(
                    "tested", **doing({"hold": held.name}, {"ask": "x", "stream": True})
                )
                seen: list[Event] = []
                async for event in run.events(live=live):
                    seen.append(event)
                    if event.type == "attempt.started":
                        held.open()
            pieces = "".join(e.data["text"] for e in seen if e.type == "delta")
            assert pieces == ("one two three" if live else "")
            assert_whole(seen)


async def test_a_pause_is_waited_through(tmp_path: Path) -> None:
    async with client_of(tmp_path) as (client, _):
        await client.register(definition())
        with gate() as held:
            run = await client.run("tested", **doing({"hold": held.name}))
            seen: list[Event] = []
            async for event in run.events():
                seen.append(event)
                # The second attempt is the one that goes through.
                if [one.type for one in seen[1:]] == ["attempt.started"]:
                    await held.reached()
                    await run.interrupt()
                if event.type == "execution.paused":
                    held.open()
                    await run.resume()
        assert_whole(seen)


async def test_who_leaves_early_frees_his_place(tmp_path: Path) -> None:
    settings = {"streams_per_key_max": 1}
    async with (
        served(tmp_path, settings=settings) as s,
        AsyncClient(s.url, s.key, retry_s=20) as client,
    ):
        await client.register(definition())
        with gate() as held:
            run = await client.run("tested", **doing({"hold": held.name}))
            for _ in range(3):
                following = run.events()
                assert (await anext(following)).index == 1
                await following.aclose()
            held.open()
            # There is one place: it would not be got if one of them still had it.
            assert_whole([event async for event in run.events()])


async def test_a_service_that_stays_away_is_given_up(tmp_path: Path) -> None:
    async with AsyncClient(f"http://127.0.0.1:{free_ports(1)[0]}", "omk_x", retry_s=0.3) as client:
        with pytest.raises(Unavailable, match="no stream from"):
            [event async for event in client.execution("ex_1").events()]


async def test_a_restart_of_the_service_is_not_seen(tmp_path: Path) -> None:
    """The way leads to nobody for a while."""
    async with (
        served(tmp_path) as s,
        cuttable(s.url) as way,
        AsyncClient(way.address, s.key, retry_s=20) as client,
    ):
        await client.register(definition())
        with gate() as held:
            run = await client.run("tested", **doing({"checkpoint": "one"}, {"hold": held.name}))
            seen: list[Event] = []
            back: asyncio.Task[None] | None = None
            async for event in run.events():
                seen.append(event)
                if event.type == "step.completed":
                    await held.reached()
                    back = asyncio.create_task(way.away(0.5))
                    held.open()
            assert back is not None
            await back
        assert_whole(seen)
