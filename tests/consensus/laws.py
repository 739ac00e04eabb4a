"""The safety properties of Raft (paper, figure 3), checked while nodes run.

It sees what no node sees: the logs of all of them, and the past.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from omium.consensus import Role
from omium.consensus.log import RaftLog

if TYPE_CHECKING:
    from tests.consensus.cluster import Replica


class Laws:
    """What must hold after every step, and what has been seen so far."""

    def __init__(self) -> None:
        self.leaders: dict[int, int] = {}
        self.committed: dict[int, int] = {}
        self._entries: dict[tuple[int, int], tuple[int | None, bytes]] = {}
        self._states: dict[int, int] = {}
        self._seen: dict[int, tuple[int, int, int, int]] = {}

    def check(self, replicas: Mapping[int, Replica]) -> None:
        """Look at every node that has changed."""
        for node_id, replica in replicas.items():
            raft = replica.node.raft
            log = raft.log
            seen = (log.committed, log.first_index, log.last_index, log.last_term)
            if self._seen.get(node_id) != seen:
                self._log_matching(log)
                self._state_machine_safety(log)
                self._seen[node_id] = seen
            if raft.role is Role.LEADER and raft.term not in self.leaders:
                self._leader_completeness(log, raft.term)
            self._election_safety(node_id, raft.term, raft.role)
            self._same_state(replica)

    def _election_safety(self, node_id: int, term: int, role: Role) -> None:
        """At most one leader can be elected in a given term."""
        if role is Role.LEADER:
            assert self.leaders.setdefault(term, node_id) == node_id, f"two leaders in term {term}"

    def _log_matching(self, log: RaftLog) -> None:
        """If two logs have an entry with the same index and term, they are identical up to it.

        By induction: an index and a term say what the entry is, and the term before it.
        """
        previous = log.term(log.first_index - 1)
        for entry in log.entries_from(log.first_index, 2**62):
            known = self._entries.setdefault((entry.index, entry.term), (previous, entry.data))
            assert known[1] == entry.data, f"two entries {entry.term}/{entry.index}"
            if previous is not None and known[0] is not None:
                assert known[0] == previous, f"two pasts of entry {entry.term}/{entry.index}"
            assert previous is None or previous <= entry.term, "terms never go down"
            previous = entry.term

    def _state_machine_safety(self, log: RaftLog) -> None:
        """What is committed at an index on one node is never anything else on another."""
        for index in range(log.first_index, log.committed + 1):
            term = log.term(index)
            assert term is not None
            assert self.committed.setdefault(index, term) == term, f"two entries at {index}"

    def _leader_completeness(self, log: RaftLog, term: int) -> None:
        """What was committed in an earlier term is in the log of every later leader."""
        for index, committed in self.committed.items():
            if index >= log.first_index and committed < term:
                assert log.term(index) == committed, (
                    f"the leader of term {term} lacks {committed}/{index}"
                )

    def _same_state(self, replica: Replica) -> None:
        """Who applied as much has the same state."""
        applied, state = replica.disk.applied, replica.disk.state
        assert self._states.setdefault(applied, state) == state, f"two states after {applied}"
