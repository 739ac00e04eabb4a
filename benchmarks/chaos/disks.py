"""The disks of the seats: a small file system in a file for each, which can be filled, and whose
database can be lost or damaged.

It takes root and loop devices; without them the seats are folders of one disk, which nobody fills,
and whose databases can be lost and damaged all the same.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random

import psutil

from benchmarks.chaos.plan import DISKS
from omium.actors.group.opening import seat_folder
from omium.storage.replica import FILE_NAME

PREFIX = "omc-"
DISK_BYTES = 1 << 30
"""A file with holes: what is not written takes no space."""

FILLER = "filler"
PAGE_BYTES = 4_096
DAMAGED_BYTES = 64


class Disks:
    """Those of ``count`` seats below ``data_dir``, with their images in ``folder``."""

    def __init__(self, folder: Path, data_dir: Path, count: int) -> None:
        self._folder = folder
        self._data_dir = data_dir
        self._count = count
        self.abilities: tuple[str, ...] = ()

    def open(self) -> str | None:
        """Make and mount them. Returns why there are none, where there can be none."""
        self._data_dir.mkdir(mode=0o700)
        for seat in range(1, self._count + 1):
            place = seat_folder(self._data_dir, seat)
            place.mkdir(parents=True, exist_ok=True, mode=0o700)
            image = self._folder / f"disk-{seat}.img"
            with image.open("wb") as file:
                file.truncate(DISK_BYTES)
            for words in (
                ["mkfs.ext4", "-q", "-F", "-m", "0", str(image)],
                ["mount", "-o", "loop", str(image), str(place)],
            ):
                try:
                    subprocess.run(words, check=True, capture_output=True, text=True)
                except (OSError, subprocess.CalledProcessError) as error:
                    self.close()
                    said = getattr(error, "stderr", None) or str(error)
                    return f"{words[0]}: {said.strip().splitlines()[0]}"
            place.chmod(0o700)
        self.abilities = (DISKS,)
        return None

    def close(self) -> None:
        """Unmount them. May be repeated."""
        _unmount(self._folder)

    @contextmanager
    def full(self, seat: int) -> Iterator[None]:
        """Leave no space on a disk."""
        path = seat_folder(self._data_dir, seat) / FILLER
        try:
            with path.open("wb") as file:
                _fill(file.fileno())
            yield
        finally:
            path.unlink(missing_ok=True)

    def lose(self, seat: int) -> None:
        """Remove a database. Its process must stand still, and be killed afterwards."""
        for path in seat_folder(self._data_dir, seat).glob(f"{FILE_NAME}*"):
            path.unlink()

    def spoil(self, seat: int, random: Random) -> int:
        """Write over a part of every page of a database but the first. As for ``lose``. Returns the
        number of pages."""
        path = seat_folder(self._data_dir, seat) / FILE_NAME
        pages = range(1, path.stat().st_size // PAGE_BYTES)
        with path.open("r+b") as file:
            for page in pages:
                file.seek(page * PAGE_BYTES + random.randrange(PAGE_BYTES - DAMAGED_BYTES))
                file.write(random.randbytes(DAMAGED_BYTES))
        return len(pages)


@contextmanager
def folder(*, keep: bool) -> Iterator[Path]:
    """A folder of this benchmark's, under a short name: the paths of sockets are bounded. What
    killed ones have left is removed first."""
    _sweep()
    made = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    try:
        yield made
    finally:
        _unmount(made)
        if keep:
            print(f"kept in {made}")
        else:
            shutil.rmtree(made, ignore_errors=True)


def _sweep() -> None:
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        owner = left.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdecimal() and not psutil.pid_exists(int(owner)):
            _unmount(left)
            shutil.rmtree(left, ignore_errors=True)


def _unmount(below: Path) -> None:
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for place in reversed(mounted):
        if Path(place).is_relative_to(below):
            # Lazily: a process that is ending may have a file open yet.
            subprocess.run(["umount", "--lazy", place], check=False, capture_output=True)


def _fill(descriptor: int) -> None:
    size, offset = DISK_BYTES // 2, 0
    while size >= PAGE_BYTES:
        try:
            os.posix_fallocate(descriptor, offset, size)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            size //= 2
        else:
            offset += size
    with suppress(OSError):
        os.fsync(descriptor)
