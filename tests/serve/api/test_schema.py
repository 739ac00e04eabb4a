"""Schemathesis reads the OpenAPI document and tries what it says against the running server."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from tests.serve.api.stage import ROOT, Served, served
from tests.serve.api.test_isolation import things

CONFIG = Path(__file__).with_name("schemathesis.toml")
TIMEOUT_S = 540


async def schemathesis(s: Served, directory: Path, *options: str) -> tuple[int, str]:
    """The exit code and the report of schemathesis, told of things that there are."""
    mine = await things(s)
    config = directory / "schemathesis.toml"
    # Not what is validated by its form: what it is tried with must stay what it is.
    given = ("execution_id", "name", "version", "sha256", "code_sha256")
    named = [f'"path.{name}" = "{mine[name]}"' for name in given]
    parameters = "\n".join(["[parameters]", *named])
    config.write_text(f"{CONFIG.read_text(encoding='utf-8')}\n{parameters}\n", encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "schemathesis.cli",
        "--config-file",
        str(config),
        "run",
        f"{s.url}/openapi.json",
        f"--header=Authorization: Bearer {s.key}",
        "--checks=all",
        "--no-color",
        "--request-timeout=10",
        *options,
        cwd=directory,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, output.decode()


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_the_document_is_true(tmp_path: Path) -> None:
    async with served(tmp_path / "data") as s:
        code, report = await schemathesis(
            s, tmp_path, "--phases=examples,coverage", "--max-examples=1", "--seed=1"
        )
    assert code == 0, report
    assert str(ROOT) not in report


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_the_document_is_true_at_length(tmp_path: Path) -> None:
    async with served(tmp_path / "data") as s:
        code, report = await schemathesis(
            s, tmp_path, "--phases=examples,coverage,fuzzing,stateful", "--max-examples=20"
        )
    assert code == 0, report
