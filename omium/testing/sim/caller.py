"""A client's way to the group: one request at a time, made again until it is answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from omium.testing.sim.network import Network
from omium.testing.sim.node import RESPONSE, name_of, request_frame
from omium.testing.sim.service import Request, Response
from omium.testing.sim.world import Process, Timer, World

TIMEOUT_US = 150_000
BACKOFF_US = 15_000

_decode = msgspec.msgpack.Decoder(Response).decode


class Caller:
    """See the module's docstring. ``members`` says whom there is to ask, ids in order."""

    def __init__(
        self, world: World, network: Network, name: str, members: Callable[[], Sequence[int]]
    ) -> None:
        self.process: Process = world.process(name)
        self.random = world.random(f"client/{name}")
        self.answered = 0
        self._network = network
        self._members = members
        self._number = 0
        self._lead = 0
        self._request: Request | None = None
        self._then: Callable[[bytes], None] | None = None
        self._timer: Timer | None = None
        network.attach(self.process, self._arrived)

    @property
    def name(self) -> str:
        return self.process.name

    @property
    def busy(self) -> bool:
        """Whether a request is under way."""
        return self._request is not None

    def call(self, body: bytes, then: Callable[[bytes], None], *, read: bool = False) -> None:
        """Ask for ``body``; ``then`` gets the answer. None may be under way."""
        assert self._request is None, f"{self.name} asks two things at once"
        self._number += 1
        self._request = Request(number=self._number, body=body, read=read)
        self._then = then
        self._send()

    def forget(self) -> None:
        """Its process came to an end. What it has asked for may be done all the same."""
        self._request = self._then = None

    def _send(self) -> None:
        if self._request is None:
            return
        members = self._members()
        to = self._lead if self._lead in members else self.random.choice(members)
        self._network.send(self.name, name_of(to), request_frame(self._request))
        self._await(TIMEOUT_US, to)

    def _await(self, delay_us: int, to: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        number = self._number

        def again() -> None:
            if number == self._number:
                if to == self._lead:
                    self._lead = 0
                self._send()

        self._timer = self.process.after(delay_us, "ask again", again)

    def _arrived(self, source: str, frame: bytes) -> None:
        if frame[:1] != RESPONSE:
            return
        response = _decode(frame[1:])
        request, then = self._request, self._then
        if request is None or then is None or response.number != request.number:
            return
        if response.body is None:
            self._lead = response.lead
            self._await(BACKOFF_US, response.lead)
            return
        self._lead = int(source[1:])
        self._request = self._then = None
        if self._timer is not None:
            self._timer.cancel()
        self.answered += 1
        then(response.body)
