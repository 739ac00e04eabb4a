"""What the disks and the provider say afterwards, held against one another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.crash_count import PROVIDERS_MODEL, count_calls
from benchmarks.handoff_count import Tally
from omium.actors.group.opening import seat_folder
from omium.execution.events import CallIntended, Entry
from omium.storage.journal import Journal
from omium.storage.replica import FILE_NAME
from omium.testing.call_log import RecordedCall
from omium.testing.script import request_digest


@dataclass(frozen=True, kw_only=True)
class Counted:
    """``executions`` in all, those that ``completed``, and the calls as ``CallTally`` has them.
    ``seats`` is how many of the disks hold all of it; none may hold anything else. ``handoffs`` are
    those of the executions whose agents check what they are handed."""

    executions: int
    completed: int
    repeated_calls: int
    in_flight_retried: int
    sent_retried: int
    seats: int
    handoffs: Tally
    problems: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Disk:
    """What a seat's disk holds: the status of each execution and its journal, by id."""

    statuses: Mapping[str, str]
    entries: Mapping[str, Sequence[Entry]]

    @property
    def length(self) -> int:
        return sum(map(len, self.entries.values()))


def counted(
    disks: Mapping[int, Disk],
    calls: Sequence[RecordedCall],
    gateway_killed_ms: Sequence[int],
    told: Mapping[str, Any],
) -> Counted:
    """Hold the ``disks`` that can be read, by seat, and the ``calls`` that reached the provider
    together, and with what clients were ``told`` of the executions with checked handoffs, by
    id."""
    nothing = Disk(statuses={}, entries={})
    longest = max(disks.values(), key=lambda disk: disk.length, default=nothing)
    problems = [
        f"seat {seat} holds what the longest journal does not"
        for seat, disk in disks.items()
        if any(
            own != longest.entries.get(name, ())[: len(own)] for name, own in disk.entries.items()
        )
    ]
    problems += [] if disks else ["the disk of no seat can be read"]
    asked: defaultdict[str, list[RecordedCall]] = defaultdict(list)
    for call in calls:
        asked[call.digest].append(call)
    repeated = retried = sent = 0
    for own in longest.entries.values():
        digests = dict.fromkeys(
            _digest(entry.event) for entry in own if isinstance(entry.event, CallIntended)
        )
        mine = [call for digest in digests for call in asked.pop(digest, ())]
        tally = count_calls(own, mine, 0, gateway_killed_ms)
        repeated += tally.repeated
        retried += tally.in_flight_retried
        sent += tally.sent_retried
        problems += tally.problems
    handoffs = Tally()
    for name, result in told.items():
        handoffs.judge(longest.entries.get(name, ()), result)
    if asked:
        problems.append(f"the provider was asked {len(asked)} things that no journal knows of")
    return Counted(
        executions=len(longest.statuses),
        completed=sum(status == "completed" for status in longest.statuses.values()),
        repeated_calls=repeated,
        in_flight_retried=retried,
        sent_retried=sent,
        seats=sum(disk == longest for disk in disks.values()),
        handoffs=handoffs,
        problems=tuple(problems),
    )


def read_disk(data_dir: Path, seat: int) -> Disk:
    """Read the disk of a seat, when nobody writes it any more."""
    journal = Journal.open(seat_folder(data_dir, seat) / FILE_NAME)
    try:
        statuses: dict[str, str] = {}
        while rows := journal.executions(limit=1_000, before=min(statuses, default=None)):
            statuses |= {row.id: row.status for row in rows}
        entries = {name: list(journal.all_entries(name)) for name in statuses}
        return Disk(statuses=statuses, entries=entries)
    finally:
        journal.close()


def _digest(event: CallIntended) -> str:
    body = event.request.inline
    if not isinstance(body, dict):
        raise TypeError(f"call {event.key.name!r} was to be small enough for the journal")
    return request_digest({**body, "model": PROVIDERS_MODEL})
