"""Reads that wait until a quorum has confirmed that their leader still leads.

The ReadIndex way of linearizable reads (thesis, section 6.4): note the commit index, exchange
heartbeats with a quorum, and serve the read from a state that has applied that index. No clock
is trusted: there are no lease reads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import msgspec


class ReadRequest(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A read, known by its ``context``; ``sender`` is the node whose client wants it."""

    sender: int
    context: bytes


class ReadState(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A read that may be served once the entry ``index`` is applied."""

    index: int
    context: bytes


class _Pending:
    __slots__ = ("acks", "index", "request")

    def __init__(self, request: ReadRequest, index: int) -> None:
        self.request = request
        self.index = index
        self.acks: dict[int, bool] = {}


class ReadOnly:
    """The reads of one leader in one term, in the order in which they came.

    A confirmation of one read confirms all before it: whoever leads now led then.
    """

    __slots__ = ("_pending", "_queue")

    def __init__(self) -> None:
        self._pending: dict[bytes, _Pending] = {}
        self._queue: deque[bytes] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def newest(self) -> bytes:
        """The context of the newest read, empty where none waits."""
        return self._queue[-1] if self._queue else b""

    def add(self, request: ReadRequest, index: int) -> None:
        """Let ``request`` wait; ``index`` is the commit index now. One that waits is kept."""
        if request.context not in self._pending:
            self._pending[request.context] = _Pending(request, index)
            self._queue.append(request.context)

    def acknowledge(self, node_id: int, context: bytes) -> Mapping[int, bool]:
        """Note that ``node_id`` follows this leader; returns who does, as far as is known."""
        pending = self._pending.get(context)
        if pending is None:
            return {}
        pending.acks[node_id] = True
        return pending.acks

    def confirm(self, context: bytes) -> list[tuple[ReadRequest, int]]:
        """Take out the read ``context`` and all before it, each with its index."""
        confirmed: list[tuple[ReadRequest, int]] = []
        if context in self._pending:
            while self._queue:
                oldest = self._queue.popleft()
                pending = self._pending.pop(oldest)
                confirmed.append((pending.request, pending.index))
                if oldest == context:
                    break
        return confirmed
