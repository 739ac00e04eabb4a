"""The laws of a group, checked after everything that happens to a member.

After the paper, figure 3, and what a driver owes to clients. It sees what no member sees: the
logs of all of them, what was promised to whom, and the past.
"""

from __future__ import annotations

from typing import Protocol

from omium.consensus import NO_LIMIT, Message, MessageType, Role
from omium.consensus.log import RaftLog
from omium.consensus.state import Raft


class Witnessed(Protocol):
    """A member that runs, as the laws see it."""

    @property
    def id(self) -> int: ...
    @property
    def raft(self) -> Raft: ...
    @property
    def applied(self) -> int: ...
    @property
    def digest(self) -> int: ...


class Laws:
    """What must hold at any time, and what was seen so far. Breaking one is an AssertionError.

    ``acknowledged`` is the highest index that any client was told of.
    """

    def __init__(self) -> None:
        self.leaders: dict[int, int] = {}
        self.committed: dict[int, int] = {}
        self.acknowledged = 0
        self._entries: dict[tuple[int, int], tuple[int | None, int, bytes]] = {}
        self._digests: dict[int, int] = {}
        self._votes: dict[tuple[int, int], int] = {}
        self._seen: dict[int, tuple[int, int, int, int, Role, int, int]] = {}

    def check(self, member: Witnessed) -> None:
        """Look at a member to which something has happened."""
        raft = member.raft
        log = raft.log
        last_index = log.last_index
        last_term = log.term(last_index)
        assert last_term is not None, f"the last entry of member {member.id} has no term"
        applied = member.applied
        now = (last_index, last_term, log.committed, raft.term, raft.role, applied, raft.vote)
        before = self._seen.get(member.id)
        if now == before:
            return
        self._seen[member.id] = now
        self._never_back(member, before)
        if before is None or before[:2] != now[:2]:
            self._log_matching(log, before)
        if before is None or before[2] != now[2]:
            self._state_machine_safety(member.id, log, before)
        if raft.role is Role.LEADER and self.leaders.get(raft.term) != member.id:
            self._election_safety(member.id, raft.term)
            self._leader_completeness(log, raft.term)
        if before is None or before[5] != applied:
            self._same_state(member)

    def forget(self, member_id: int) -> None:
        """A member went down: what was not durable of it may be gone."""
        self._seen.pop(member_id, None)

    def sent(self, message: Message) -> None:
        """A member sends ``message``: nobody votes for two in one term (paper, section 5.2)."""
        if message.type is MessageType.VOTE_RESPONSE and not message.reject:
            voted = self._votes.setdefault((message.sender, message.term), message.to)
            assert voted == message.to, (
                f"member {message.sender} votes for {voted} and for {message.to} "
                f"in term {message.term}"
            )
        elif message.type is MessageType.VOTE:
            # Asking for votes is a vote for oneself.
            voted = self._votes.setdefault((message.sender, message.term), message.sender)
            assert voted == message.sender, (
                f"member {message.sender} votes for {voted} and for itself in term {message.term}"
            )

    def answered(self, index: int) -> None:
        """A client is told that what it asked for is at ``index``."""
        self.acknowledged = max(self.acknowledged, index)

    # ---- the laws

    def _never_back(
        self, member: Witnessed, before: tuple[int, int, int, int, Role, int, int] | None
    ) -> None:
        """While a member runs, what it knows to be committed, its term, and its vote stay."""
        if before is None:
            return
        raft = member.raft
        assert raft.log.committed >= before[2], f"member {member.id}: its commit index goes back"
        assert raft.term >= before[3], f"member {member.id}: its term goes back"
        assert member.applied >= before[5], f"member {member.id}: what it applied goes back"
        if raft.term == before[3] and before[6]:
            assert raft.vote == before[6], f"member {member.id}: another vote in term {raft.term}"
        assert member.applied <= raft.log.committed, (
            f"member {member.id} applied {member.applied}, committed is {raft.log.committed}"
        )

    def _election_safety(self, member_id: int, term: int) -> None:
        """At most one leader can be elected in a given term."""
        known = self.leaders.setdefault(term, member_id)
        assert known == member_id, f"members {known} and {member_id} both lead in term {term}"

    def _log_matching(
        self, log: RaftLog, before: tuple[int, int, int, int, Role, int, int] | None
    ) -> None:
        """If two logs have an entry with the same index and term, they are identical up to it.

        By induction: an index and a term say what the entry is, and the term before it.
        """
        low = log.first_index
        if before is not None and before[0] >= low and log.term(before[0]) == before[1]:
            low = before[0] + 1
        previous = log.term(low - 1)
        for entry in log.entries_from(low, NO_LIMIT):
            told = (previous, entry.type, entry.data)
            known = self._entries.setdefault((entry.index, entry.term), told)
            assert known[1:] == told[1:], f"two entries {entry.term}/{entry.index}"
            if previous is not None and known[0] is not None:
                assert known[0] == previous, f"two pasts of the entry {entry.term}/{entry.index}"
            assert previous is None or previous <= entry.term, (
                f"the term goes down at {entry.term}/{entry.index}"
            )
            previous = entry.term

    def _state_machine_safety(
        self,
        member_id: int,
        log: RaftLog,
        before: tuple[int, int, int, int, Role, int, int] | None,
    ) -> None:
        """What is committed at an index on one member is never anything else on another."""
        low = log.first_index
        if before is not None:
            low = max(low, before[2] + 1)
        for index in range(low, log.committed + 1):
            term = log.term(index)
            assert term is not None, f"member {member_id} committed {index} and does not have it"
            known = self.committed.setdefault(index, term)
            assert known == term, f"{known}/{index} and {term}/{index} are both committed"

    def _leader_completeness(self, log: RaftLog, term: int) -> None:
        """What was committed in an earlier term is in the log of every later leader."""
        first, last = log.first_index, max(self.committed, default=0)
        for index in range(first, last + 1):
            committed = self.committed.get(index)
            if committed is not None and committed < term:
                assert log.term(index) == committed, (
                    f"the leader of term {term} lacks {committed}/{index}"
                )

    def _same_state(self, member: Witnessed) -> None:
        """Who applied as much has the same state."""
        known = self._digests.setdefault(member.applied, member.digest)
        assert known == member.digest, f"two states after {member.applied}"
