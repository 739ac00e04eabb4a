"""The small parts beneath the adapters: scopes, counters, entrypoints, threads, effect keys."""

from __future__ import annotations

import asyncio
import sys
import threading
from contextvars import ContextVar
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omium.errors import AgentError, EntrypointError, InputError, NotFound
from omium.frameworks.effect import effect, effect_key
from omium.frameworks.entrypoints import load_entrypoint
from omium.frameworks.plain import PlainAdapter
from omium.frameworks.registry import adapter_of
from omium.frameworks.scope import (
    SCOPE_BYTES_MAX,
    Counters,
    Place,
    Scope,
    decode_scope,
    encode_scope,
)
from omium.frameworks.threads import in_thread
from omium.types import ExecutionId, TenantId

TEXT = st.text(max_size=40)


@given(TEXT, TEXT, TEXT, st.integers(0, 2**40), st.integers(0, 2**40))
def test_a_scope_survives_its_header(
    tenant: str, agent: str, step: str, epoch: int, ordinal: int
) -> None:
    scope = Scope(
        tenant=TenantId(tenant),
        execution_id=ExecutionId("ex"),
        agent=agent,
        epoch=epoch,
        step=step,
        scope=step,
        ordinal=ordinal,
        occurrence=0,
    )
    header = encode_scope(scope)
    assert header.isascii()
    assert decode_scope(header) == scope


@given(st.text(max_size=200) | st.just("x" * (SCOPE_BYTES_MAX + 1)))
def test_what_is_no_scope_is_an_input_error(header: str) -> None:
    with pytest.raises(InputError, match="x-omium-scope"):
        decode_scope(header)


def test_a_branch_has_a_scope_of_its_own() -> None:
    assert Place("3").scope == "3"
    assert Place("3", "left").scope != Place("3", "right").scope != Place("3").scope


def test_counters_of_kinds_and_scopes_are_apart() -> None:
    counters = Counters()
    assert counters.next("llm", "0", "m", "d") == (0, 0)
    assert counters.next("tool", "0", "m", "d") == (0, 0)
    assert counters.next("llm", "1", "m", "d") == (0, 0)
    assert counters.next("llm", "0", "m", "e") == (1, 0)
    assert counters.next("llm", "0", "m", "d") == (2, 1)
    assert counters.latest("llm", "0", "m", "e") == (1, 0)
    assert counters.latest("llm", "0", "m", "d") == (2, 1)
    assert counters.latest("llm", "9", "m", "d") is None


def test_counters_give_each_number_once_to_many_threads() -> None:
    counters = Counters()
    given_out: list[tuple[int, int]] = []

    def work() -> None:
        given_out.extend(counters.next("llm", "0", "m", "d") for _ in range(500))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(given_out) == [(n, n) for n in range(2_000)]


def test_an_entrypoint_is_found_in_its_import_path(tmp_path: Path) -> None:
    name = f"found_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(
        "class Crew:\n    @staticmethod\n    def run(): return 5\n"
    )
    before = list(sys.path)
    try:
        assert load_entrypoint(f"{name}:Crew.run", [str(tmp_path)])() == 5
        with pytest.raises(EntrypointError, match=rf"module '{name}' has no 'Crew.walk'"):
            load_entrypoint(f"{name}:Crew.walk", [str(tmp_path)])
    finally:
        sys.path[:] = before
        sys.modules.pop(name, None)


def test_a_framework_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert isinstance(adapter_of("python", tmp_path), PlainAdapter)
    known = "there is python, autogen, crewai, langgraph"
    with pytest.raises(NotFound, match=f"no framework 'cobol'; {known}"):
        adapter_of("cobol", tmp_path)


async def test_a_thread_is_waited_for_though_the_waiting_is_cancelled() -> None:
    entered, leave, left = asyncio.Event(), threading.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def work() -> None:
        loop.call_soon_threadsafe(entered.set)
        assert leave.wait(10)
        left.set()

    waiting = asyncio.create_task(in_thread(work))
    await entered.wait()
    waiting.cancel()
    done, _ = await asyncio.wait([waiting], timeout=0.05)
    assert not done
    leave.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert left.is_set()


async def test_a_thread_has_the_context_of_its_caller() -> None:
    variable: ContextVar[str] = ContextVar("variable")
    variable.set("mine")
    assert await in_thread(variable.get) == "mine"


async def test_a_thread_that_wants_to_end_the_process_raises_instead() -> None:
    with pytest.raises(AgentError, match="SystemExit: 3"):
        await in_thread(sys.exit, 3)


async def test_an_effect_key_is_known_inside_of_its_call_and_nowhere_else() -> None:
    assert effect_key() is None
    with effect("one"):
        assert effect_key() == "one"
        assert await in_thread(effect_key) == "one"
        with effect("two"):
            assert effect_key() == "two"
        assert effect_key() == "one"
    assert effect_key() is None
