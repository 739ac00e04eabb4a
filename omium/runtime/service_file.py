"""Where a service answers, for other processes of the same user.

Owns ``service.json`` in the data directory, readable by its owner alone: written when the
service is ready, removed when it ends. A killed one leaves its file behind, so the file proves
nothing by itself; the process that it names says whether the service is there.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec
import psutil

from omium.errors import CorruptRecord, OmiumError
from omium.storage.private_file import read_private, write_private

FILE_NAME = "service.json"
CLOCKS_APART_MS = 2_000
"""By how much the start of a process and the time that it wrote down may contradict."""


class ServiceRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A service that is ready: its address, its process, the address of Ray's dashboard, and
    since when (milliseconds since the epoch). ``ray_token`` is what that dashboard asks for."""

    address: str
    pid: int
    dashboard: str | None
    started_ms: int
    ray_token: str | None = None

    def __repr__(self) -> str:
        return f"ServiceRecord({self.address}, process {self.pid})"


def publish(directory: Path, record: ServiceRecord) -> None:
    """Say that a service is ready. Raises ``StorageUnwritable`` and ``StorageFull``."""
    write_private(directory / FILE_NAME, msgspec.json.encode(record))


def withdraw(directory: Path, record: ServiceRecord) -> None:
    """Take that back, unless another service's has taken its place."""
    # Called while a service ends, which nothing may stop: a file that stays does no harm.
    with contextlib.suppress(OmiumError, OSError):
        if _read(directory) == record:
            (directory / FILE_NAME).unlink()


def live_service(directory: Path) -> ServiceRecord | None:
    """The service on a data directory; None where there is none, or it is only starting or
    already ending. Raises ``CorruptRecord`` and ``StorageUnwritable``."""
    record = _read(directory)
    return record if record is not None and process_of(record) is not None else None


def process_of(record: ServiceRecord) -> psutil.Process | None:
    """The process of a service; None where it has ended, and perhaps another has its number."""
    try:
        process = psutil.Process(record.pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        began_ms = process.create_time() * 1000
    except psutil.NoSuchProcess:
        return None
    return process if began_ms <= record.started_ms + CLOCKS_APART_MS else None


def _read(directory: Path) -> ServiceRecord | None:
    path = directory / FILE_NAME
    content = read_private(path)
    try:
        return msgspec.json.decode(content, type=ServiceRecord) if content is not None else None
    except msgspec.DecodeError as error:
        raise CorruptRecord(str(path), str(error)) from error
