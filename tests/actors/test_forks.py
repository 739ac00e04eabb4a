"""Forks: another execution from a point in a journal, with or without a change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from omium.errors import DefinitionError, ExecutionFailed, InputError
from omium.execution.events import CallCompleted, CallIntended, Entry, StepCompleted, type_of
from tests.actors.gates import gate
from tests.actors.stage import Stage, agent, stage, workflow

DO = {"do": [{"ask": "one"}, {"checkpoint": "first"}, {"ask": "two"}, {"ask": "three"}]}


def asked(s: Stage) -> list[str]:
    return [call.body["messages"][0]["content"] for call in s.provider.calls]


def index_of(entries: list[Entry], kind: type[Any], number: int = 0) -> int:
    return [entry.index for entry in entries if isinstance(entry.event, kind)][number]


async def test_a_fork_at_a_checkpoint_goes_on_from_there(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        origin = await s.submit(workflow(agent("doer")), dict(DO))
        await s.result(origin)
        before = await s.journal(origin)
        fork = await s.client.fork(origin, index_of(before, StepCompleted))
        assert await s.result(fork) == {"heard": ["echo: one", "echo: two", "echo: three"]}
        assert asked(s) == ["one", "two", "three", "two", "three"]
        assert await s.journal(origin) == before
        view = await s.client.view(fork)
    assert view.row.origin == f"{origin}@{index_of(before, StepCompleted)}"
    assert view.row.workflow == "tested"


async def test_a_fork_in_mid_step_is_given_what_was_answered_before(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        origin = await s.submit(workflow(agent("doer")), dict(DO))
        await s.result(origin)
        before = await s.journal(origin)
        # After the answer to "two", in the middle of the second step.
        fork = await s.client.fork(origin, index_of(before, CallCompleted, 1))
        assert await s.result(fork) == {"heard": ["echo: one", "echo: two", "echo: three"]}
        assert asked(s) == ["one", "two", "three", "three"]
        assert await s.journal(origin) == before


async def test_the_past_is_forced_and_the_first_live_request_carries_the_change(
    tmp_path: Path,
) -> None:
    async with stage(tmp_path) as s:
        origin = await s.submit(workflow(agent("doer")), dict(DO))
        await s.result(origin)
        before = await s.journal(origin)
        fork = await s.client.fork(
            origin,
            index_of(before, CallCompleted, 1),
            {"inputs.do.2.ask": "two, but better", "inputs.do.3.ask": "three, but better"},
        )
        # The second request differs now; by its ordinal it is answered from the past all the same.
        assert await s.result(fork) == {
            "heard": ["echo: one", "echo: two", "echo: three, but better"]
        }
        assert asked(s) == ["one", "two", "three", "three, but better"]
        assert await s.journal(origin) == before


async def test_a_changed_definition_is_what_the_fork_runs_on(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        flow = workflow(agent("doer", output={"type": "object", "required": ["missing"]}))
        origin = await s.submit(flow, dict(DO))
        with pytest.raises(ExecutionFailed, match="missing"):
            await s.result(origin)
        before = await s.journal(origin)
        at = index_of(before, CallCompleted, 2)
        fork = await s.client.fork(origin, at, {"agents.doer.output.required": ["heard"]})
        await s.result(fork)
        assert asked(s) == ["one", "two", "three"]
        assert await s.journal(origin) == before
        created = (await s.journal(fork))[0].event
    assert created.digest != before[0].event.digest  # pyright: ignore


async def test_a_fork_from_the_beginning_with_other_inputs_shares_nothing(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        origin = await s.submit(workflow(agent("doer")), dict(DO))
        await s.result(origin)
        fork = await s.client.fork(origin, 1, {"inputs.do": [{"ask": "else"}]})
        assert await s.result(fork) == {"heard": ["echo: else"]}
        assert [type_of(e.event) for e in await s.journal(fork)][:2] == [
            "execution.created",
            "attempt.started",
        ]


async def test_a_fork_does_not_run_the_tools_of_its_past_again(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        with gate() as till:
            till.open()
            pay = {"tool": "pay", "with": {"till": till.name, "amount": 3}}
            origin = await s.do(pay, {"ask": "x"})
            await s.result(origin)
            before = await s.journal(origin)
            fork = await s.client.fork(origin, index_of(before, CallCompleted))
            assert await s.result(fork) == {"heard": [3, "echo: x"]}
            assert len(till.notes) == 1
            # A tool call of the fork's own is another effect than its origin's.
            afresh = await s.client.fork(origin, index_of(before, CallIntended))
            await s.result(afresh)
            assert len(set(till.notes)) == len(till.notes) == 2


async def test_a_fork_may_change_what_an_agent_handed_on(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        flow = workflow(agent("one", "wordy"), agent("two", "gather"))
        origin = await s.submit(flow, {"answer": {"apr": 1}})
        result: Any = await s.result(origin)
        assert result["from"] == {"one": {"apr": 1}}
        entries = await s.journal(origin)
        (at,) = [e.index for e in entries if type_of(e.event) == "agent.completed"][:1]
        fork = await s.client.fork(origin, at, {"outputs.one.apr": 9})
        result = await s.result(fork)
        assert result["from"] == {"one": {"apr": 9}}


async def test_a_fork_of_a_fork_keeps_its_own_past(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        origin = await s.submit(workflow(agent("doer")), dict(DO))
        await s.result(origin)
        entries = await s.journal(origin)
        first = await s.client.fork(origin, index_of(entries, CallCompleted, 1))
        await s.result(first)
        entries = await s.journal(first)
        at = index_of(entries, CallCompleted, 1)
        second = await s.client.fork(first, at)
        assert (await s.client.view(second)).row.origin == f"{first}@{at}"
        assert await s.result(second) == await s.result(origin)
    assert asked(s) == ["one", "two", "three", "three"]


async def test_a_fork_of_which_nothing_is_left_to_do_is_refused(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        origin = await s.do({"ask": "x"})
        await s.result(origin)
        last = (await s.client.view(origin)).row.last_index
        for at in (last - 1, last):
            with pytest.raises(InputError, match="fork from an earlier index"):
                await s.client.fork(origin, at)


async def test_a_fork_survives_the_death_of_its_worker(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        with gate() as held:
            do = [*DO["do"][:3], {"hold": held.name}, DO["do"][3]]
            origin = await s.submit(workflow(agent("doer")), {"do": do})  # pyright: ignore
            await s.until(origin, "call.completed", times=2)
            at = (await s.client.view(origin)).row.last_index
            await held.reached()
            fork = await s.client.fork(origin, at, {"inputs.do.2.ask": "changed"})
            await held.reached(2)
            s.kill()
            await held.reached(4)
            held.open()
            assert (await s.result(fork)) == await s.result(origin)
    assert asked(s) == ["one", "two", "three", "three"]


@pytest.mark.parametrize(
    ("at", "changes", "reason"),
    [
        (0, {}, "journal indexes 1 to"),
        (10_000, {}, "journal indexes 1 to"),
        (1, {"nothing.at.all": 1}, "must begin with inputs., agents. or outputs."),
        (1, {"agents.nobody.model": "a/b"}, "there is no item 'nobody'"),
        (1, {"outputs.doer": 1}, "the agents with an output to change are none"),
        (1, {"inputs..do": 1}, "not a dotted path"),
    ],
)
async def test_a_fork_that_cannot_be_says_why(
    tmp_path: Path, at: int, changes: dict[str, Any], reason: str
) -> None:
    async with stage(tmp_path) as s:
        origin = await s.submit(workflow(agent("doer")), {"do": []})
        await s.result(origin)
        with pytest.raises(InputError, match=reason):
            await s.client.fork(origin, at, changes)


async def test_a_change_that_spoils_the_definition_or_the_inputs_is_refused(
    tmp_path: Path,
) -> None:
    flow = workflow(
        agent("doer"), inputs={"type": "object", "properties": {"do": {"type": "array"}}}
    )
    async with stage(tmp_path) as s:
        origin = await s.submit(flow, {"do": []})
        await s.result(origin)
        with pytest.raises(DefinitionError, match="timeout_s"):
            await s.client.fork(origin, 1, {"agents.doer.timeout_s": -1})
        with pytest.raises(InputError, match="do"):
            await s.client.fork(origin, 1, {"inputs.do": "nothing"})
    assert json.dumps(flow.to_data())
