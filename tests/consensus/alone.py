"""One node on its own, and by hand everything that the rest of its group would say to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from omium.consensus import (
    Config,
    Entry,
    HardState,
    MemoryStorage,
    Message,
    MessageType,
    RawNode,
    Ready,
    Role,
    decode_conf_change,
    initial_snapshot,
)
from omium.consensus.records import EntryType


def log_of(*terms: int, first: int = 2) -> list[Entry]:
    """Entries with these terms, from the index ``first`` on."""
    return [
        Entry(term=term, index=index, data=f"{term}/{index}".encode())
        for index, term in enumerate(terms, first)
    ]


class Alone:
    """Node 1 of a group, which has found ``terms`` on its disk.

    They are those of its log, from index 1 on; the first is that of the initial snapshot. A
    ``storage`` that is given has its own.
    """

    def __init__(
        self,
        *terms: int,
        voters: Sequence[int] = (1, 2, 3),
        learners: Sequence[int] = (),
        term: int = 0,
        vote: int = 0,
        commit: int = 0,
        storage: MemoryStorage | None = None,
        **options: Any,
    ) -> None:
        snapshot = msgspec.structs.replace(
            initial_snapshot(voters, learners), term=terms[0] if terms else 0
        )
        self.storage = storage or MemoryStorage(snapshot)
        self.storage.append(log_of(*terms[1:]))
        self.storage.set_hard_state(HardState(term=term, vote=vote, commit=commit))
        options = {"pre_vote": False, "check_quorum": False} | options
        self.node = RawNode(
            Config(id=1, storage=self.storage, draw=lambda ticks: ticks - 1, **options)
        )
        self.readies: list[Ready] = []

    def work(self) -> list[Message]:
        """Do all that the node wants done, and return what it sends."""
        sent: list[Message] = []
        while self.node.has_ready():
            ready = self.node.ready()
            self.readies.append(ready)
            if ready.snapshot is not None:
                self.storage.install(ready.snapshot)
            if ready.hard_state is not None:
                self.storage.set_hard_state(ready.hard_state)
            self.storage.append(ready.entries)
            for entry in ready.committed_entries:
                if entry.type is not EntryType.NORMAL:
                    self.node.apply_conf_change(decode_conf_change(entry))
            self.node.advance()
            sent += [*ready.messages, *ready.messages_after_write]
        return sent

    def hear(self, kind: MessageType, sender: int, **fields: Any) -> list[Message]:
        """Take in a message and answer.

        What is not given is what fits: the term and, in votes, the log of the node itself.
        """
        fields.setdefault("term", self.node.term)
        if kind in (MessageType.VOTE, MessageType.PRE_VOTE):
            fields.setdefault("index", self.node.raft.log.last_index)
            fields.setdefault("log_term", self.node.raft.log.last_term)
        elif kind is MessageType.APPEND:
            fields.setdefault("index", 1)
            fields.setdefault("log_term", self.storage.term(1) or 0)
        self.node.step(Message(type=kind, to=1, sender=sender, **fields))
        return self.work()

    def lead(self) -> list[Message]:
        """Win an election with every vote, and return what the new leader sends."""
        self.node.campaign()
        self.work()
        sent: list[Message] = []
        for voter in sorted(self.node.raft.tracker.membership.all_voters - {1}):
            sent += self.hear(MessageType.VOTE_RESPONSE, voter)
        assert self.node.role is Role.LEADER
        return sent

    @property
    def terms(self) -> list[int]:
        """The terms of the log on the disk, from index 1 on."""
        last = self.storage.last_index()
        return [self.storage.term(index) or 0 for index in range(1, last + 1)]
