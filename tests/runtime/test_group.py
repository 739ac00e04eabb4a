"""Three coordinators on a real Ray, whose leader is killed while an execution runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from omium.actors.group.opening import recorded_group, seat_folder
from omium.execution.events import AttemptStarted
from omium.storage.group_store import GroupStore
from omium.storage.journal import Journal
from omium.storage.replica import FILE_NAME, Replica
from omium.testing.scripted import Answer, Rule, ScriptedProvider
from tests.cli.programs import Start, json_lines, programs
from tests.runtime.test_kills import definition

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

KILLS = (
    ("step.completed", "after"),
    ("call.intended", "before"),
    ("call.completed", "after"),
)
"""At which event the leader of the moment is killed, in order."""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with programs(tmp_path) as starter:
        yield starter


def test_nothing_is_lost_or_repeated_when_leaders_are_killed(start: Start, tmp_path: Path) -> None:
    data, log = tmp_path / "data", tmp_path / "log"
    faults = [
        {"target": "coordinator", "event": event, "when": when, "marker": str(tmp_path / f"f{n}")}
        for n, (event, when) in enumerate(KILLS)
    ]
    workflow = tmp_path / "diligent.json"
    workflow.write_text(json.dumps(definition()))
    with ScriptedProvider([Rule(answer=Answer(content="an answer", delay_s=0.05))]) as provider:
        env = {
            "OPENAI_BASE_URL": provider.base_url,
            "OPENAI_API_KEY": "k",
            "OMIUM_FAULTS": json.dumps(faults),
            "OMIUM_COORDINATORS": "3",
        }
        where = ("--data-dir", data, "--json")
        life = start("run", workflow, "--input", f"log={log}", *where, **env)
        life.wait()
        lines = json_lines(life.stdout)
        assert lines[-1]["output"] == {"done": ["an answer"] * 3}, life.stderr
        asked = len(provider.calls)
        again = start("run", workflow, "--input", f"log={log}", *where, **env)
        again.wait()
        assert json_lines(again.stdout)[-1]["status"] == "completed", again.stderr

    assert sorted(path.name for path in tmp_path.glob("f[0-9]")) == ["f0", "f1", "f2"]
    record = recorded_group(data)
    assert record is not None
    assert record.coordinators == 3
    journals = [whole(data, seat) for seat in (1, 2, 3)]
    longest = max(journals, key=len)
    # What a member has applied is what all have, as far as it has come. A majority has all of
    # it on disk; who follows may have ended before it applied the last of it.
    assert all(journal == longest[: len(journal)] for journal in journals)
    applied, logged = zip(*(reach(data, seat) for seat in (1, 2, 3)), strict=True)
    assert sum(last >= max(applied) for last in logged) >= 2
    first = [entry for entry in longest if entry["execution"] == longest[0]["execution"]]
    events = [entry["event"] for entry in first]
    assert asked == 3
    assert len({line.split()[0] for line in log.read_text().splitlines()}) == 6
    # Every kill cost a leader and no worker: the attempt went on.
    assert sum(isinstance(event, AttemptStarted) for event in events) == 1
    told = [line for line in lines if line.get("index")]
    assert [line["index"] for line in told] == [*range(1, len(told) + 1)]
    assert [entry["event"].__struct_config__.tag for entry in first] == [
        line["type"] for line in told
    ]


def reach(data: Path, seat: int) -> tuple[int, int]:
    """How far a seat has applied its log, and where its log ends."""
    folder = seat_folder(data, seat)
    replica = Replica.open(folder, owner="the test")
    try:
        store = GroupStore(replica, folder)
        return store.applied, store.storage.last_index()
    finally:
        replica.close()


def whole(data: Path, seat: int) -> list[dict[str, Any]]:
    """Every entry on the disk of a seat, the oldest execution first."""
    journal = Journal.open(seat_folder(data, seat) / FILE_NAME)
    try:
        return [
            {"execution": row.id, "index": entry.index, "event": entry.event}
            for row in reversed(journal.executions())
            for entry in journal.all_entries(row.id)
        ]
    finally:
        journal.close()
