"""Small files for their owner's eyes: secrets, and where a process can be reached.

Owns that a reader sees all of a file or none, and that nobody else may read it. Knows nothing
of what the files say.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from omium.errors import StorageFull, StorageUnwritable

_FULL = (errno.ENOSPC, errno.EDQUOT)


def write_private(path: Path, content: bytes) -> None:
    """Replace a file, mode 600, synced. Raises ``StorageUnwritable`` and ``StorageFull``."""
    fresh = _written(path, content)
    try:
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise _translated(path, error) from error


def read_private(path: Path) -> bytes | None:
    """The content of a file; None where there is none. Raises ``StorageUnwritable``."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _translated(path, error) from error


def kept(path: Path, make: Callable[[], bytes]) -> bytes:
    """The content of a file that is made once and kept for ever. Of several processes that make
    it at the same time one wins, and all get what is kept."""
    found = read_private(path)
    if found is not None:
        return found
    fresh = _written(path, make())
    try:
        os.link(fresh, path)
    except FileExistsError:
        pass  # somebody else was quicker, and theirs is read below
    except OSError as error:
        raise _translated(path, error) from error
    finally:
        fresh.unlink(missing_ok=True)
    return path.read_bytes()


def _written(path: Path, content: bytes) -> Path:
    """A new file beside ``path`` with that content, synced."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise _translated(path, error) from error
    fresh = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise _translated(path, error) from error
    return fresh


def _translated(path: Path, error: OSError) -> StorageFull | StorageUnwritable:
    if error.errno in _FULL:
        return StorageFull(f"no space left in {str(path.parent)!r}")
    return StorageUnwritable(str(path), error.strerror or str(error))
