"""SIGKILL of every part of a runtime on a real Ray, one after the other, in one execution."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from omium.execution.events import AttemptEnded, AttemptStarted
from omium.storage.journal import Journal
from omium.storage.replica import FILE_NAME
from omium.testing.scripted import Answer, Rule, ScriptedProvider
from tests.cli.programs import Start, json_lines, programs

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

FAULTS = (
    ("worker", "call.intended", "after"),
    ("worker", "call.completed", "before"),
    ("coordinator", "step.completed", "after"),
    ("gateway", "call.completed", "after"),
    ("coordinator", "call.intended", "before"),
    ("driver", "step.completed", "before"),
    ("node", "agent.completed", "before"),
)
"""What is killed at which event, in order; the last two end the driver too."""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with programs(tmp_path) as starter:
        yield starter


def test_nothing_is_lost_or_repeated_whatever_is_killed(start: Start, tmp_path: Path) -> None:
    data, log = tmp_path / "data", tmp_path / "log"
    faults = [
        {"target": target, "event": event, "when": when, "marker": str(tmp_path / f"fault{i}")}
        for i, (target, event, when) in enumerate(FAULTS)
    ]
    workflow = tmp_path / "diligent.json"
    workflow.write_text(json.dumps(definition()))
    with ScriptedProvider([Rule(answer=Answer(content="an answer", delay_s=0.05))]) as provider:
        env = {
            "OPENAI_BASE_URL": provider.base_url,
            "OPENAI_API_KEY": "k",
            "OMIUM_FAULTS": json.dumps(faults),
        }
        where = ("--data-dir", data, "--json")
        told: list[dict[str, Any]] = []
        lines: list[dict[str, Any]] = []
        life = start("run", workflow, "--input", f"log={log}", *where, **env)
        for _ in range(3):
            life.wait()
            lines = json_lines(life.stdout)
            told += [line for line in lines if line.get("index")]
            if lines and lines[-1].get("status") == "completed":
                break
            life = start("resume", "last", *where, **env)
        assert lines[-1]["output"] == {"done": ["an answer"] * 3}, life.stderr
        assert [m.name for m in sorted(tmp_path.glob("fault*"))] == [
            f"fault{number}" for number in range(len(FAULTS))
        ]
        asked = len(provider.calls)

    journal = Journal.open(data / FILE_NAME)
    (row,) = journal.executions()
    entries = list(journal.all_entries(row.id))
    journal.close()
    assert row.status == "completed"
    # Each call has at least one intent; what was answered and recorded was not asked again.
    assert asked <= row.llm_calls
    assert len({line.split()[0] for line in log.read_text().splitlines()}) == 3
    # What a driver was told is what the journal holds.
    kept = {entry.index: entry.event.__struct_config__.tag for entry in entries}
    assert all(kept[line["index"]] == line["type"] for line in told)
    # Every attempt but the last ended, and no epoch was given twice.
    epochs = [e.event.epoch for e in entries if isinstance(e.event, AttemptStarted)]
    assert epochs == sorted(set(epochs))
    assert any(isinstance(entry.event, AttemptEnded) for entry in entries)


def definition() -> dict[str, Any]:
    return {
        "name": "diligent",
        "version": "1",
        "model": "openai/small",
        "tools": [{"name": "note", "function": "tests.runtime.agents:note", "idempotent": True}],
        "agents": [
            {
                "name": "diligent",
                "framework": "python",
                "entrypoint": "tests.runtime.agents:diligent",
                "tools": ["note"],
            }
        ],
    }
