"""What consensus stores and agrees on: entries, hard state, snapshots, membership changes.

These records cross the network and lie on disks, as MessagePack. Fields are added at the end,
with defaults, and never renamed or moved: ``Entry`` is encoded as an array.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from typing import Annotated, Final, TypeAlias

import msgspec

from omium.errors import CorruptRecord

Natural: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
"""An integer that is not negative; checked when a record is decoded."""

NONE: Final = 0
"""The id of no node. Real nodes have ids from 1."""

NO_LIMIT: Final = 2**63 - 1
"""A number of bytes or entries that is never reached."""

ENTRY_OVERHEAD_BYTES: Final = 16
"""What an entry takes up in a message besides its data, rounded up."""


class EntryType(enum.IntEnum):
    """What the data of an entry is. The numbers are stored: they never change."""

    NORMAL = 0
    CONF_CHANGE = 1
    CONF_CHANGE_V2 = 2


class Entry(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """One entry of the log (paper, section 5.3): opaque ``data`` at a ``term`` and ``index``.

    Indexes count from 1. A leader starts its term with an entry whose data is empty.
    """

    term: Natural
    index: Natural
    type: EntryType = EntryType.NORMAL
    data: bytes = b""


class HardState(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a node must find again after a crash (paper, figure 2, "persistent state").

    ``commit`` is not needed for safety; it saves a restarted node from waiting for a leader
    before it applies what it knows to be committed.
    """

    term: Natural = 0
    vote: Natural = NONE
    commit: Natural = 0


EMPTY_HARD_STATE: Final = HardState()


class ConfState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who belongs to the group, as it is stored: ids in ascending order.

    ``voters_outgoing`` is not empty while a joint configuration is in force (paper, section 6);
    ``learners_next`` are outgoing voters that become learners when it is left.
    """

    voters: tuple[Natural, ...] = ()
    voters_outgoing: tuple[Natural, ...] = ()
    learners: tuple[Natural, ...] = ()
    learners_next: tuple[Natural, ...] = ()
    auto_leave: bool = False


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The state after the entry ``index`` was applied (paper, section 7).

    ``data`` is the driver's: the state itself where it is small, else what is needed to fetch
    it. Consensus never looks inside.
    """

    index: Natural
    term: Natural
    conf_state: ConfState = ConfState()
    data: bytes = b""


def initial_snapshot(voters: Iterable[int], learners: Iterable[int] = ()) -> Snapshot:
    """What every first member of a new group starts from: an empty state, and who they are.

    It stands for an entry before any term, so the log begins behind it. Who joins later starts
    from nothing and is sent a snapshot: the log alone would not tell it who the others are,
    and a node that knows only of itself would elect itself.
    """
    members = ConfState(voters=tuple(sorted(voters)), learners=tuple(sorted(learners)))
    return Snapshot(index=1, term=0, conf_state=members)


class ConfChangeType(enum.IntEnum):
    """What a membership change does to one node. The numbers are stored: they never change."""

    ADD_NODE = 0
    REMOVE_NODE = 1
    UPDATE_NODE = 2
    ADD_LEARNER_NODE = 3


class ConfChangeTransition(enum.IntEnum):
    """How a change passes through the joint configuration (thesis, section 4.3).

    ``AUTO`` goes through it where more than one voter may change, and leaves by itself;
    ``JOINT_IMPLICIT`` always goes through it and leaves by itself; ``JOINT_EXPLICIT`` stays in
    it until an empty change is committed.
    """

    AUTO = 0
    JOINT_IMPLICIT = 1
    JOINT_EXPLICIT = 2


class ConfChangeSingle(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A change to one node. ``node_id`` 0 means that the change is void."""

    type: ConfChangeType
    node_id: Natural


class ConfChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A change of one node at a time (thesis, section 4.1). ``context`` is the driver's."""

    type: ConfChangeType
    node_id: Natural
    context: bytes = b""

    def as_v2(self) -> ConfChangeV2:
        """The same change in the general form."""
        change = ConfChangeSingle(type=self.type, node_id=self.node_id)
        return ConfChangeV2(changes=(change,), context=self.context)


class ConfChangeV2(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Any number of changes at once (paper, section 6; thesis, section 4.3).

    Without changes and with the transition ``AUTO`` it leaves a joint configuration.
    """

    transition: ConfChangeTransition = ConfChangeTransition.AUTO
    changes: tuple[ConfChangeSingle, ...] = ()
    context: bytes = b""

    @property
    def leaves_joint(self) -> bool:
        """Whether this is the change that leaves a joint configuration."""
        return not self.changes and self.transition is ConfChangeTransition.AUTO

    @property
    def enters_joint(self) -> bool:
        """Whether this change goes through a joint configuration."""
        return self.transition is not ConfChangeTransition.AUTO or len(self.changes) > 1

    @property
    def auto_leave(self) -> bool:
        """Whether the joint configuration that this change enters is left without being asked."""
        return self.transition is not ConfChangeTransition.JOINT_EXPLICIT


def encode_conf_change(change: ConfChange | ConfChangeV2) -> tuple[EntryType, bytes]:
    """The type and data of the entry that carries ``change``.

    A change that says nothing has no data, so that no bound on sizes can ever refuse it: the
    leader proposes it by itself to leave a joint configuration.
    """
    if isinstance(change, ConfChange):
        return EntryType.CONF_CHANGE, msgspec.msgpack.encode(change)
    if change == _LEAVE_JOINT:
        return EntryType.CONF_CHANGE_V2, b""
    return EntryType.CONF_CHANGE_V2, msgspec.msgpack.encode(change)


def decode_conf_change(entry: Entry) -> ConfChangeV2:
    """The membership change that ``entry`` carries, in the general form.

    Raises ``CorruptRecord`` where its data is none.
    """
    try:
        if entry.type is EntryType.CONF_CHANGE:
            return msgspec.msgpack.decode(entry.data, type=ConfChange).as_v2()
        if not entry.data:
            return _LEAVE_JOINT
        return msgspec.msgpack.decode(entry.data, type=ConfChangeV2)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorruptRecord(f"log entry {entry.term}/{entry.index}", str(error)) from error


_LEAVE_JOINT = ConfChangeV2()


def payload_bytes(entries: Iterable[Entry]) -> int:
    """The bytes of data in ``entries``."""
    return sum([len(entry.data) for entry in entries])


def within_bytes(entries: Sequence[Entry], low: int, high: int, bytes_max: int) -> Sequence[Entry]:
    """``entries[low:high]``, cut off after ``bytes_max``; at least one, however large."""
    if bytes_max >= NO_LIMIT:
        return entries[low:high]
    total = 0
    for place in range(low, min(high, len(entries))):
        total += len(entries[place].data) + ENTRY_OVERHEAD_BYTES
        if total > bytes_max and place > low:
            return entries[low:place]
    return entries[low:high]
