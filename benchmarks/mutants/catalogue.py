"""The planted bugs: in the consensus core, in the order of writes, in the execution machine.

A mutant's text must be in the product exactly once; ``tests/benchmarks`` sees to that without
running anything. Who changes such a line changes the mutant with it.
"""

from __future__ import annotations

from benchmarks.mutants.plant import Mutant

_SIM = ("sim",)


def _test(file: str, name: str) -> str:
    return f"tests/{file}.py::{name}"


def by_name(name: str) -> Mutant:
    """The mutant of that name. Raises KeyError."""
    return {mutant.name: mutant for mutant in MUTANTS}[name]


_CONSENSUS = (
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
            _test("consensus/test_election", "test_the_vote_of_a_term_is_given_once"),
            "sim",
        ),
    ),
    Mutant(
        name="vote_for_a_shorter_log",
        says="elects a candidate whose log lacks what is committed",
        module="omium.consensus.log",
        before="return last_term > own or (last_term == own and last_index >= self.last_index)",
        after="return last_term >= own",
        caught_by=_SIM,
    ),
    Mutant(
        name="vote_for_a_longer_log_of_an_older_term",
        says="compares logs by their length alone",
        module="omium.consensus.log",
        before="return last_term > own or (last_term == own and last_index >= self.last_index)",
        after="return last_index >= self.last_index",
        caught_by=(
            _test("consensus/test_election", "test_only_a_log_that_is_up_to_date_gets_votes"),
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
            _test("consensus/test_election", "test_votes_wait_for_the_write_and_heartbeats_do_not"),
            "sim",
        ),
    ),
    Mutant(
        name="pre_vote_ignored",
        says="raises its term at every time-out, and disturbs a group that has a leader",
        module="omium.consensus.election",
        before="if raft.config.pre_vote and not transfer:",
        after="if False:",
        caught_by=(_test("consensus/test_election", "test_a_pre_vote_raises_no_term"),),
    ),
    Mutant(
        name="quorum_not_checked",
        says="goes on leading when it hears from nobody",
        module="omium.consensus.leader",
        before="    if not raft.tracker.quorum_active():",
        after="    if False:",
        caught_by=(_test("consensus/test_election", "test_a_leader_without_a_quorum_steps_down"),),
    ),
    Mutant(
        name="earlier_term_committed_by_counting",
        says="commits an entry of an earlier term because a majority has it (figure 8)",
        module="omium.consensus.log",
        before="if index <= self.committed or self.term(index) != term:",
        after="if index <= self.committed:",
        caught_by=(
            _test(
                "consensus/test_replication", "test_an_earlier_term_is_not_committed_by_counting"
            ),
            "sim",
        ),
    ),
    Mutant(
        name="minority_commits",
        says="commits what one less than a majority has",
        module="omium.consensus.quorum",
        before="return ranked[(len(ranked) - 1) // 2] if ranked else INFINITE_INDEX",
        after="return ranked[len(ranked) // 2 + (len(ranked) > 1)] if ranked else INFINITE_INDEX",
        caught_by=_SIM,
    ),
    Mutant(
        name="learner_counted",
        says="counts learners among those that have an entry",
        module="omium.consensus.tracker",
        before="incoming = [progress[node_id].match for node_id in membership.voters]",
        after="incoming = sorted(o.match for o in progress.values())[-len(membership.voters) :]",
        caught_by=(
            _test("consensus/test_membership", "test_a_learner_gets_the_log_and_has_no_say"),
            "sim",
        ),
    ),
    Mutant(
        name="joint_commit_by_one_majority",
        says="commits in a joint configuration with the new majority alone",
        module="omium.consensus.quorum",
        before="return min(committed_index(incoming), committed_index(outgoing))",
        after="return committed_index(incoming)",
        caught_by=(
            _test("consensus/test_membership", "test_joint_decisions_need_both_majorities"),
        ),
    ),
    Mutant(
        name="joint_election_by_one_majority",
        says="elects in a joint configuration with the new majority alone",
        module="omium.consensus.membership",
        before="return quorum.joint_vote_result(self.voters, self.outgoing, votes)",
        after="return quorum.vote_result(self.voters, votes)",
        caught_by=(
            _test(
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
        caught_by=(_test("consensus/test_membership", "test_one_change_at_a_time"),),
    ),
    Mutant(
        name="heartbeat_commits_beyond_match",
        says="tells a follower in a heartbeat to commit what it may not have",
        module="omium.consensus.replication",
        before="commit = min(progress.match, raft.log.committed)",
        after="commit = raft.log.committed",
        caught_by=_SIM,
    ),
    Mutant(
        name="commit_beyond_what_was_sent",
        says="commits up to the leader's index, though it agrees with it only so far",
        module="omium.consensus.log",
        before="self.commit_to(min(commit, last_new))",
        after="self.commit_to(min(commit, self.last_index))",
        caught_by=(
            _test(
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
            _test(
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
        caught_by=_SIM,
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
        caught_by=_SIM,
    ),
    Mutant(
        name="committed_entries_replaced",
        says="lets an append replace what is committed",
        module="omium.consensus.follower",
        before="    if previous < log.committed:\n",
        after="    if False:\n",
        caught_by=(
            _test("consensus/test_replication", "test_committed_entries_are_never_replaced"),
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
            _test(
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
            _test(
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
        caught_by=_SIM,
    ),
    Mutant(
        name="read_before_its_term_commits",
        says="serves a read before it knows what is committed in its term",
        module="omium.consensus.reads",
        before="    if raft.log.term(raft.log.committed) != raft.term:\n",
        after="    if False:\n",
        caught_by=(
            _test(
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
        caught_by=(_test("consensus/test_snapshots", "test_a_snapshot_replaces_the_log"), "sim"),
    ),
    Mutant(
        name="snapshot_takes_back",
        says="starts over from a snapshot that is older than what is committed",
        module="omium.consensus.follower",
        before="    if snapshot.index <= log.committed:\n",
        after="    if False:\n",
        caught_by=_SIM,
    ),
    Mutant(
        name="transfer_takes_proposals",
        says="takes proposals while it hands leadership over",
        module="omium.consensus.leader",
        before="    if raft.transferee != NONE:\n",
        after="    if False:\n",
        caught_by=(
            _test(
                "consensus/test_transfer",
                "test_no_proposals_are_taken_meanwhile_and_it_ends_in_time",
            ),
        ),
    ),
)

_WRITES = (
    Mutant(
        name="no_fsync_before_a_vote",
        says="sends a vote that is written and not synced",
        module="omium.consensus.raw_node",
        before="            or hard_state.vote != self._hard_state.vote\n",
        after="",
        caught_by=(
            _test("consensus/test_election", "test_a_term_and_a_vote_are_synced_each_for_itself"),
        ),
    ),
    Mutant(
        name="no_fsync_before_an_answer",
        says="syncs nothing at all before it answers",
        module="omium.consensus.member",
        before="            must_sync=ready.must_sync,\n",
        after="            must_sync=False,\n",
        caught_by=_SIM,
    ),
    Mutant(
        name="vote_not_persisted",
        says="does not write term, vote and commit index",
        module="omium.consensus.member",
        before="            hard_state=ready.hard_state,\n",
        after="            hard_state=None,\n",
        caught_by=_SIM,
    ),
    Mutant(
        name="answers_before_the_write",
        says="sends what has to wait for the write beside it",
        module="omium.consensus.member",
        before="        for message in ready.messages:\n",
        after="        for message in (*ready.messages, *ready.messages_after_write):\n",
        caught_by=_SIM,
    ),
    Mutant(
        name="members_not_persisted",
        says="does not write who belongs to the group",
        module="omium.consensus.member",
        before="conf_state=self._changed_members(ready.committed_entries),",
        after="conf_state=self._changed_members(ready.committed_entries) and None,",
        caught_by=_SIM,
    ),
    Mutant(
        name="leads_before_it_has_applied",
        says="calls itself the leader before it has applied what came before its term",
        module="omium.consensus.member",
        before="            node.role is Role.LEADER and self._applied_term == node.term",
        after="            node.role is Role.LEADER",
        caught_by=_SIM,
    ),
    Mutant(
        name="read_before_it_is_applied",
        says="serves a read once it is confirmed, though its state is older than that",
        module="omium.consensus.member",
        before="for index, waiting in self._confirmed if index <= applied]",
        after="for _, waiting in self._confirmed]",
        caught_by=(
            _test(
                "consensus/test_member",
                "test_a_read_waits_until_what_was_committed_before_it_is_applied",
            ),
        ),
    ),
    Mutant(
        name="goes_on_after_a_failed_fsync",
        says="tries again on a disk whose fsync failed",
        module="omium.consensus.member",
        before="if self._log.halted or isinstance(result, ",
        after="if isinstance(result, ",
        caught_by=_SIM,
    ),
    Mutant(
        name="compaction_off_by_one",
        says="drops one entry more from the log than it says",
        module="omium.consensus.storage",
        before="        del self._entries[: index - self._offset]\n",
        after="        del self._entries[: index - self._offset + 1]\n",
        caught_by=_SIM,
    ),
    Mutant(
        name="replaced_entries_stay",
        says="writes new entries and leaves behind them what they replace",
        module="omium.consensus.storage",
        before="        del self._entries[first - self._offset - 1 :]\n",
        after=(
            "        last = entries[-1].index\n"
            "        del self._entries[first - self._offset - 1 : last - self._offset]\n"
        ),
        caught_by=(_test("storage/test_log_stores", "TestMemory::test_what_follows_is_replaced"),),
    ),
    Mutant(
        name="snapshot_keeps_the_old_vote",
        says="installs a snapshot and writes the vote that came with it later, by itself",
        module="omium.storage.group_store",
        before="            self._install(batch.snapshot, batch.hard_state)\n",
        after="            self._install(batch.snapshot, None)\n            return []\n",
        caught_by=(
            _test(
                "storage/test_log_stores",
                "TestSqlite::test_a_snapshot_takes_the_place_of_log_and_state",
            ),
        ),
    ),
    Mutant(
        name="batch_torn_in_sqlite",
        says="commits the log and what came of it in two transactions",
        module="omium.storage.group_store",
        before="            self.storage.append(batch.entries)\n            results",
        after=(
            "            self.storage.append(batch.entries)\n"
            '            self.replica.connection.execute("COMMIT")\n'
            '            self.replica.connection.execute("BEGIN IMMEDIATE")\n'
            "            results"
        ),
        caught_by=(
            _test("storage/test_group_store", "test_a_batch_is_written_whole_or_not_at_all"),
        ),
    ),
    Mutant(
        name="request_not_remembered",
        says="carries out a request under the same key a second time",
        module="omium.storage.replica",
        before=(
            "        if request is not None and tenant is not None:\n"
            "            self.catalog.remember(tenant, request, execution_id, index)\n"
        ),
        after="",
        caught_by=(_test("storage/test_catalog", "test_a_request_is_carried_out_once"),),
    ),
    Mutant(
        name="put_before_its_writes",
        says="stores a graph's checkpoint before the writes that it comes of",
        module="omium.frameworks.langgraph_saver",
        before="                await asyncio.wrap_future(flight)\n",
        after="                pass\n",
        caught_by=(
            _test(
                "frameworks/test_langgraph_saver",
                "test_a_checkpoint_waits_for_the_writes_that_it_comes_of",
            ),
        ),
    ),
)

_EXECUTION = (
    Mutant(
        name="epoch_not_checked",
        says="lets a superseded attempt write",
        module="omium.execution.machine",
        before='    if writer.epoch != agent.epoch or agent.status != "leased":\n',
        after='    if agent.status != "leased":\n',
        caught_by=_SIM,
    ),
    Mutant(
        name="append_applied_twice",
        says="carries out an append that comes twice a second time",
        module="omium.execution.machine",
        before=(
            "    if writer.sequence <= agent.sequence:\n"
            '        return Refusal(code="duplicate", message="written before")\n'
            "    if writer.sequence != agent.sequence + 1:\n"
        ),
        after="    if writer.sequence > agent.sequence + 1:\n",
        caught_by=_SIM,
    ),
    Mutant(
        name="epoch_used_twice",
        says="gives an attempt the epoch of another one",
        module="omium.execution.machine",
        before="    if event.epoch <= state.epoch:\n",
        after="    if event.epoch < state.epoch:\n",
        caught_by=(_test("execution/test_transcripts", "test_sessions"), "sim"),
    ),
    Mutant(
        name="two_owners",
        says="leases an agent that is leased",
        module="omium.execution.machine",
        before='    if agent.status != "waiting":\n',
        after='    if agent.status == "completed":\n',
        caught_by=_SIM,
    ),
    Mutant(
        name="old_end_ends_the_new_attempt",
        says="takes the end of an attempt for that of the one after it",
        module="omium.execution.fold",
        before="    if event.epoch != agent.epoch:\n        return\n",
        after="",
        caught_by=(_test("execution/test_transcripts", "test_sessions"), "sim"),
    ),
    Mutant(
        name="new_attempt_taken_for_the_old",
        says="takes the first append of a new attempt for one that was written before",
        module="omium.execution.fold",
        before="        agent.worker = event.worker\n        agent.sequence = 0\n",
        after="        agent.worker = event.worker\n",
        caught_by=(_test("execution/test_transcripts", "test_sessions"),),
    ),
    Mutant(
        name="completed_call_made_again",
        says="lets a call be intended that was answered",
        module="omium.execution.machine",
        before='if known is not None and known.status == "completed":',
        after="if False:",
        caught_by=(_test("execution/test_transcripts", "test_sessions"),),
    ),
    Mutant(
        name="unknown_outcome_guessed",
        says="runs a tool again whose outcome nobody knows",
        module="omium.execution.calls",
        before='    if key.kind == "llm" or idempotent or call.epoch == epoch or _stopped_to_ask(',
        after="    if True or _stopped_to_ask(",
        caught_by=(_test("execution/test_transcripts", "test_sessions"),),
    ),
    Mutant(
        name="past_forced_without_end",
        says="answers calls by ordinal beyond what a fork has copied",
        module="omium.execution.calls",
        before="            and call.index <= forced_until\n",
        after="",
        caught_by=(_test("execution/test_transcripts", "test_sessions"),),
    ),
)

MUTANTS: tuple[Mutant, ...] = (*_CONSENSUS, *_WRITES, *_EXECUTION)
