"""The state of a group, copied to a member that the log no longer reaches.

The sender copies its database while it goes on working, in a thread, and sends it in parts, each
acknowledged before the next. The receiver keeps them in a file until all are there and the digest
fits; only then is the message that they belong to taken in. Nothing here decides who needs one.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from omium.actors.group.talk import Part
from omium.consensus import Message
from omium.errors import ProtocolError
from omium.storage.group_store import Copied, copy_state

PART_BYTES = 512 * 1024


async def send_copy(
    source: Path,
    outgoing: Path,
    message: Message,
    ask: Callable[[Part], Awaitable[object]],
) -> None:
    """Copy the database ``source`` into the directory ``outgoing`` and send it with ``message``.

    The snapshot in the message becomes that of the copy, which may be a newer one. Raises what
    copying and ``ask`` raise.
    """
    name = secrets.token_hex(8)
    path = outgoing / f"{name}.sqlite"
    try:
        snapshot = await asyncio.to_thread(copy_state, source, path)
        message = msgspec.structs.replace(message, snapshot=snapshot)
        digest, offset = hashlib.sha256(), 0
        with path.open("rb") as file:
            size = path.stat().st_size
            while True:
                data = await asyncio.to_thread(file.read, PART_BYTES)
                digest.update(data)
                if offset + len(data) >= size:
                    last = Part(name, offset, data, digest.digest(), message)
                    await ask(last)
                    return
                await ask(Part(name, offset, data))
                offset += len(data)
    finally:
        path.unlink(missing_ok=True)


class Incoming:
    """Copies that are being received, into ``directory``. One at a time: a new one ends the old."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._copy = ""
        self._size = 0
        self._digest = hashlib.sha256()
        for leftover in directory.glob("*"):
            leftover.unlink()

    def take(self, part: Part) -> Message | None:
        """Keep a part. With the last one, returns the message, whose snapshot names the copy.

        Raises ``ProtocolError`` for a part that does not follow the one before, or whose copy is
        not what was sent; the sender begins anew.
        """
        path = self._directory / "part"
        if part.offset == 0:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            with suppress(FileNotFoundError):
                path.unlink()
            self._copy, self._size, self._digest = part.copy, 0, hashlib.sha256()
        if part.copy != self._copy or part.offset != self._size:
            raise ProtocolError(f"part {part.offset} of a copy of which there are {self._size}")
        with path.open("ab") as file:
            file.write(part.data)
        self._size += len(part.data)
        self._digest.update(part.data)
        if part.message is None:
            return None
        self._copy = ""
        if self._digest.digest() != part.digest or part.message.snapshot is None:
            raise ProtocolError("a copy of the state that is not what was sent")
        # Named here: a name that came from elsewhere is never made a path.
        name = f"{secrets.token_hex(8)}.sqlite"
        path.rename(self._directory / name)
        data = msgspec.msgpack.encode(Copied(name=name, size=self._size))
        snapshot = msgspec.structs.replace(part.message.snapshot, data=data)
        return msgspec.structs.replace(part.message, snapshot=snapshot)

    def tidy(self, keep: str = "") -> None:
        """Remove copies that nobody installed."""
        for path in self._directory.glob("*.sqlite"):
            if path.name != keep:
                path.unlink(missing_ok=True)
