"""``ps``, ``show``, ``checkpoints`` and ``result``, offline, letter by letter."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import sqlite3
from pathlib import Path

import pytest

from omium.clock import ManualClock
from omium.definitions import workflow_from
from omium.errors import ExecutionPaused
from omium.testing.runtime import InProcessRuntime
from tests.cli.conftest import START_MS, Omium


def test_ps_lists_the_newest_first(omium: Omium, history: Path) -> None:
    shown = omium("ps", "--data-dir", history)
    assert shown.exit_code == 0
    assert shown.stdout == (
        "EXECUTION  WORKFLOW  STATUS       AGENTS  CHECKPOINTS  LLM  TOOLS  TOKENS  "
        "CREATED               DETAIL\n"
        "ex_0004    sending   interrupted  0/1     1            0    0      0+0     "
        "2023-11-14T22:14:20Z\n"
        "ex_0003    sending   paused       0/1     0            0    1      0+0     "
        "2023-11-14T22:14:20Z  nobody knows how call 3 ended\n"
        "ex_0002    failing   failed       1/2     1            0    0      0+0     "
        "2023-11-14T22:13:20Z  ValueError: it does not work\n"
        "ex_0001    counting  completed    2/2     2            0    0      0+0     "
        "2023-11-14T22:13:20Z\n"
    )
    assert shown.stderr == ""


def _ids(omium: Omium, *arguments: str | Path) -> list[str]:
    return [row["id"] for row in json.loads(omium("ps", "--json", *arguments).stdout)]


def test_ps_filters(omium: Omium, history: Path) -> None:
    here = ("--data-dir", history)
    assert _ids(omium, "--status", "failed", "--status", "completed", *here) == [
        "ex_0002",
        "ex_0001",
    ]
    assert _ids(omium, "--status", "interrupted", *here) == ["ex_0004"]
    assert _ids(omium, "--workflow", "sending", *here) == ["ex_0004", "ex_0003"]
    assert _ids(omium, "--limit", "1", *here) == ["ex_0004"]
    assert len(_ids(omium, "--limit", "1", "--all", *here)) == 4


def test_what_a_live_process_works_on_is_running(omium: Omium, data_dir: Path) -> None:
    lock = os.open(data_dir / "replica.lock", os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert _ids(omium, "--status", "interrupted", "--data-dir", data_dir) == []
        shown = omium("ps", "--status", "running", "--json", "--data-dir", data_dir)
    finally:
        os.close(lock)
    (row,) = json.loads(shown.stdout)
    assert (row["status"], row["interrupted"]) == ("running", False)
    (row,) = json.loads(omium("ps", "--limit", "1", "--json", "--data-dir", data_dir).stdout)
    assert (row["status"], row["interrupted"]) == ("running", True)


def test_ps_of_nothing(omium: Omium, tmp_path: Path) -> None:
    assert omium("ps", "--data-dir", tmp_path / "new").stdout == "no executions\n"
    assert omium("ps", "--json", "--data-dir", tmp_path / "new").stdout == "[]\n"
    assert not (tmp_path / "new").exists()


def test_ps_of_an_unknown_status(omium: Omium, history: Path) -> None:
    shown = omium("ps", "--status", "done", "--data-dir", history)
    assert shown.exit_code == 2
    assert shown.stderr == (
        "error: --status 'done': expected one of queued, running, paused, completed, failed, "
        "cancelled, interrupted\n"
    )


def test_show(omium: Omium, history: Path) -> None:
    assert omium("show", "ex_0003", "--data-dir", history).stdout == (
        "execution  ex_0003\n"
        "workflow   sending 1\n"
        "status     paused\n"
        "created    2023-11-14T22:14:20Z, last event 6.00 s later\n"
        'inputs     {"to":9}\n'
        "used       0 LLM calls (0+0 tokens), 1 tool call, 1 attempt, 0 checkpoints\n"
        "paused     outcome_unknown: nobody knows how call 3 ended\n"
        "\n"
        "INDEX  TIME      AGENT  EVENT              DETAIL\n"
        "1      +0.000 s         execution.created  sending 1, 1 agent\n"
        "2      +1.500 s  a      attempt.started    attempt 1 on w_001 (first)\n"
        '3      +3.000 s  a      call.intended      tool send {"to":"you"}\n'
        "4      +4.500 s  a      attempt.ended      attempt 1 paused\n"
        "5      +6.000 s         execution.paused   outcome_unknown: nobody knows how call 3 "
        "ended\n"
    )


def test_show_of_a_failure(omium: Omium, history: Path) -> None:
    lines = omium("show", "ex_0002", "--data-dir", history).stdout.splitlines()
    assert "failure      agent: ValueError: it does not work" in lines
    assert lines[-1] == (
        "8      +0.000 s  b      execution.failed   agent: ValueError: it does not work"
    )


def test_show_of_votes(omium: Omium, tmp_path: Path) -> None:
    names = [f"tests.actors.validating:{name}" for name in ("small", "even")]
    giver = {"name": "a", "framework": "python", "entrypoint": "tests.actors.handing:give"}
    flow = workflow_from(
        {
            "name": "voted",
            "version": "1",
            "agents": [giver, {**giver, "name": "b"}],
            "handoffs": [{"from": "a", "to": "b", "validators": names}],
        }
    )

    async def rejected() -> str:
        async with InProcessRuntime(tmp_path, clock=ManualClock(START_MS)) as runtime:
            execution_id = await runtime.client.submit(flow, {"values": [{"rate": 3}]})
            with pytest.raises(ExecutionPaused):
                await runtime.client.result(execution_id, timeout_s=20)
            return execution_id

    shown = omium("show", asyncio.run(rejected()), "--data-dir", tmp_path).stdout
    small, even = names
    why = "an even number was asked for"
    assert f"handoff      a#1>b: rejected ({small} for, {even} against): {even}: {why}" in shown
    told = [line.split(maxsplit=5)[4:] for line in shown.splitlines()]
    assert ["handoff.voted", f"a#1>b, {small} for"] in told
    assert ["handoff.voted", f"a#1>b, {even} against: {why}"] in told
    assert ["handoff.rejected", f"a#1>b: {even} {why}"] in told


def test_show_full(omium: Omium, history: Path) -> None:
    lines = omium("show", "last", "--full", "--data-dir", history).stdout.splitlines()
    assert lines[-4:] == [
        "3  +3.000 s  a  step.completed",
        "    step: 0",
        '    state: {"n":1}',
        "    name: one",
    ]


def test_show_json(omium: Omium, history: Path) -> None:
    shown = json.loads(omium("show", "ex_0001", "--json", "--data-dir", history).stdout)
    assert shown["outputs"] == {"a": {"reached": 1}, "b": {"reached": 1}}
    assert [event["type"] for event in shown["events"]] == [
        "execution.created",
        "attempt.started",
        "step.completed",
        "agent.completed",
        "attempt.started",
        "step.completed",
        "agent.completed",
        "execution.completed",
    ]


def test_checkpoints(omium: Omium, history: Path) -> None:
    assert omium("checkpoints", "ex_0001", "--data-dir", history).stdout == (
        "INDEX  AGENT  STEP  NAME      SIZE  TIME\n"
        "3      a      0     number 1  1 B   +0.000 s\n"
        "6      b      0     number 1  1 B   +0.000 s\n"
    )
    state = omium("checkpoints", "ex_0004", "--at", "3", "--data-dir", history)
    assert json.loads(state.stdout) == {"n": 1}
    missing = omium("checkpoints", "ex_0001", "--at", "4", "--data-dir", history)
    assert missing.exit_code == 2
    assert missing.stderr == "error: no checkpoint '4'; ex_0001 has 3, 6\n"


def test_result(omium: Omium, history: Path) -> None:
    assert omium("result", "ex_0001", "--data-dir", history).stdout == '{\n  "reached": 1\n}\n'
    for execution, code, error in (
        ("ex_0002", 3, "ex_0002: agent: ValueError: it does not work"),
        ("ex_0003", 4, "ex_0003: nobody knows how call 3 ended"),
        (
            "ex_0004",
            2,
            "ex_0004 is interrupted: 0 of 1 agents are done; go on with: omium resume ex_0004",
        ),
    ):
        shown = omium("result", execution, "--data-dir", history)
        assert (shown.exit_code, shown.stdout, shown.stderr) == (code, "", f"error: {error}\n")


def test_an_error_is_json_too(omium: Omium, history: Path) -> None:
    shown = omium("result", "ex_0003", "--json", "--data-dir", history)
    assert json.loads(shown.stdout) == {
        "type": "error",
        "kind": "execution_paused",
        "message": "ex_0003: nobody knows how call 3 ended",
        "exit_code": 4,
    }


def test_ids(omium: Omium, history: Path, tmp_path: Path) -> None:
    for name, error in (
        ("ex_0009", "no execution 'ex_0009'; `omium ps` lists what there is"),
        ("ex_", "no execution 'ex_'; more than one begins so"),
    ):
        shown = omium("show", name, "--data-dir", history)
        assert (shown.exit_code, shown.stderr) == (2, f"error: {error}\n")
    assert omium("show", "last", "--data-dir", tmp_path).stderr.startswith("error: no journal ")


def test_corruption_is_named(omium: Omium, data_dir: Path) -> None:
    with sqlite3.connect(data_dir / "replica.sqlite") as connection:
        connection.execute("UPDATE journal SET at_ms = 1 WHERE execution = 'ex_0001' AND idx = 3")
    connection.close()
    shown = omium("show", "ex_0001", "--data-dir", data_dir)
    assert shown.exit_code == 7
    assert shown.stderr == "error: corrupt record ex_0001@3: its checksum does not match\n"
