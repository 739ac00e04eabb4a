"""The program as a process of its own, with all that it starts."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

WAIT_S = 90.0


class Program:
    """``omium ARGUMENTS`` in a session of its own, as a terminal would start it.

    ``stderr`` grows while it runs. Everything of it is killed in the end, whatever happened.
    """

    def __init__(self, arguments: Sequence[str | Path], env: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "omium", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=env,
            start_new_session=True,
        )
        self._grown = threading.Condition()
        self._lines: dict[str, list[str]] = {"stdout": [], "stderr": []}
        self._seen: dict[int, psutil.Process] = {}
        self._readers = [
            threading.Thread(target=self._read, args=(name,), daemon=True)
            for name in ("stdout", "stderr")
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stdout(self) -> str:
        return "".join(self._lines["stdout"])

    @property
    def stderr(self) -> str:
        return "".join(self._lines["stderr"])

    def _read(self, name: str) -> None:
        for line in getattr(self._process, name):
            with self._grown:
                self._lines[name].append(line)
                self._grown.notify_all()

    def until(self, stream: str, text: str, limit_s: float = WAIT_S) -> None:
        """Wait until ``text`` has been written to ``stream``."""

        def written() -> bool:
            ended = self._process.poll() is not None
            return ended or any(text in line for line in self._lines[stream])

        with self._grown:
            self._grown.wait_for(written, limit_s)
        assert text in getattr(self, stream), f"{self.stdout}\n{self.stderr}"

    def descendants(self) -> list[psutil.Process]:
        """Every process that it has started and that was alive when this was asked, now or
        before."""
        with suppress(psutil.NoSuchProcess):
            for process in psutil.Process(self.pid).children(recursive=True):
                self._seen.setdefault(process.pid, process)
        return list(self._seen.values())

    def signal(self, number: signal.Signals, *, group: bool = True) -> None:
        """Signal it, and with ``group`` all that it started, as Ctrl-C in a terminal does."""
        if group:
            os.killpg(self.pid, number)
        else:
            os.kill(self.pid, number)

    def wait(self, limit_s: float = WAIT_S) -> int:
        """Its exit code."""
        code = self._process.wait(limit_s)
        for reader in self._readers:
            reader.join(10)
        return code

    def left(self) -> list[str]:
        """The names of what it started and left behind, after a moment to end."""
        _, alive = psutil.wait_procs(
            [one for one in self.descendants() if one.is_running()], timeout=5
        )
        return [one.name() for one in alive if one.status() != psutil.STATUS_ZOMBIE]

    def close(self) -> None:
        for process in self.descendants():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.kill()
        self._process.wait()
        for reader in self._readers:
            reader.join(10)
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()


Start = Callable[..., Program]


@contextmanager
def programs(directory: Path) -> Iterator[Start]:
    """Starts programs with no settings but those given, and ends them all."""
    started: list[Program] = []
    config = directory / "omium.toml"
    config.write_text("[ray]\nnum_cpus = 2\n")

    def start(*arguments: str | Path, **env: str) -> Program:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("OMIUM_", "OPENAI_"))}
        program = Program(arguments, {**kept, "OMIUM_CONFIG": str(config), **env})
        started.append(program)
        return program

    try:
        yield start
    finally:
        for program in started:
            program.close()


def json_lines(text: str) -> list[dict[str, Any]]:
    """Every line of ``text`` as JSON."""
    return [json.loads(line) for line in text.splitlines()]


def listens(host: str, port: int) -> bool:
    """Whether anybody accepts connections there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Poll until ``condition`` holds."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
