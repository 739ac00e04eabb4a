"""``cancel``, ``resume`` and ``fork`` as far as they go without Ray, and completion."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from omium.cli.records import known_ids
from omium.config import load_settings
from omium.errors import CorruptRecord
from omium.execution.events import Cancelled
from omium.runtime.endpoint import Endpoint, is_owned, live_endpoint, publish, withdraw
from omium.storage.journal import Journal
from omium.testing.runtime import InProcessRuntime
from tests.cli.conftest import Omium, workflow_of


def test_cancel_where_nothing_runs(omium: Omium, data_dir: Path) -> None:
    shown = omium("cancel", "ex_0004", "--data-dir", data_dir)
    assert (shown.exit_code, shown.stdout) == (0, "ex_0004 is cancelled\n")
    journal = Journal.open(data_dir / "replica.sqlite")
    assert journal.entries("ex_0004")[-1].event == Cancelled(by="cli")
    journal.close()
    again = omium("cancel", "ex_0004", "--data-dir", data_dir)
    assert (again.exit_code, again.stdout) == (0, "ex_0004 was cancelled already\n")
    shown = omium("result", "ex_0004", "--data-dir", data_dir)
    assert (shown.exit_code, shown.stderr) == (5, "error: ex_0004: cancelled\n")


def test_signal_and_interrupt_where_nothing_runs(omium: Omium, data_dir: Path) -> None:
    here = ("--data-dir", data_dir)
    assert omium("signal", "ex_0004", "hello", "[1]", *here).stdout == "ex_0004 was sent hello\n"
    last = json.loads(omium("logs", "ex_0004", "--json", *here).stdout.splitlines()[-1])
    assert (last["type"], last["payload"]) == ("execution.signalled", {"inline": [1]})
    paused = omium("interrupt", "ex_0004", *here)
    assert paused.exit_code == 2
    assert paused.stderr == "error: ex_0004 is running, and nobody works on it\n"
    late = omium("signal", "ex_0001", "hello", *here)
    assert (late.exit_code, "completed execution" in late.stderr) == (2, True)


def test_watch_and_logs_where_nothing_runs(omium: Omium, history: Path) -> None:
    here = ("--data-dir", history)
    plain = omium("logs", "ex_0003", *here)
    assert plain.stdout.splitlines()[-1] == (
        "    6.000 s  execution paused  outcome_unknown: nobody knows how call 3 ended"
    )
    done = omium("watch", "ex_0001", "--quiet", *here)
    assert (done.exit_code, json.loads(done.stdout)) == (0, {"reached": 1})
    left = omium("watch", "ex_0004", "--quiet", *here)
    assert left.exit_code == 2
    assert left.stderr == (
        "error: ex_0004 is running, and nobody works on it\n"
        f"go on with: omium resume ex_0004 --data-dir {history}\n"
    )
    assert omium("logs", "ex_0004", "--follow", *here).exit_code == 2


def test_what_has_ended_cannot_be_cancelled(omium: Omium, history: Path) -> None:
    shown = omium("cancel", "ex_0001", "--data-dir", history)
    assert shown.exit_code == 2
    assert shown.stderr == "error: ex_0001 is completed: there is nothing left to cancel\n"


async def test_cancel_reaches_the_runtime_at_work(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    data = tmp_path / "data"
    async with InProcessRuntime(data) as runtime:
        execution_id = await runtime.client.submit(
            workflow_of("waiting", "gated"), {"gate": str(gate)}
        )
        publish(
            data,
            Endpoint(
                host="127.0.0.1",
                port=runtime.address[1],
                secret=runtime.secret.hex(),
                pid=os.getpid(),
            ),
        )
        # A process of its own: this one's event loop has to answer it.
        process = await _omium("cancel", execution_id, "--data-dir", str(data))
        assert process == (0, f"{execution_id} is cancelled\n", "")
        assert (await runtime.client.view(execution_id)).status == "cancelled"


async def _omium(*arguments: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "omium", *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


def test_resume_of_a_completed_execution_prints_its_result(omium: Omium, history: Path) -> None:
    shown = omium("resume", "ex_0001", "--data-dir", history)
    assert shown.exit_code == 0
    assert shown.stdout == '{\n  "reached": 1\n}\n'
    assert shown.stderr == "ex_0001 has completed already, with 2 checkpoints\n"
    line = json.loads(omium("resume", "ex_0001", "--json", "--data-dir", history).stdout)
    assert (line["type"], line["status"], line["checkpoints"]) == ("result", "completed", 2)


def test_resume_needs_a_decision(omium: Omium, history: Path) -> None:
    shown = omium("resume", "ex_0003", "--data-dir", history)
    assert shown.exit_code == 4
    assert shown.stderr == (
        "error: ex_0003: nobody knows how call 3 ended; decide with: omium resume ex_0003 "
        f"--data-dir {history} --decide retry | fail | answer --answer JSON\n"
    )
    for arguments, error in (
        (("--decide", "maybe"), "--decide 'maybe': expected retry, answer, fail, approve, deny"),
        (("--decide", "answer"), "--decide answer goes with --answer"),
        (("--decide", "retry", "--answer", "1"), "retry and answer at once"),
        (("--approve",), "ex_0003 waits for a decision about tool call 'send'"),
        (("--deny", "--call", "2"), "ex_0003 waits for no answer to call 2"),
        (("--decide", "answer", "--answer", "{"), "--answer '{' is not JSON: "),
    ):
        shown = omium("resume", "ex_0003", *arguments, "--data-dir", history)
        assert shown.exit_code == 2
        assert shown.stderr.startswith(f"error: {error}")


def test_fork_at_a_point_that_is_not_there(omium: Omium, history: Path) -> None:
    shown = omium("fork", "ex_0001", "--at", "9", "--data-dir", history)
    assert shown.exit_code == 2
    assert shown.stderr == "error: ex_0001 has journal indexes 1 to 8, not 9\n"


def test_ids_and_statuses_are_completed(history: Path, tmp_path: Path) -> None:
    settings = load_settings({"data_dir": history})
    assert known_ids(settings, "ex_000")[0] == ("ex_0004", "sending interrupted")
    assert [name for name, _ in known_ids(settings, "ex_0002")] == ["ex_0002"]
    assert known_ids(load_settings({"data_dir": tmp_path}), "") == []
    typed = f"omium show --data-dir {history} ex_000"
    env = {**os.environ, "_OMIUM_COMPLETE": "complete_bash", "COMP_CWORD": "4", "COMP_WORDS": typed}
    done = subprocess.run(
        [sys.executable, "-c", "from omium.cli import main; main()"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["ex_0004", "ex_0003", "ex_0002", "ex_0001"]


def test_the_endpoint_is_its_owners_alone(data_dir: Path) -> None:
    mine = Endpoint(host="127.0.0.1", port=1, secret="00", pid=os.getpid())
    publish(data_dir, mine)
    path = data_dir / "endpoint.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "secret" not in repr(mine)
    assert not is_owned(data_dir)
    # A file without an owner of the data directory was left behind by a killed runtime.
    assert live_endpoint(data_dir) is None
    withdraw(data_dir, Endpoint(host="127.0.0.1", port=2, secret="00", pid=1))
    assert path.exists()
    withdraw(data_dir, mine)
    assert not path.exists()


async def test_a_damaged_endpoint_is_named(tmp_path: Path) -> None:
    async with InProcessRuntime(tmp_path):
        (tmp_path / "endpoint.json").write_text("{")
        with pytest.raises(CorruptRecord, match=r"endpoint\.json"):
            live_endpoint(tmp_path)
