"""What clients may ask of a coordinator: by name and once, for their own tenant, and live."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from omium.actors.client import Client, Lagged, News, Quiet
from omium.actors.live import DELTAS_KEPT, LiveTails
from omium.actors.messages import Delta
from omium.errors import Conflict, NotFound, RequestConflict
from omium.execution.events import CallCompleted, Entry, Request, type_of
from omium.execution.records import Payload
from omium.storage.journal import Journal
from omium.testing.script import Answer, Rule
from omium.types import ExecutionId, TenantId
from tests.actors.gates import gate
from tests.actors.stage import agent, stage, workflow

OTHER = TenantId("other")


def named(key: str, digest: str = "d") -> Request:
    return Request(key=key, digest=digest)


async def seen(news: AsyncIterator[News], kind: str) -> list[str]:
    """The types of the entries up to the first of type ``kind``."""
    types: list[str] = []
    async for item in news:
        if isinstance(item, Entry):
            types.append(type_of(item.event))
            if types[-1] == kind:
                break
    return types


# ------------------------------------------------------------------ by name and once


async def test_a_named_submission_creates_once(tmp_path: Path) -> None:
    flow = workflow(agent("doer"))
    async with stage(tmp_path) as s:
        ids = [await s.submit(flow, {"do": []}, request=named("k")) for _ in range(3)]
        assert len(set(ids)) == 1
        together = await asyncio.gather(
            *(s.submit(flow, {"do": []}, request=named("k2")) for _ in range(5))
        )
        assert len(set(together)) == 1
        assert len(await s.client.executions()) == 2
        with pytest.raises(RequestConflict, match=ids[0]):
            await s.submit(flow, {"do": []}, request=named("k", "other"))
        assert (
            await s.client.for_tenant(OTHER).submit(flow, {"do": []}, request=named("k"))
            != (ids[0])
        )


async def test_a_named_fork_forks_once(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        origin = await s.do({"checkpoint": "one"}, {"ask": "two"})
        await s.result(origin)
        forks = {await s.client.fork(origin, 2, request=named("f")) for _ in range(2)}
        assert len(forks) == 1 and forks != {origin}
        with pytest.raises(RequestConflict):
            await s.client.fork(origin, 3, request=named("f", "other"))


async def test_what_a_request_changed_does_not_forbid_its_repetition(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        execution_id = await s.do({"ask": "x"})
        await s.result(execution_id)
        with pytest.raises(Conflict):
            await s.client.cancel(execution_id, request=named("c"))
        with gate() as held:
            waiting = await s.do({"hold": held.name})
            await held.reached()
            for _ in range(2):
                await s.client.interrupt(waiting, request=named("i"))
            await s.client.resume(waiting, request=named("r"))
            # The pause of the first time is not made again.
            await s.client.interrupt(waiting, request=named("i"))
            held.open()
            await s.result(waiting)
        await s.client.resume(waiting, request=named("r"))
        with pytest.raises(Conflict):
            await s.client.resume(waiting, request=named("other"))


# ------------------------------------------------------------------ tenants


Ask = Callable[[Client, ExecutionId], Awaitable[Any]]


@pytest.mark.parametrize(
    "ask",
    [
        lambda client, it: client.view(it),
        lambda client, it: client.entries(it),
        lambda client, it: client.cancel(it),
        lambda client, it: client.interrupt(it),
        lambda client, it: client.resume(it),
        lambda client, it: client.signal(it, "go"),
        lambda client, it: client.fork(it, 1),
        lambda client, it: client.result(it, timeout_s=5),
        lambda client, it: anext(client.follow(it)),
    ],
    ids=["view", "entries", "cancel", "interrupt", "resume", "signal", "fork", "result", "follow"],
)
async def test_what_is_anothers_is_not_there(tmp_path: Path, ask: Ask) -> None:
    async with stage(tmp_path) as s:
        execution_id = await s.do({"ask": "x"})
        before = await s.journal(execution_id)
        with pytest.raises(NotFound):
            await ask(s.client.for_tenant(OTHER), execution_id)
        assert await s.client.for_tenant(OTHER).executions() == []
        assert await s.journal(execution_id) == before


async def test_records_are_a_tenants_own(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        other = s.client.for_tenant(OTHER)
        assert await s.client.put_record("webhook", "a", {"url": "x"}, expect=0) == 1
        assert await other.record("webhook", "a") is None
        assert await other.records("webhook") == []
        with pytest.raises(Conflict, match="version 1 is there"):
            await s.client.put_record("webhook", "a", None, expect=0)
        assert [record.body for record in await s.client.records("webhook")] == [{"url": "x"}]
        await s.client.delete_record("webhook", "a", expect=1)
        assert await s.client.record("webhook", "a") is None


# ------------------------------------------------------------------ control


async def test_an_interrupted_execution_goes_on_when_resumed(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        with gate() as held:
            execution_id = await s.do({"ask": "one"}, {"hold": held.name}, {"ask": "two"})
            await held.reached()
            news = s.client.follow(execution_id)
            await s.client.interrupt(execution_id, by="ann")
            assert (await seen(news, "execution.paused"))[0] == "execution.created"
            view = await s.client.view(execution_id)
            assert (view.status, view.pause_reason) == ("paused", "requested")
            assert view.row.detail == "interrupted by ann"
            await s.idle()
            held.open()
            await s.client.resume(execution_id)
            # The same reader sees it through the pause to its end.
            assert (await seen(news, "execution.completed"))[0] == "execution.resumed"
        assert await s.result(execution_id) == {"heard": ["echo: one", "echo: two"]}
        assert s.provider.received == 2


async def test_signals_are_journaled_until_the_end(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        with gate() as held:
            execution_id = await s.do({"hold": held.name})
            await held.reached()
            await s.client.signal(execution_id, "price", {"eur": 5}, by="ann")
            held.open()
            await s.result(execution_id)
        found = [
            entry.event
            for entry in await s.journal(execution_id)
            if type_of(entry.event) == "execution.signalled"
        ]
        assert [(e.name, e.payload, e.by) for e in found] == [  # pyright: ignore
            ("price", Payload(inline={"eur": 5}), "ann")
        ]
        with pytest.raises(Conflict, match="completed"):
            await s.client.signal(execution_id, "price")


async def test_executions_are_listed_by_what_they_are(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        flow = workflow(agent("doer"))
        first = await s.submit(flow, {"do": []}, labels={"team": "a"})
        await s.result(first)
        second = await s.submit(flow, {"do": [{"fail": "x"}]}, labels={"team": "b"})
        await s.until(second, "execution.failed")

        async def ids(**options: Any) -> list[str]:
            return [row.id for row in await s.client.executions(**options)]

        assert await ids() == [second, first]
        assert await ids(labels={"team": "a"}) == [first]
        assert await ids(statuses=["failed"]) == [second]
        assert await ids(workflow="tested", limit=1) == [second]
        assert await ids(before=second) == [first]
        assert await ids(workflow="other") == []


# ------------------------------------------------------------------ live


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
async def test_pieces_of_an_answer_come_before_the_entry_that_supersedes_them(
    tmp_path: Path, streamed: bool
) -> None:
    answer = Answer(content="a b c d e f g h", chunks=8, chunk_delay_s=0.03)
    async with stage(tmp_path, [Rule(answer=answer)]) as s:
        with gate() as held:
            execution_id = await s.do({"hold": held.name}, {"ask": "x", "stream": streamed})
            await held.reached()
            news: list[News] = []

            async def watch() -> None:
                async for item in s.client.follow(execution_id, live=True):
                    news.append(item)
                    if len(news) == 2:
                        held.open()

            async with asyncio.timeout(20):
                await watch()
    deltas = [item for item in news if isinstance(item, Delta)]
    text = "".join(delta.text for delta in deltas)
    assert text and answer.content.startswith(text)  # pyright: ignore
    entries = [item for item in news if isinstance(item, Entry)]
    assert [entry.index for entry in entries] == [*range(1, len(entries) + 1)]
    (completed,) = [item for item in entries if isinstance(item.event, CallCompleted)]
    assert {delta.call for delta in deltas} == {completed.event.call}  # pyright: ignore
    assert max(map(news.index, deltas)) < news.index(completed)
    assert not [item for item in news if isinstance(item, Lagged | Quiet)]


def test_a_slow_watcher_is_told_what_it_missed() -> None:
    tails = LiveTails()
    one = ExecutionId("ex_1")
    delta = Delta(agent="a", call=3, text="x")
    assert not tails.add(one, [delta])
    begun = tails.after(one, 0)
    assert (begun.deltas, begun.dropped) == ((), 0)
    assert tails.add(one, [delta] * 3)
    news = tails.after(one, begun.newest)
    assert (len(news.deltas), news.dropped) == (3, 0)
    assert tails.after(one, news.newest).deltas == ()
    tails.add(one, [delta] * (DELTAS_KEPT + 5))
    late = tails.after(one, news.newest)
    assert (len(late.deltas), late.dropped) == (DELTAS_KEPT, 5)
    # A number that a coordinator gave before its restart.
    tails.forget(one)
    assert tails.after(one, late.newest).newest == begun.newest


async def test_who_waits_for_the_result_reads_no_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    entries = Journal.entries

    def noted(self: Journal, execution_id: str, **options: Any) -> list[Entry]:
        read.append(execution_id)
        return entries(self, execution_id, **options)

    async with stage(tmp_path) as s:
        monkeypatch.setattr(Journal, "entries", noted)
        execution_id = await s.do({"checkpoint": "a"}, {"checkpoint": "b"}, {"checkpoint": "c"})
        # Whether it is new was looked up there.
        read.clear()
        await s.result(execution_id)
        assert read == []
        assert len(await s.journal(execution_id)) > 6
        assert read


async def test_followers_go_on_when_the_coordinator_comes_back(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        with gate() as held:
            execution_id = await s.do({"ask": "x"}, {"hold": held.name})
            await held.reached()
            news = s.client.follow(execution_id, live=True)
            first = await seen(news, "call.completed")
            await s.runtime.stop_coordinator()
            await s.runtime.start_coordinator()
            held.open()
            rest = await seen(news, "execution.completed")
            assert [*first, *rest] == await s.types(execution_id)
