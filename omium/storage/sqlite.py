"""SQLite as Omium uses it: how a database is opened, and what its errors mean.

The one place that knows the pragmas, the schema and SQLite's error codes.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from omium.errors import (
    CorruptRecord,
    DataDirectoryBusy,
    InputError,
    PlatformError,
    StorageFull,
    StorageUnwritable,
)

SCHEMA_VERSION = 4
READABLE_VERSIONS = (3, SCHEMA_VERSION)
"""What is read beside a writer is the same in all of these; a writer migrates the older ones."""

BUSY_TIMEOUT_S = 5.0

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL, crc INTEGER NOT NULL) STRICT;

-- What consensus ordered: one row an append, of type 0. Trimmed once applied.
CREATE TABLE log (
    idx INTEGER PRIMARY KEY, term INTEGER NOT NULL, body BLOB NOT NULL, crc INTEGER NOT NULL,
    type INTEGER NOT NULL DEFAULT 0
) STRICT;

-- What a member of a group must find again. Empty where there is no group.
CREATE TABLE raft (
    key TEXT PRIMARY KEY, value BLOB NOT NULL, crc INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What was applied: the journals of all executions.
CREATE TABLE journal (
    execution TEXT NOT NULL, idx INTEGER NOT NULL, at_ms INTEGER NOT NULL,
    epoch INTEGER NOT NULL, sequence INTEGER NOT NULL, body BLOB NOT NULL, crc INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX journal_by_index ON journal (execution, idx);

CREATE TABLE executions (
    id TEXT PRIMARY KEY, tenant TEXT NOT NULL, workflow TEXT NOT NULL, version TEXT NOT NULL,
    status TEXT NOT NULL, created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL,
    last_index INTEGER NOT NULL, origin TEXT, detail TEXT NOT NULL,
    agents_done INTEGER NOT NULL, agents_total INTEGER NOT NULL,
    llm_calls INTEGER NOT NULL, tool_calls INTEGER NOT NULL, checkpoints INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, cost_micros INTEGER,
    labels TEXT NOT NULL, crc INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX executions_by_status ON executions (tenant, status, id);
CREATE INDEX executions_by_tenant ON executions (tenant, id);

-- To find executions by; the labels themselves are in their rows.
CREATE TABLE labels (
    tenant TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, execution TEXT NOT NULL,
    PRIMARY KEY (tenant, name, value, execution)
) STRICT, WITHOUT ROWID;

-- Which requests of clients were carried out, by their idempotency keys.
CREATE TABLE requests (
    tenant TEXT NOT NULL, key TEXT NOT NULL, digest TEXT NOT NULL,
    execution TEXT NOT NULL, idx INTEGER NOT NULL, crc INTEGER NOT NULL,
    PRIMARY KEY (tenant, key)
) STRICT, WITHOUT ROWID;

-- What tenants own beside executions.
CREATE TABLE records (
    tenant TEXT NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL, version INTEGER NOT NULL,
    at_ms INTEGER NOT NULL, body BLOB NOT NULL, crc INTEGER NOT NULL,
    PRIMARY KEY (tenant, kind, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX records_of_webhooks ON records (tenant) WHERE kind = 'webhook';

-- Events that webhooks are still to be told of: a row goes when its delivery is settled.
CREATE TABLE outbox (
    tenant TEXT NOT NULL, webhook TEXT NOT NULL, execution TEXT NOT NULL, idx INTEGER NOT NULL,
    type TEXT NOT NULL, at_ms INTEGER NOT NULL, due_ms INTEGER NOT NULL, crc INTEGER NOT NULL,
    PRIMARY KEY (tenant, webhook, execution, idx)
) STRICT, WITHOUT ROWID;
CREATE INDEX outbox_by_due ON outbox (tenant, webhook, due_ms, execution, idx);
"""

_MIGRATIONS = {
    3: """
ALTER TABLE log ADD COLUMN type INTEGER NOT NULL DEFAULT 0;
CREATE TABLE raft (
    key TEXT PRIMARY KEY, value BLOB NOT NULL, crc INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
""",
}
"""By the version that they start from: what leads to the next one."""


def open_writer(path: Path) -> sqlite3.Connection:
    """Open, and create when missing, the database that this process owns.

    A commit returns only after its WAL frames are on disk (``synchronous=FULL``).
    Raises ``StorageUnwritable``, ``StorageFull``, ``CorruptRecord``, and ``DataDirectoryBusy``
    where somebody reads it for longer than ``BUSY_TIMEOUT_S``.
    """
    with translated(path):
        if not path.exists():
            _create(path)
        connection = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        try:
            # Before anything is written into what may be no database of ours.
            _check_file(connection, path)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            # On macOS fsync stops at the drive's cache; this goes through it.
            connection.execute("PRAGMA fullfsync = ON")
            connection.execute("PRAGMA temp_store = MEMORY")
            # After a failed fsync the system may show as written what the disk does not hold. It
            # is written once more before anything rests on it, here out of the log, of which
            # nothing may be left: what follows would be lost with it.
            (busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if busy:
                raise DataDirectoryBusy(str(path.parent), "somebody who reads it for long")
            _migrate(connection)
        except BaseException:
            connection.close()
            raise
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """Open an existing database for reading only, beside whoever writes it."""
    with translated(path):
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro",
            uri=True,
            timeout=BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            _check_file(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


@contextmanager
def copied(source: Path, target: Path) -> Iterator[sqlite3.Connection]:
    """Copy the database ``source``, as it is now, to ``target``, beside whoever writes it.

    The copy is one file, and is open inside. Blocks for as long as it takes. Raises
    ``StorageFull`` and the like.
    """
    with translated(target):
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        target.unlink(missing_ok=True)
        reader = open_reader(source)
        try:
            writer = sqlite3.connect(target, isolation_level=None)
            try:
                # All pages in one step, which sees one state whatever is written meanwhile.
                reader.backup(writer)
                writer.execute("PRAGMA journal_mode = DELETE")
                yield writer
            finally:
                writer.close()
        finally:
            reader.close()


def applied_in(connection: sqlite3.Connection, path: Path, *, schema: str = "main") -> int:
    """The last index of the log that an open database has applied; ``schema`` is the name of one
    that is attached to it. Raises ``CorruptRecord``."""
    row = connection.execute(
        f"SELECT value, crc FROM {schema}.meta WHERE key = 'applied'"
    ).fetchone()
    if row is None:
        raise CorruptRecord(f"{path}: meta.applied", "missing")
    if checksum(b"", "meta", "applied", row[0]) != row[1]:
        raise CorruptRecord(f"{path}: meta.applied", "its checksum does not match")
    return int(row[0])


def _create(path: Path) -> None:
    """Make the database under another name first, so that a file at ``path`` without a schema
    is a damaged one and never taken for a new one."""
    draft = path.with_name(f"{path.name}.new")
    for leftover in (draft, draft.with_name(f"{draft.name}-journal")):
        leftover.unlink(missing_ok=True)
    crc = checksum(b"", "meta", "applied", 0)
    connection = sqlite3.connect(draft, isolation_level=None)
    try:
        connection.executescript(
            f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION};"
            f"INSERT INTO meta VALUES ('applied', 0, {crc}); COMMIT;"
        )
    finally:
        connection.close()
    draft.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _migrate(connection: sqlite3.Connection) -> None:
    """Bring an older schema up to this one, a version a transaction."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    for older in range(version, SCHEMA_VERSION):
        connection.executescript(
            f"BEGIN IMMEDIATE; {_MIGRATIONS[older]} PRAGMA user_version = {older + 1}; COMMIT;"
        )


def _check_file(connection: sqlite3.Connection, path: Path) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    size, wal = path.stat().st_size, path.with_name(f"{path.name}-wal")
    # A checkpoint that was cut short is made good from the write-ahead log.
    if size % page_bytes and not (wal.exists() and wal.stat().st_size):
        raise CorruptRecord(str(path), f"{size} bytes are no whole number of pages")
    if version == 0:
        raise CorruptRecord(str(path), "the database is empty")
    if version not in READABLE_VERSIONS:
        raise PlatformError(
            f"{path} has schema version {version}, this Omium reads {SCHEMA_VERSION}"
        )


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn the errors of SQLite and of the file system into Omium's, by their own codes."""
    try:
        yield
    except UnicodeEncodeError as error:
        raise InputError(f"{error.object!r} is not valid Unicode text") from error
    except UnicodeDecodeError as error:
        # A damaged schema, quoted in SQLite's own error message.
        raise CorruptRecord(str(path), str(error)) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(f"no space left for {path}") from error
        raise StorageUnwritable(str(path), os.strerror(error.errno or 0)) from error
    except sqlite3.Error as error:
        # Absent on errors that the module raises itself, before SQLite saw the statement.
        code = getattr(error, "sqlite_errorcode", 0)
        primary = code & 0xFF
        # The second: the index that readers share could not grow.
        if primary == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR_SHMSIZE:
            raise StorageFull(f"no space left for {path}") from error
        if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise CorruptRecord(str(path), str(error)) from error
        if primary in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
            raise StorageUnwritable(str(path), str(error)) from error
        raise PlatformError(
            f"{path}: {error} ({getattr(error, 'sqlite_errorname', '')})"
        ) from error


def checksum(body: object, *place: str | int) -> int:
    """CRC-32 of a record and of the place it belongs to, so that a record in the wrong place
    is as wrong as one with the wrong bytes. -1, which is nothing's, for what is no bytes."""
    if not isinstance(body, bytes):
        return -1
    return zlib.crc32(body, zlib.crc32(":".join(map(str, place)).encode()))
