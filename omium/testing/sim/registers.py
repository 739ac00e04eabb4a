"""Registers as a service, and clients that read, write and compare them.

A command carries its client and a number; the last answer to each client is part of the state,
so that a command that comes twice has the effect of one. What the clients saw is a history that
the linearizability checker judges.
"""

from __future__ import annotations

from typing import Any

import msgspec

from omium.testing.linearizability import (
    CompareAndSet,
    Read,
    Recorder,
    Register,
    Write,
    check,
)
from omium.testing.linearizability.models import RegisterRequest
from omium.testing.sim.caller import Caller
from omium.testing.sim.service import Service
from omium.testing.sim.world import World

KEYS = ("x", "y")
THINKS_US_MAX = 40_000
LINEARIZABILITY_STEPS_MAX = 200_000


class Change(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A write of ``new``; with ``old`` only where that is the value."""

    client: str
    number: int
    key: str
    new: int
    old: int | None = None
    compares: bool = False


_encode = msgspec.msgpack.Encoder().encode
_decode_change = msgspec.msgpack.Decoder(Change).decode
_decode = msgspec.msgpack.Decoder().decode


class Registers(Service):
    """See the module's docstring. An answer is None for a write, else whether it was made."""

    def __init__(self) -> None:
        super().__init__()
        self._values: dict[str, int] = {}
        self._last: dict[str, tuple[int, bytes]] = {}

    def carry_out(self, index: int, command: bytes) -> bytes:
        change = _decode_change(command)
        last = self._last.get(change.client)
        if last is not None and last[0] >= change.number:
            return last[1]
        made = not change.compares or self._values.get(change.key) == change.old
        if made:
            self._values[change.key] = change.new
        answer = _encode(made if change.compares else None)
        self._last[change.client] = (change.number, answer)
        return answer

    def query(self, question: bytes) -> bytes:
        return _encode(self._values.get(question.decode()))

    def save_state(self) -> bytes:
        return _encode([sorted(self._values.items()), sorted(self._last.items())])

    def load_state(self, data: bytes) -> None:
        values, last = _decode(data) if data else ((), ())
        self._values = dict(values)
        self._last = {client: (number, answer) for client, (number, answer) in last}


class RegisterClients:
    """Clients that are busy until ``end``, and the history of what they saw."""

    def __init__(self, world: World, callers: list[Caller]) -> None:
        self._ended = False
        self._values = 0
        self._numbers = dict.fromkeys((caller.name for caller in callers), 0)
        self._seen: dict[str, int | None] = {}
        self._recorder: Recorder[RegisterRequest, Any] = Recorder(lambda: world.now_us)
        for caller in callers:
            self._think(caller)

    def end(self) -> None:
        """Ask for nothing new."""
        self._ended = True

    def check(self) -> None:
        """The history is that of registers. Raises AssertionError with a witness."""
        result = check(self._recorder.history(), Register(), steps_max=LINEARIZABILITY_STEPS_MAX)
        assert result.verdict != "illegal", f"not linearizable:\n{result}"

    def _think(self, caller: Caller) -> None:
        delay_us = caller.random.randrange(THINKS_US_MAX)
        caller.process.after(delay_us, "act", lambda: self._act(caller))

    def _act(self, caller: Caller) -> None:
        if self._ended:
            return
        key = caller.random.choice(KEYS)
        kind = caller.random.choice(("read", "read", "write", "write", "compare"))
        if kind == "read":
            self._ask(caller, key, Read(), key.encode())
            return
        self._values += 1
        self._numbers[caller.name] += 1
        change = Change(
            client=caller.name,
            number=self._numbers[caller.name],
            key=key,
            new=self._values,
            old=self._seen.get(key) if kind == "compare" else None,
            compares=kind == "compare",
        )
        request = (
            CompareAndSet(old=change.old, new=change.new)
            if change.compares
            else Write(value=change.new)
        )
        self._ask(caller, key, request, _encode(change))

    def _ask(self, caller: Caller, key: str, request: RegisterRequest, body: bytes) -> None:
        invocation = self._recorder.invoke(caller.name, key=key, request=request)

        def answered(answer: bytes) -> None:
            output = _decode(answer)
            invocation.ok(output)
            if isinstance(request, Read):
                self._seen[key] = output
            self._think(caller)

        caller.call(body, answered, read=isinstance(request, Read))
