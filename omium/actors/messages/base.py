"""What all messages are: tagged records, so that a reader knows which one it has.

Owns the tag's name. Knows none of the messages.
"""

from __future__ import annotations

import msgspec


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="m"):
    """Base of all messages."""
