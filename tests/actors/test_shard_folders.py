"""Shards on disks: of how many a folder is one, and their journals read as one."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from omium.actors.shards.journals import Journals
from omium.actors.shards.opening import (
    RECORD_NAME,
    claim_shard,
    recorded_shards,
    shard_count_in,
    shard_folder,
    shard_url,
)
from omium.actors.shards.placement import shard_of
from omium.errors import ConfigError, CorruptRecord, NotFound
from omium.storage.replica import Replica
from omium.testing.shards import InProcessShards
from omium.types import ExecutionId
from tests.actors.stage import MODEL, agent, workflow

FLOW = workflow(agent("doer"))


def test_a_folder_stays_what_it_was_made_for(tmp_path: Path) -> None:
    assert recorded_shards(tmp_path) == 1
    for shard in (0, 1):
        folder = shard_folder(tmp_path, shard)
        for _ in range(2):
            claim_shard(folder, shard, 2)
        for other in (1, 3):
            with pytest.raises(ConfigError, match=f"placed in 2 shards, and not in {other}"):
                claim_shard(folder, shard, other)
        with pytest.raises(ConfigError, match=f"holds shard {shard}"):
            claim_shard(folder, 1 - shard, 2)
    assert recorded_shards(tmp_path) == 2


def test_what_was_made_without_shards_gets_none(tmp_path: Path) -> None:
    claim_shard(tmp_path, 0, 1)
    Replica.open(tmp_path, owner="a test").close()
    assert not (tmp_path / RECORD_NAME).exists()
    claim_shard(tmp_path, 0, 1)
    with pytest.raises(ConfigError, match="placed in 1 shard,"):
        claim_shard(tmp_path, 0, 2)


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    (tmp_path / RECORD_NAME).write_bytes(b"{")
    with pytest.raises(CorruptRecord, match=RECORD_NAME):
        recorded_shards(tmp_path)


def test_each_shard_has_a_place_of_its_own() -> None:
    assert shard_folder(Path("/d"), 0) == Path("/d")
    assert shard_folder(Path("/d"), 3) == Path("/d/shards/3")
    assert [shard_url("s3://b/p/", shard) for shard in (0, 2)] == [
        "s3://b/p/",
        "s3://b/p/shards/2",
    ]


@pytest.mark.parametrize(
    ("keys", "shards"),
    [
        ([], 1),
        (["omium/log/1", "shards/x/1", "shards/1"], 1),
        (["shards/2/archive/replicas/a", "shards/1/archive/replicas/b"], 3),
        (["shards/10/a"], 11),
    ],
)
def test_an_archive_tells_of_how_many_shards_it_is(keys: list[str], shards: int) -> None:
    assert shard_count_in(keys) == shards


async def test_journals_of_several_shards_are_read_as_one(tmp_path: Path) -> None:
    async with InProcessShards(tmp_path, shards=3) as runtime:
        ids = [
            await runtime.client.submit(FLOW, {"do": []}, model=MODEL, execution_id=chosen)
            for chosen in [*(runtime.new_id_in(shard) for shard in (0, 1, 2, 2)), ExecutionId("ex")]
        ]
        for execution_id in ids:
            await runtime.client.result(execution_id, timeout_s=20)
    with closing(Journals.open(tmp_path)) as journals:
        rows = journals.executions(limit=3)
        rows += journals.executions(limit=3, before=rows[-1].id)
        assert [row.id for row in rows] == sorted(ids, reverse=True)
        assert journals.counts() == {"completed": 5}
        for execution_id in ids:
            assert journals.find(execution_id) == execution_id
            state = journals.of(execution_id).fold(execution_id)
            assert state is not None
            assert state.status == "completed"
        assert journals.find(rows[0].id[:-1]) == rows[0].id
        for prefix in ("ex_", "ey"):
            with pytest.raises(NotFound):
                journals.find(prefix)


def test_shards_in_which_nothing_has_run_are_no_mistake(tmp_path: Path) -> None:
    claim_shard(tmp_path, 0, 3)
    Replica.open(tmp_path, owner="a test").close()
    with closing(Journals.open(tmp_path)) as journals:
        assert journals.executions() == []
        elsewhere = next(name for name in map(str, range(99)) if shard_of(name, 3) == 2)
        assert journals.of(elsewhere).fold(elsewhere) is None
        with pytest.raises(NotFound):
            journals.find(elsewhere)
