"""What nodes say to one another. The transport frames these records and never looks inside."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Final

import msgspec

from omium.consensus.records import NONE, Entry, Natural, Snapshot


class MessageType(enum.IntEnum):
    """The kind of a message. The numbers cross the network: they never change."""

    APPEND = 1
    """AppendEntries (paper, section 5.3)."""
    APPEND_RESPONSE = 2
    HEARTBEAT = 3
    """An AppendEntries that carries no entries and probes nothing (paper, section 5.2)."""
    HEARTBEAT_RESPONSE = 4
    VOTE = 5
    """RequestVote (paper, section 5.2)."""
    VOTE_RESPONSE = 6
    PRE_VOTE = 7
    """Asks whether a vote would be granted (thesis, section 9.6)."""
    PRE_VOTE_RESPONSE = 8
    SNAPSHOT = 9
    """InstallSnapshot (paper, section 7)."""
    TIMEOUT_NOW = 10
    """Tells the receiver to start an election at once (thesis, section 3.10)."""
    PROPOSE = 11
    """Entries that a follower forwards to the leader."""
    READ_INDEX = 12
    """A read that a follower forwards to the leader (thesis, section 6.4)."""
    READ_INDEX_RESPONSE = 13
    TRANSFER_LEADER = 14
    """A wish, forwarded to the leader, that ``sender`` should lead (thesis, section 3.10)."""


# A tuple, not a set: the members of an enum are found faster by identity than by their hash.
RESPONSES: Final = (
    MessageType.APPEND_RESPONSE,
    MessageType.HEARTBEAT_RESPONSE,
    MessageType.VOTE_RESPONSE,
    MessageType.PRE_VOTE_RESPONSE,
    MessageType.READ_INDEX_RESPONSE,
)
"""The kinds that answer another message."""


class Message(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One message from ``sender`` to ``to``.

    ``term`` is the sender's, except: 0 in what is forwarded to the leader, and in a pre-vote
    and the grant of one the term of the election that may follow.

    ``index`` and ``log_term`` name an entry: the one before ``entries`` in an append, the last
    of the candidate's log in a vote, the last acknowledged in a response, the index to wait
    for in the response to a read. A rejected append repeats ``index`` and gives in
    ``reject_hint`` and ``log_term`` the last place where the two logs can agree.

    A vote that is refused by a node that has left the group tells its ``commit`` index, and in
    ``log_term`` the term there.

    ``context`` identifies a read; ``transfer`` marks a vote that the old leader asked for,
    which is granted though that leader is alive (thesis, section 4.2.3).
    """

    type: MessageType
    to: Natural
    sender: Natural = NONE
    term: Natural = 0
    log_term: Natural = 0
    index: Natural = 0
    commit: Natural = 0
    entries: Sequence[Entry] = []
    reject: bool = False
    reject_hint: Natural = 0
    context: bytes = b""
    transfer: bool = False
    snapshot: Snapshot | None = None
