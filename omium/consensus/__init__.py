"""Raft, pure: no I/O, no clock, no threads, randomness only as it is handed in.

After Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm" (the paper),
and Ongaro, "Consensus: Bridging Theory and Practice" (the thesis); in the shape and with the
names of etcd-io/raft. A driver owns clock, disk and network: see ``raw_node``.

    member                                     a driver of raw_node, over the host's own I/O
    raw_node, log_store                        what a driver calls; what it writes to
    step                                       tick and message → what follows
    leader | follower | election | reads | reconfiguration | replication
    state                                      one node
    tracker | log | readonly                   members and their progress; the log; reads
    membership, confchange, progress, inflights, quorum | unstable, storage
    messages, records                          what crosses the network and lies on disks
"""

from omium.consensus.config import Config
from omium.consensus.log_store import Batch, LogStore, Machine, MemoryLogStore
from omium.consensus.member import Host, Member
from omium.consensus.membership import Membership
from omium.consensus.messages import Message, MessageType
from omium.consensus.progress import ProgressState
from omium.consensus.raw_node import ProgressStatus, RawNode, Ready, Status
from omium.consensus.readonly import ReadState
from omium.consensus.records import (
    NO_LIMIT,
    NONE,
    ConfChange,
    ConfChangeSingle,
    ConfChangeTransition,
    ConfChangeType,
    ConfChangeV2,
    ConfState,
    Entry,
    EntryType,
    HardState,
    Snapshot,
    decode_conf_change,
    encode_conf_change,
    initial_snapshot,
)
from omium.consensus.state import Role, SoftState
from omium.consensus.storage import MemoryStorage, Storage

__all__ = [
    "NONE",
    "NO_LIMIT",
    "Batch",
    "ConfChange",
    "ConfChangeSingle",
    "ConfChangeTransition",
    "ConfChangeType",
    "ConfChangeV2",
    "ConfState",
    "Config",
    "Entry",
    "EntryType",
    "HardState",
    "Host",
    "LogStore",
    "Machine",
    "Member",
    "Membership",
    "MemoryLogStore",
    "MemoryStorage",
    "Message",
    "MessageType",
    "ProgressState",
    "ProgressStatus",
    "RawNode",
    "ReadState",
    "Ready",
    "Role",
    "Snapshot",
    "SoftState",
    "Status",
    "Storage",
    "decode_conf_change",
    "encode_conf_change",
    "initial_snapshot",
]
