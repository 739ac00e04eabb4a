"""Where a live runtime can be reached, for other processes of the same user.

Owns ``endpoint.json`` in the data directory: written, readable by its owner alone, once a
runtime answers, and removed when it ends. A killed runtime leaves its file behind, so the
file proves nothing by itself; the lock of the data directory, which goes with the process,
says whether anybody is there.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

import msgspec
import psutil

from omium.errors import CorruptRecord, StorageUnwritable
from omium.storage.private_file import read_private, write_private

FILE_NAME = "endpoint.json"
LOCK_NAME = "replica.lock"
"""The lock that ``Replica.open`` holds while it lives."""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """The coordinator's address and secret (hexadecimal), and the driver's process id.

    ``others`` are the addresses of further coordinators of a group, and ``peers`` those at which
    its seats listen for one another, in order. ``further`` are the addresses of all coordinators
    of each further shard, and ``further_peers`` those at which its seats listen for one another.
    """

    host: str
    port: int
    secret: str
    pid: int
    others: tuple[tuple[str, int], ...] = ()
    peers: tuple[tuple[str, int], ...] = ()
    further: tuple[tuple[tuple[str, int], ...], ...] = ()
    further_peers: tuple[tuple[tuple[str, int], ...], ...] = ()

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Where a coordinator may listen."""
        return ((self.host, self.port), *self.others)

    def __repr__(self) -> str:
        return f"Endpoint({self.host}:{self.port}, process {self.pid})"


def publish(directory: Path, endpoint: Endpoint) -> None:
    """Write the endpoint; a reader sees all of it or none. Raises ``StorageUnwritable`` and
    ``StorageFull``."""
    write_private(directory / FILE_NAME, msgspec.json.encode(endpoint))


def withdraw(directory: Path, endpoint: Endpoint) -> None:
    """Remove the endpoint, unless another runtime's has taken its place."""
    # Called while a runtime ends, which nothing may stop: a file that stays does no harm.
    with contextlib.suppress(OSError, CorruptRecord, StorageUnwritable):
        if _read(directory) == endpoint:
            (directory / FILE_NAME).unlink()


def is_owned(directory: Path) -> bool:
    """Whether a process holds the data directory now."""
    try:
        lock = os.open(directory / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # Shared, so that two who ask at once do not take each other for an owner.
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(lock)


def live_endpoint(directory: Path) -> Endpoint | None:
    """The endpoint of the runtime that owns the data directory; None where there is none, or
    it is only starting or already ending. Raises ``CorruptRecord``."""
    if not is_owned(directory):
        return None
    endpoint = _read(directory)
    # A driver that was killed may leave its coordinator alive for a moment.
    return endpoint if endpoint is not None and psutil.pid_exists(endpoint.pid) else None


def _read(directory: Path) -> Endpoint | None:
    path = directory / FILE_NAME
    content = read_private(path)
    try:
        return msgspec.json.decode(content, type=Endpoint) if content is not None else None
    except msgspec.DecodeError as error:
        raise CorruptRecord(str(path), str(error)) from error
