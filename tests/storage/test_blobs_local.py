"""The local directory: durable before it is acknowledged, and honest about a bad disk."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from omium.errors import NotFound, PlatformError, StorageFull, StorageUnwritable
from omium.execution.blobref import BlobRef
from omium.storage.blobs import BlobStore, blob_key, open_blob_store
from omium.storage.local_files import LocalObjectStore

TENANT = "acme"
DISK_BYTES = 256 * 1024
NOISE = random.Random(3).randbytes(DISK_BYTES)


def open_at(path: Path) -> BlobStore:
    return open_blob_store(str(path))


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def path_of(root: Path, ref: BlobRef) -> Path:
    return root / blob_key(ref, tenant=TENANT)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of ``DISK_BYTES``."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(path)]
    try:
        made = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("this machine has no mount command")
    if made.returncode:
        pytest.skip(f"mounting a file system is not allowed here: {made.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


class Trace:
    """The order of the system calls that durability hangs on, each still performed. A link
    from a temporary file is a rename that takes nobody's place."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[str, str]] = []
        fsync, link, replace = os.fsync, os.link, Path.replace

        def traced_fsync(descriptor: int) -> None:
            fsync(descriptor)
            self.calls.append(("fsync", str(Path(f"/proc/self/fd/{descriptor}").readlink())))

        def traced_link(path: Path, target: Path) -> None:
            self.calls.append(("rename", str(target)))
            link(path, target)

        def traced_replace(path: Path, target: Path) -> Path:
            self.calls.append(("rename", str(target)))
            return replace(path, target)

        monkeypatch.setattr(os, "fsync", traced_fsync)
        monkeypatch.setattr(os, "link", traced_link)
        monkeypatch.setattr(Path, "replace", traced_replace)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="names descriptors through /proc")
async def test_file_and_directories_are_synced_around_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "new" / "blobs"
    trace = Trace(monkeypatch)
    store = open_at(root)
    # The entries of the root and of its parent.
    assert trace.calls == [("fsync", str(tmp_path)), ("fsync", str(tmp_path / "new"))]
    trace.calls.clear()

    ref = await store.put(b"content", tenant=TENANT)
    path = path_of(root, ref)
    renamed = trace.calls.index(("rename", str(path)))
    before, after = trace.calls[:renamed], trace.calls[renamed + 1 :]
    assert before[-1][0] == "fsync"
    assert Path(before[-1][1]).parent == root / ".tmp"
    assert after == [("fsync", str(path.parent))]
    for made in (root, root / TENANT, root / TENANT / "blobs"):
        assert ("fsync", str(made)) in before

    # An equal put by another process must not rest on a rename that nobody has synced.
    trace.calls.clear()
    await open_at(root).put(b"content", tenant=TENANT)
    assert trace.calls[-1] == ("fsync", str(path.parent))
    assert ("fsync", str(path.parent.parent)) in trace.calls
    assert not [call for call in trace.calls if call[0] == "rename"]


async def test_a_failed_sync_is_not_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_at(tmp_path)

    def broken(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", broken)
        with pytest.raises(StorageUnwritable, match="Input/output error"):
            await store.put(b"content", tenant=TENANT)
    assert files(tmp_path) == []
    ref = await store.put(b"content", tenant=TENANT)
    assert await store.get(ref, tenant=TENANT) == b"content"


WRITER = """
import asyncio, random, sys
import msgspec
from omium.storage.blobs import open_blob_store

async def main():
    store = open_blob_store(sys.argv[1])
    noise = random.Random(int(sys.argv[2]))

    async def write():
        while True:
            ref = await store.put(noise.randbytes(200_000), tenant="acme")
            sys.stdout.write(msgspec.json.encode(ref).decode() + "\\n")
            sys.stdout.flush()

    await asyncio.gather(write(), write(), write())

asyncio.run(main())
"""


def killed_after(acknowledged: int, root: Path) -> list[BlobRef]:
    """Run a writer, SIGKILL it in the middle of its work, and return what it acknowledged."""
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(root), str(acknowledged)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout is not None
    with writer.stdout as output:
        try:
            lines = [line for _, line in zip(range(acknowledged), output, strict=False)]
        finally:
            writer.send_signal(signal.SIGKILL)
            writer.wait()
    return [msgspec.json.decode(line, type=BlobRef) for line in lines]


@pytest.mark.parametrize("acknowledged", [1, 10, 25])
async def test_a_killed_writer_leaves_all_it_acknowledged_and_nothing_in_part(
    tmp_path: Path, acknowledged: int
) -> None:
    refs = await asyncio.to_thread(killed_after, acknowledged, tmp_path)
    assert len(refs) == acknowledged
    store = open_at(tmp_path)
    for ref in refs:
        await store.verify(ref, tenant=TENANT)
    assert files(tmp_path / ".tmp") == []
    # What it had not acknowledged is whole or absent, too.
    for path in files(tmp_path / TENANT):
        digest = f"sha256:{path.parent.name}{path.name}"
        await store.verify(BlobRef(digest=digest, size=200_000), tenant=TENANT)


async def test_opening_sweeps_the_files_of_the_dead_and_spares_those_of_the_living(
    tmp_path: Path,
) -> None:
    open_at(tmp_path)
    dead, living = tmp_path / ".tmp" / "dead", tmp_path / ".tmp" / "living"
    dead.write_bytes(b"part")
    with living.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        open_at(tmp_path)
        assert files(tmp_path) == [living]
    open_at(tmp_path)
    assert files(tmp_path) == []


async def test_sweeps_during_writes_cost_no_write(tmp_path: Path) -> None:
    store = open_at(tmp_path)
    noise = random.Random(5)
    writing = True

    def sweep() -> int:
        sweeps = 0
        while writing:
            open_at(tmp_path)
            sweeps += 1
        return sweeps

    sweeping = asyncio.create_task(asyncio.to_thread(sweep))
    try:
        refs = [
            ref
            for _ in range(10)
            for ref in await asyncio.gather(
                *(store.put(noise.randbytes(1_000), tenant=TENANT) for _ in range(8))
            )
        ]
    finally:
        writing = False
        sweeps = await sweeping
    assert sweeps > 1
    for ref in refs:
        await store.verify(ref, tenant=TENANT)


async def test_a_full_disk_is_named_and_leaves_nothing_in_part(small_disk: Path) -> None:
    store = open_at(small_disk)
    kept = await store.put(NOISE[: DISK_BYTES // 4], tenant=TENANT)
    with pytest.raises(StorageFull, match="no space left"):
        await store.put(NOISE, tenant=TENANT)
    assert files(small_disk) == [path_of(small_disk, kept)]
    await store.verify(kept, tenant=TENANT)
    # The space of the failed write is free again.
    await store.put(NOISE[: DISK_BYTES // 3], tenant=TENANT)


async def test_a_file_system_that_turns_read_only_is_named(small_disk: Path) -> None:
    store = open_at(small_disk)
    ref = await store.put(b"before", tenant=TENANT)
    remount = ["mount", "-o", "remount,ro", str(small_disk)]
    await asyncio.to_thread(subprocess.run, remount, check=True)
    with pytest.raises(StorageUnwritable, match="Read-only file system"):
        await store.put(b"after", tenant=TENANT)
    with pytest.raises(StorageUnwritable, match="Read-only file system"):
        await store.delete(ref, tenant=TENANT)
    assert await store.get(ref, tenant=TENANT) == b"before"


def test_a_directory_under_a_file_is_unwritable(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for path in (file, file / "blobs"):
        with pytest.raises(StorageUnwritable, match="Not a directory") as caught:
            open_at(path)
        assert caught.value.path == str(path)


async def test_a_file_in_the_place_of_a_directory_is_named(tmp_path: Path) -> None:
    store = open_at(tmp_path)
    (tmp_path / TENANT).write_text("")
    ref = BlobRef(digest="sha256:" + "0" * 64, size=0)
    with pytest.raises(PlatformError, match=r"cannot read .* Not a directory"):
        await store.get(ref, tenant=TENANT)
    (tmp_path / TENANT).unlink()
    with pytest.raises(NotFound):
        await store.get(ref, tenant=TENANT)


async def test_a_directory_removed_under_the_store_is_made_again(tmp_path: Path) -> None:
    store = open_at(tmp_path)
    ref = await store.put(b"content", tenant=TENANT)
    path_of(tmp_path, ref).unlink()
    path_of(tmp_path, ref).parent.rmdir()
    (tmp_path / ".tmp").rmdir()
    assert await store.put(b"content", tenant=TENANT) == ref
    assert await store.get(ref, tenant=TENANT) == b"content"


async def test_remembered_directories_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omium.storage.local_files.DIRECTORIES_REMEMBERED_MAX", 3)
    objects = LocalObjectStore(tmp_path)
    for number in range(10):
        await objects.replace(f"{number}/key", b"body")
        assert len(objects._on_disk) <= 3  # pyright: ignore[reportPrivateUsage]
    assert await objects.read("0/key", bytes_max=10) == b"body"


async def test_only_the_owner_may_read(tmp_path: Path) -> None:
    ref = await open_at(tmp_path / "blobs").put(b"secret", tenant=TENANT)
    path = path_of(tmp_path / "blobs", ref)
    assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "blobs").stat().st_mode & 0o777 == 0o700
    assert path.parent.stat().st_mode & 0o777 == 0o700
