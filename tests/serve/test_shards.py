"""What the processes of several shards are told: each of its own disk, ports and archive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from omium.actors.runtime_config import RuntimeConfig
from omium.config import load_settings
from omium.errors import ConfigError
from omium.serve.composition import kept_identity, new_identity, runtime_config


def told(data_dir: Path, shards: int, coordinators: int = 1, **others: Any) -> RuntimeConfig:
    settings = load_settings(
        {"data_dir": data_dir, "shards": shards, "coordinators": coordinators, **others}
    )
    return runtime_config(
        settings,
        new_identity("rt_1", coordinators, shards),
        host="127.0.0.1",
        scratch_dir=data_dir,
        ships=True,
    )


def test_without_shards_nothing_is_told_of_them(tmp_path: Path) -> None:
    config = told(tmp_path, 1, archive_url="s3://b/a")
    assert (config.data_dir, config.archive_url, config.further) == (tmp_path, "s3://b/a", ())
    assert config.further_coordinators == ()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("coordinators", [1, 3])
def test_each_shard_has_what_is_its_own(tmp_path: Path, coordinators: int) -> None:
    shards = told(tmp_path, 3, coordinators, archive_url="s3://b/a").shards
    assert [shard.shard for shard in shards] == [0, 1, 2]
    assert [shard.data_dir for shard in shards] == [
        tmp_path,
        tmp_path / "shards" / "1",
        tmp_path / "shards" / "2",
    ]
    assert [shard.archive_url for shard in shards] == [
        "s3://b/a",
        "s3://b/a/shards/1",
        "s3://b/a/shards/2",
    ]
    addresses = [address for shard in shards for address in shard.coordinator]
    peers = [place.peer_port for shard in shards for place in shard.seats]
    ports = [*(port for _, port in addresses), *peers, shards[0].gateway_port]
    assert len(addresses) == 3 * coordinators
    assert len(set(ports)) == len(ports)
    assert all(shard.forming is (coordinators > 1) for shard in shards)
    if coordinators > 1:
        assert len({shard.group for shard in shards}) == 3
    again = told(tmp_path, 3, coordinators)
    assert [shard.group for shard in again.shards] == [shard.group for shard in shards]
    for other in (1, 2, 4):
        with pytest.raises(ConfigError, match="3 shards"):
            told(tmp_path, other, coordinators)


def test_a_kept_identity_is_for_one_number_of_shards(tmp_path: Path) -> None:
    kept = kept_identity(tmp_path, "rt_1", 1, 2)
    assert kept_identity(tmp_path, "rt_2", 1, 2) == kept
    with pytest.raises(ConfigError, match="2 shards, not 1"):
        kept_identity(tmp_path, "rt_1")
