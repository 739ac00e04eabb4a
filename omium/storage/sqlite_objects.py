"""Small objects in one SQLite file: many of them durable with one fsync.

Owns the file, the order in which changes become durable, and who commits for whom. Knows nothing
of what the objects hold. Several processes may share a directory on a local disk.

Changes are committed in the order in which they were handed over, and those that wait together
are one transaction, made by whichever caller comes to it first. A caller that is in no hurry
*lingers*: it leaves its changes to the next commit for a moment, and makes one itself when none
comes. Whoever returns, returns with its changes on disk.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omium.errors import CorruptRecord, PlatformError
from omium.storage.local_files import make_root
from omium.storage.sqlite import BUSY_TIMEOUT_S, translated

LINGER_S = 0.002
"""How long a change may wait for a commit of somebody else's: some times what an fsync takes."""

FILE_NAME = "objects.sqlite"
APPLICATION_ID = 0x4F4D4F42  # "OMOB"
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Change:
    """Store ``body`` under ``key``, or remove what is there when it is None. ``new`` keeps what
    is there."""

    key: str
    body: bytes | None
    new: bool = False


@dataclass(slots=True, eq=False)
class _Ticket:
    """Changes that wait for their commit. ``made`` says of the last one that it changed
    anything."""

    changes: Sequence[Change]
    done: threading.Event = field(default_factory=threading.Event)
    error: BaseException | None = None
    made: bool = False


class SqliteObjects:
    """An ``ObjectStore`` in the file ``objects.sqlite`` of ``directory``, made when missing.

    Every method may raise ``StorageFull``, ``StorageUnwritable``, ``CorruptRecord`` for a damaged
    database, and ``PlatformError`` for one that another process keeps locked.
    """

    _connection: sqlite3.Connection | None = None

    def __init__(self, directory: Path) -> None:
        self._path = directory.absolute() / FILE_NAME
        # Held by whoever uses the connection; ``_gate`` only for a look at the queue.
        self._lock = threading.Lock()
        self._gate = threading.Lock()
        self._queue: list[_Ticket] = []
        with self._lock, translated(self._path):
            make_root(self._path.parent)
            self._opened()
        _stores.add(self)

    def close(self) -> None:
        """Let go of the file. It is opened again when it is used again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def __del__(self) -> None:
        self.close()

    # ------------------------------------------------------------------ several at once

    def write(self, changes: Sequence[Change], *, linger: bool = False) -> bool:
        """Make changes, all or none. Returns when they are durable: whether the last one changed
        anything. Blocks; for any thread."""
        ticket = self._queued(changes)
        if not (linger and ticket.done.wait(LINGER_S)):
            self._commit_for(ticket)
        return _outcome(ticket)

    async def awrite(self, changes: Sequence[Change], *, linger: bool = False) -> bool:
        """The same for an event loop. The order is that of the calls' first steps."""
        ticket = self._queued(changes)
        if linger:
            await asyncio.sleep(LINGER_S)
        if not ticket.done.is_set():
            await asyncio.to_thread(self._commit_for, ticket)
        return _outcome(ticket)

    def _queued(self, changes: Sequence[Change]) -> _Ticket:
        ticket = _Ticket(changes)
        with self._gate:
            self._queue.append(ticket)
        return ticket

    def _commit_for(self, ticket: _Ticket) -> None:
        """Commit all that waits, unless somebody did so meanwhile."""
        with self._lock:
            if ticket.done.is_set():
                return
            with self._gate:
                taken, self._queue = self._queue, []
            try:
                with translated(self._path):
                    self._commit(taken)
            except BaseException as error:  # noqa: BLE001 - raised by each of those that wait
                for one in taken:
                    one.error = error
            finally:
                for one in taken:
                    one.done.set()

    def _commit(self, tickets: Sequence[_Ticket]) -> None:
        connection = self._opened()
        connection.execute("BEGIN IMMEDIATE")
        try:
            for ticket in tickets:
                for change in ticket.changes:
                    ticket.made = _made(connection, change)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    # ------------------------------------------------------------------ one at a time

    async def put_new(self, key: str, body: bytes) -> bool:
        return await self.awrite((Change(key, body, new=True),))

    async def replace(self, key: str, body: bytes) -> None:
        await self.awrite((Change(key, body),))

    async def remove(self, key: str) -> None:
        await self.awrite((Change(key, None),))

    async def read(self, key: str, *, bytes_max: int) -> bytes | None:
        query = "SELECT substr(body, 1, ?) FROM objects WHERE key = ?"
        rows = await asyncio.to_thread(self._rows, query, bytes_max + 1, key)
        # Of nothing, SQLite's ``substr`` is NULL.
        return rows[0][0] or b"" if rows else None

    async def size(self, key: str) -> int | None:
        query = "SELECT length(body) FROM objects WHERE key = ?"
        rows = await asyncio.to_thread(self._rows, query, key)
        return rows[0][0] if rows else None

    async def keys(self, folder: str) -> list[str]:
        # "0" is what follows "/", so these are all the keys below the folder and no others.
        query = "SELECT key FROM objects WHERE key > ? AND key < ?"
        rows = await asyncio.to_thread(self._rows, query, f"{folder}/", f"{folder}0")
        return [row[0] for row in rows]

    async def shrink(self) -> None:
        """Give the room of what was removed back to the disk."""
        await asyncio.to_thread(self._shrink)

    def _shrink(self) -> None:
        with self._lock, translated(self._path):
            connection = self._opened()
            # A script, since a statement without columns is only begun by ``execute``.
            connection.executescript("PRAGMA incremental_vacuum")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _rows(self, query: str, *values: str | int) -> list[tuple[Any, ...]]:
        with self._lock, translated(self._path):
            return self._opened().execute(query, values).fetchall()

    # ------------------------------------------------------------------ the file

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            with _alone(self._path.parent):
                self._connection = _open(self._path)
        return self._connection

    def before_fork(self) -> None:
        """A connection may not be carried into a child: SQLite's locks are the process's."""
        self._lock.acquire()
        self._gate.acquire()
        self.close()

    def after_fork(self, *, in_child: bool) -> None:
        """``in_child``: what was waiting is the parent's to commit."""
        if in_child:
            self._queue = []
        self._gate.release()
        self._lock.release()


def _outcome(ticket: _Ticket) -> bool:
    if ticket.error is not None:
        raise ticket.error
    return ticket.made


def _made(connection: sqlite3.Connection, change: Change) -> bool:
    if change.body is None:
        done = connection.execute("DELETE FROM objects WHERE key = ?", (change.key,))
    elif change.new:
        done = connection.execute(
            "INSERT INTO objects VALUES (?, ?) ON CONFLICT DO NOTHING", (change.key, change.body)
        )
    else:
        done = connection.execute(
            "INSERT INTO objects VALUES (?, ?) ON CONFLICT DO UPDATE SET body = excluded.body",
            (change.key, change.body),
        )
    return done.rowcount > 0


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    try:
        found = _pragma(connection, "application_id"), _pragma(connection, "user_version")
        fresh = found == (0, 0) and _pragma(connection, "page_count") == 0
        if fresh:
            # Only a database without tables takes this.
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        elif found[0] != APPLICATION_ID:
            raise CorruptRecord(str(path), "is no database of objects")
        elif found[1] != SCHEMA_VERSION:
            raise PlatformError(
                f"{path} has schema version {found[1]}, this Omium reads {SCHEMA_VERSION}"
            )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        # On macOS fsync stops at the drive's cache; this goes through it.
        connection.execute("PRAGMA fullfsync = ON")
        # What is removed is gone, and not only out of sight.
        connection.execute("PRAGMA secure_delete = ON")
        if fresh:
            connection.executescript(
                "BEGIN; CREATE TABLE objects (key TEXT NOT NULL UNIQUE, body BLOB NOT NULL) STRICT;"
                f"PRAGMA application_id = {APPLICATION_ID};"
                f"PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
            )
    except BaseException:
        connection.close()
        raise
    return connection


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    (value,) = connection.execute(f"PRAGMA {name}").fetchone()
    return value


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """No other process opens, or makes, the database meanwhile; its entry is on disk after."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_stores: weakref.WeakSet[SqliteObjects] = weakref.WeakSet()
_forking: list[SqliteObjects] = []


def _before_fork() -> None:
    _forking[:] = list(_stores)
    for store in _forking:
        store.before_fork()


def _after_fork(*, in_child: bool) -> None:
    for store in _forking:
        store.after_fork(in_child=in_child)
    _forking.clear()


os.register_at_fork(
    before=_before_fork,
    after_in_parent=lambda: _after_fork(in_child=False),
    after_in_child=lambda: _after_fork(in_child=True),
)
