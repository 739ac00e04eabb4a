"""Errors of a group of coordinators, or of one of its members.

Owns what the Raft core and its drivers raise, as a part of the platform. Decides nothing: who
catches one says whether to ask again, elsewhere, or to stop.
"""

from __future__ import annotations

from typing import ClassVar

from omium.errors.platform import PlatformError


class ConsensusError(PlatformError):
    """A group of coordinators, or one member of it."""

    kind = "consensus"


class RequestDropped(ConsensusError):
    """A proposal or read that the group did not take; the same call may work later.

    ``what`` was dropped for ``reason``. Nothing of it will happen.
    """

    kind = "request_dropped"

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(what, reason)
        self.what, self.reason = what, reason

    def __str__(self) -> str:
        return f"{self.what} dropped: {self.reason}"


class NotLeading(ConsensusError):
    """The member that was asked does not lead its group (any more). Ask the one that does.

    ``lead`` is that member as far as is known, 0 for none. Where ``unknown`` is true, what was
    asked for had been taken and may still happen.
    """

    kind = "not_leading"

    def __init__(self, lead: int, unknown: bool = False) -> None:
        super().__init__(lead, unknown)
        self.lead, self.unknown = lead, unknown

    def __str__(self) -> str:
        where = f"member {self.lead} does" if self.lead else "no member is known to"
        fate = "; what was asked for may have happened" if self.unknown else ""
        return f"this member does not lead the group, {where}{fate}"


class PeerUnknown(ConsensusError):
    """A message from a node that is not a member of the group."""

    kind = "peer_unknown"

    def __init__(self, node_id: int) -> None:
        super().__init__(node_id)
        self.node_id = node_id

    def __str__(self) -> str:
        return f"node {self.node_id!r} is not a member of the group"


class ConfChangeRefused(ConsensusError):
    """A change of a group's members that cannot be made.

    ``reason`` is one of the keys of ``REASONS``.
    """

    kind = "conf_change_refused"

    REASONS: ClassVar[dict[str, str]] = {
        "joint": "a simple change cannot be made in a joint configuration",
        "already_joint": "the configuration is joint already",
        "not_joint": "the configuration is not joint, so it cannot be left",
        "no_voters_to_join": "a configuration without voters cannot become joint",
        "no_voters_left": "no voter would be left",
        "too_many_voters": "more than one voter would change outside a joint configuration",
    }

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.REASONS.get(self.reason, self.reason)


class SnapshotUnavailable(ConsensusError):
    """There is no snapshot yet that could be sent; it is asked for again later."""

    kind = "snapshot_unavailable"


class InvariantBroken(ConsensusError):
    """A law that consensus rests on does not hold: a lost log, or a fault in Omium.

    The replica must stop. Going on could lose what was acknowledged.
    """

    kind = "invariant_broken"
    exit_code = 7
