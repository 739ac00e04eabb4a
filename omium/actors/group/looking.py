"""Asking the seats of a group what they are, from outside: each for itself, whoever leads."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from omium.actors.group.talk import Look, SeatView, codec
from omium.actors.link import Address, Link
from omium.actors.transport import Answer, Connection
from omium.errors import ProtocolError, Unavailable


async def look(peers: Sequence[Address], secret: bytes, timeout_s: float) -> list[SeatView | None]:
    """What the seats are that listen for their peers at these addresses, in that order; None for
    one that does not answer within ``timeout_s`` seconds. Raises ``ProtocolError`` for a wrong
    secret."""
    return list(await asyncio.gather(*(_look(address, secret, timeout_s) for address in peers)))


async def _look(address: Address, secret: bytes, timeout_s: float) -> SeatView | None:
    link = Link(address, codec(), secret, handler=_nothing_is_asked)
    link.open()
    try:
        return await link.call(Look(), deadline_s=timeout_s)
    except Unavailable:
        return None
    finally:
        await link.close()


def _nothing_is_asked(_: Connection, talk: Any, __: Answer) -> None:
    raise ProtocolError(f"who looks is told {type(talk).__name__}")
