"""Pieces of answers, told to the coordinator while a stream is on its way.

For people who watch, and for nothing else: they may be lost, and the recorded answer
supersedes them. Gathered for a moment, so that a fast model costs few messages.
"""

from __future__ import annotations

import asyncio
from typing import Any

from omium.actors import messages as m
from omium.actors.link import Link
from omium.actors.shards.routing import Shards
from omium.frameworks.scope import Scope

GATHER_S = 0.05
TEXT_CHARS_MAX = 4_096
"""Of one message; a longer piece is cut, since nobody reads so fast."""


class Deltas:
    """The pieces of one call's answer."""

    def __init__(self, link: Link | Shards, scope: Scope, call: int) -> None:
        self._link = link
        self._scope = scope
        self._call = call
        self._text: list[str] = []
        self._timer: asyncio.TimerHandle | None = None

    def see(self, chunk: dict[str, Any]) -> None:
        """Take the text of a chunk of a streamed chat completion, if it has any."""
        text = "".join(
            content
            for choice in chunk.get("choices") or ()
            if isinstance(content := (choice.get("delta") or {}).get("content"), str)
        )
        if text:
            self._text.append(text)
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(GATHER_S, self._send)

    def close(self) -> None:
        """The answer is whole: send what is left."""
        if self._timer is not None:
            self._timer.cancel()
            self._send()

    def _send(self) -> None:
        self._timer = None
        text, self._text = "".join(self._text), []
        delta = m.Delta(agent=self._scope.agent, call=self._call, text=text[:TEXT_CHARS_MAX])
        self._link.send(m.Deltas(execution_id=self._scope.execution_id, deltas=(delta,)))
