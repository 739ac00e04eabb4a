"""``OmiumSaver``: a checkpointer for anybody's LangGraph graph, on Omium's object stores.

    graph = builder.compile(checkpointer=OmiumSaver("s3://bucket/graphs"))

Owns what checkpoints mean: which one is the latest, which writes are pending, what a delta
channel is rebuilt from, and what may go. How they are stored is ``storage.threads``' affair.

What is read back is data: types other than LangGraph's own safe ones are built only when they
were allowed by name.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
    get_checkpoint_id,
    get_checkpoint_metadata,
    writes_sort_key,
)
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from msgspec.structs import replace

from omium.errors import Conflict, InputError
from omium.frameworks.langgraph_flights import Flights
from omium.frameworks.loop_thread import LoopThread
from omium.storage.local_threads import LocalThreads, open_threads
from omium.storage.objects import S3Options
from omium.storage.threads import (
    CheckpointName,
    CheckpointRecord,
    History,
    ThreadStore,
    Value,
    Write,
    WritesRecord,
)

_COUNTERS = "counters_since_delta_snapshot"
"""Metadata that names the delta channels whose value is not in the checkpoint itself."""

_LOOP = LoopThread("omium-saver")
"""Where the blocking methods run."""


class OmiumSaver(BaseCheckpointSaver[int]):
    """Checkpoints of LangGraph threads at a URL: ``memory://``, a directory, or S3.

    A put that has returned is durable. A checkpoint is stored after all writes of its parent
    that are under way, or with them, so that no step is seen to have begun before the one it
    builds on is on record. Several processes may share a store; one at a time may run a given
    thread. In a directory both are one commit, with one fsync.

    The blocking methods may be called from any thread, one with a running event loop included.
    All raise ``BlobStoreError`` when a remote store fails (a retry makes sense), ``StorageFull``
    and ``StorageUnwritable`` when a local one does, and ``CorruptBlob`` for a damaged record.
    """

    def __init__(
        self,
        store: str | ThreadStore,
        *,
        tenant: str = "default",
        s3: S3Options | None = None,
        allow: Iterable[type | tuple[str, ...]] = (),
        serde: SerializerProtocol | None = None,
    ) -> None:
        """``store`` is a URL as ``omium.storage.blobs.open_blob_store`` takes, and ``s3`` says
        how an S3 service is reached; raises ``ConfigError`` for another. ``allow`` lists types,
        or (module, name) pairs, that reading a checkpoint may build besides LangGraph's safe
        ones; a value of any other type comes back as plain data. ``serde`` replaces the
        serializer, and with it this rule.
        """
        super().__init__(
            serde=serde or JsonPlusSerializer(allowed_msgpack_modules=tuple(allow) or None)
        )
        if isinstance(store, str):
            store = open_threads(store, tenant=tenant, s3=s3)
        self._store = store
        # Blocking callers go to a local disk directly, and by way of a loop elsewhere.
        self._disk = store if isinstance(store, LocalThreads) else None
        self._flights = Flights()

    # ------------------------------------------------------------------ writing

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        record = self._record(config, checkpoint, metadata)
        if not self._store.ordered:
            await self._flights.landed((record.thread, record.ns, record.parent or ""))
        await self._store.put_checkpoint(record)
        return _config(record.thread, record.ns, record.id)

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        record = self._writes_record(config, writes, task_id, task_path)
        with self._flights.flight((record.thread, record.ns, record.checkpoint)):
            await self._store.put_writes(record)

    def _record(
        self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata
    ) -> CheckpointRecord:
        thread, ns, parent = _place(config)
        rest: dict[str, Any] = dict(checkpoint)
        values: dict[str, Any] = rest.pop("channel_values")
        return CheckpointRecord(
            thread=thread,
            ns=ns,
            id=checkpoint["id"],
            parent=parent,
            checkpoint=self._dumped(rest),
            metadata=self._dumped(get_checkpoint_metadata(config, metadata)),
            values={name: self._dumped(value) for name, value in values.items()},
        )

    def _writes_record(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task: str, path: str
    ) -> WritesRecord:
        thread, ns, checkpoint = _place(config)
        if checkpoint is None:
            raise InputError("writes belong to a checkpoint, and the config names none")
        return WritesRecord(
            thread=thread,
            ns=ns,
            checkpoint=checkpoint,
            writes=tuple(
                Write(
                    task=task,
                    path=path,
                    slot=WRITES_IDX_MAP.get(channel, position),
                    channel=channel,
                    value=self._dumped(value),
                )
                for position, (channel, value) in enumerate(writes)
            ),
        )

    # ------------------------------------------------------------------ reading

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        record = await self._addressed(config)
        return None if record is None else await self._tuple(record)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 - LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        left = limit
        for name in await self._listed(config, before):
            if left is not None and left <= 0:
                return
            found = await self._matching(name, filter)
            if found is not None:
                left = None if left is None else left - 1
                yield found

    async def _addressed(self, config: RunnableConfig) -> CheckpointRecord | None:
        """The checkpoint that a config names, or the latest of its namespace."""
        thread, ns, checkpoint = _place(config)
        if checkpoint is None:
            names = await self._store.names(thread, ns)
            if not names:
                return None
            checkpoint = max(name.id for name in names)
        return await self._store.checkpoint(await self._store.name(thread, ns, checkpoint))

    async def _listed(
        self, config: RunnableConfig | None, before: RunnableConfig | None
    ) -> list[CheckpointName]:
        """Names in question for a list, newest first."""
        configurable = config.get("configurable", {}) if config is not None else {}
        thread = configurable.get("thread_id")
        names = await self._store.names(
            None if thread is None else str(thread), configurable.get("checkpoint_ns")
        )
        wanted = get_checkpoint_id(config) if config is not None else None
        limit = get_checkpoint_id(before) if before is not None else None
        names = [
            name
            for name in names
            if (not wanted or name.id == wanted) and (not limit or name.id < limit)
        ]
        return sorted(names, key=lambda name: name.id, reverse=True)

    async def _matching(
        self, name: CheckpointName, wanted: Mapping[str, Any] | None
    ) -> CheckpointTuple | None:
        record = await self._store.checkpoint(name)
        if record is None:
            return None
        metadata = self._loaded(record.metadata) if wanted else {}
        if any(metadata.get(key) != value for key, value in (wanted or {}).items()):
            return None
        return await self._tuple(record)

    async def _tuple(self, record: CheckpointRecord) -> CheckpointTuple:
        writes = await self._pending(record)
        values = {name: self._loaded(value) for name, value in record.values.items()}
        return CheckpointTuple(
            config=_config(record.thread, record.ns, record.id),
            checkpoint=cast(
                "Checkpoint", {**self._loaded(record.checkpoint), "channel_values": values}
            ),
            metadata=self._loaded(record.metadata),
            parent_config=_config(record.thread, record.ns, record.parent)
            if record.parent
            else None,
            pending_writes=[(w.task, w.channel, self._loaded(w.value)) for w in writes],
        )

    async def _pending(self, record: CheckpointRecord) -> list[Write]:
        """The writes that are pending at a checkpoint, in the order in which a run applies
        them."""
        name = await self._store.name(record.thread, record.ns, record.id)
        merged: dict[tuple[str, int], Write] = {}
        for written in await self._store.writes(name):
            for write in written.writes:
                # A task that is run again writes anew what is on record already.
                if write.slot < 0 or (write.task, write.slot) not in merged:
                    merged[write.task, write.slot] = write
        return sorted(merged.values(), key=lambda w: writes_sort_key(w.path, w.task, w.slot))

    # ------------------------------------------------------------------ delta channels

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        record = await self._addressed(config) if channels else None
        histories = await self._history(record, channels) if record is not None else {}
        return {name: self._shown(histories.get(name, History())) for name in channels}

    def _shown(self, history: History) -> DeltaChannelHistory:
        shown: DeltaChannelHistory = {
            "writes": [(w.task, w.channel, self._loaded(w.value)) for w in history.writes]
        }
        if history.seed is not None:
            shown["seed"] = self._loaded(history.seed)
        return shown

    async def _history(
        self, record: CheckpointRecord, channels: Iterable[str]
    ) -> dict[str, History]:
        """What the ancestors of a checkpoint contributed to each channel, back to the nearest
        one that holds its value."""
        newest_first: dict[str, list[Write]] = {name: [] for name in channels}
        seeds: dict[str, Value] = {}
        open_channels = set(newest_first)
        here: CheckpointRecord | None = record
        while here is not None and open_channels:
            # What was folded into a checkpoint stands for all of its ancestors.
            for name in open_channels & here.history.keys():
                folded = here.history[name]
                newest_first[name] += reversed(folded.writes)
                if folded.seed is not None:
                    seeds[name] = folded.seed
                open_channels.discard(name)
            here = await self._parent_of(here)
            if here is None:
                break
            for write in reversed(await self._pending(here)):
                if write.channel in open_channels:
                    newest_first[write.channel].append(write)
            for name in open_channels & here.values.keys():
                seeds[name] = here.values[name]
                open_channels.discard(name)
        return {
            name: History(writes=tuple(reversed(writes)), seed=seeds.get(name))
            for name, writes in newest_first.items()
        }

    async def _parent_of(self, record: CheckpointRecord) -> CheckpointRecord | None:
        if record.parent is None:
            return None
        name = await self._store.name(record.thread, record.ns, record.parent)
        return await self._store.checkpoint(name)

    async def _detached(self, record: CheckpointRecord, parent: str | None) -> CheckpointRecord:
        """``record`` such that it needs none of the checkpoints between it and ``parent``."""
        counted = self._loaded(record.metadata).get(_COUNTERS) or {}
        needed = [name for name in counted if name not in record.values]
        history = await self._history(record, needed)
        return replace(record, parent=parent, history={**record.history, **history})

    # ------------------------------------------------------------------ removing and copying

    async def adelete_thread(self, thread_id: str) -> None:
        """Delete all of a thread. That there is none is a success."""
        await self._store.remove_thread(str(thread_id))

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints that these runs made. Reads every checkpoint there is.

        What later checkpoints need of them is kept with those.
        """
        wanted = set(run_ids)
        threads: dict[str, list[CheckpointRecord]] = {}
        for name in await self._store.names() if wanted else ():
            record = await self._store.checkpoint(name)
            if record is not None:
                threads.setdefault(record.thread, []).append(record)
        for thread, records in threads.items():
            doomed = [r for r in records if self._loaded(r.metadata).get("run_id") in wanted]
            await self._remove(thread, records, doomed)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy all of a thread, ids included, to one that has no checkpoint yet.

        Raises ``Conflict`` where the target has some. A source without any is a success.
        """
        source, target = str(source_thread_id), str(target_thread_id)
        if await self._store.names(target):
            raise Conflict(f"thread {target!r} has checkpoints: delete it, or choose another name")
        names = await self._store.names(source)
        # Oldest first, and writes before their checkpoint: what is there has all that it needs.
        for name in sorted(names, key=lambda name: name.id):
            record = await self._store.checkpoint(name)
            for written in await self._store.writes(name):
                await self._store.put_writes(replace(written, thread=target))
            if record is not None:
                await self._store.put_checkpoint(replace(record, thread=target))

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Thin out threads that nobody runs meanwhile.

        ``keep_latest`` keeps the latest checkpoint of each namespace, and with it what its
        delta channels are rebuilt from; ``delete`` keeps nothing. Raises ``InputError`` for
        another strategy.
        """
        if strategy not in ("keep_latest", "delete"):
            raise InputError(f"strategy {strategy!r}: expected 'keep_latest' or 'delete'")
        for thread in map(str, thread_ids):
            if strategy == "delete":
                await self._store.remove_thread(thread)
                continue
            names = await self._store.names(thread)
            found = [await self._store.checkpoint(name) for name in names]
            records = [record for record in found if record is not None]
            latest: dict[str, str] = {}
            for record in records:
                latest[record.ns] = max(record.id, latest.get(record.ns, ""))
            doomed = [record for record in records if record.id != latest[record.ns]]
            await self._remove(thread, records, doomed)

    async def _remove(
        self, thread: str, records: list[CheckpointRecord], doomed: list[CheckpointRecord]
    ) -> None:
        """Remove ``doomed`` from the ``records`` of a thread. Cut short, it loses nothing, and
        can be done again."""
        if not doomed:
            return
        gone = {(record.ns, record.id): record for record in doomed}
        for record in records:
            parent = record.parent
            if (record.ns, record.id) in gone or (record.ns, parent) not in gone:
                continue
            while parent is not None and (record.ns, parent) in gone:
                parent = gone[record.ns, parent].parent
            await self._store.put_checkpoint(await self._detached(record, parent))
        names = [await self._store.name(thread, r.ns, r.id) for r in doomed]
        await self._store.remove(thread, names)

    # ------------------------------------------------------------------ blocking twins

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        if self._disk is None:
            return _LOOP.wait(self.aput(config, checkpoint, metadata, new_versions))
        record = self._record(config, checkpoint, metadata)
        self._disk.put_checkpoint_now(record)
        return _config(record.thread, record.ns, record.id)

    def put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        if self._disk is None:
            _LOOP.wait(self.aput_writes(config, writes, task_id, task_path))
            return
        self._disk.put_writes_now(self._writes_record(config, writes, task_id, task_path))

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return _LOOP.wait(self.aget_tuple(config))

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 - LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        left = limit
        for name in _LOOP.wait(self._listed(config, before)):
            if left is not None and left <= 0:
                return
            found = _LOOP.wait(self._matching(name, filter))
            if found is not None:
                left = None if left is None else left - 1
                yield found

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        return _LOOP.wait(self.aget_delta_channel_history(config=config, channels=channels))

    def delete_thread(self, thread_id: str) -> None:
        _LOOP.wait(self.adelete_thread(thread_id))

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        _LOOP.wait(self.adelete_for_runs(run_ids))

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        _LOOP.wait(self.acopy_thread(source_thread_id, target_thread_id))

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        _LOOP.wait(self.aprune(thread_ids, strategy=strategy))

    # ------------------------------------------------------------------ values

    def with_allowlist(self, extra_allowlist: Collection[tuple[str, ...]]) -> OmiumSaver:
        """The same saver, which may also build these types. LangGraph calls it with the types
        of a graph's state when ``LANGGRAPH_STRICT_MSGPACK`` is set."""
        return cast("OmiumSaver", super().with_allowlist(extra_allowlist))

    def _dumped(self, value: Any) -> Value:
        kind, data = self.serde.dumps_typed(value)
        return Value(kind=kind, data=data, size=len(data))

    def _loaded(self, value: Value) -> Any:
        return self.serde.loads_typed((value.kind, value.data))


def _place(config: RunnableConfig) -> tuple[str, str, str | None]:
    configurable = config.get("configurable", {})
    if "thread_id" not in configurable:
        raise InputError('the config has no thread_id: {"configurable": {"thread_id": …}}')
    thread, ns = str(configurable["thread_id"]), configurable.get("checkpoint_ns") or ""
    return thread, ns, get_checkpoint_id(config) or None


def _config(thread: str, ns: str, checkpoint: str) -> RunnableConfig:
    return {"configurable": {"thread_id": thread, "checkpoint_ns": ns, "checkpoint_id": checkpoint}}
