"""A service of one's own for a benchmark: a data directory, a scripted provider, `omium up`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
STOP_TIMEOUT_S = 90
WORKFLOW: dict[str, Any] = {
    "name": "one-step",
    "version": "1",
    "model": "openai/scripted",
    "agents": [
        {"name": "asker", "framework": "python", "entrypoint": "benchmarks.agents:one_step"}
    ],
}
SCRIPT = {"rules": [{"answer": {"content": "done"}}]}


@dataclass(frozen=True, kw_only=True)
class Served:
    """A service that answers: where, with which key, and its process."""

    address: str
    api_key: str
    process: subprocess.Popen[bytes]
    folder: Path


@contextmanager
def scripted_provider(folder: Path, script: dict[str, Any] = SCRIPT) -> Iterator[str]:
    """The scripted provider in a process of its own; its base URL."""
    path = folder / "script.json"
    path.write_text(json.dumps(script))
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "omium.testing.scripted", "--script", str(path)),
            *("--port", "0"),
        ],
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().decode().strip()
    finally:
        process.terminate()
        process.wait(timeout=10)


@contextmanager
def service(**settings: str) -> Iterator[Served]:
    """``omium up`` on free ports with everything in a folder of its own, ended afterwards.

    ``settings`` are environment variables without their ``OMIUM_``.
    """
    folder = Path(tempfile.mkdtemp(prefix="omium-bench-"))
    try:
        with scripted_provider(folder) as base_url:
            environment = {
                **os.environ,
                "OMIUM_DATA_DIR": str(folder / "data"),
                "OPENAI_BASE_URL": base_url,
                "OPENAI_API_KEY": "scripted",
                "XDG_CONFIG_HOME": str(folder / "config"),
                **{f"OMIUM_{name}": value for name, value in settings.items()},
            }
            with (folder / "service.err").open("wb") as errors:
                process = subprocess.Popen(
                    [
                        *(sys.executable, "-m", "omium", "up", "--port", "0", "--json"),
                        *("--app-dir", str(ROOT)),
                    ],
                    env=environment,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                )
            try:
                assert process.stdout is not None
                line = process.stdout.readline()
                if not line:
                    raise RuntimeError((folder / "service.err").read_text()[-2_000:])
                address = json.loads(line)["address"]
                stored = json.loads((folder / "config" / "omium" / "credentials.json").read_text())
                yield Served(
                    address=address, api_key=stored[address], process=process, folder=folder
                )
            finally:
                process.terminate()
                process.wait(timeout=STOP_TIMEOUT_S)
    finally:
        shutil.rmtree(folder)
