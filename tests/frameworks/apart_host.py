"""Processes of hosts, started by a test: ``python -m tests.frameworks.apart_host HOST PORT``."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

from omium.actors.host import live
from omium.actors.link import Address


class ProcessHosts:
    """Starts each host as a process of its own, and keeps those that have not been ended."""

    def __init__(self) -> None:
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.started: list[int] = []

    def start(self, host: str, worker: Address, secret: bytes) -> None:
        command = [sys.executable, "-m", "tests.frameworks.apart_host", host, str(worker[1])]
        process = subprocess.Popen(command, stdin=subprocess.PIPE)
        assert process.stdin is not None
        process.stdin.write(secret)
        process.stdin.close()
        self.running[host] = process
        self.started.append(process.pid)

    def end(self, host: str) -> None:
        process: Any = self.running.pop(host)
        process.kill()
        process.wait()


if __name__ == "__main__":
    asyncio.run(live(sys.argv[1], ("127.0.0.1", int(sys.argv[2])), sys.stdin.buffer.read()))
