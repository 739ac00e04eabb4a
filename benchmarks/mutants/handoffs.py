"""The planted bugs in the protocol of handoffs: offers, verdicts, votes, stand-ins.

Owns mutants of the modules of ``omium.execution`` that are about handoffs; those of the rest of the
machine are in ``execution``.
"""

from __future__ import annotations

from benchmarks.mutants.plant import Mutant

_SESSION = "tests/execution/test_transcripts.py::test_sessions[handoffs]"
_JUDGES = "tests/execution/test_transcripts.py::test_sessions[judges]"
_STANDING_IN = "tests/execution/test_transcripts.py::test_sessions[stand_ins]"
_HANDOFFS = "omium.execution.handoffs"
_STAND_INS = "omium.execution.stand_ins"
_OFFERS = "omium.execution.offers"
_VOTES = "omium.execution.votes"

HANDOFFS = (
    Mutant(
        name="handoff_of_a_superseded_epoch",
        says="lets an output be offered under another epoch than that which completed it",
        module=_HANDOFFS,
        before="    if event.epoch != state.agents[event.agent].epoch:\n",
        after="    if False:\n",
        caught_by=(_SESSION,),
    ),
    Mutant(
        name="handoff_accepted_twice",
        says="takes a second verdict about a handoff that is accepted",
        module=_OFFERS,
        before='    if handoff.status != "offered":\n        return None, f"handoff',
        after='    if handoff.status == "rejected":\n        return None, f"handoff',
        caught_by=(_SESSION,),
    ),
    Mutant(
        name="handoff_delivered_again_under_a_new_name",
        says="offers an output once more, under another name, when its receiver is lost",
        module=_OFFERS,
        before='    return f"{source}#{state.agents[source].round}>{to}"\n',
        after=(
            "    tries = state.agents[to].attempts\n"
            '    return f"{source}#{state.agents[source].round}.{tries}>{to}"\n'
        ),
        caught_by=("sim",),
    ),
    Mutant(
        name="handoff_offered_twice",
        says="offers what is offered already",
        module=_HANDOFFS,
        before="    if standing(state, event.agent, event.to) is not None:\n",
        after="    if False:\n",
        caught_by=(_SESSION,),
    ),
    Mutant(
        name="work_before_it_is_accepted",
        says="lets an attempt work on what it has not accepted",
        module=_HANDOFFS,
        before="    waiting = to_accept(state, agent) if agent.checked else []\n",
        after="    waiting: list[HandoffState] = []\n",
        caught_by=(_SESSION,),
    ),
    Mutant(
        name="validator_votes_twice",
        says="takes a second vote of a validator about the same handoff",
        module=_VOTES,
        before="    if any(vote.validator == event.validator for vote in handoff.votes):\n",
        after="    if False:\n",
        caught_by=(_SESSION,),
    ),
    Mutant(
        name="accepted_by_too_few",
        says="accepts a handoff before all have voted about it",
        module=_VOTES,
        before="    return len(handoff.votes) == len(one.validators)\n",
        after="    return True\n",
        caught_by=(_SESSION,),
    ),
    Mutant(
        name="vote_that_no_judge_gave",
        says="takes another vote of an agent than the one that it handed over",
        module=_VOTES,
        before="    if _judged(state, handoff, AgentName(event.validator)) != vote:\n",
        after="    if False:\n",
        caught_by=(_JUDGES,),
    ),
    Mutant(
        name="leased_before_it_is_judged",
        says="leases a receiver before the votes of its judges are on record",
        module=_HANDOFFS,
        before='            if handoff.status == "offered" and left_to_vote(state, handoff):\n',
        after="            if False:\n",
        caught_by=(_JUDGES,),
    ),
    Mutant(
        name="vote_of_an_attempt_before_forgotten",
        says="tells an attempt of no votes that others before it have had written",
        module="omium.actors.receiving",
        before="        votes=handoff.votes,\n",
        after="",
        caught_by=("sim",),
    ),
    Mutant(
        name="last_vote_alone_kept",
        says="forgets the votes about a handoff when there is another one",
        module=_VOTES,
        before="    handoff.votes = (*handoff.votes, vote)\n",
        after="    handoff.votes = (vote,)\n",
        caught_by=("sim",),
    ),
    Mutant(
        name="votes_about_another_value",
        says="counts the votes about what was rejected for what a person gives in answer",
        module=_HANDOFFS,
        before="            handoff.votes = ()\n",
        after="",
        caught_by=("sim",),
    ),
    Mutant(
        name="one_vote_too_few_is_enough",
        says="takes what one validator less is for than has to be",
        module=_VOTES,
        before='vote.ballot == "for" for vote in votes) >= votes_min:\n',
        after='vote.ballot == "for" for vote in votes) >= votes_min - 1:\n',
        caught_by=("sim",),
    ),
    Mutant(
        name="one_rejection_at_a_time",
        says="refuses an attempt that rejects two of its handoffs, for ever",
        module="omium.execution.machine",
        before="        if claims & (settled | rejecting) or rejects & settled:\n",
        after="        if (claims | rejects) & (settled | rejecting):\n",
        caught_by=("sim",),
    ),
    Mutant(
        name="vote_of_the_round_before",
        says="counts the vote that a judge gave in the round before",
        module=_VOTES,
        before="    match agent.output.inline:\n",
        after="    match (agent.recalled or agent.output).inline:\n",
        caught_by=("sim",),
    ),
    Mutant(
        name="answer_not_delivered",
        says="gives a receiver what it has rejected, in place of a person's answer",
        module="omium.execution.routing",
        before="            given[one.source] = handoff.value\n",
        after="            pass\n",
        caught_by=("sim",),
    ),
    Mutant(
        name="late_taken_unseen",
        says="accepts what was only late when somebody wants it to be looked at after all",
        module=_HANDOFFS,
        before='        case "approve" if _is_late(handoff):\n',
        after='        case "approve" if False:\n',
        caught_by=("sim",),
    ),
    Mutant(
        name="stands_in_before_its_giver_runs_again",
        says="asks a stand-in at once, in place of letting the giver run again",
        module=_HANDOFFS,
        before="    again = again and not _is_heard_elsewhere(state, handoff)\n",
        after="    again = again and not (one.stand_in or _is_heard_elsewhere(state, handoff))\n",
        caught_by=("sim",),
    ),
    Mutant(
        name="stands_in_unasked",
        says="lets a stand-in run that nobody has asked",
        module="omium.execution.machine",
        before="    if (agent.checked or agent.judges or agent.stands_in) and not",
        after="    if (agent.checked or agent.judges) and not",
        caught_by=("sim",),
    ),
    Mutant(
        name="judge_sees_what_was_rejected",
        says="shows a judge the giver's output again, in place of what a stand-in hands over",
        module="omium.execution.routing",
        before="            given[source] = judged.value\n",
        after="            pass\n",
        caught_by=("sim",),
    ),
    Mutant(
        name="stands_in_twice",
        says="asks a stand-in again whose output was rejected",
        module=_STAND_INS,
        before='!= "rejected" or handoff.value:\n',
        after='!= "rejected":\n',
        caught_by=(_STANDING_IN,),
    ),
    Mutant(
        name="stand_in_not_judged",
        says="counts the votes of judges about the giver's output for what a stand-in hands over",
        module=_STAND_INS,
        before="            agents=tuple(name for name in state.agents if name in judges),\n",
        after="",
        caught_by=(_STANDING_IN,),
    ),
    Mutant(
        name="stand_in_has_any_output",
        says="takes another output for a stand-in's than the one that it handed over",
        module=_HANDOFFS,
        before="        meant = event in stand_ins.answers(state)\n",
        after="        meant = True\n",
        caught_by=(_STANDING_IN,),
    ),
    Mutant(
        name="answer_of_a_stand_in_again",
        says="offers what a stand-in handed over once more, when that comes after the verdict",
        module=_HANDOFFS,
        before='    if delegated or by_agent or event.decision == "delegate":\n',
        after='    if delegated or event.decision == "delegate":\n',
        caught_by=(_STANDING_IN,),
    ),
    Mutant(
        name="work_of_a_stand_in_copied",
        says="lets a fork go on with what a stand-in had done of another rejection",
        module="omium.execution.fork",
        before=") as event if event.agent in spare and entry.index > begun.get(event.agent, 0):\n",
        after=") as event if not spare:\n",
        caught_by=(_STANDING_IN,),
    ),
)
