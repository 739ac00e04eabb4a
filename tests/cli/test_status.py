"""What ``omium status`` says of the seats of a group and of the archive."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from omium.actors.group.talk import SeatView
from omium.actors.messages import ArchiveView, RuntimeView
from omium.cli import service
from omium.config import Settings
from omium.runtime.service_file import ServiceRecord
from tests.cli.conftest import Omium

LEADER = SeatView(seat=1, role="leader", term=4, leads=1, applied=90, last=92, pid=11)
LOST = SeatView(
    seat=3, role="candidate", term=3, leads=0, applied=80, last=80, pid=13, trouble="a full disk"
)
ARCHIVE = ArchiveView(
    url="s3://b/a", shipped=70, committed=90, behind_ms=2_500, trouble="503 SlowDown", held=2
)


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A service of three coordinators, of which one is away and one has stopped; or of the seats
    of each shard that it is called with."""
    record = ServiceRecord(
        address="http://127.0.0.1:1", pid=1, dashboard=None, started_ms=int(time.time() * 1_000)
    )
    view = RuntimeView(workers=(), gateway_url="http://g", gateway_pid=2, pid=11, archive=ARCHIVE)

    def serves(*shards: tuple[SeatView | None, ...]) -> None:
        async def views(_: Settings) -> tuple[RuntimeView, Any]:
            return view, {
                (shard, number): seat
                for shard, seats in enumerate(shards)
                for number, seat in enumerate(seats, 1)
            }

        monkeypatch.setattr(service, "_views", views)

    monkeypatch.setattr(service, "live_service", lambda _: record)
    serves((LEADER, None, LOST))
    return serves


@pytest.mark.usefixtures("group")
def test_each_seat_has_a_line(omium: Omium, tmp_path: Path) -> None:
    told = omium("status", "--data-dir", tmp_path)
    assert told.exit_code == 0, told.stderr
    lines = dict(
        line.split(maxsplit=1) for line in told.stdout.replace("seat ", "seat").splitlines()
    )
    assert lines["seat1"] == (
        "leader in term 4, process 11, applied up to entry 90, holds up to 92"
    )
    assert lines["seat2"] == "does not answer"
    assert lines["seat3"] == (
        "candidate in term 3, process 13, applied up to entry 80; knows no leader; "
        "stopped: a full disk"
    )
    assert lines["archive"] == (
        "s3://b/a, up to entry 70; 20 not there, for 2.50 s; 2 answers held back; 503 SlowDown"
    )


@pytest.mark.usefixtures("group")
def test_machines_are_told_all_of_it(omium: Omium, tmp_path: Path) -> None:
    told = json.loads(omium("status", "--data-dir", tmp_path, "--json").stdout)
    assert [(seat["seat"], seat["role"]) for seat in told["seats"]] == [
        (1, "leader"), (2, None), (3, "candidate"),
    ]  # fmt: skip
    assert told["seats"][0]["applied"] == 90
    assert {seat["shard"] for seat in told["seats"]} == {0}
    assert told["archive"]["held"] == 2


def test_seats_of_several_shards_are_told_apart(
    omium: Omium, tmp_path: Path, group: Callable[..., None]
) -> None:
    group((LEADER,), (None,))
    lines = omium("status", "--data-dir", tmp_path).stdout.splitlines()
    assert "seat 1      shard 0: leader in term 4, process 11, applied up to entry 90, " in str(
        lines
    )
    assert "seat 1      shard 1: does not answer" in lines
    told = json.loads(omium("status", "--data-dir", tmp_path, "--json").stdout)
    assert [(seat["shard"], seat["seat"], seat["role"]) for seat in told["seats"]] == [
        (0, 1, "leader"), (1, 1, None),
    ]  # fmt: skip
