"""A member whose disk fails it in the middle of its work: ``python -m tests.storage.failed_sync``.

The kernel itself answers EIO to each fsync from then on, by a filter of this process's system
calls. What was written is in the page cache, and whether the disk has it nobody knows: after the
error Linux takes those pages for clean. Prints what the store says afterwards.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
import sys
from pathlib import Path

from omium.consensus import Batch, Entry, HardState, initial_snapshot
from omium.errors import PlatformError
from omium.execution.commands import WriteRecord, encode_command
from omium.storage.group_store import GroupStore
from omium.testing.log_store_conformance import written
from omium.types import DEFAULT_TENANT

SYNCS = {"x86_64": (74, 75), "aarch64": (82, 83)}
"""The numbers of fsync and fdatasync, by the architecture."""

NO_FILTER = 77
"""Exit code where this machine lets no process filter its system calls."""

_SET_NO_NEW_PRIVS, _SET_SECCOMP, _MODE_FILTER = 38, 22, 2
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000


class _Instruction(ctypes.Structure):
    _fields_ = [
        ("code", ctypes.c_uint16),
        ("jump_true", ctypes.c_uint8),
        ("jump_false", ctypes.c_uint8),
        ("value", ctypes.c_uint32),
    ]


class _Program(ctypes.Structure):
    _fields_ = [
        ("length", ctypes.c_uint16),
        ("instructions", ctypes.POINTER(_Instruction)),
    ]


def fail_syncs() -> bool:
    """Let every fsync and fdatasync of this process fail with EIO, for ever. False where that
    cannot be done. See the kernel's documentation of seccomp."""
    numbers = SYNCS.get(platform.machine())
    if numbers is None or sys.platform != "linux":
        return False
    fsync, fdatasync = numbers
    steps = (
        (_LOAD, 0, 0, 0),
        (_JUMP_IF_EQUAL, 2, 0, fsync),
        (_JUMP_IF_EQUAL, 1, 0, fdatasync),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _ERRNO | errno.EIO),
    )
    program = _Program(len(steps), (_Instruction * len(steps))(*steps))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    return (
        prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
        and prctl(_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program), 0, 0) == 0
    )


def opened(folder: Path) -> GroupStore:
    return GroupStore.open(
        folder,
        owner="test",
        group="g",
        first_id=1,
        start=initial_snapshot([1, 2, 3]),
        new_id=lambda: 17,
    )


def look(store: GroupStore) -> dict[str, object]:
    """What the store shows of its term, its log and its state."""
    state = store.storage.initial_state()[0]
    found = store.replica.catalog.record(DEFAULT_TENANT, "n", "key")
    return {
        "term": state.term,
        "last": store.storage.last_index(),
        "applied": store.applied,
        "value": found.body if found is not None else None,
    }


def batch(index: int) -> Batch:
    command = WriteRecord(tenant=DEFAULT_TENANT, kind="n", key="key", body=index)
    entry = Entry(term=1, index=index, data=encode_command(command))
    return Batch(hard_state=HardState(term=index, vote=1), entries=[entry], committed=[entry])


def main(folder: Path) -> int:
    store = opened(folder)
    written(store, batch(2))
    if not fail_syncs():
        return NO_FILTER
    try:
        written(store, batch(3))
    except PlatformError as error:
        sys.stdout.write(json.dumps({"error": str(error), "halted": store.halted, **look(store)}))
        sys.stdout.flush()
    # As SIGKILL would: a connection that is closed writes the log back into the file.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
