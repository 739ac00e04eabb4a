"""What the settings make of a runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from omium.config import Settings
from omium.errors import ConfigError
from omium.serve.composition import new_identity, runtime_config


def archive_of(tmp_path: Path, **given: Any) -> tuple[str, bool]:
    """Where a runtime that is no service ships to, and whether its clients wait for that."""
    settings = Settings(data_dir=tmp_path, **given)
    config = runtime_config(
        settings, new_identity("r"), host="127.0.0.1", scratch_dir=tmp_path / "scratch"
    )
    return config.archive_url, config.archive_first


def test_where_clients_wait_for_the_archive_every_runtime_ships(tmp_path: Path) -> None:
    places = {"blobs_url": "s3://b/blobs", "archive_url": "s3://b/archive"}
    assert archive_of(tmp_path, **places) == ("", False)
    assert archive_of(tmp_path, **places, durability="object_store") == ("s3://b/archive", True)
    assert archive_of(tmp_path, blobs_url="s3://b/blobs", durability="object_store") == (
        "s3://b/blobs",
        True,
    )


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({}, "archive_url"),
        ({"blobs_url": "s3://b/blobs", "archive_url": "off"}, "archive_url"),
        ({"archive_url": "s3://b/archive"}, "blobs_url"),
    ],
)
def test_a_durability_that_the_settings_cannot_give_is_refused(
    tmp_path: Path, given: dict[str, str], missing: str
) -> None:
    with pytest.raises(ConfigError, match=f"set `{missing}`"):
        archive_of(tmp_path, **given, durability="object_store")
