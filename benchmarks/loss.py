"""The loss of every coordinator with its disk, in the middle of executions, and what comes back.

Three coordinators, their blobs and their archive on a real S3 server. While executions are at work
everything is killed, and the whole data directory is deleted. `omium restore` rebuilds it from the
archive, and another service goes on. Calls are counted at the provider and at the tool: an answer
that the archive holds must not be asked for again. What had not been shipped is lost; how much that
is, is read from the disks before they are deleted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.crash_count import digest_of
from benchmarks.machine import describe
from benchmarks.served import (
    CALLS_NAME,
    DATA_NAME,
    Served,
    environment_in,
    scripted_provider,
    started,
)
from omium.client import AsyncClient
from omium.execution.events import CallCompleted, CallIntended, Entry
from omium.storage.buckets import ensure_bucket
from omium.storage.journal import Journal
from omium.storage.replica import FILE_NAME
from omium.storage.sqlite import applied_in, open_reader
from omium.testing.call_log import read_calls
from omium.testing.seaweedfs import seaweedfs

COORDINATORS = 3
BUCKET = "omium-loss"
STEPS = 4
ANSWER_S = 1.0
POLL_S = 0.1
SHIPPED_TIMEOUT_S = 60.0
RESULT_TIMEOUT_S = 240.0
WORKFLOW: dict[str, Any] = {
    "name": "noting",
    "version": "1",
    "model": "openai/scripted",
    "tools": [{"name": "note", "function": "benchmarks.agents:note", "idempotent": True}],
    "agents": [
        {
            "name": "noter",
            "framework": "python",
            "entrypoint": "benchmarks.agents:notes",
            "tools": ["note"],
        }
    ],
}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of ``executions``: how many were in the archive (``executions_back``), of them
    ``unfinished_back``, and how many have ``completed`` with the right result in the end.

    Of the ``calls`` to provider and tool, ``repeated_calls`` were made again though their outcome
    was in the archive; ``unrecorded_calls_made_again`` had theirs on the lost disks only, or were
    in flight. ``lost_entries`` of the log were on these disks and not in the archive: those of the
    last ``window_s`` seconds before the kill.
    """

    executions: int
    killed: int
    executions_back: int
    unfinished_back: int
    completed: int
    calls: int
    repeated_calls: int
    unrecorded_calls_made_again: int
    lost_entries: int
    window_s: float
    restore_s: float
    start_s: float


@dataclass(frozen=True, kw_only=True)
class Past:
    """What a replica held: the last index of its log, and the journal of each execution."""

    index: int
    journals: Mapping[str, tuple[Entry, ...]]
    unfinished: int


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks loss", description=__doc__)
    parser.add_argument("--executions", type=int, default=12, help="how many are at work")
    parser.add_argument(
        "--durability", choices=("disk", "object_store"), default="disk",
        help="object_store: everything is lost as soon as the last creation is acknowledged",
    )  # fmt: skip
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="omium-bench-") as folder:
        outcome = run(Path(folder), options.executions, options.durability)
    durability = {"durability": options.durability}
    print(json.dumps({"benchmark": "loss", **describe(), **durability, **asdict(outcome)}))


def run(folder: Path, executions: int, durability: str = "disk") -> Outcome:
    """Have that many executions at work, lose everything, and bring it back.

    What is acknowledged by the ``disk`` is given the time to be shipped.
    """
    script = {"rules": [{"answer": {"content": "done", "delay_s": ANSWER_S}}]}
    data, calls, notes = folder / DATA_NAME, folder / CALLS_NAME, folder / "notes"
    notes.touch()
    with (
        _bucket() as settings,
        scripted_provider(folder, script, log=calls) as base_url,
    ):
        environment = environment_in(folder, base_url, DURABILITY=durability, **settings)
        with started(folder, environment) as served:
            asyncio.run(_begin(served, executions, notes))
            if durability == "disk":
                _await_shipped(environment)
                # In the middle, and just after something was committed that is not shipped yet.
                wanted = max(executions * STEPS // 2, len(read_calls(calls)) + 1)
                while len(read_calls(calls)) < wanted:
                    time.sleep(POLL_S)
            killed_ms = time.time_ns() // 1_000_000
            killed = served.kill_all()
        lost = max((_past(disk) for disk in data.rglob(FILE_NAME)), key=lambda past: past.index)
        noted = len(notes.read_text().splitlines())
        shutil.rmtree(data)
        print(f"killed {killed} processes, and deleted {COORDINATORS} disks", flush=True)
        restore_s = time.monotonic()
        told = _omium(environment, "restore", "--from", settings["BLOBS_URL"])
        restore_s = time.monotonic() - restore_s
        back = _past(data / FILE_NAME)
        print(f"restored up to entry {told['index']} of {lost.index}", flush=True)
        start_s = time.monotonic()
        with started(folder, environment) as served:
            start_s = time.monotonic() - start_s
            completed = asyncio.run(_completed(served, list(back.journals)))
        again = [call.digest for call in read_calls(calls) if call.time_ms > killed_ms]
        again += [line.split()[0] for line in notes.read_text().splitlines()[noted:]]
        before = {call.digest for call in read_calls(calls) if call.time_ms <= killed_ms}
        before |= {line.split()[0] for line in notes.read_text().splitlines()[:noted]}
    known = _answered(back)
    return Outcome(
        executions=executions,
        killed=killed,
        executions_back=len(back.journals),
        unfinished_back=back.unfinished,
        completed=completed,
        calls=len(before) + len(again),
        repeated_calls=sum(name in known for name in again),
        unrecorded_calls_made_again=sum(name in before and name not in known for name in again),
        lost_entries=lost.index - back.index,
        window_s=round(_window_s(lost, back, killed_ms), 1),
        restore_s=round(restore_s, 1),
        start_s=round(start_s, 1),
    )


@contextmanager
def _bucket() -> Iterator[dict[str, str]]:
    """An S3 server with a bucket, and the settings of a service that keeps everything there."""
    with seaweedfs() as server:
        ensure_bucket(BUCKET, server.options())
        yield {
            "COORDINATORS": str(COORDINATORS),
            "BLOBS_URL": f"s3://{BUCKET}/omium",
            "S3__ENDPOINT": server.endpoint,
            "S3__ACCESS_KEY": server.access_key,
            "S3__SECRET_KEY": server.secret_key,
            "S3__ALLOW_HTTP": "true",
        }


async def _begin(served: Served, executions: int, notes: Path) -> None:
    async with AsyncClient(served.address, served.api_key) as client:
        await client.register(WORKFLOW)
        for number in range(executions):
            inputs = {"number": number, "steps": STEPS, "log": str(notes)}
            await client.run("noting", inputs, idempotency_key=f"loss-{number}")


def _await_shipped(environment: dict[str, str]) -> None:
    """Wait until what is committed now is in the archive. Raises ``TimeoutError``."""
    committed, limit_s = 0, time.monotonic() + SHIPPED_TIMEOUT_S
    while True:
        archive = _omium(environment, "status").get("archive")
        if archive is not None:
            committed = committed or archive["committed"]
            if archive["shipped"] >= committed:
                return
        if time.monotonic() > limit_s:
            raise TimeoutError(f"entry {committed} was not shipped: {archive}")
        time.sleep(POLL_S)


async def _completed(served: Served, ids: list[str]) -> int:
    """How many of the executions complete with the result that they ought to have."""
    async with AsyncClient(served.address, served.api_key, retry_s=120) as client:
        handles = [client.execution(execution) for execution in ids]
        results: list[Any] = await asyncio.gather(
            *(handle.result(timeout_s=RESULT_TIMEOUT_S) for handle in handles)
        )
    numbers = [result[0].partition("/")[0] for result in results]
    right = [
        result == [f"{number}/{step} done" for step in range(STEPS)]
        for number, result in zip(numbers, results, strict=True)
    ]
    return len({number for number, is_right in zip(numbers, right, strict=True) if is_right})


def _omium(environment: dict[str, str], *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "omium", *arguments, "--json"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"omium {' '.join(arguments)}: {done.stderr[-2_000:]}")
    return json.loads(done.stdout)


def _past(disk: Path) -> Past:
    with closing(open_reader(disk)) as connection:
        index = applied_in(connection, disk)
    with closing(Journal.open(disk)) as journal:
        rows = journal.executions()
        return Past(
            index=index,
            journals={row.id: tuple(journal.all_entries(row.id)) for row in rows},
            unfinished=sum(row.status in ("queued", "running") for row in rows),
        )


def _answered(past: Past) -> set[str]:
    """The calls whose outcome is there, as the provider's log and the tool's name them."""
    names: set[str] = set()
    for entries in past.journals.values():
        intents: dict[int, CallIntended] = {}
        for entry in entries:
            if isinstance(entry.event, CallIntended):
                intents[entry.index] = entry.event
            elif isinstance(entry.event, CallCompleted):
                intent = intents[entry.event.call]
                is_llm = intent.key.kind == "llm"
                names.add(digest_of(intent) if is_llm else intent.effect_key)
    return names


def _window_s(lost: Past, back: Past, killed_ms: int) -> float:
    """For how long before the kill nothing had been shipped."""
    gone_ms = [
        entry.at_ms
        for execution, entries in lost.journals.items()
        for entry in entries[len(back.journals.get(execution, ())) :]
    ]
    return max(0, killed_ms - min(gone_ms, default=killed_ms)) / 1_000
