"""Which URL opens which store."""

from __future__ import annotations

from pathlib import Path

import pytest

from omium.errors import ConfigError
from omium.storage.blobs import blob_key, open_blob_store

TENANT = "acme"


@pytest.mark.parametrize("form", ["{path}", "file://{path}", "file://localhost{path}"])
async def test_a_directory_has_several_spellings(tmp_path: Path, form: str) -> None:
    store = open_blob_store(form.format(path=tmp_path / "blobs"))
    ref = await store.put(b"content", tenant=TENANT)
    assert (tmp_path / "blobs" / blob_key(ref, tenant=TENANT)).is_file()


async def test_a_file_url_is_percent_decoded(tmp_path: Path) -> None:
    ref = await open_blob_store(f"file://{tmp_path}/a%20b").put(b"content", tenant=TENANT)
    assert (tmp_path / "a b" / blob_key(ref, tenant=TENANT)).is_file()


async def test_every_memory_store_is_fresh() -> None:
    ref = await open_blob_store("memory://").put(b"content", tenant=TENANT)
    assert not await open_blob_store("memory://").exists(ref, tenant=TENANT)


@pytest.mark.parametrize(
    "url", ["", "s3://", "s3:///prefix", "file://host/path", "memory://name", "ftp://host/path"]
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        open_blob_store(url)
