"""Reads the histories that come with Porcupine: logs of Jepsen's etcd test, and of a store.

The files lie beside the checkout and are not part of it: ``PORCUPINE`` may be missing.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

from omium.testing.linearizability import (
    Append,
    CompareAndSet,
    Get,
    Operation,
    Put,
    Read,
    Recorder,
    Write,
)

PORCUPINE = Path(__file__).parents[3] / "shared" / "data" / "porcupine"

_ETCD = re.compile(r"INFO +jepsen\.util - (\d+)\s+:(\w+)\s+:(\w+)\s+(.*)")
_STORE = re.compile(r'\{:process (\d+), :type :(\w+), :f :(\w+), :key "(.*)", :value (.*)\}')


def etcd(path: Path) -> list[Operation[Any, Any]]:
    """A history of one register. A failed cas saw another value; a failed read saw nothing."""
    return _recorded(_etcd_events(path))


def store(path: Path) -> list[Operation[Any, Any]]:
    """A history of a store of texts."""
    return _recorded(_store_events(path))


Event = tuple[str, str, Hashable, Any, Any]
"""Process, type, key, the request of an invocation, the output of an answer."""


def _recorded(events: Iterator[Event]) -> list[Operation[Any, Any]]:
    recorder: Recorder[Any, Any] = Recorder()
    open_by_process: dict[str, Any] = {}
    for process, kind, key, request, output in events:
        if kind == "invoke":
            assert process not in open_by_process, f"{process} has a request under way"
            open_by_process[process] = recorder.invoke(process, key=key, request=request)
            continue
        invocation = open_by_process.pop(process)
        match kind:
            case "ok":
                invocation.ok(output)
            case "fail":
                invocation.fail()
            case "info":
                invocation.info()
            case _:
                raise AssertionError(f"{kind!r} is no type of an event")
    return recorder.history()


def _etcd_events(path: Path) -> Iterator[Event]:
    for line in path.read_text().splitlines():
        match = _ETCD.fullmatch(line)
        assert match is not None, line
        process, kind, function, value = match.groups()
        numbers = [int(number) for number in re.findall(r"\d+", value)]
        match function, kind:
            case "read", _:
                yield process, kind, None, Read(), numbers[0] if numbers else None
            case "write", _:
                yield process, kind, None, Write(value=next(iter(numbers), None)), None
            case "cas", "invoke":
                yield process, kind, None, CompareAndSet(old=numbers[0], new=numbers[1]), None
            case "cas", "ok":
                yield process, kind, None, None, True
            case "cas", "fail" if numbers:
                # The answer of etcd to a comparison that did not hold: an answer, no failure.
                yield process, "ok", None, None, False
            case "cas", "info":
                yield process, kind, None, None, None
            case _:
                raise AssertionError(line)


def _store_events(path: Path) -> Iterator[Event]:
    for line in path.read_text().splitlines():
        match = _STORE.fullmatch(line)
        assert match is not None, line
        process, kind, function, key, value = match.groups()
        text = "" if value == "nil" else value.strip('"')
        match function:
            case "get":
                yield process, kind, key, Get(), text
            case "put":
                yield process, kind, key, Put(value=text), None
            case "append":
                yield process, kind, key, Append(value=text), None
            case _:
                raise AssertionError(line)
