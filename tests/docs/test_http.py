"""The commands of ``docs/http.md`` do what the page says, in its order."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, blocks
from tests.serve.api.stage import served

PAGE = ROOT / "docs" / "http.md"


@pytest.fixture
def forgetful() -> Iterator[None]:
    """Forget the module of the page, which runs in this process."""
    before = list(sys.path)
    yield
    sys.path[:] = before
    sys.modules.pop("greetings", None)


async def test_the_commands_of_the_page(forgetful: None, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (definition,) = blocks(PAGE, "yaml")
    (code,) = blocks(PAGE, "python")
    (folder / "greeting.yaml").write_text(definition.text, encoding="utf-8")
    (folder / "greetings.py").write_text(code.text, encoding="utf-8")
    script = "\n".join(["set -euo pipefail", *(block.text for block in blocks(PAGE, "sh"))])
    async with served(tmp_path / "data", settings={"import_paths": (str(folder),)}) as s:
        process = await asyncio.create_subprocess_exec(
            "bash",
            "-c",
            script,
            cwd=folder,
            env={"PATH": os.environ["PATH"], "OMIUM_ADDRESS": s.url, "OMIUM_API_KEY": s.key},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
    told = output.decode()
    assert process.returncode == 0, told
    assert '"output":{"greeting":"Hello, Ann."}' in told
    assert "event: end" in told and '"customer":"4711"' in told
    assert told.count('"secret":"omk_') == 1
