"""Nodes and messages in the words of etcd-io/raft, as its transcripts write them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from omium.consensus import (
    ConfChangeSingle,
    ConfChangeType,
    ConfState,
    Entry,
    EntryType,
    HardState,
    Membership,
    Message,
    MessageType,
    ProgressState,
    Ready,
    Role,
    Snapshot,
    SoftState,
    decode_conf_change,
)
from omium.consensus.progress import Progress
from omium.consensus.quorum import INFINITE_INDEX, VoteResult
from omium.errors import ConfChangeRefused, ConsensusError, PeerUnknown, RequestDropped

ROLE = {
    Role.FOLLOWER: "StateFollower",
    Role.PRE_CANDIDATE: "StatePreCandidate",
    Role.CANDIDATE: "StateCandidate",
    Role.LEADER: "StateLeader",
}
PROGRESS_STATE = {
    ProgressState.PROBE: "StateProbe",
    ProgressState.REPLICATE: "StateReplicate",
    ProgressState.SNAPSHOT: "StateSnapshot",
}
VOTE_RESULT = {
    VoteResult.PENDING: "VotePending",
    VoteResult.LOST: "VoteLost",
    VoteResult.WON: "VoteWon",
}
MESSAGE_TYPE = {
    MessageType.APPEND: "MsgApp",
    MessageType.APPEND_RESPONSE: "MsgAppResp",
    MessageType.HEARTBEAT: "MsgHeartbeat",
    MessageType.HEARTBEAT_RESPONSE: "MsgHeartbeatResp",
    MessageType.VOTE: "MsgVote",
    MessageType.VOTE_RESPONSE: "MsgVoteResp",
    MessageType.PRE_VOTE: "MsgPreVote",
    MessageType.PRE_VOTE_RESPONSE: "MsgPreVoteResp",
    MessageType.SNAPSHOT: "MsgSnap",
    MessageType.TIMEOUT_NOW: "MsgTimeoutNow",
    MessageType.PROPOSE: "MsgProp",
    MessageType.READ_INDEX: "MsgReadIndex",
    MessageType.READ_INDEX_RESPONSE: "MsgReadIndexResp",
    MessageType.TRANSFER_LEADER: "MsgTransferLeader",
}
ENTRY_TYPE = {
    EntryType.NORMAL: "EntryNormal",
    EntryType.CONF_CHANGE: "EntryConfChange",
    EntryType.CONF_CHANGE_V2: "EntryConfChangeV2",
}
CHANGE_LETTER = {
    ConfChangeType.ADD_NODE: "v",
    ConfChangeType.ADD_LEARNER_NODE: "l",
    ConfChangeType.REMOVE_NODE: "r",
    ConfChangeType.UPDATE_NODE: "u",
}
REFUSAL = {
    "joint": "can't apply simple config change in joint config",
    "already_joint": "config is already joint",
    "not_joint": "can't leave a non-joint config",
    "no_voters_to_join": "can't make a zero-voter config joint",
    "no_voters_left": "removed all voters",
    "too_many_voters": "more than one voter changed without entering joint config",
}


def error(raised: ConsensusError) -> str:
    """What etcd says where Omium raises ``raised``."""
    if isinstance(raised, ConfChangeRefused):
        return REFUSAL[raised.reason]
    if isinstance(raised, RequestDropped):
        return "raft proposal dropped"
    assert isinstance(raised, PeerUnknown), raised
    return "raft: cannot step as peer not found"


def changes_of(text: str) -> list[ConfChangeSingle]:
    """The changes that ``v1 l2 r3 u4`` stands for."""
    types = {letter: kind for kind, letter in CHANGE_LETTER.items()}
    return [ConfChangeSingle(type=types[word[0]], node_id=int(word[1:])) for word in text.split()]


# ---- members


def members(membership: Membership) -> str:
    """``voters=(1 2)&&(3) learners=(4) learners_next=(3) autoleave``, what there is of it."""
    parts = [f"voters={_ids(membership.voters)}"]
    if membership.outgoing:
        parts[0] += f"&&{_ids(membership.outgoing)}"
    if membership.learners:
        parts.append(f"learners={_ids(membership.learners)}")
    if membership.learners_next:
        parts.append(f"learners_next={_ids(membership.learners_next)}")
    if membership.auto_leave:
        parts.append("autoleave")
    return " ".join(parts)


def _ids(ids: Iterable[int]) -> str:
    return f"({' '.join(map(str, sorted(ids)))})"


def progress(members: Mapping[int, Progress]) -> str:
    """One line for each member: its state and how far it is."""
    return "\n".join(f"{node_id}: {_progress(one)}" for node_id, one in members.items())


def _progress(one: Progress) -> str:
    parts = [PROGRESS_STATE[one.state], f"match={one.match}", f"next={one.next}"]
    if one.is_learner:
        parts.append("learner")
    if one.paused:
        parts.append("paused")
    if one.pending_snapshot:
        parts.append(f"pendingSnap={one.pending_snapshot}")
    if not one.recent_active:
        parts.append("inactive")
    if len(one.inflights):
        parts.append(f"inflight={len(one.inflights)}" + ("[full]" if one.inflights.full else ""))
    return " ".join(parts)


# ---- the log and messages


def entry(one: Entry) -> str:
    """``term/index type data``."""
    if one.type is EntryType.NORMAL:
        data = f'"{one.data.decode()}"'
    else:
        data = " ".join(
            f"{CHANGE_LETTER[change.type]}{change.node_id}"
            for change in decode_conf_change(one).changes
        )
    return f"{one.term}/{one.index} {ENTRY_TYPE[one.type]} {data}".rstrip()


def entries(several: Iterable[Entry]) -> str:
    """One line for each entry."""
    return "\n".join(map(entry, several))


def message(one: Message) -> str:
    """One message, on a line of its own or more."""
    text = (
        f"{one.sender}->{one.to} {MESSAGE_TYPE[one.type]} "
        f"Term:{one.term} Log:{one.log_term}/{one.index}"
    )
    if one.reject:
        text += f" Rejected (Hint: {one.reject_hint})"
    if one.commit:
        text += f" Commit:{one.commit}"
    if len(one.entries) == 1:
        text += f" Entries:[{entry(one.entries[0])}]"
    elif one.entries:
        text += " Entries:[\n" + indented(entries(one.entries)) + "\n]"
    if one.snapshot is not None:
        text += f"\n  Snapshot: {snapshot(one.snapshot)}"
    return text


def snapshot(one: Snapshot) -> str:
    """Place and members of a snapshot."""
    return f"Index:{one.index} Term:{one.term} ConfState:{_conf_state(one.conf_state)}"


def _conf_state(state: ConfState) -> str:
    def listed(ids: Sequence[int]) -> str:
        return f"[{' '.join(map(str, ids))}]"

    return (
        f"Voters:{listed(state.voters)} VotersOutgoing:{listed(state.voters_outgoing)} "
        f"Learners:{listed(state.learners)} LearnersNext:{listed(state.learners_next)} "
        f"AutoLeave:{str(state.auto_leave).lower()}"
    )


def soft_state(state: SoftState) -> str:
    """Who leads."""
    return f"Lead:{state.lead} State:{ROLE[state.role]}"


def hard_state(state: HardState) -> str:
    """What is durable; no vote is not mentioned."""
    vote = f" Vote:{state.vote}" if state.vote else ""
    return f"Term:{state.term}{vote} Commit:{state.commit}"


def ready(one: Ready, *, must_sync: bool) -> str:
    """All that a ``Ready`` asks for."""
    lines: list[str] = []
    if one.soft_state is not None:
        lines.append(soft_state(one.soft_state))
    if one.hard_state is not None:
        lines.append(f"HardState {hard_state(one.hard_state)}")
    if one.read_states:
        lines.append(f"ReadStates {list(one.read_states)}")
    if one.entries:
        lines += ["Entries:", entries(one.entries)]
    if one.snapshot is not None:
        lines.append(f"Snapshot {snapshot(one.snapshot)}")
    if one.committed_entries:
        lines += ["CommittedEntries:", entries(one.committed_entries)]
    messages = [*one.messages, *one.messages_after_write]
    if messages:
        lines += ["Messages:", *map(message, messages)]
    if not lines:
        return "<empty Ready>"
    return "\n".join([f"Ready MustSync={str(must_sync).lower()}:", *lines])


def indented(text: str) -> str:
    """``text``, two columns to the right."""
    return "\n".join(f"  {line}" for line in text.splitlines())


# ---- quorums


def index(one: int) -> str:
    """An index that a quorum has acknowledged."""
    return "∞" if one == INFINITE_INDEX else str(one)


def bars(voters: Collection[int], acknowledged: Mapping[int, int]) -> str:
    """Who acknowledged what, with a bar as long as there are voters that have less."""
    if not voters:
        return "<empty majority quorum>"
    width = len(voters)
    lines = [" " * width + "    idx"]
    for voter in sorted(voters):
        own = acknowledged.get(voter)
        less = sum(acknowledged.get(other, 0) < (own or 0) for other in voters)
        bar = "?" if own is None else "x" * less + ">"
        lines.append(f"{bar:<{width + 1}} {own or 0:>5}    (id={voter})")
    return "\n".join(lines) + "\n"
