"""LangGraph's own laws for checkpointers, on every kind of store."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from omium.testing.seaweedfs import S3Server

pytestmark = pytest.mark.langgraph


async def passes(url: str, **options: Any) -> None:
    # Imports LangGraph, which those who run none of these tests need not wait for.
    from langgraph.checkpoint.conformance import checkpointer_test, validate
    from langgraph.checkpoint.conformance.capabilities import ALL_CAPABILITIES

    from omium.frameworks.langgraph_saver import OmiumSaver

    @checkpointer_test(name="OmiumSaver")
    async def saver() -> AsyncIterator[OmiumSaver]:
        yield OmiumSaver(url, **options)

    report = await validate(saver)
    results = {name: (r.passed, r.failures) for name, r in report.results.items()}
    assert results == {capability.value: (True, []) for capability in ALL_CAPABILITIES}


@pytest.mark.xdist_group("langgraph")
async def test_memory() -> None:
    await passes("memory://")


@pytest.mark.xdist_group("langgraph")
async def test_a_directory(tmp_path: Path) -> None:
    await passes(str(tmp_path))


@pytest.mark.s3
async def test_s3(s3_server: S3Server, bucket: str) -> None:
    url = f"s3://{bucket}/savers/{secrets.token_hex(4)}"
    await passes(url, s3=s3_server.options())
