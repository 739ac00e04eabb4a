"""A data directory of several shards, read and changed while nobody runs."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path

import pytest

from omium.actors.shards.opening import recorded_shards
from omium.actors.shards.placement import shard_of
from omium.cli.records import REPLICA_NAME
from omium.testing.shards import InProcessShards
from omium.types import ExecutionId
from tests.cli.conftest import Omium, workflow_of

SHARDS = 3


@pytest.fixture
def ids(tmp_path: Path) -> list[ExecutionId]:
    """The executions in ``tmp_path / "data"``, by shard: of each the one, interrupted."""
    return asyncio.run(_made(tmp_path / "data"))


async def _made(data: Path) -> list[ExecutionId]:
    async with InProcessShards(data, shards=SHARDS) as runtime:
        client = runtime.client
        return [
            await client.submit(
                workflow_of("waiting", "gated"),
                {"gate": str(data / "none")},
                execution_id=runtime.new_id_in(shard),
            )
            for shard in range(SHARDS)
        ]


def test_executions_are_found_wherever_they_are(
    omium: Omium, ids: list[ExecutionId], tmp_path: Path
) -> None:
    here = ("--data-dir", tmp_path / "data")
    assert [shard_of(execution_id, SHARDS) for execution_id in ids] == [*range(SHARDS)]
    rows = json.loads(omium("ps", "--all", "--json", *here).stdout)
    assert [row["id"] for row in rows] == sorted(ids, reverse=True)
    assert all(row["interrupted"] for row in rows)
    assert max(ids) in omium("show", "last", *here).stdout
    for execution_id in ids:
        assert execution_id in omium("show", execution_id, *here).stdout
        done = omium("cancel", execution_id, *here)
        assert (done.exit_code, done.stdout) == (0, f"{execution_id} is cancelled\n")
    status = json.loads(omium("status", "--json", *here).stdout)
    assert status["executions"] == {"cancelled": SHARDS}


def test_all_shards_are_backed_up_verified_and_restored(
    omium: Omium, ids: list[ExecutionId], tmp_path: Path
) -> None:
    archive, here = tmp_path / "archive", ("--data-dir", tmp_path / "data")
    made = json.loads(omium("backup", archive, *here, "--json").stdout)
    assert [part["executions"] for part in made["shards"]] == [1] * SHARDS
    assert len({part["replica"] for part in made["shards"]}) == SHARDS
    sound = omium("verify", "--archive", archive, *here, "--json")
    assert json.loads(sound.stdout) == {"type": "verify", "replicas": SHARDS, "damage": []}

    there = ("--data-dir", tmp_path / "there")
    dry = omium("restore", "--from", archive, "--dry-run", *there)
    assert dry.stdout.count("1 running") == SHARDS, dry.stderr
    assert not (tmp_path / "there").exists()
    which = omium("restore", "--from", archive, "--index", 1, *there)
    assert (which.exit_code, "--shard" in which.stderr) == (2, True)
    back = omium("restore", "--from", archive, *there)
    assert (back.exit_code, back.stdout.count("1 running")) == (0, SHARDS), back.stderr
    for command in (("ps", "--all"), *(("show", execution_id) for execution_id in ids)):
        assert omium(*command, *there).stdout == omium(*command, *here).stdout
    assert recorded_shards(tmp_path / "there") == SHARDS

    one = ("--data-dir", tmp_path / "one")
    back = omium("restore", "--from", archive, "--shard", 2, "--index", 1, *one, "--json")
    assert json.loads(back.stdout)["index"] == 1
    assert (tmp_path / "one" / "shards" / "2" / REPLICA_NAME).exists()
    assert omium("restore", "--from", archive, "--shard", SHARDS, *one).exit_code == 2


def test_damage_in_any_shard_is_named(omium: Omium, ids: list[ExecutionId], tmp_path: Path) -> None:
    replica = tmp_path / "data" / "shards" / "1" / REPLICA_NAME
    connection = sqlite3.connect(replica)
    with connection:
        connection.execute("UPDATE journal SET at_ms = at_ms + 1 WHERE idx = 1")
    connection.close()
    told = omium("verify", "--data-dir", tmp_path / "data")
    assert (told.exit_code, f"{ids[1]}@1" in told.stdout) == (7, True), told.stdout


def test_shards_in_which_nothing_happened_come_back_with_the_others(
    omium: Omium, tmp_path: Path
) -> None:
    async def made() -> None:
        async with InProcessShards(tmp_path / "data", shards=SHARDS) as runtime:
            flow, gate = workflow_of("waiting", "gated"), str(tmp_path / "none")
            await runtime.client.submit(flow, {"gate": gate}, execution_id=runtime.new_id_in(1))

    asyncio.run(made())
    archive, there = tmp_path / "archive", ("--data-dir", tmp_path / "there")
    assert omium("backup", archive, "--data-dir", tmp_path / "data").exit_code == 0
    back = omium("restore", "--from", archive, *there)
    assert (back.exit_code, back.stdout.count("1 running")) == (0, 1), back.stderr
    assert json.loads(omium("status", "--json", *there).stdout)["executions"] == {"running": 1}
