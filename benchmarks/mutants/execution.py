"""The planted bugs in the execution machine: epochs, appends, leases, calls and their past.

Owns mutants of ``omium.execution`` but for those in its protocol of handoffs: ``handoffs`` has
these.
"""

from __future__ import annotations

from benchmarks.mutants.catchers import SEEDS, node
from benchmarks.mutants.plant import Mutant

EXECUTION = (
    Mutant(
        name="epoch_not_checked",
        says="lets a superseded attempt write",
        module="omium.execution.machine",
        before='    if writer.epoch != agent.epoch or agent.status != "leased":\n',
        after='    if agent.status != "leased":\n',
        caught_by=SEEDS,
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
        caught_by=SEEDS,
    ),
    Mutant(
        name="epoch_used_twice",
        says="gives an attempt the epoch of another one",
        module="omium.execution.machine",
        before="    if event.epoch <= state.epoch:\n",
        after="    if event.epoch < state.epoch:\n",
        caught_by=(node("execution/test_transcripts", "test_sessions"), "sim"),
    ),
    Mutant(
        name="two_owners",
        says="leases an agent that is leased",
        module="omium.execution.machine",
        before='    if agent.status != "waiting":\n',
        after='    if agent.status == "completed":\n',
        caught_by=SEEDS,
    ),
    Mutant(
        name="old_end_ends_the_new_attempt",
        says="takes the end of an attempt for that of the one after it",
        module="omium.execution.fold",
        before="    if event.epoch != agent.epoch:\n        return\n",
        after="",
        caught_by=(node("execution/test_transcripts", "test_sessions"), "sim"),
    ),
    Mutant(
        name="new_attempt_taken_for_the_old",
        says="takes the first append of a new attempt for one that was written before",
        module="omium.execution.fold",
        before="        agent.worker = event.worker\n        agent.sequence = 0\n",
        after="        agent.worker = event.worker\n",
        caught_by=(node("execution/test_transcripts", "test_sessions"),),
    ),
    Mutant(
        name="completed_call_made_again",
        says="lets a call be intended that was answered",
        module="omium.execution.machine",
        before='if known is not None and known.status == "completed":',
        after="if False:",
        caught_by=(node("execution/test_transcripts", "test_sessions"),),
    ),
    Mutant(
        name="unknown_outcome_guessed",
        says="runs a tool again whose outcome nobody knows",
        module="omium.execution.calls",
        before='    if key.kind == "llm" or idempotent or call.epoch == epoch or _stopped_to_ask(',
        after="    if True or _stopped_to_ask(",
        caught_by=(node("execution/test_transcripts", "test_sessions"),),
    ),
    Mutant(
        name="past_forced_without_end",
        says="answers calls by ordinal beyond what a fork has copied",
        module="omium.execution.calls",
        before="            and call.index <= forced_until\n",
        after="",
        caught_by=(node("execution/test_transcripts", "test_sessions"),),
    ),
    Mutant(
        name="one_round_too_many",
        says="hands back once more than a loop may",
        module="omium.execution.routing",
        before="in _wanted(state, agent) if loop.taken < loop.rounds_max), None)\n",
        after="in _wanted(state, agent) if loop.taken <= loop.rounds_max), None)\n",
        caught_by=SEEDS,
    ),
)
