"""The planted bugs in the consensus core: votes, commits, members, reads, snapshots.

Owns mutants of what the core decides. Those of the drivers that carry it out, and of what they
write to, are in ``writes``.
"""

from __future__ import annotations

from benchmarks.mutants.catchers import SEEDS, node
from benchmarks.mutants.plant import Mutant

CONSENSUS = (
    Mutant(
        name="vote_given_twice",
        says="grants its vote to whoever asks, whomever it voted for in the term before",
        module="omium.consensus.election",
        before=(
            "        raft.vote == asked.sender\n"
            "        or (raft.vote == NONE and raft.lead == NONE)"
        ),
        after="        raft.vote == asked.sender\n        or raft.lead == NONE",
        caught_by=(
            node("consensus/test_election", "test_the_vote_of_a_term_is_given_once"),
            "sim",
        ),
    ),
    Mutant(
        name="vote_for_a_shorter_log",
        says="elects a candidate whose log lacks what is committed",
        module="omium.consensus.log",
        before="return last_term > own or (last_term == own and last_index >= self.last_index)",
        after="return last_term >= own",
        caught_by=SEEDS,
    ),
    Mutant(
        name="vote_for_a_longer_log_of_an_older_term",
        says="compares logs by their length alone",
        module="omium.consensus.log",
        before="return last_term > own or (last_term == own and last_index >= self.last_index)",
        after="return last_index >= self.last_index",
        caught_by=(
            node("consensus/test_election", "test_only_a_log_that_is_up_to_date_gets_votes"),
            "sim",
        ),
    ),
    Mutant(
        name="own_vote_before_it_is_durable",
        says="asks for votes before its own, and its term, are on disk",
        module="omium.consensus.election",
        before=(
            "        raft.outbox_after_write.append(\n"
            "            Message(\n"
            "                type=kind,"
        ),
        after="        raft.outbox.append(\n            Message(\n                type=kind,",
        caught_by=(
            node("consensus/test_election", "test_votes_wait_for_the_write_and_heartbeats_do_not"),
            "sim",
        ),
    ),
    Mutant(
        name="pre_vote_ignored",
        says="raises its term at every time-out, and disturbs a group that has a leader",
        module="omium.consensus.election",
        before="if raft.config.pre_vote and not transfer:",
        after="if False:",
        caught_by=(node("consensus/test_election", "test_a_pre_vote_raises_no_term"),),
    ),
    Mutant(
        name="quorum_not_checked",
        says="goes on leading when it hears from nobody",
        module="omium.consensus.leader",
        before="    if not raft.tracker.quorum_active():",
        after="    if False:",
        caught_by=(node("consensus/test_election", "test_a_leader_without_a_quorum_steps_down"),),
    ),
    Mutant(
        name="earlier_term_committed_by_counting",
        says="commits an entry of an earlier term because a majority has it (figure 8)",
        module="omium.consensus.log",
        before="if index <= self.committed or self.term(index) != term:",
        after="if index <= self.committed:",
        caught_by=(
            node("consensus/test_replication", "test_an_earlier_term_is_not_committed_by_counting"),
            "sim",
        ),
    ),
    Mutant(
        name="minority_commits",
        says="commits what one less than a majority has",
        module="omium.consensus.quorum",
        before="return ranked[(len(ranked) - 1) // 2] if ranked else INFINITE_INDEX",
        after="return ranked[len(ranked) // 2 + (len(ranked) > 1)] if ranked else INFINITE_INDEX",
        caught_by=SEEDS,
    ),
    Mutant(
        name="learner_counted",
        says="counts learners among those that have an entry",
        module="omium.consensus.tracker",
        before="incoming = [progress[node_id].match for node_id in membership.voters]",
        after="incoming = sorted(o.match for o in progress.values())[-len(membership.voters) :]",
        caught_by=(
            node("consensus/test_membership", "test_a_learner_gets_the_log_and_has_no_say"),
            "sim",
        ),
    ),
    Mutant(
        name="joint_commit_by_one_majority",
        says="commits in a joint configuration with the new majority alone",
        module="omium.consensus.quorum",
        before="return min(committed_index(incoming), committed_index(outgoing))",
        after="return committed_index(incoming)",
        caught_by=(node("consensus/test_membership", "test_joint_decisions_need_both_majorities"),),
    ),
    Mutant(
        name="joint_election_by_one_majority",
        says="elects in a joint configuration with the new majority alone",
        module="omium.consensus.membership",
        before="return quorum.joint_vote_result(self.voters, self.outgoing, votes)",
        after="return quorum.vote_result(self.voters, votes)",
        caught_by=(
            node(
                "consensus/test_membership",
                "test_elections_in_a_joint_configuration_need_both_majorities",
            ),
        ),
    ),
    Mutant(
        name="two_changes_of_members_at_once",
        says="takes a change of members while one is under way",
        module="omium.consensus.leader",
        before="    if raft.pending_conf_index > raft.log.applied:",
        after="    if False:",
        caught_by=(node("consensus/test_membership", "test_one_change_at_a_time"),),
    ),
    Mutant(
        name="heartbeat_commits_beyond_match",
        says="tells a follower in a heartbeat to commit what it may not have",
        module="omium.consensus.replication",
        before="commit = min(progress.match, raft.log.committed)",
        after="commit = raft.log.committed",
        caught_by=SEEDS,
    ),
    Mutant(
        name="commit_beyond_what_was_sent",
        says="commits up to the leader's index, though it agrees with it only so far",
        module="omium.consensus.log",
        before="self.commit_to(min(commit, last_new))",
        after="self.commit_to(min(commit, self.last_index))",
        caught_by=(
            node(
                "consensus/test_replication",
                "test_the_commit_index_never_runs_ahead_of_what_was_sent",
            ),
        ),
    ),
    Mutant(
        name="commit_beyond_the_log_ignored",
        says="goes on when what is committed, and it acknowledged, is gone from its log",
        module="omium.consensus.log",
        before="            if index > self.last_index:\n",
        after=(
            "            if index > self.last_index:\n                return\n"
            "            if False:\n"
        ),
        caught_by=(
            node(
                "consensus/test_replication",
                "test_a_heartbeat_that_commits_what_is_not_there_stops_the_node",
            ),
        ),
    ),
    Mutant(
        name="log_not_compared",
        says="appends behind an entry that is not the leader's",
        module="omium.consensus.log",
        before="        if self.term(previous_index) != previous_term:\n            return None",
        after="        if previous_index > self.last_index:\n            return None",
        caught_by=SEEDS,
    ),
    Mutant(
        name="late_append_truncates",
        says="drops acknowledged entries when an old append comes once more",
        module="omium.consensus.log",
        before=(
            "            if skip < len(entries):\n"
            "                self.append(entries[skip:] if skip else entries)"
        ),
        after="            self.append(entries)",
        caught_by=SEEDS,
    ),
    Mutant(
        name="committed_entries_replaced",
        says="lets an append replace what is committed",
        module="omium.consensus.follower",
        before="    if previous < log.committed:\n",
        after="    if False:\n",
        caught_by=(
            node("consensus/test_replication", "test_committed_entries_are_never_replaced"),
            "sim",
        ),
    ),
    Mutant(
        name="replaced_while_written",
        says="takes an entry for durable that another one has replaced while it was written",
        module="omium.consensus.unstable",
        before="if 0 < count <= len(self.entries) and self.entries[count - 1].term == term:",
        after="if 0 < count <= len(self.entries):",
        caught_by=(
            node(
                "consensus/test_replication",
                "test_entries_that_were_replaced_while_they_were_written_are_written_again",
            ),
            "sim",
        ),
    ),
    Mutant(
        name="leader_counts_what_it_has_not_written",
        says="counts the leader's own log before it is durable",
        module="omium.consensus.leader",
        before="    replication.broadcast_append(raft)\n    return first\n",
        after=(
            "    raft.tracker.progress[raft.id].maybe_update(raft.log.last_index)\n"
            "    replication.broadcast_append(raft)\n    return first\n"
        ),
        caught_by=(
            node(
                "consensus/test_replication",
                "test_the_leader_counts_its_own_log_only_when_it_is_durable",
            ),
            "sim",
        ),
    ),
    Mutant(
        name="read_without_confirmation",
        says="serves a read though it may have been deposed while it stood still (stale ReadIndex)",
        module="omium.consensus.reads",
        before="    if membership.singleton and raft.id in membership.voters:\n",
        after="    if True:\n",
        caught_by=SEEDS,
    ),
    Mutant(
        name="read_before_its_term_commits",
        says="serves a read before it knows what is committed in its term",
        module="omium.consensus.reads",
        before="    if raft.log.term(raft.log.committed) != raft.term:\n",
        after="    if False:\n",
        caught_by=(
            node(
                "consensus/test_reads", "test_a_leader_that_has_committed_nothing_of_its_term_waits"
            ),
            "sim",
        ),
    ),
    Mutant(
        name="confirmation_of_later_reads",
        says="takes the confirmation of a read for one of those after it",
        module="omium.consensus.readonly",
        before="                if oldest == context:\n                    break\n",
        after="",
        caught_by=("tests/consensus/test_reads.py",),
    ),
    Mutant(
        name="snapshot_without_members",
        says="starts over from a snapshot and keeps the members of before",
        module="omium.consensus.follower",
        before=(
            "    raft.tracker.adopt(*confchange.restored(raft.tracker, log.last_index, state))\n"
        ),
        after="",
        caught_by=(node("consensus/test_snapshots", "test_a_snapshot_replaces_the_log"), "sim"),
    ),
    Mutant(
        name="snapshot_takes_back",
        says="starts over from a snapshot that is older than what is committed",
        module="omium.consensus.follower",
        before="    if snapshot.index <= log.committed:\n",
        after="    if False:\n",
        caught_by=(
            node(
                "consensus/test_snapshots",
                "test_a_snapshot_from_before_the_one_that_is_installed_takes_nothing_back",
            ),
        ),
    ),
    Mutant(
        name="transfer_takes_proposals",
        says="takes proposals while it hands leadership over",
        module="omium.consensus.leader",
        before="    if raft.transferee != NONE:\n",
        after="    if False:\n",
        caught_by=(
            node(
                "consensus/test_transfer",
                "test_no_proposals_are_taken_meanwhile_and_it_ends_in_time",
            ),
        ),
    ),
    Mutant(
        name="suspicion_outlives_its_term",
        says="asks for the place of a dead leader in a term in which it has voted for another",
        module="omium.consensus.suspicion",
        before="return self._node.lead == NONE and self._node.term == self._term\n",
        after="return self._node.lead == NONE\n",
        caught_by=(
            node("consensus/test_suspicion", "test_nobody_asks_once_a_later_term_has_begun"),
        ),
    ),
    Mutant(
        name="suspects_once",
        says="asks once for the place of a dead leader, though others had not noticed then",
        module="omium.consensus.suspicion",
        before="        elif not self._lasts or node_id != self._suspected:\n",
        after="        else:\n",
        caught_by=(
            node(
                "consensus/test_suspicion",
                "test_who_notices_first_is_elected_once_the_others_have_noticed_too",
            ),
        ),
    ),
)
