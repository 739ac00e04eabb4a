"""Which shard has what. Pure, and for ever: what was placed is looked for by the same rule.

An execution's shard is a hash of its id, which its client chose: whoever knows the id knows the
shard, and nothing is looked up. Records are in the home shard.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from omium.errors import PlatformError
from omium.types import ExecutionId

HOME = 0
"""The shard that has all records, and says first of each named request what it concerns."""

SHARDS_MAX = 16

DRAWS_MAX = 100 * SHARDS_MAX
"""Ids drawn for one place: that none of them fits has a chance of 1 in 10 to the 44."""


def shard_of(execution_id: str, shards: int) -> int:
    """The shard, from 0, that has an execution, of so many ``shards``: the first 64 bits of the
    BLAKE2b of its id (RFC 7693), modulo their number."""
    if shards == 1:
        return HOME
    digest = hashlib.blake2b(execution_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % shards


def id_beside(origin: str, shards: int, draw: Callable[[], ExecutionId]) -> ExecutionId:
    """A new id, of those that ``draw`` gives, whose execution is in the shard of ``origin``, so
    that it can be made from that one's journal."""
    wanted = shard_of(origin, shards)
    for _ in range(DRAWS_MAX):
        drawn = draw()
        if shard_of(drawn, shards) == wanted:
            return drawn
    raise PlatformError(f"none of {DRAWS_MAX} new ids is in shard {wanted} of {shards}")
