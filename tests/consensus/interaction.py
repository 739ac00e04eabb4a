"""A group of nodes in memory that obeys the commands of etcd's interaction transcripts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from omium.consensus import (
    NO_LIMIT,
    ConfChange,
    ConfChangeTransition,
    ConfChangeV2,
    Config,
    ConfState,
    Entry,
    EntryType,
    MemoryStorage,
    Message,
    MessageType,
    RawNode,
    Ready,
    Snapshot,
    decode_conf_change,
)
from omium.errors import ConsensusError
from tests.consensus import describe
from tests.consensus.transcripts import Command

_ELECTION_TICKS = 3


class AppliedStorage(MemoryStorage):
    """A log whose newest snapshot is always that of the last entry applied.

    The state machine is a text to which every entry adds its data.
    """

    applied: Snapshot | None = None

    def snapshot(self) -> Snapshot:
        return self.applied or super().snapshot()


class Member:
    """A node and its disk."""

    def __init__(self, node: RawNode, storage: AppliedStorage) -> None:
        self.node = node
        self.storage = storage

    def write(self, ready: Ready) -> bool:
        """Save what ``ready`` says; True where etcd would sync it.

        Its rule leaves out snapshots, whose installation it takes to be durable anyway.
        """
        before = self.storage.hard_state
        after = ready.hard_state or before
        must_sync = bool(ready.entries) or (before.term, before.vote) != (after.term, after.vote)
        assert ready.must_sync == (must_sync or ready.snapshot is not None)
        self.storage.set_hard_state(after)
        if ready.snapshot is not None:
            assert not ready.entries
            self.storage.install(ready.snapshot)
        self.storage.append(ready.entries)
        return must_sync

    def apply(self, entries: Sequence[Entry]) -> None:
        """Add each entry to the state, and make a snapshot of that."""
        for entry in entries:
            last = self.storage.snapshot()
            members, added = last.conf_state, entry.data
            if entry.type is not EntryType.NORMAL:
                change = decode_conf_change(entry)
                members, added = self.node.apply_conf_change(change), change.context
            self.storage.applied = Snapshot(
                index=entry.index, term=entry.term, conf_state=members, data=last.data + added
            )


class Group:
    """The nodes, and the messages between them that were not delivered yet."""

    def __init__(self) -> None:
        self.members: list[Member] = []
        self.messages: list[Message] = []
        self._output: list[str] = []
        self._indent = ""
        self._quiet = False

    # ---- commands

    def obey(self, command: Command) -> str:
        """Carry out a command and return what it has to say."""
        self._output = []
        try:
            _COMMANDS[command.name](self, command)
        except ConsensusError as error:
            # Even where nothing else is told.
            self._output.append(describe.error(error))
        return "\n".join(self._output) or "ok"

    def log_level(self, command: Command) -> None:
        self._quiet = command.words[0] == "none"

    def add_nodes(self, command: Command) -> None:
        for _ in range(int(command.words[0])):
            storage = AppliedStorage()
            if "index" in command.options:
                conf_state = ConfState(
                    voters=command.numbers("voters"), learners=command.numbers("learners")
                )
                storage.install(
                    Snapshot(index=int(command.option("index")), term=1, conf_state=conf_state)
                )
            inflight = int(command.option("inflight", str(NO_LIMIT)))
            node = RawNode(
                Config(
                    id=len(self.members) + 1,
                    storage=storage,
                    draw=lambda ticks: ticks // 2,
                    election_ticks=_ELECTION_TICKS,
                    message_bytes_max=NO_LIMIT,
                    committed_bytes_max=NO_LIMIT,
                    uncommitted_bytes_max=NO_LIMIT,
                    inflight_messages_max=inflight,
                    pre_vote=command.option("prevote") == "true",
                    check_quorum=command.option("checkquorum") == "true",
                    step_down_on_removal=command.option("step-down-on-removal") == "true",
                )
            )
            self.members.append(Member(node, storage))

    def campaign(self, command: Command) -> None:
        self._node(command).campaign()

    def propose(self, command: Command) -> None:
        self._node(command).propose(command.words[1].encode())

    def propose_conf_change(self, command: Command) -> None:
        changes = describe.changes_of(command.input)
        if command.option("v1") == "true":
            (change,) = changes
            old = ConfChange(type=change.type, node_id=change.node_id)
            self._node(command).propose_conf_change(old)
            return
        transition = {
            "auto": ConfChangeTransition.AUTO,
            "implicit": ConfChangeTransition.JOINT_IMPLICIT,
            "explicit": ConfChangeTransition.JOINT_EXPLICIT,
        }[command.option("transition", "auto")]
        self._node(command).propose_conf_change(
            ConfChangeV2(transition=transition, changes=tuple(changes))
        )

    def tick_election(self, command: Command) -> None:
        for _ in range(_ELECTION_TICKS):
            self._node(command).tick()

    def tick_heartbeat(self, command: Command) -> None:
        self._node(command).tick()

    def set_randomized_election_timeout(self, command: Command) -> None:
        timeout = int(command.option("timeout"))
        self._node(command).raft.randomized_election_timeout = timeout

    def compact(self, command: Command) -> None:
        self._member(command).storage.compact(int(command.words[1]))
        self.raft_log(command)

    def raft_log(self, command: Command) -> None:
        storage = self._member(command).storage
        first, last = storage.first_index(), storage.last_index()
        if last < first:
            self._tell(f"log is empty: first index={first}, last index={last}")
        else:
            self._tell(describe.entries(storage.entries(first, last + 1)))

    def raft_state(self, _: Command) -> None:
        for number, member in enumerate(self.members, 1):
            raft = member.node.raft
            voter = raft.id in raft.tracker.membership.all_voters
            self._tell(
                f"{number}: {describe.ROLE[raft.role]} ({'Voter' if voter else 'Non-Voter'}) "
                f"Term:{raft.term} Lead:{raft.lead}"
            )

    def status(self, command: Command) -> None:
        self._tell(describe.progress(self._node(command).raft.tracker.progress))

    def process_ready(self, command: Command) -> None:
        self._process(self._member(command))

    def deliver_msgs(self, command: Command) -> None:
        delivered = [self._deliver(int(word)) for word in command.words]
        delivered += [self._deliver(node_id, drop=True) for node_id in command.numbers("drop")]
        if not any(delivered):
            self._tell("no messages")

    def stabilize(self, command: Command) -> None:
        chosen = [self.members[int(word) - 1] for word in command.words] or self.members
        busy = True
        while busy:
            busy = False
            for member in chosen:
                if member.node.has_ready():
                    self._tell(f"> {member.node.raft.id} handling Ready")
                    with self._indented():
                        self._process(member)
                    busy = True
            for member in chosen:
                node_id = member.node.raft.id
                if any(message.to == node_id for message in self.messages):
                    self._tell(f"> {node_id} receiving messages")
                    with self._indented():
                        self._deliver(node_id)
                    busy = True

    def transfer_leadership(self, command: Command) -> None:
        source = self.members[int(command.option("from")) - 1]
        source.node.transfer_leader(int(command.option("to")))

    def forget_leader(self, command: Command) -> None:
        self._node(command).forget_leader()

    def report_unreachable(self, command: Command) -> None:
        self._node(command).report_unreachable(int(command.words[1]))

    def send_snapshot(self, command: Command) -> None:
        source, to = self._member(command), int(command.words[1])
        raft = source.node.raft
        message = Message(
            type=MessageType.SNAPSHOT,
            to=to,
            sender=raft.id,
            term=raft.term,
            snapshot=source.storage.snapshot(),
        )
        self.messages.append(message)
        self._tell(describe.message(message))

    # ---- parts of them

    def _member(self, command: Command) -> Member:
        return self.members[int(command.words[0]) - 1]

    def _node(self, command: Command) -> RawNode:
        return self._member(command).node

    def _process(self, member: Member) -> None:
        ready = member.node.ready()
        must_sync = member.write(ready)
        self._tell(describe.ready(ready, must_sync=must_sync))
        if ready.snapshot is not None:
            member.storage.applied = ready.snapshot
        member.apply(ready.committed_entries)
        self.messages += [*ready.messages, *ready.messages_after_write]
        member.node.advance()

    def _deliver(self, node_id: int, *, drop: bool = False) -> int:
        taken = [message for message in self.messages if message.to == node_id]
        self.messages = [message for message in self.messages if message.to != node_id]
        for message in taken:
            self._tell(("dropped: " if drop else "") + describe.message(message))
            if drop:
                continue
            try:
                self.members[node_id - 1].node.step(message)
            except ConsensusError as error:
                self._tell(describe.error(error))
        return len(taken)

    def _tell(self, text: str) -> None:
        if not self._quiet:
            self._output += [self._indent + line for line in text.splitlines()]

    @contextmanager
    def _indented(self) -> Iterator[None]:
        self._indent = "  "
        yield
        self._indent = ""


_COMMANDS: dict[str, Callable[[Group, Command], None]] = {
    "add-nodes": Group.add_nodes,
    "campaign": Group.campaign,
    "compact": Group.compact,
    "deliver-msgs": Group.deliver_msgs,
    "forget-leader": Group.forget_leader,
    "log-level": Group.log_level,
    "process-ready": Group.process_ready,
    "propose": Group.propose,
    "propose-conf-change": Group.propose_conf_change,
    "raft-log": Group.raft_log,
    "raft-state": Group.raft_state,
    "report-unreachable": Group.report_unreachable,
    "send-snapshot": Group.send_snapshot,
    "set-randomized-election-timeout": Group.set_randomized_election_timeout,
    "stabilize": Group.stabilize,
    "status": Group.status,
    "tick-election": Group.tick_election,
    "tick-heartbeat": Group.tick_heartbeat,
    "transfer-leadership": Group.transfer_leadership,
}
