"""What the members of a simulated group agree on, and what clients and members say.

A ``Service`` is a state machine that answers commands and queries. Requests carry what a client
calls them by; what is done about one that comes twice is the business of the service.
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod

import msgspec

from omium.consensus import Machine


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """What applying the entry ``index`` gave."""

    index: int
    answer: bytes


class Service(Machine[Applied], ABC):
    """A deterministic state machine. ``digest`` is of all commands and answers so far, in order:
    who applied as much has the same."""

    def __init__(self) -> None:
        self.digest = 0

    def apply(self, index: int, command: bytes) -> Applied:
        answer = self.carry_out(index, command)
        self.digest = zlib.crc32(answer, zlib.crc32(b"%d/%s" % (index, command), self.digest))
        return Applied(index=index, answer=answer)

    def save(self) -> bytes:
        return self.digest.to_bytes(4, "little") + self.save_state()

    def load(self, data: bytes) -> None:
        self.digest = int.from_bytes(data[:4], "little")
        self.load_state(data[4:])

    @abstractmethod
    def carry_out(self, index: int, command: bytes) -> bytes:
        """Carry out the command at ``index`` and answer it."""

    @abstractmethod
    def query(self, question: bytes) -> bytes:
        """Answer from the state as it is; nothing changes."""

    @abstractmethod
    def save_state(self) -> bytes:
        """The whole state."""

    @abstractmethod
    def load_state(self, data: bytes) -> None:
        """Be what ``save_state`` gave; without data, the state of the beginning."""


class Request(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A client's request, the ``number``-th of it. A retry is the same again."""

    number: int
    body: bytes
    read: bool = False


class Response(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """The answer to a request; ``body`` is None where it was not taken, and ``lead`` the member
    to ask then, 0 for unknown."""

    number: int
    body: bytes | None = None
    lead: int = 0
