"""How a node of a group is set up."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from omium.consensus.records import NO_LIMIT, NONE
from omium.consensus.storage import Storage
from omium.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """What a node is told when it starts.

    ``draw(n)`` returns a random integer from 0 to before ``n``; it spreads the election
    time-outs (paper, section 5.2). ``applied`` is the last index that the driver has applied,
    where it keeps that; 0 lets every entry behind the last snapshot be applied again.

    Time is counted in ticks: a leader sends heartbeats every ``heartbeat_ticks``, a follower
    that has heard of no leader for ``election_ticks`` to twice that starts an election.

    Bounds: ``message_bytes_max`` on the entries of one append; ``inflight_messages_max`` and
    ``inflight_bytes_max`` on the appends to one follower that are not acknowledged;
    ``uncommitted_bytes_max`` on the data of proposals that a leader has not seen applied;
    ``committed_bytes_max`` on the entries to apply in one ``Ready``; ``pending_reads_max`` on
    the reads that wait for a confirmation. Those of bytes let one entry through at any size.

    ``pre_vote`` lets a node ask before it raises the term (thesis, section 9.6).
    ``check_quorum`` lets a leader step down that has not heard from a quorum for an election
    time-out, and followers ignore votes while they hear from a leader (thesis, section 6.2 and
    section 4.2.3). ``forward_proposals`` lets followers pass proposals on; without it they
    refuse. ``step_down_on_removal`` lets a leader that is no voter any more stop leading when
    it applies that change.

    Raises ``ConfigError``.
    """

    id: int
    storage: Storage
    draw: Callable[[int], int]
    applied: int = 0
    election_ticks: int = 10
    heartbeat_ticks: int = 1
    message_bytes_max: int = 1024 * 1024
    committed_bytes_max: int = 4 * 1024 * 1024
    uncommitted_bytes_max: int = 64 * 1024 * 1024
    inflight_messages_max: int = 256
    inflight_bytes_max: int = NO_LIMIT
    pending_reads_max: int = 4096
    pre_vote: bool = True
    check_quorum: bool = True
    forward_proposals: bool = True
    step_down_on_removal: bool = True

    def __post_init__(self) -> None:
        if self.id <= NONE:
            raise ConfigError(f"a node's id must be at least 1, not {self.id!r}")
        if self.heartbeat_ticks < 1:
            raise ConfigError(f"heartbeat_ticks must be at least 1, not {self.heartbeat_ticks!r}")
        if self.election_ticks <= self.heartbeat_ticks:
            raise ConfigError(
                f"election_ticks must be more than heartbeat_ticks, not {self.election_ticks!r}"
            )
        for name in (
            "message_bytes_max",
            "committed_bytes_max",
            "uncommitted_bytes_max",
            "inflight_messages_max",
            "inflight_bytes_max",
            "pending_reads_max",
        ):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)!r}")
