"""Objects in one SQLite file: what is durable when, in which order, and who commits for whom."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from omium.errors import CorruptRecord, PlatformError, StorageUnwritable
from omium.storage.sqlite_objects import FILE_NAME, LINGER_S, Change, SqliteObjects


def keys(directory: Path) -> list[str]:
    """What another reader sees: what is committed, and nothing else."""
    with closing(sqlite3.connect(directory / FILE_NAME)) as connection:
        return [key for (key,) in connection.execute("SELECT key FROM objects ORDER BY rowid")]


class Commits:
    """Counts the transactions of a store."""

    def __init__(self, store: SqliteObjects) -> None:
        self.made: list[list[str]] = []
        commit = store._commit  # pyright: ignore[reportPrivateUsage]

        def counted(tickets: object) -> None:
            self.made.append([c.key for t in tickets for c in t.changes])  # type: ignore[attr-defined]
            commit(tickets)  # type: ignore[arg-type]

        store._commit = counted  # type: ignore[method-assign]


def test_changes_are_made_all_or_none(tmp_path: Path) -> None:
    store = SqliteObjects(tmp_path)
    assert store.write([Change("a", b"1"), Change("b", b"1", new=True)])
    assert not store.write([Change("b", b"2", new=True)])
    unfit = Change("d", object())  # type: ignore[arg-type]
    with pytest.raises(PlatformError):
        store.write([Change("c", b"1"), unfit])
    assert keys(tmp_path) == ["a", "b"]
    # What failed is out of the way.
    store.write([Change("b", None), Change("c", b"1")])
    assert keys(tmp_path) == ["a", "c"]


def test_who_lingers_is_taken_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omium.storage.sqlite_objects.LINGER_S", 30.0)
    store = SqliteObjects(tmp_path)
    commits = Commits(store)
    lingering = threading.Thread(
        target=store.write, args=([Change("writes", b"1")],), kwargs={"linger": True}
    )
    lingering.start()
    while not store._queue:  # pyright: ignore[reportPrivateUsage]
        time.sleep(0)
    assert keys(tmp_path) == []
    store.write([Change("checkpoint", b"1")])
    lingering.join(5)
    assert not lingering.is_alive()
    assert commits.made == [["writes", "checkpoint"]]


async def test_who_lingers_in_vain_commits_alone(tmp_path: Path) -> None:
    store = SqliteObjects(tmp_path)
    started = time.monotonic()
    store.write([Change("a", b"1")], linger=True)
    await store.awrite([Change("b", b"1")], linger=True)
    assert time.monotonic() - started >= 2 * LINGER_S
    assert keys(tmp_path) == ["a", "b"]


async def test_what_waits_together_is_one_commit_in_order(tmp_path: Path) -> None:
    store = SqliteObjects(tmp_path)
    commits = Commits(store)
    names = [f"k{number:02d}" for number in range(40)]
    await asyncio.gather(*(store.replace(name, b"1") for name in names))
    assert [key for commit in commits.made for key in commit] == names
    assert len(commits.made) < len(names)
    assert keys(tmp_path) == names


async def test_a_failure_is_told_to_all_whom_it_met(tmp_path: Path) -> None:
    store = SqliteObjects(tmp_path)
    broken = Change("b", object())  # type: ignore[arg-type]
    found = await asyncio.gather(
        store.awrite([Change("a", b"1")], linger=True),
        store.awrite([broken], linger=True),
        return_exceptions=True,
    )
    assert [type(one) for one in found] == [PlatformError, PlatformError]
    assert keys(tmp_path) == []


async def test_folders_end_with_a_slash(tmp_path: Path) -> None:
    store = SqliteObjects(tmp_path)
    for key in ("a/b/1", "a/b/c/2", "a/b2/3", "a/b", "b/1"):
        await store.replace(key, b"1")
    assert sorted(await store.keys("a/b")) == ["a/b/1", "a/b/c/2"]


async def test_two_processes_share_a_directory(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path;"
        "from omium.storage.sqlite_objects import Change, SqliteObjects;"
        "store = SqliteObjects(Path(sys.argv[1]));"
        "[store.write([Change(f'{sys.argv[2]}{n}', b'1')]) for n in range(50)]"
    )
    children = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", code, str(tmp_path), name)
        for name in "ab"
    ]
    assert [await child.wait() for child in children] == [0, 0]
    assert len(await SqliteObjects(tmp_path).keys("")) == 0
    assert len(keys(tmp_path)) == 100


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_leaves_both_with_a_connection_of_their_own(tmp_path: Path) -> None:
    store = SqliteObjects(tmp_path)
    store.write([Change("before", b"1")])
    child = os.fork()
    if child == 0:
        try:
            store.write([Change("child", b"1")])
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    store.write([Change("parent", b"1")])
    assert keys(tmp_path) == ["before", "child", "parent"]


def test_what_is_no_database_of_ours_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    with pytest.raises(CorruptRecord, match="no database of objects"):
        SqliteObjects(tmp_path)
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / FILE_NAME).write_text("no database at all" * 100)
    with pytest.raises(CorruptRecord):
        SqliteObjects(tmp_path / "text")
    (tmp_path / "file").touch()
    with pytest.raises(StorageUnwritable):
        SqliteObjects(tmp_path / "file")


def test_a_later_version_is_refused(tmp_path: Path) -> None:
    SqliteObjects(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        connection.execute("PRAGMA user_version = 9")
    with pytest.raises(PlatformError, match="schema version 9"):
        SqliteObjects(tmp_path)


def test_a_program_that_ends_leaves_one_file(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path;"
        "from omium.storage.sqlite_objects import Change, SqliteObjects;"
        "SqliteObjects(Path(sys.argv[1])).write([Change('a', b'1')])"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code, str(tmp_path)], check=True)
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
