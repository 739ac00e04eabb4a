"""Objects in a local directory, durable when a write returns.

Owns the order of write, fsync, rename and fsync of the directory, and the sweep of files that
a killed writer left behind. Knows nothing of what the objects hold. Several processes may
share a directory.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from omium.errors import PlatformError, StorageFull, StorageUnwritable

DIRECTORIES_REMEMBERED_MAX = 4_096
"""Directories whose entry is known to be on disk, so that it is not synced again."""

TEMPORARY_TRIES_MAX = 8
"""Tries to get a temporary file that a sweeping process has not taken for abandoned."""

_TEMPORARY = ".tmp"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class LocalObjectStore:
    """An ``ObjectStore`` in the directory ``root``, which is created when missing.

    Raises ``StorageUnwritable`` or ``StorageFull`` when ``root`` cannot be made.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._on_disk: set[Path] = set()
        with _writing(self._root):
            make_root(self._root)
            (self._root / _TEMPORARY).mkdir(mode=0o700, exist_ok=True)
            _sweep(self._root / _TEMPORARY)

    async def put_new(self, key: str, body: bytes) -> bool:
        return await asyncio.to_thread(self._put_new, key, body)

    async def replace(self, key: str, body: bytes) -> None:
        await asyncio.to_thread(self._write, self._root / key, body, new=False)

    async def read(self, key: str, *, bytes_max: int) -> bytes | None:
        return await asyncio.to_thread(_read, self._root / key, bytes_max)

    async def size(self, key: str) -> int | None:
        return await asyncio.to_thread(_size, self._root / key)

    async def remove(self, key: str) -> None:
        await asyncio.to_thread(_remove, self._root / key)

    async def keys(self, folder: str) -> list[str]:
        return await asyncio.to_thread(self._keys, folder)

    def _keys(self, folder: str) -> list[str]:
        with _reading(self._root / folder):
            return [
                str(path.relative_to(self._root))
                for path in (self._root / folder).rglob("*")
                if path.is_file()
            ]

    def _put_new(self, key: str, body: bytes) -> bool:
        path = self._root / key
        if _size(path) is None and self._write(path, body, new=True):
            return True
        with _writing(path):
            # Whoever wrote it may not have got as far as syncing the directory.
            self._secure_directory(path.parent)
            _sync_directory(path.parent)
        return False

    def _write(self, path: Path, body: bytes, *, new: bool) -> bool:
        """Whether it was written: where something is there already, a ``new`` object is not."""
        with _writing(path):
            try:
                return self._write_once(path, body, new=new)
            except FileNotFoundError:
                # Somebody removed a directory that this process remembered.
                self._on_disk.clear()
                return self._write_once(path, body, new=new)

    def _write_once(self, path: Path, body: bytes, *, new: bool) -> bool:
        self._secure_directory(path.parent)
        self._secure_directory(self._root / _TEMPORARY)
        descriptor, temporary = _open_temporary(self._root / _TEMPORARY)
        try:
            _write_all(descriptor, body)
            os.fsync(descriptor)
            if new:
                # Unlike a rename it takes no other's place.
                os.link(temporary, path)
                temporary.unlink()
            else:
                temporary.replace(path)
        except FileExistsError:
            temporary.unlink(missing_ok=True)
            return False
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        _sync_directory(path.parent)
        return True

    def _secure_directory(self, directory: Path) -> None:
        """Make ``directory``, and have the way to it from the root on disk."""
        path = self._root
        for part in directory.relative_to(self._root).parts:
            parent, path = path, path / part
            if path in self._on_disk:
                continue
            path.mkdir(mode=0o700, exist_ok=True)
            _sync_directory(parent)
            if len(self._on_disk) >= DIRECTORIES_REMEMBERED_MAX:
                self._on_disk.clear()
            self._on_disk.add(path)


def make_root(root: Path) -> None:
    missing: list[Path] = []
    path = root
    while not path.exists():
        missing.append(path)
        path = path.parent
    for path in reversed(missing):
        path.mkdir(mode=0o700, exist_ok=True)
        _sync_directory(path.parent)
    if not root.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(root))


def _open_temporary(directory: Path) -> tuple[int, Path]:
    """A fresh file that is locked for as long as its writer lives."""
    for _ in range(TEMPORARY_TRIES_MAX):
        descriptor, name = tempfile.mkstemp(dir=directory)
        # A sweep between creation and lock may have taken the file for abandoned.
        if _try_lock(descriptor) and os.fstat(descriptor).st_nlink == 1:
            return descriptor, Path(name)
        os.close(descriptor)
        Path(name).unlink(missing_ok=True)
    raise PlatformError(f"lost {TEMPORARY_TRIES_MAX} temporary files in {directory} to sweeps")


def _sweep(directory: Path) -> None:
    """Remove what dead writers left: the lock of a file goes with its writer."""
    for path in directory.iterdir():
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            if _try_lock(descriptor):
                path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write_all(descriptor: int, body: bytes) -> None:
    left = memoryview(body)
    while left:
        left = left[os.write(descriptor, left) :]


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path, bytes_max: int) -> bytes | None:
    with _reading(path):
        try:
            with path.open("rb") as file:
                return file.read(bytes_max + 1)
        except FileNotFoundError:
            return None


def _size(path: Path) -> int | None:
    with _reading(path):
        try:
            return path.stat().st_size
        except FileNotFoundError:
            return None


def _remove(path: Path) -> None:
    with _writing(path):
        try:
            path.unlink()
        except FileNotFoundError:
            return
        _sync_directory(path.parent)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull(f"no space left for {path}") from error
        raise StorageUnwritable(str(path), error.strerror or str(error)) from error


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PlatformError(f"cannot read {path}: {error.strerror or error}") from error
