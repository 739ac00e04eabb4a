"""What the members of a group say to one another, and how members are numbered.

A group has seats 1 to 5, and each seat an address that stays. A member's id says which seat it
has: ``id % SEATS``. The first member of a seat has the seat's number; one that comes in the place
of a lost one has a higher id, so that nothing the lost one promised is taken for its own.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from omium.actors.transport import Codec
from omium.consensus import Message

SEATS = 16
FRAME_BYTES_MAX = 16 * 1024 * 1024
"""Twice a client's: an entry carries what a client sent, and its frame a little more."""


def seat_of(node_id: int) -> int:
    """The seat of a member."""
    return node_id % SEATS


class Say(msgspec.Struct, frozen=True, tag_field="m", tag="say"):
    """A message of consensus. It may be lost."""

    message: Message


class Join(msgspec.Struct, frozen=True, tag_field="m", tag="join"):
    """``node_id`` has no state and wants to be a member. Said again until it is one."""

    node_id: int


class Part(msgspec.Struct, frozen=True, tag_field="m", tag="part"):
    """A piece of a copied state, which begins at ``offset``. ``copy`` names the copy.

    The last one carries the ``message`` that the copy belongs to, and the copy's SHA-256.
    """

    copy: str
    offset: int
    data: bytes
    digest: bytes = b""
    message: Message | None = None


class Taken(msgspec.Struct, frozen=True, tag_field="m", tag="taken"):
    """The answer to a part."""


class Look(msgspec.Struct, frozen=True, tag_field="m", tag="look"):
    """Whoever knows the secret asks a member what it is."""


SeatRole: TypeAlias = Literal["leader", "follower", "candidate", "joining"]
"""What a member is in its term. Who has no vote is ``joining``."""


class SeatView(msgspec.Struct, frozen=True, kw_only=True, tag_field="m", tag="seat"):
    """What the member in a seat is: its ``role`` in a ``term``, and the seat that ``leads`` as far
    as it knows, 0 for none. It has applied its log up to ``applied``, and holds it up to ``last``.
    ``trouble`` is why it has stopped for good, if it has.
    """

    seat: int
    role: SeatRole
    term: int
    leads: int
    applied: int
    last: int
    pid: int
    trouble: str = ""


Talk: TypeAlias = Say | Join | Part | Taken | Look | SeatView


def codec() -> Codec:
    """How members' frames are encoded."""
    return Codec(Talk, frame_bytes_max=FRAME_BYTES_MAX)
