"""Where a service answers, and whether it is still there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from omium.errors import CorruptRecord, DataDirectoryBusy
from omium.runtime.service import refuse_second
from omium.runtime.service_file import (
    FILE_NAME,
    ServiceRecord,
    live_service,
    publish,
    withdraw,
)

HERE = ServiceRecord(
    address="http://127.0.0.1:1", pid=os.getpid(), dashboard=None, started_ms=4_102_444_800_000
)


def test_a_live_service_is_found_until_it_withdraws(tmp_path: Path) -> None:
    assert live_service(tmp_path) is None
    publish(tmp_path, HERE)
    assert live_service(tmp_path) == HERE
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600
    withdraw(tmp_path, HERE)
    assert live_service(tmp_path) is None
    assert not list(tmp_path.iterdir())


def test_a_service_takes_nothing_of_its_successor_away(tmp_path: Path) -> None:
    publish(tmp_path, HERE)
    withdraw(tmp_path, replace(HERE, address="http://127.0.0.1:2"))
    assert live_service(tmp_path) == HERE


def test_a_dead_one_is_none_also_while_nobody_buries_it(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    publish(tmp_path, replace(HERE, pid=child.pid))
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert live_service(tmp_path) is None
    child.wait()
    assert live_service(tmp_path) is None


def test_another_process_with_its_number_is_not_it(tmp_path: Path) -> None:
    publish(tmp_path, replace(HERE, started_ms=round(time.time() * 1000) - 10 * 365 * 86_400_000))
    assert live_service(tmp_path) is None


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("{")
    with pytest.raises(CorruptRecord, match=FILE_NAME):
        live_service(tmp_path)


def test_a_second_service_is_told_where_the_first_one_is(tmp_path: Path) -> None:
    refuse_second(tmp_path)
    publish(tmp_path, HERE)
    with pytest.raises(DataDirectoryBusy, match=r"http://127\.0\.0\.1:1 "):
        refuse_second(tmp_path)
