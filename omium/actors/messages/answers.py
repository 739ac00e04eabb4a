"""Answers that many requests share.

Owns no answer of one topic: that is with its question.
"""

from __future__ import annotations

from omium.actors.messages.base import Message
from omium.execution.machine import Refusal
from omium.types import ExecutionId


class Done(Message, frozen=True, kw_only=True, tag="done"):
    """It is so."""


class Appended(Message, frozen=True, kw_only=True, tag="appended"):
    """``index`` is that of the last event written, 0 when all was written before.

    ``execution_id`` is set when a request of that name was carried out before, for it.
    """

    index: int
    execution_id: ExecutionId | None = None


class Refused(Message, frozen=True, kw_only=True, tag="refused"):
    refusal: Refusal
