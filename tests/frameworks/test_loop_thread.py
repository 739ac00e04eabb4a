"""The loop beside the worker's: its outcomes, its cancellation, and its threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from omium.errors import AgentError, AttemptFenced
from omium.frameworks.loop_thread import CallerLoop, LoopThread

ambient: ContextVar[str] = ContextVar("ambient", default="nothing")


@pytest.fixture(scope="module")
def beside() -> Iterator[LoopThread]:
    yield LoopThread("tested")


async def test_the_code_has_the_callers_context_and_another_loop(beside: LoopThread) -> None:
    ambient.set("mine")
    mine = asyncio.get_running_loop()

    async def code() -> tuple[str, bool, str]:
        in_thread = await asyncio.to_thread(ambient.get)
        return ambient.get(), asyncio.get_running_loop() is mine, in_thread

    assert await beside.run(code) == ("mine", False, "mine")


async def test_the_code_may_call_back_to_the_loop_that_waits(beside: LoopThread) -> None:
    caller, mine = CallerLoop(), asyncio.get_running_loop()

    async def here() -> bool:
        return asyncio.get_running_loop() is mine

    async def code() -> tuple[bool, bool]:
        return await caller.run(here()), await asyncio.to_thread(lambda: caller.wait(here()))

    assert await beside.run(code) == (True, True)


@pytest.mark.parametrize("error", [ValueError("bad"), AttemptFenced("superseded")])
async def test_what_is_raised_comes_out(beside: LoopThread, error: BaseException) -> None:
    async def code() -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        await beside.run(code)
    assert raised.value is error


async def test_an_exit_of_the_code_ends_neither_loop_nor_process(beside: LoopThread) -> None:
    async def leaves() -> None:
        raise SystemExit(3)

    async def lets_leave() -> None:
        await asyncio.create_task(leaves())

    for code in (leaves, lets_leave):
        with pytest.raises(AgentError, match="SystemExit: 3"):
            await beside.run(code)
    assert await beside.run(lambda: asyncio.sleep(0, "alive")) == "alive"


async def test_a_cancellation_is_passed_on_and_threads_are_waited_for(beside: LoopThread) -> None:
    begun, let_go, ended = threading.Event(), threading.Event(), threading.Event()
    outcomes: list[Any] = []

    def blocks() -> None:
        begun.set()
        let_go.wait(10)
        ended.set()

    async def code() -> None:
        try:
            await asyncio.to_thread(blocks)
        except asyncio.CancelledError:
            outcomes.append("cancelled")
            let_go.set()
            raise

    run = asyncio.create_task(beside.run(code))
    await asyncio.to_thread(begun.wait, 10)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert outcomes == ["cancelled"] and ended.is_set()


def test_blocking_callers_share_a_loop(beside: LoopThread) -> None:
    async def loop() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    assert beside.wait(loop()) is beside.wait(loop())
