"""The planted bugs in the order of writes: what is durable before what, and together with what.

Owns mutants of the drivers of the core and of the stores under them, a graph's saver included.
"""

from __future__ import annotations

from benchmarks.mutants.catchers import SEEDS, node
from benchmarks.mutants.plant import Mutant

WRITES = (
    Mutant(
        name="no_fsync_before_a_vote",
        says="sends a vote that is written and not synced",
        module="omium.consensus.raw_node",
        before="snapshot is not None or _is_promise(hard_state, self._hard_state)\n",
        after="snapshot is not None or hard_state.term != self._hard_state.term\n",
        caught_by=(
            node("consensus/test_election", "test_a_term_and_a_vote_are_synced_each_for_itself"),
        ),
    ),
    Mutant(
        name="no_fsync_before_an_answer",
        says="syncs nothing at all before it answers",
        module="omium.consensus.member",
        before="            must_sync=ready.must_sync,\n",
        after="            must_sync=False,\n",
        caught_by=SEEDS,
    ),
    Mutant(
        name="vote_not_persisted",
        says="does not write term, vote and commit index",
        module="omium.consensus.member",
        before="            hard_state=ready.hard_state,\n",
        after="            hard_state=None,\n",
        caught_by=SEEDS,
    ),
    Mutant(
        name="answers_before_the_write",
        says="sends what has to wait for the write beside it",
        module="omium.consensus.member",
        before="        for message in ready.messages:\n",
        after="        for message in (*ready.messages, *ready.messages_after_write):\n",
        caught_by=SEEDS,
    ),
    Mutant(
        name="commit_not_persisted_with_entries",
        says="elects by the members of two changes ago, when it comes back from a power cut",
        module="omium.consensus.raw_node",
        before="and bool(apply or entries or snapshot is not None)",
        after="and apply",
        caught_by=(
            node(
                "consensus/test_member",
                "test_what_is_committed_is_durable_with_the_entries_after_it",
            ),
        ),
    ),
    Mutant(
        name="members_not_persisted",
        says="does not write who belongs to the group",
        module="omium.consensus.member",
        before="conf_state=self._changed_members(ready.committed_entries),",
        after="conf_state=self._changed_members(ready.committed_entries) and None,",
        caught_by=SEEDS,
    ),
    Mutant(
        name="leads_before_it_has_applied",
        says="calls itself the leader before it has applied what came before its term",
        module="omium.consensus.member",
        before="            node.role is Role.LEADER and self._applied_term == node.term",
        after="            node.role is Role.LEADER",
        caught_by=SEEDS,
    ),
    Mutant(
        name="read_before_it_is_applied",
        says="serves a read once it is confirmed, though its state is older than that",
        module="omium.consensus.member",
        before="for index, waiting in self._confirmed if index <= applied]",
        after="for _, waiting in self._confirmed]",
        caught_by=(
            node(
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
        caught_by=SEEDS,
    ),
    Mutant(
        name="compaction_off_by_one",
        says="drops one entry more from the log than it says",
        module="omium.consensus.storage",
        before="        del self._entries[: index - self._offset]\n",
        after="        del self._entries[: index - self._offset + 1]\n",
        caught_by=SEEDS,
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
        caught_by=(node("storage/test_log_stores", "TestMemory::test_what_follows_is_replaced"),),
    ),
    Mutant(
        name="snapshot_keeps_the_old_vote",
        says="installs a snapshot and writes the vote that came with it later, by itself",
        module="omium.storage.group_store",
        before="            self._install(batch.snapshot, batch.hard_state)\n",
        after="            self._install(batch.snapshot, None)\n            return []\n",
        caught_by=(
            node(
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
            node("storage/test_group_store", "test_a_batch_is_written_whole_or_not_at_all"),
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
        caught_by=(node("storage/test_catalog", "test_a_request_is_carried_out_once"),),
    ),
    Mutant(
        name="put_before_its_writes",
        says="stores a graph's checkpoint before the writes that it comes of",
        module="omium.frameworks.langgraph_flights",
        before="            await asyncio.wrap_future(flight)\n",
        after="            pass\n",
        caught_by=(
            node(
                "frameworks/test_langgraph_saver",
                "test_a_checkpoint_waits_for_the_writes_that_it_comes_of",
            ),
        ),
    ),
)
