"""Faults on purpose: kill a process at an exact point of the journal.

For crash tests and benchmarks. A fault fires once: the marker file that it leaves is made
before the kill, so that a restarted coordinator does not fire it again.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec
import psutil

from omium.actors.messages import RuntimeView
from omium.errors import ConfigError
from omium.execution.events import Append, type_of

Target = Literal["worker", "coordinator", "gateway", "driver", "node"]


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Kill ``target`` with SIGKILL at the ``nth`` append that holds an event of type ``event``:
    before its commit, or after it and before anybody is told. ``marker`` is the file that says
    that it was done."""

    event: str
    target: Target
    marker: str
    nth: int = 1
    when: Literal["before", "after"] = "after"


def parse_fault(text: str) -> Fault:
    """A fault from its JSON. Raises ``ConfigError``."""
    try:
        return msgspec.json.decode(text, type=Fault)
    except msgspec.DecodeError as error:
        raise ConfigError(f"a fault that cannot be injected: {error}") from error


class FaultInjector:
    """A commit observer that carries out one fault.

    ``view`` says which processes there are but the driver's, ``driver_pid``.
    """

    def __init__(
        self,
        fault: Fault,
        *,
        view: Callable[[], RuntimeView],
        driver_pid: int,
    ) -> None:
        self._fault = fault
        self._view = view
        self._driver_pid = driver_pid
        self._seen = 0

    def __call__(self, append: Append, committed: bool) -> None:
        if committed != (self._fault.when == "after"):
            return
        if all(type_of(event) != self._fault.event for event in append.events):
            return
        self._seen += 1
        if self._seen == self._fault.nth and self._mark():
            for pid in self._victims():
                os.kill(pid, signal.SIGKILL)

    def _mark(self) -> bool:
        try:
            with Path(self._fault.marker).open("x"):
                return True
        except FileExistsError:
            return False

    def _victims(self) -> list[int]:
        match self._fault.target:
            case "worker":
                return [w.pid for w in self._view().workers if w.attempts]
            case "coordinator":
                return [os.getpid()]
            case "gateway":
                return [self._view().gateway_pid]
            case "driver":
                return [self._driver_pid]
            case "node":
                return node_pids()


def node_pids() -> list[int]:
    """Every process of the Ray node that this process belongs to, this one last."""
    raylet = psutil.Process().parent()
    if raylet is None or "raylet" not in raylet.name():
        raise ConfigError("the fault 'node' needs a coordinator that runs under Ray")
    siblings = [child.pid for child in raylet.children(recursive=True)]
    gcs = [p.pid for p in _siblings_of(raylet) if "gcs_server" in p.name()]
    return [*gcs, raylet.pid, *(pid for pid in siblings if pid != os.getpid()), os.getpid()]


def _siblings_of(process: psutil.Process) -> list[psutil.Process]:
    parent = process.parent()
    return parent.children() if parent is not None else []
