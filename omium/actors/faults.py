"""Faults on purpose: kill processes at exact points of the journal.

For crash tests and benchmarks. Faults are carried out one after the other, each at the first
fitting event after the one before. Each leaves a marker file before it kills, so that a
restarted coordinator goes on with the next one.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec
import psutil

from omium.actors.messages import RuntimeView
from omium.errors import ConfigError
from omium.execution.events import Append, Event, type_of

Target = Literal["worker", "coordinator", "gateway", "driver", "node"]


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Kill ``target`` with SIGKILL at an append that holds an event of type ``event``, of
    ``agent`` where one is named: before its commit, or after it and before anybody is told.
    ``marker`` is the file that says that it was done: when, in milliseconds since the epoch, and
    how many workers stood ready that were bound to nothing."""

    event: str
    target: Target
    marker: str
    agent: str = ""
    when: Literal["before", "after"] = "after"


def parse_faults(text: str) -> list[Fault]:
    """Faults from a JSON list. Raises ``ConfigError``."""
    try:
        return msgspec.json.decode(text, type=list[Fault])
    except msgspec.DecodeError as error:
        raise ConfigError(f"faults that cannot be injected: {error}") from error


class FaultInjector:
    """A commit observer that carries out faults in their order.

    ``view`` says which processes there are but the driver's, ``driver_pid``.
    """

    def __init__(
        self, faults: list[Fault], *, view: Callable[[], RuntimeView], driver_pid: int
    ) -> None:
        self._left = [fault for fault in faults if not Path(fault.marker).exists()]
        self._view = view
        self._driver_pid = driver_pid

    def __call__(self, append: Append, committed: bool) -> None:
        if not self._left:
            return
        fault = self._left[0]
        if committed != (fault.when == "after"):
            return
        if not any(_fits(fault, event) for event in append.events):
            return
        victims = self._victims(fault.target)
        if victims:
            del self._left[0]
            warm = sum(worker.binding is None for worker in self._view().workers)
            Path(fault.marker).write_text(f"{time.time_ns() // 1_000_000} {warm}")
            for pid in victims:
                os.kill(pid, signal.SIGKILL)

    def _victims(self, target: Target) -> list[int]:
        match target:
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


def _fits(fault: Fault, event: Event) -> bool:
    return type_of(event) == fault.event and fault.agent in ("", getattr(event, "agent", ""))


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
