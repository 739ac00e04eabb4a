"""Teams whose members have processes of their own, which die."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from omium.definitions import Workflow, workflow_from
from omium.errors import ExecutionFailed, ExecutionPaused
from omium.testing.script import Answer, Rule
from tests.frameworks.apart_host import ProcessHosts
from tests.frameworks.autogen_stage import (
    AUTOGEN,
    asked,
    assistant,
    call,
    events_of,
    failure,
    of_component,
    own_team,
    scopes_of,
    steps_of,
    team,
    team_stage,
    texts,
    workflow,
)
from tests.frameworks.killed import KILLED

pytestmark = [*AUTOGEN, *KILLED]

HERE = "tests.frameworks.apart_tools"
START_S = 120.0
"""Each process imports AutoGen, on a machine that may have other things to do."""


def booking(notes: Path, *, idempotent: bool, turns: int = 2, **fields: Any) -> Workflow:
    """A writer who books and then dies of a tool, and a critic, in two turns, who books."""
    tools = [
        {"name": "booked", "function": f"{HERE}:booked"},
        {"name": "deadly", "function": f"{HERE}:deadly", "idempotent": idempotent},
    ]
    pair = team(
        "RoundRobinGroupChat",
        *(
            assistant(name, tools=["booked", "deadly"], max_tool_iterations=4)
            for name in ("writer", "critic")[:turns]
        ),
        max_turns=turns,
    )
    fields = {"isolation": "member", "task": f"Book in {notes} .", **fields}
    agent = of_component(pair, tools=["booked", "deadly"], **fields)
    return workflow_from({"name": "tested", "version": "1", "tools": tools, "agents": [agent]})


def act(body: dict[str, Any]) -> Answer:
    said = texts(body)
    file = said.split("in ")[1].split()[0]
    results = sum(message["role"] == "tool" for message in body["messages"])
    if results == 0:
        return call("booked", file=file)
    if "I am writer." in said:
        return call("deadly", file=file) if results == 1 else Answer(content="a draft")
    return Answer(content="APPROVE")


@pytest.mark.timeout(180)
async def test_a_member_that_dies_in_its_turn_goes_on_where_it_was(tmp_path: Path) -> None:
    hosts, notes = ProcessHosts(), tmp_path / "notes"
    async with team_stage(tmp_path / "data", [Rule(answer=act)], hosts=hosts) as s:
        execution_id = await s.submit(booking(notes, idempotent=True))
        assert await s.client.result(execution_id, timeout_s=START_S) == "APPROVE"
        entries = await s.journal(execution_id)
        requests = [json.dumps(body, sort_keys=True) for body in asked(s)]
    ends = [event.end for event in events_of(entries, "attempt.ended")]
    assert ends[0] == "worker_lost" and len(events_of(entries, "attempt.started")) == 2
    assert steps_of(entries) == [("0", "writer"), ("1", "critic")]
    # Neither the tool that had ended nor a call to the model was made again.
    (writers, key), (critics, other) = [line.split() for line in notes.read_text().splitlines()]
    assert key != other and len(requests) == len(set(requests)) == 5
    # Two in each attempt, each member in its own, and none is left.
    assert len(hosts.started) == 4 and hosts.running == {}
    assert writers in map(str, hosts.started[:2]) and critics in map(str, hosts.started[2:])
    assert str(os.getpid()) not in (writers, critics)


@pytest.mark.timeout(180)
async def test_a_tool_that_a_member_died_in_has_no_known_end(tmp_path: Path) -> None:
    hosts, notes = ProcessHosts(), tmp_path / "notes"
    async with team_stage(tmp_path / "data", [Rule(answer=act)], hosts=hosts) as s:
        execution_id = await s.submit(booking(notes, idempotent=False, turns=1))
        with pytest.raises(ExecutionPaused):
            await s.client.result(execution_id, timeout_s=START_S)
        entries = await s.journal(execution_id)
        assert [event.key.name for event in events_of(entries, "call.intended")][-1] == "deadly"
        assert events_of(entries, "call.failed") == []
    assert hosts.running == {}


@pytest.mark.parametrize("isolation", [None, "member"])
async def test_calls_stand_in_the_same_places(tmp_path: Path, isolation: str | None) -> None:
    """Members in one process and apart: the journal cannot tell."""
    notes = tmp_path / "notes"
    (tmp_path / "notes.dead").touch()
    async with team_stage(tmp_path / "data", [Rule(answer=act)]) as s:
        execution_id = await s.submit(booking(notes, idempotent=True, isolation=isolation))
        assert await s.result(execution_id) == "APPROVE"
        scopes = scopes_of(await s.journal(execution_id))
    assert scopes == ["0|writer"] * 5 + ["1|critic"] * 3


@pytest.mark.parametrize(
    ("function", "kind", "told"),
    [
        ("raising", "agent", "KeyError: 'the vault'"),
        ("lone", "entrypoint", "'isolation: member' is for a team"),
        ("with_one_in_common", "entrypoint", "is a part of another member too"),
    ],
)
async def test_what_cannot_be_is_told(
    tmp_path: Path, point: Any, function: str, kind: str, told: str
) -> None:
    async with team_stage(tmp_path) as s:
        point(s)
        execution_id = await s.submit(workflow(own_team(function, isolation="member")))
        with pytest.raises(ExecutionFailed):
            await s.result(execution_id)
        said = await failure(s, execution_id)
    assert said.kind == kind and told in said.message
