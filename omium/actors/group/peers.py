"""The streams between the members of a group: one to each other seat, for what goes there.

Owns connections and nothing of what is said over them. What cannot be sent at once is dropped
and reported, since consensus sends again what matters: a queue would only hold what is old.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from omium.actors.group.talk import Join, Look, Part, Say, SeatView, Taken, codec, seat_of
from omium.actors.link import Address, Link
from omium.actors.transport import Answer, Connection, error_reply, serve, stop_listening
from omium.consensus import Message
from omium.errors import OmiumError, ProtocolError

RETRY_S_MAX = 0.2
PART_DEADLINE_S = 30.0


class Peers:
    """See the module's docstring. ``addresses`` are those of all seats, by their numbers."""

    def __init__(
        self,
        seat: int,
        addresses: Mapping[int, Address],
        secret: bytes,
        *,
        on_message: Callable[[Message], None],
        on_join: Callable[[int], None],
        on_part: Callable[[Part], None],
        on_look: Callable[[], SeatView],
        on_refused: Callable[[int], None],
    ) -> None:
        """``on_refused`` is told the seats where nobody listens, as often as it is tried."""
        self._own = addresses[seat]
        self._secret = secret
        self._on_message = on_message
        self._on_join = on_join
        self._on_part = on_part
        self._on_look = on_look
        self._server: asyncio.Server | None = None
        self._connections: set[Connection] = set()
        self._links = {
            other: Link(
                address,
                codec(),
                secret,
                handler=_nothing_is_asked,
                retry_s=0.02,
                retry_s_max=RETRY_S_MAX,
                on_refused=lambda other=other: on_refused(other),
            )
            for other, address in addresses.items()
            if other != seat
        }

    async def start(self) -> None:
        """Listen, and connect to the others. Raises ``OSError`` where it cannot listen."""
        self._server = await serve(
            *self._own,
            codec(),
            self._secret,
            handler=self._handle,
            on_made=self._connections.add,
            on_closed=lambda connection, _: self._connections.discard(connection),
        )
        for link in self._links.values():
            link.open()

    async def stop(self) -> None:
        if self._server is not None:
            await stop_listening(self._server)
        for connection in list(self._connections):
            connection.close()
        for link in self._links.values():
            await link.close()
        await asyncio.sleep(0)

    def send(self, message: Message) -> bool:
        """Send a message of consensus; False where it is lost already."""
        link = self._links.get(seat_of(message.to))
        if link is None or not link.writable:
            return False
        link.send(Say(message))
        return True

    def join(self, node_id: int) -> None:
        """Ask everybody to take ``node_id`` in."""
        for link in self._links.values():
            link.send(Join(node_id))

    async def give(self, node_id: int, part: Part) -> None:
        """Send a part of a copy and wait until it was taken. Raises ``Unavailable`` and what
        the receiver says."""
        await self._links[seat_of(node_id)].call(part, deadline_s=PART_DEADLINE_S)

    def _handle(self, _: Connection, talk: Any, answer: Answer) -> None:
        try:
            match talk:
                case Say():
                    self._on_message(talk.message)
                case Join():
                    self._on_join(talk.node_id)
                case Part():
                    self._on_part(talk)
                    answer(Taken())
                case Look():
                    answer(self._on_look())
                case _:
                    raise ProtocolError(f"a member takes no {type(talk).__name__}")
        except OmiumError as error:
            answer(error_reply(error))


def _nothing_is_asked(_: Connection, talk: Any, __: Answer) -> None:
    raise ProtocolError(f"a member that sent is told {type(talk).__name__}")
