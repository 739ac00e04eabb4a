"""Ending whatever happens: a reader that went away, a runtime that does not stop."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from omium.cli import driving
from omium.cli.displays import QuietDisplay
from omium.cli.driving import Work, drive
from omium.config import Settings
from omium.execution.events import Entry
from omium.types import ExecutionId
from tests.cli.conftest import workflow_of
from tests.cli.in_process import DrivenInProcess


class _Broken(QuietDisplay):
    """A display whose reader has gone."""

    def opened(self, execution_id: ExecutionId, past: Sequence[Entry]) -> None:
        raise BrokenPipeError(32, "Broken pipe")


class _InProcess(DrivenInProcess):
    stopped = False

    async def __aexit__(self, *details: Any) -> None:
        await super().__aexit__(*details)
        _InProcess.stopped = True


async def test_a_reader_that_went_away_stops_the_runtime(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(driving, "Runtime", _InProcess)
    work = Work(
        begin=lambda client: client.submit(workflow_of("counting", "count"), {"to": 1}), warm={}
    )
    with pytest.raises(BrokenPipeError):
        await drive(Settings(data_dir=tmp_path), work, _Broken())
    assert _InProcess.stopped


def test_what_does_not_stop_is_killed(tmp_path: Path) -> None:
    program = textwrap.dedent(f"""
        import asyncio, os, signal, subprocess, threading
        from omium.cli import driving
        from omium.cli.displays import QuietDisplay
        from omium.config import Settings

        class Stuck:
            def __init__(self, *_, **__):
                pass
            async def __aenter__(self):
                child = subprocess.Popen(["sleep", "1000"])
                print(child.pid, flush=True)
                os.kill(os.getpid(), signal.SIGTERM)
                await asyncio.Event().wait()
            async def __aexit__(self, *_):
                pass

        async def hanging(runtime):
            try:
                await Stuck().__aenter__()
            finally:
                await asyncio.to_thread(threading.Event().wait)

        driving.STOP_TIMEOUT_S = 0.2
        driving._run = lambda *_: hanging(None)
        work = driving.Work(begin=None, warm={{}})
        asyncio.run(driving.drive(Settings(data_dir={str(tmp_path)!r}), work, QuietDisplay()))
    """)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr == "error: no end within 0.2 s; killed\n"
    status = Path(f"/proc/{done.stdout.strip()}/status")
    assert not status.exists() or "zombie" in status.read_text()
