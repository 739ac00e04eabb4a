"""Three etcd members on this machine, with their stock timings: the peer of ``failover``."""

from __future__ import annotations

import asyncio
import base64
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from omium.errors import Unavailable
from omium.ports import free_ports

HOST = "127.0.0.1"
START_TIMEOUT_S = 30.0
TRY_TIMEOUT_S = 5.0
START_AGAIN_S = 1.0


class Etcd:
    """An async context manager. ``put`` writes durably; ``kill_leader`` starts it again."""

    def __init__(self, binary: str, folder: Path) -> None:
        self._binary = binary
        self._folder = folder
        ports = free_ports(6)
        self._clients = [f"http://{HOST}:{port}" for port in ports[:3]]
        self._peers = [f"http://{HOST}:{port}" for port in ports[3:]]
        self._processes: list[subprocess.Popen[bytes]] = []
        self._starting: asyncio.TimerHandle | None = None
        self._http = httpx.AsyncClient(trust_env=False, timeout=TRY_TIMEOUT_S)
        self._next = 0
        shown = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True)
        self.version = shown.stdout.split("\n")[0].rpartition(" ")[2]

    async def __aenter__(self) -> Etcd:
        self._folder.mkdir(parents=True)
        try:
            self._processes.extend(self._start(number) for number in range(3))
            await self._whole()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stop()

    async def _stop(self) -> None:
        # First of all, so that nobody is started who is not ended.
        if self._starting is not None:
            self._starting.cancel()
        for process in self._processes:
            process.kill()
            process.wait()
        await self._http.aclose()

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        cluster = ",".join(f"m{n}={url}" for n, url in enumerate(self._peers))
        with (self._folder / f"m{number}.log").open("ab") as log:
            return subprocess.Popen(
                [
                    self._binary,
                    f"--name=m{number}",
                    f"--data-dir={self._folder / f'm{number}'}",
                    f"--listen-client-urls={self._clients[number]}",
                    f"--advertise-client-urls={self._clients[number]}",
                    f"--listen-peer-urls={self._peers[number]}",
                    f"--initial-advertise-peer-urls={self._peers[number]}",
                    f"--initial-cluster={cluster}",
                ],
                stdout=log,
                stderr=log,
            )

    async def put(self, key: str) -> None:
        """Write ``key`` at the next member in turn, as etcd's own client does. Raises
        ``Unavailable`` where it was not acknowledged."""
        body = {"key": _text(key), "value": _text(key)}
        self._next += 1
        url = self._clients[self._next % 3]
        try:
            answer = await self._http.post(f"{url}/v3/kv/put", json=body)
            answer.raise_for_status()
        except httpx.HTTPError as error:
            await asyncio.sleep(0.01)
            raise Unavailable(str(error)) from error

    async def kill_leader(self) -> None:
        """SIGKILL the member that leads, and start it again a second later."""
        await self._whole()
        for number, url in enumerate(self._clients):
            status = await self._status(url)
            if status is not None and status["leader"] == status["header"]["member_id"]:
                process = self._processes[number]
                process.send_signal(signal.SIGKILL)
                process.wait()
                loop = asyncio.get_running_loop()
                self._starting = loop.call_later(START_AGAIN_S, self._again, number)
                return
        raise Unavailable("no etcd member leads")

    def _again(self, number: int) -> None:
        self._processes[number] = self._start(number)

    async def _whole(self) -> None:
        async with asyncio.timeout(START_TIMEOUT_S):
            while True:
                found = [await self._status(url) for url in self._clients]
                if all(one is not None and one.get("leader", "0") != "0" for one in found):
                    return
                await asyncio.sleep(0.05)

    async def _status(self, url: str) -> dict[str, Any] | None:
        try:
            answer = await self._http.post(f"{url}/v3/maintenance/status", json={})
            return answer.json() if answer.status_code == 200 else None
        except httpx.HTTPError:
            return None


def _text(value: str) -> str:
    return base64.b64encode(value.encode()).decode()
