"""The checkpointer of an attempt: a thread of LangGraph checkpoints that lives in the journal.

Owns when a checkpoint is committed, and in what form. The thread is in memory; what is
committed with each step is all of it that is needed to go on: the latest checkpoint of each
namespace, and the writes of the tasks that have ended since (see ADR 0012).
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
)
from langgraph.checkpoint.serde.event_hooks import SerdeEvent, register_serde_event_listener
from langgraph.checkpoint.serde.types import ERROR, INTERRUPT, RESUME
from msgspec.structs import replace

from omium.errors import AgentError
from omium.frameworks.langgraph_places import Places, Superstep, Task, TaskWatch, below
from omium.frameworks.langgraph_saver import OmiumSaver
from omium.frameworks.loop_thread import CallerLoop
from omium.frameworks.protocol import Session
from omium.storage.threads import CheckpointRecord, MemoryThreads, Value, WritesRecord
from omium.types import Json

STATE_VERSION = 1

_HANDLED = "__error_source_node__"
"""What LangGraph writes beside the error of a node that has an error handler. It has no public
name."""


class Interruption(msgspec.Struct, frozen=True, kw_only=True):
    """An ``interrupt()``: LangGraph's ``id`` of it, the place of its task, how many before it
    that task was answered, and what it asks. ``inside`` is the tool call that it is in."""

    id: str
    step: str
    branch: str
    number: int
    text: str
    schema: dict[str, Any] | None = None
    inside: int = 0


class JournalSaver(OmiumSaver):
    """Checkpoints in memory, committed through a session.

    ``interrupts`` are those of tasks that ask a person, by LangGraph's ids. Instances that
    LangGraph clones share everything.
    """

    def __init__(self, session: Session, loop: CallerLoop, places: Places, thread: str) -> None:
        """``loop`` is that of the session; the saver's methods run on others. Raises
        ``AgentError`` when the last checkpoint is of another version of Omium."""
        self._threads = MemoryThreads()
        super().__init__(self._threads)
        self._commits = _Commits(session, loop, self._saved)
        self._places = places
        self._thread = thread
        self.interrupts: dict[str, Interruption] = {}
        self.inside: dict[str, int] = {}
        self._restore(session.assignment.saved)

    @property
    def empty(self) -> bool:
        """Whether there is no checkpoint to go on from."""
        return not self._threads.checkpoints

    def take_interrupts(self) -> list[Interruption]:
        """The interrupts that are not answered yet, which are left to the caller."""
        taken = list(self.interrupts.values())
        self.interrupts.clear()
        return taken

    async def pause(self, step: str) -> None:
        """Commit the thread as it is, with what it waits for."""
        await self._commits.pause(step)

    def _note(self, task: Task | None, written: Mapping[str, Any]) -> None:
        # What a subgraph's task asks, the tasks above it ask, too: the first is the one.
        answered = written.get(RESUME) or []
        for interrupt in written[INTERRUPT]:
            if task is not None and interrupt.id not in self.interrupts:
                self.interrupts[interrupt.id] = Interruption(
                    id=interrupt.id,
                    step=task.superstep.step,
                    branch=task.branch,
                    number=len(answered) if isinstance(answered, list) else 1,
                    text=_text_of(interrupt.value),
                    schema=_schema_of(interrupt),
                    inside=self.inside.get(interrupt.id, 0),
                )

    # ------------------------------------------------------------------ when to commit

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        self._check_types(checkpoint["channel_values"], new_versions)
        stored = await super().aput(config, checkpoint, metadata, new_versions)
        where = stored.get("configurable", {})
        graph = where["checkpoint_ns"]
        ended = self._places.end_superstep(graph)
        await self._drop_superseded(where["thread_id"], graph, checkpoint["id"])
        step = _step(graph, ended, metadata)
        if step is not None:
            await self._commits.step(step, ended.nodes if ended is not None else [])
        return stored

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        channels = {channel for channel, _ in writes}
        if INTERRUPT in channels:
            graph = config.get("configurable", {}).get("checkpoint_ns", "")
            self._note(self._places.running(graph, task_id), dict(writes))
            await super().aput_writes(config, writes, task_id, task_path)
            return
        if ERROR in channels and _HANDLED not in channels:
            # The attempt ends with it, and the next one runs the task again. To LangGraph a task
            # that had written anything before it failed would be one that has ended.
            return
        await super().aput_writes(config, writes, task_id, task_path)
        graph = config.get("configurable", {}).get("checkpoint_ns", "")
        task = self._places.end(graph, task_id)
        if task is None:
            return
        self._commits.ended(task)
        # The last one is committed with the superstep, which ends with it.
        if task.superstep.running or ERROR in channels:
            await self._commits.tasks()

    def begin(self, task: Task) -> None:
        """A task is about to begin. Blocks until what has to be on record before is."""
        self._commits.begin(task)

    async def _drop_superseded(self, thread: str, graph: str, latest: str) -> None:
        """Forget what no run of this thread will ask for once a checkpoint is there."""
        records = [
            record for record in list(self._threads.checkpoints.values()) if record.thread == thread
        ]
        doomed = [
            record
            for record in records
            if (record.ns == graph and record.id != latest) or below(record.ns, graph)
        ]
        await self._remove(thread, records, doomed)

    def _check_types(self, values: Mapping[str, Any], changed: Iterable[str]) -> None:
        """Refuse what the next attempt would be given back as something else. ``AgentError``."""
        for name in changed:
            if name in values:
                with _blocked_types() as blocked:
                    self._loaded(self._dumped(values[name]))
                if blocked:
                    raise AgentError(
                        f"the state's {name!r} holds a {blocked[0]}, which no checkpoint gives "
                        "back: name the type in the schema of the state, or keep plain data"
                    )

    # ------------------------------------------------------------------ what is committed

    def _saved(self) -> Json:
        """All of the thread, as JSON; ``_restore`` is the inverse."""
        checkpoints = [self._checkpoint_json(r) for r in list(self._threads.checkpoints.values())]
        writes = [
            self._writes_json(record)
            for name, records in list(self._threads.pending.items())
            if name in self._threads.checkpoints
            for record in records
        ]
        state: Any = {"version": STATE_VERSION, "checkpoints": checkpoints, "writes": writes}
        if self.interrupts:
            state["interrupts"] = msgspec.to_builtins(list(self.interrupts.values()))
        return state

    def _checkpoint_json(self, record: CheckpointRecord) -> Any:
        plain = msgspec.to_builtins(replace(record, thread=self._short(record.thread)))
        values = {name: self._value_json(value) for name, value in record.values.items()}
        checkpoint, metadata = map(self._value_json, (record.checkpoint, record.metadata))
        return {**plain, "checkpoint": checkpoint, "metadata": metadata, "values": values}

    def _writes_json(self, record: WritesRecord) -> Any:
        plain: Any = msgspec.to_builtins(replace(record, thread=self._short(record.thread)))
        for shown, write in zip(plain["writes"], record.writes, strict=True):
            shown["value"] = self._value_json(write.value)
        return plain

    def _value_json(self, value: Value) -> Any:
        """A value as people can read it, where that loses nothing."""
        try:
            loaded = json.loads(json.dumps(self._loaded(value), allow_nan=False))
            if self.serde.dumps_typed(loaded) == (value.kind, value.data):
                return {"json": loaded}
        except (TypeError, ValueError, RecursionError):
            pass
        return msgspec.to_builtins(value)

    def _short(self, thread: str) -> str:
        """A thread's name, but for the attempt's own: a fork gives that another."""
        return "" if thread == self._thread else thread

    def _restore(self, saved: Json) -> None:
        if saved is None:
            return
        if not isinstance(saved, dict) or saved.get("version") != STATE_VERSION:
            raise AgentError(
                f"its checkpoint is not of version {STATE_VERSION}, which this Omium reads"
            )
        found: Any = saved
        for plain in found["checkpoints"]:
            self._add(CheckpointRecord, self._checkpoint_read(plain))
        for plain in found["writes"]:
            self._add(WritesRecord, self._writes_read(plain))
        for plain in found.get("interrupts", ()):
            interruption = msgspec.convert(plain, Interruption)
            self.interrupts[interruption.id] = interruption

    def _add(self, kind: type[CheckpointRecord] | type[WritesRecord], plain: Any) -> None:
        record = msgspec.convert(plain, kind)
        self._threads.add(replace(record, thread=record.thread or self._thread))

    def _checkpoint_read(self, shown: Any) -> Any:
        values = {name: self._value_read(value) for name, value in shown["values"].items()}
        checkpoint, metadata = map(self._value_read, (shown["checkpoint"], shown["metadata"]))
        return {**shown, "checkpoint": checkpoint, "metadata": metadata, "values": values}

    def _writes_read(self, shown: Any) -> Any:
        writes = [{**write, "value": self._value_read(write["value"])} for write in shown["writes"]]
        return {**shown, "writes": writes}

    def _value_read(self, shown: Any) -> Any:
        """The inverse of ``_value_json``."""
        return msgspec.to_builtins(self._dumped(shown["json"])) if "json" in shown else shown


def _text_of(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _schema_of(interrupt: Any) -> dict[str, Any] | None:
    schema = getattr(interrupt, "response_schema", None)
    return schema if isinstance(schema, dict) else None


def _step(graph: str, ended: Superstep | None, metadata: CheckpointMetadata) -> str | None:
    """The step that a checkpoint completes; None for those before any of the user's code ran."""
    if metadata.get("source") != "loop":
        return None
    if ended is not None:
        return ended.step
    # All of its tasks had ended in an earlier attempt. The superstep 0 of most graphs only
    # takes the input in.
    number = metadata.get("step", 0)
    return str(number) if graph == "" and number > 0 else None


class _Blocked(threading.local):
    """The types that the serializer would not build, in the thread that listens."""

    names: list[str] | None = None


_blocked = _Blocked()


@contextmanager
def _blocked_types() -> Iterator[list[str]]:
    """The names of the types that are not built inside."""
    names = _blocked.names = []
    try:
        yield names
    finally:
        _blocked.names = None


def _heard(event: SerdeEvent) -> None:
    if _blocked.names is not None and event["kind"].endswith("blocked"):
        _blocked.names.append(f"{event['module']}.{event['name']}")


register_serde_event_listener(_heard)


class _Commits:
    """What is committed of a thread, one commit at a time, in the order of the steps.

    A task that has ended while others of its superstep run is a step by itself: its writes are
    on record before another task begins, and it is not run again.
    """

    def __init__(self, session: Session, loop: CallerLoop, saved: Any) -> None:
        self._session = session
        self._loop = loop
        self._saved = saved
        self._done = set(session.assignment.steps)
        self._begun: set[str] = set()
        self._ended: list[Task] = []
        self._turn: asyncio.Lock | None = None

    def begin(self, task: Task) -> None:
        self._loop.wait(self._begin(task))

    async def _begin(self, task: Task) -> None:
        if any(ended.superstep is task.superstep for ended in self._ended):
            await self._commit_tasks()
        step = task.superstep.step
        if step not in self._begun:
            self._begun.add(step)
            await self._session.start_step(step, task.superstep.nodes[0])

    def ended(self, task: Task) -> None:
        self._ended.append(task)

    async def step(self, step: str, nodes: list[str]) -> None:
        await self._loop.run(self._commit_step(step, ", ".join(sorted(set(nodes)))))

    async def tasks(self) -> None:
        await self._loop.run(self._commit_tasks())

    async def pause(self, step: str) -> None:
        await self._loop.run(self._commit_pause(step))

    # What follows runs on the session's loop.

    async def _commit_pause(self, step: str) -> None:
        async with self._in_turn():
            self._ended.clear()
            # Below the step, whose calls are still wanted.
            await self._complete(f"{step}/?", "asks")

    async def _commit_step(self, step: str, name: str) -> None:
        async with self._in_turn():
            self._ended.clear()
            await self._complete(step, name)

    async def _commit_tasks(self) -> None:
        async with self._in_turn():
            if self._ended:
                task = self._ended[-1]
                self._ended.clear()
                await self._complete(f"{task.superstep.step}/{task.branch}", task.branch)

    async def _complete(self, step: str, name: str) -> None:
        unique, again = step, 1
        while unique in self._done:
            again += 1
            unique = f"{step}~{again}"
        self._done.add(unique)
        await self._session.complete_step(unique, self._saved(), name)

    def _in_turn(self) -> asyncio.Lock:
        if self._turn is None:
            self._turn = asyncio.Lock()
        return self._turn


class JournalWatch(TaskWatch):
    """Tells the saver of each task that begins."""

    def __init__(self, places: Places, saver: JournalSaver) -> None:
        super().__init__(places)
        self._saver = saver

    def began(self, task: Task) -> None:
        self._saver.begin(task)
