"""A process that owns a replica and commits until it is killed: run by the crash tests.

``python -m tests.storage.replica_child DIRECTORY loop|some|hold`` writes one line to standard
output for each commit that returned: the number of the batch.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from omium.execution import events as ev
from omium.execution.records import Payload, PlannedAgent
from omium.storage.replica import Replica, Written
from omium.types import DEFAULT_TENANT, ExecutionId

SOME = 5
LEDGER = ExecutionId("exe_ledger")
# Large enough that a few hundred batches reach SQLite's checkpoint of the log.
_PADDING = "x" * 2_000


def created(inputs: int = 0, workflow: str = "w") -> ev.Created:
    return ev.Created(
        tenant=DEFAULT_TENANT,
        workflow=workflow,
        version="1",
        digest="d",
        definition=Payload(inline=_PADDING),
        inputs=Payload(inline=inputs),
        plan=(PlannedAgent(name="a"),),
    )


def batch(number: int) -> list[ev.Append]:
    """Batch ``number``: two entries in the ledger and an execution of its own, whole or not
    at all."""
    steps = tuple(ev.StepStarted(agent="a", step=f"{number}.{part}") for part in (1, 2))
    return [
        ev.Append(execution_id=LEDGER, events=steps, at_ms=number),
        ev.Append(execution_id=own(number), events=(created(number),), at_ms=number),
    ]


def own(number: int) -> ExecutionId:
    return ExecutionId(f"exe_{number:06d}")


def begin(replica: Replica) -> None:
    """Create the ledger, batch 0."""
    replica.commit([ev.Append(execution_id=LEDGER, events=(created(),), at_ms=0)])


def written_batches(replica: Replica) -> int:
    """How many batches the replica holds. Fails when one is there in part."""
    entries = [*replica.journal.all_entries(LEDGER)]
    steps = [entry.event.step for entry in entries if isinstance(entry.event, ev.StepStarted)]
    count = len(steps) // 2
    assert steps == [f"{n}.{part}" for n in range(1, count + 1) for part in (1, 2)]
    listed: list[str] = []
    while page := replica.journal.executions(limit=500, before=listed[-1] if listed else None):
        listed += [row.id for row in page]
    assert sorted(listed) == sorted([LEDGER, *map(own, range(1, count + 1))])
    for number in range(1, count + 1):
        (entry,) = replica.journal.entries(own(number))
        assert entry.event == created(number)
    return count


def main(arguments: Sequence[str]) -> None:
    directory, mode = arguments
    replica = Replica.open(Path(directory), owner=f"child {os.getpid()}")
    if replica.state(LEDGER) is None:
        begin(replica)
    done = written_batches(replica)
    _say(done)
    if mode == "hold":
        sys.stdin.read()
        return
    while mode == "loop" or done < SOME:
        done += 1
        outcomes = replica.commit(batch(done))
        assert all(isinstance(outcome, Written) for outcome in outcomes), outcomes
        _say(done)
    replica.close()


def _say(number: int) -> None:
    os.write(sys.stdout.fileno(), f"{number}\n".encode())


if __name__ == "__main__":
    main(sys.argv[1:])
