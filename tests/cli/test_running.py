"""The program end to end: real processes, a real Ray, a scripted model provider."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from omium.testing.scripted import Answer, Rule, Script, ScriptedProvider
from tests.cli.programs import Program, Start, json_lines, listens, programs, wait_for

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

RAY_NOISE = ("SIGTERM", "Token authentication", "(raylet)", "ray::", "Traceback")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with programs(tmp_path) as starter:
        yield starter


def write_workflow(directory: Path, **agent: Any) -> Path:
    path = directory / f"{agent.get('name', 'worker')}.json"
    definition = {
        "name": "working",
        "version": "1",
        "tools": [{"name": "add", "function": "tests.cli.agents:add", "idempotent": True}],
        "agents": [
            {
                "name": "worker",
                "framework": "python",
                "entrypoint": "tests.cli.agents:work",
                "tools": ["add"],
                "model": "openai/small",
                **agent,
            }
        ],
    }
    path.write_text(json.dumps(definition))
    return path


def test_interrupted_resumed_and_forked(start: Start, tmp_path: Path) -> None:
    data, gate = tmp_path / "data", tmp_path / "gate"
    answer = Rule(answer=Answer(content="good day", prompt_tokens=7, completion_tokens=3))
    with ScriptedProvider([answer]) as provider:
        env = {"OPENAI_BASE_URL": provider.base_url, "OPENAI_API_KEY": "k"}
        workflow = write_workflow(tmp_path)
        where = ("--data-dir", data)

        first = start("run", workflow, "--input", f"gate={gate}", "--json", *where, **env)
        first.until("stdout", '"step.completed"')
        endpoint = json.loads((data / "endpoint.json").read_text())
        assert listens(endpoint["host"], endpoint["port"])
        assert {"raylet", "gcs_server"} <= {one.name() for one in first.descendants()}

        second = start("run", workflow, "--input", f"gate={gate}", *where, **env)
        assert second.wait() == 8
        assert second.stderr == (
            f"error: data directory '{data}' is in use by omium (process {first.pid}); "
            "wait for it, or choose another with --data-dir\n"
        )
        listed = start("ps", "--json", *where)
        assert listed.wait() == 0
        (row,) = json.loads(listed.stdout)
        assert (row["status"], row["interrupted"], row["checkpoints"]) == ("running", False, 1)
        execution = row["id"]

        # As a terminal does it, to all at once, and again by somebody who cannot wait.
        first.signal(signal.SIGINT)
        first.signal(signal.SIGINT)
        assert first.wait() == 130
        assert first.stderr.endswith(
            f"interrupted; go on with: omium resume {execution} --data-dir {data}\n"
        )
        assert not [line for line in first.stderr.splitlines() if line.startswith(RAY_NOISE)]
        assert first.left() == []
        assert not listens(endpoint["host"], endpoint["port"])
        assert not (data / "endpoint.json").exists()
        events = json_lines(first.stdout)
        assert events[0]["type"] == "execution.created"
        assert (events[-1]["type"], events[-1]["interrupted"]) == ("result", True)

        # The worker may have gone first: then the end of its attempt is on record, too.
        shown = start("show", execution, "--json", *where)
        assert shown.wait() == 0
        last = json.loads(shown.stdout)["last_index"]
        assert last - events[-2]["index"] in (0, 1)

        gate.touch()
        resumed = start("resume", execution[:-2], *where, **env)
        assert resumed.wait() == 0
        assert json.loads(resumed.stdout) == {"said": "good day", "total": 3}
        assert f"it goes on after index {last}\n" in resumed.stderr
        assert "calls: 1 LLM (7+3 tokens), 1 tool\n" in resumed.stderr
        assert resumed.left() == []

        checkpoint = next(e["index"] for e in events if e["type"] == "step.completed")
        forked = start("fork", "last", "--at", str(checkpoint), "--json", *where, **env)
        assert forked.wait() == 0
        *_, end = json_lines(forked.stdout)
        assert end["output"] == {"said": "good day", "total": 3}
        assert end["execution"] != execution
        assert (end["status"], end["checkpoints"]) == ("completed", 1)
        assert provider.received == 1
    assert not [p for p in (first, resumed, forked) if "error" in p.stderr]


def test_ray_dies_and_another_terminal_cancels(start: Start, tmp_path: Path) -> None:
    data, gate = tmp_path / "data", tmp_path / "gate"
    with ScriptedProvider() as provider:
        env = {"OPENAI_BASE_URL": provider.base_url, "OPENAI_API_KEY": "k"}
        where = ("--data-dir", data)
        run = start(
            "run", write_workflow(tmp_path), "--input", f"gate={gate}", "--json", *where, **env
        )
        run.until("stdout", '"step.completed"')
        (raylet,) = [one for one in run.descendants() if one.name() == "raylet"]
        raylet.kill()
        assert run.wait() == 1
        *_, end = json_lines(run.stdout)
        assert run.stderr.splitlines()[-2:] == [
            f"error: raylet (process {raylet.pid}) of the Ray node has died",
            f"go on with: omium resume {end['execution']} --data-dir {data}",
        ]
        assert end["error"]["kind"] == "unavailable"
        assert run.left() == []

        resumed = start("resume", "last", *where, **env)
        resumed.until("stderr", "worker: attempt started")
        cancelled = start("cancel", "last", "--json", *where)
        assert cancelled.wait() == 0
        assert resumed.wait() == 5
        assert resumed.stderr.endswith(f"error: {end['execution']}: cancelled\n")
        assert resumed.left() == []
    assert provider.received == 1


def test_a_tool_is_approved_in_another_process(start: Start, tmp_path: Path) -> None:
    ledger, where = tmp_path / "ledger", ("--data-dir", tmp_path / "data")
    ledger.touch()
    workflow = tmp_path / "paying.json"
    pay = {"name": "pay", "function": "tests.cli.agents:pay", "approval": "required"}
    agent = {"name": "a", "framework": "python", "entrypoint": "tests.cli.agents:pays"}
    definition = {"name": "paying", "version": "1", "tools": [pay]}
    workflow.write_text(json.dumps({**definition, "agents": [{**agent, "tools": ["pay"]}]}))

    run = start("run", workflow, "--input", f"ledger={ledger}", "--quiet", *where)
    assert run.wait() == 4
    assert "run tool 'pay' with " in run.stderr
    assert "--approve | --deny | --answer ARGUMENTS\n" in run.stderr
    assert ledger.read_text() == ""
    approved = start("resume", "last", "--approve", "--quiet", *where)
    assert approved.wait() == 0, approved.stderr
    assert json.loads(approved.stdout) == "paid 7"
    assert ledger.read_text() == "7\n"


def test_failures_have_exit_codes(start: Start, tmp_path: Path) -> None:
    with ScriptedProvider(script=Script(api_key="right")) as provider:
        runs: dict[str, Program] = {}
        codes: dict[str, int] = {}
        # One after the other: each starts a Ray of its own, which is work for all cores.
        for name, url, agent in (
            ("refused", provider.base_url, {}),
            ("unreachable", "http://127.0.0.1:9/v1", {}),
            ("broken", provider.base_url, {"entrypoint": "tests.cli.raises_on_import:f"}),
        ):
            runs[name] = start(
                "run",
                write_workflow(tmp_path, name=name, **agent),
                "--input",
                "gate=/",
                "--data-dir",
                tmp_path / f"data-{name}",
                OPENAI_BASE_URL=url,
                OPENAI_API_KEY="wrong",
            )
            codes[name] = runs[name].wait()
    assert codes == {"refused": 6, "unreachable": 6, "broken": 3}
    for name, error in (
        ("refused", "model_refused: model 'openai/small' refused with HTTP 401: "),
        ("unreachable", "model_unreachable: model 'openai/small' is unreachable: "),
        (
            "broken",
            "entrypoint: entrypoint 'tests.cli.raises_on_import:f': importing "
            "'tests.cli.raises_on_import' raised RuntimeError: no licence found",
        ),
    ):
        stderr = runs[name].stderr
        (line,) = [line for line in stderr.splitlines() if line.startswith("error: ")]
        execution, _, said = line.removeprefix("error: ").partition(": ")
        assert said.startswith(error)
        assert stderr.splitlines()[-1].startswith(
            f"no checkpoint yet; go on with: omium resume {execution} "
        )
        assert runs[name].stdout == ""


def test_sigterm_while_ray_starts(start: Start, tmp_path: Path) -> None:
    run = start("run", write_workflow(tmp_path), "--input", "gate=/", "--timeout", "60",
                "--data-dir", tmp_path / "data", OPENAI_API_KEY="k")  # fmt: skip
    wait_for(
        lambda: any(one.name() == "raylet" for one in run.descendants()), "no raylet was started"
    )
    run.signal(signal.SIGTERM, group=False)
    assert run.wait() == 143
    assert run.stderr.splitlines()[-1] == "terminated; nothing was started"
    assert run.left() == []
