"""Files for their owner's eyes."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from omium.errors import StorageUnwritable
from omium.storage.private_file import kept, read_private, write_private


def test_nobody_else_may_read_it_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    write_private(path, b"one")
    path.chmod(0o644)
    write_private(path, b"two")
    assert read_private(path) == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["secret"]


def test_what_is_not_there_is_none(tmp_path: Path) -> None:
    assert read_private(tmp_path / "secret") is None


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageUnwritable, match="nowhere"):
        write_private(tmp_path / "nowhere" / "secret", b"one")


def test_what_is_kept_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    assert kept(path, lambda: b"one") == b"one"
    assert kept(path, lambda: b"two") == b"one"
    assert path.stat().st_mode & 0o777 == 0o600


def test_whoever_makes_it_at_the_same_time_gets_the_same(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    together = threading.Barrier(2)
    got: list[bytes] = []

    def make(content: bytes) -> bytes:
        # Neither has found it there.
        together.wait(10)
        return content

    threads = [
        threading.Thread(target=lambda c=content: got.append(kept(path, lambda: make(c))))
        for content in (b"one", b"two")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(got)) == 1
    assert read_private(path) == got[0]
    assert [one.name for one in tmp_path.iterdir()] == ["secret"]
