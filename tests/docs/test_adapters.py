"""The page on adapters: its adapter, run by its tests, keeps all laws."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from omium.testing.adapter_laws import LAWS
from tests.docs.pages import ROOT, blocks, spans

PAGE = ROOT / "docs" / "adapters.md"


def test_the_page_lists_every_law() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [row for row in rows if row in {law.__name__ for law in LAWS}] == [
        law.__name__ for law in LAWS
    ]
    assert "omium.testing.adapter_laws" in spans(PAGE)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_adapter_of_the_page_keeps_the_laws(tmp_path: Path) -> None:
    for block in blocks(PAGE, "python"):
        (name,) = re.findall(r"\A# (\w+\.py)$", block.text, re.MULTILINE)
        (tmp_path / name).write_text(block.text, encoding="utf-8")
    (command,) = (block.text.split() for block in blocks(PAGE, "text"))
    done = subprocess.run(
        [sys.executable, "-m", *command, "-q", "-p", "no:cacheprovider", "-p", "no:schemathesis"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert f"{len(LAWS) - 1} passed, 1 skipped" in done.stdout
