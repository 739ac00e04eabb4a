"""Every place where a member may keep its log obeys the same laws."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from omium.consensus import LogStore, MemoryLogStore, Snapshot
from omium.execution.commands import WriteRecord, encode_command
from omium.storage import group_store
from omium.storage.group_store import GroupStore, copy_state
from omium.testing.log_store_conformance import KEPT, START, LogStoreBackend, LogStoreConformance
from omium.types import DEFAULT_TENANT


class Sum:
    """A machine that knows the order of what it was told."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    def apply(self, index: int, command: bytes) -> int:
        self.seen.append(command)
        return index

    def save(self) -> bytes:
        return msgspec.msgpack.encode(self.seen)

    def load(self, data: bytes) -> None:
        self.seen = msgspec.msgpack.decode(data, type=list[bytes]) if data else []


class InMemory(LogStoreBackend):
    def __init__(self) -> None:
        self._stores: dict[str, MemoryLogStore[int]] = {}

    def open(self, name: str, start: Snapshot | None = START) -> LogStore[Any]:
        if name not in self._stores:
            self._stores[name] = MemoryLogStore(Sum(), start, kept=KEPT)
        return self._stores[name]

    def command(self, number: int) -> bytes:
        return b"%d" % number

    def state(self, store: LogStore[Any]) -> object:
        machine = cast("Sum", cast("MemoryLogStore[int]", store).machine)
        return list(machine.seen)

    def ship(self, source: LogStore[Any], target: LogStore[Any]) -> Snapshot:
        return source.storage.snapshot()


class InSqlite(LogStoreBackend):
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stores: dict[str, GroupStore] = {}

    def open(self, name: str, start: Snapshot | None = START) -> LogStore[Any]:
        if name in self._stores:
            self._stores[name].close()
        self._stores[name] = GroupStore.open(
            self._folder / name,
            owner="test",
            group="g",
            first_id=1,
            start=start,
            new_id=lambda: 17,
        )
        return self._stores[name]

    def command(self, number: int) -> bytes:
        return encode_command(
            WriteRecord(tenant=DEFAULT_TENANT, kind="n", key=f"{number % 7}", body=number)
        )

    def state(self, store: LogStore[Any]) -> object:
        return cast("GroupStore", store).replica.catalog.records(DEFAULT_TENANT, "n")

    def ship(self, source: LogStore[Any], target: LogStore[Any]) -> Snapshot:
        incoming = cast("GroupStore", target).replica.path.parent / "incoming"
        return copy_state(cast("GroupStore", source).replica.path, incoming / "copy")

    def close(self) -> None:
        for store in self._stores.values():
            store.close()


class TestMemory(LogStoreConformance):
    @pytest.fixture
    def backend(self) -> LogStoreBackend:
        return InMemory()


class TestSqlite(LogStoreConformance):
    @pytest.fixture
    def backend(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LogStoreBackend]:
        monkeypatch.setattr(group_store, "LOG_ENTRIES_KEPT", KEPT)
        monkeypatch.setattr(group_store, "LOG_ENTRIES_DROPPED", KEPT)
        monkeypatch.setattr("omium.storage.raft_store.RECENT_BYTES_MAX", 1_000)
        backend = InSqlite(tmp_path)
        yield backend
        backend.close()
