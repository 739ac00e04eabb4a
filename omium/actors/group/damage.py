"""A member's disk that is damaged: it is put aside for a look, and never gone on from.

Nothing that such a file holds can be trusted, what it promised included, so the seat begins anew
as a newcomer under another id, as after a loss. A majority of damaged disks is a majority lost:
newcomers have no vote until a majority of the members before them takes them in, and halt the
group meanwhile; what was put aside is there for people.

An error alone says little: an entry that no member can read would be one disk's after the other.
So a disk is condemned only for damage that is found in its own file.
"""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

from omium.errors import CorruptRecord, NotFound, OmiumError
from omium.storage.private_file import read_private, write_private
from omium.storage.replica import FILE_NAME
from omium.storage.sqlite import translated
from omium.storage.verifying import damage_in_replica

log = logging.getLogger(__name__)

MARK_NAME = "condemned"
ASIDE_NAME = "aside"
KEPT_MAX = 3
"""Damaged files that are kept; older ones are removed."""

# The database last: while it is there, what belongs to it is not some other database's.
_FILES = (f"{FILE_NAME}-wal", f"{FILE_NAME}-shm", FILE_NAME)


def condemn(folder: Path, error: OmiumError) -> bool:
    """Look whether a seat's file is damaged, as ``error`` may be a sign of, and if so see to it
    that nobody goes on from it. Returns whether it is.

    Reads the whole file: to be called in a thread. Raises ``StorageFull`` and the like.
    """
    found = _damage(folder / FILE_NAME)
    if found is None:
        log.error("no damage was found in %s, which failed with: %s", folder / FILE_NAME, error)
        return False
    log.error("%s is damaged (%s)", folder / FILE_NAME, found)
    write_private(folder / MARK_NAME, str(found).encode())
    return True


def put_aside(folder: Path, name: str) -> bool:
    """Put the file of a seat that was condemned into a folder ``name`` below its own. Returns
    whether any was, now or before.

    A crash on the way does not matter: the mark stays until all is done. Raises ``StorageFull``
    and the like.
    """
    aside = folder / ASIDE_NAME
    if read_private(folder / MARK_NAME) is None:
        return aside.exists()
    with translated(folder):
        (aside / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        for file in _FILES:
            if (folder / file).exists():
                (folder / file).replace(aside / name / file)
        _synced(aside)
        _synced(folder)
        (folder / MARK_NAME).unlink()
        for old in sorted(aside.iterdir())[:-KEPT_MAX]:
            shutil.rmtree(old)
    log.error("the damaged file is in %s; this seat begins anew", aside / name)
    return True


def _damage(path: Path) -> OmiumError | None:
    try:
        return next(damage_in_replica(path), None)
    except CorruptRecord as error:
        return error
    except NotFound:
        return None


def _synced(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
