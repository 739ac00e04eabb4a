"""The window of appends that were sent to a follower and not yet acknowledged."""

from __future__ import annotations

from collections import deque


class Inflights:
    """A first-in, first-out window, bounded in messages and in bytes (thesis, section 10.2.1).

    Each append is known by the index of its last entry. The bound in bytes is soft: the append
    that reaches it is still in the window, so that one of any size can be sent.
    """

    __slots__ = ("_bytes", "_bytes_max", "_messages_max", "_sent")

    def __init__(self, *, messages_max: int, bytes_max: int) -> None:
        self._messages_max = messages_max
        self._bytes_max = bytes_max
        self._bytes = 0
        self._sent: deque[tuple[int, int]] = deque()

    def __len__(self) -> int:
        return len(self._sent)

    @property
    def full(self) -> bool:
        """Whether no further append may be sent."""
        return len(self._sent) >= self._messages_max or self._bytes >= self._bytes_max

    def add(self, index: int, size_bytes: int) -> None:
        """Note an append whose last entry is ``index``. The window must not be full."""
        assert not self.full, "an append was sent into a full window"
        assert not self._sent or self._sent[-1][0] <= index, "appends are sent in order"
        self._sent.append((index, size_bytes))
        self._bytes += size_bytes

    def free_to(self, index: int) -> None:
        """Forget every append whose last entry is at or below ``index``."""
        sent = self._sent
        while sent and sent[0][0] <= index:
            self._bytes -= sent.popleft()[1]

    def reset(self) -> None:
        """Forget all of them."""
        self._sent.clear()
        self._bytes = 0
