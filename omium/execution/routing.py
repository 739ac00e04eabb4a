"""The way of an execution through its agents: who runs, who is skipped, who runs again.

Pure. Everything here follows from committed state. What an agent's output fulfils is on record
with the output, so that no decision needs to look at the output itself.

A handoff is *open* until its giver is done for good: completed or skipped, with no handoff back
of its own to take, and every loop that the handoff leads out of left. Then it is taken or not.
An agent runs once none of the handoffs to it is open and one was taken, or when there are none;
it is skipped when none was taken.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from omium.execution import handoffs, offers, stand_ins, votes
from omium.execution.events import (
    AgentSkipped,
    Completed,
    Event,
    Failed,
    FailureRecorded,
    RoundStarted,
)
from omium.execution.records import Failure, Payload, PlannedAgent
from omium.execution.state import AgentState, ExecutionState, LoopState
from omium.types import AgentName

ROUNDS_EXHAUSTED = "rounds_exhausted"
"""The failure of a loop that was to be left by its last round and was not."""


def planned_loops(plan: tuple[PlannedAgent, ...]) -> tuple[LoopState, ...]:
    """The loops of a plan, none of them taken yet."""
    return tuple(
        LoopState(
            source=agent.name,
            to=loop.to,
            agents=frozenset(loop.agents),
            rounds_max=loop.rounds_max,
            conditional=loop.conditional,
            then=loop.then,
        )
        for agent in plan
        for loop in agent.loops
    )


# ------------------------------------------------------------------------------- loops


def _wanted(state: ExecutionState, agent: AgentState) -> list[LoopState]:
    """The loops that the agent's output asks to be taken, whether or not they may be."""
    if agent.status != "completed" or not state.loops:
        return []
    return [
        loop
        for loop in state.loops
        if loop.source == agent.name and (not loop.conditional or loop.to in agent.fits)
    ]


def next_round(state: ExecutionState, agent: AgentState) -> LoopState | None:
    """The loop that a completed agent takes now: the first that it wants and that has rounds
    left."""
    return next((loop for loop in _wanted(state, agent) if loop.taken < loop.rounds_max), None)


def exhausted(state: ExecutionState, agent: AgentState) -> LoopState | None:
    """The loop that was to be left by now, was not, and must not simply go on."""
    wanted = _wanted(state, agent)
    if any(loop.taken < loop.rounds_max for loop in wanted):
        return None
    return next((loop for loop in wanted if loop.then == "fail"), None)


def _is_final(state: ExecutionState, agent: AgentState) -> bool:
    """Whether the agent is done and hands nothing back."""
    return agent.is_done and next_round(state, agent) is None and exhausted(state, agent) is None


def may_begin(state: ExecutionState, event: RoundStarted) -> bool:
    """Whether ``event`` is what follows from an agent's output, all of the loop being done."""
    loop = next_round(state, state.agents[event.agent])
    return (
        loop is not None
        and event == round_of(state, loop)
        and all(state.agents[name].is_done for name in loop.agents)
    )


def begin_round(state: ExecutionState, loop: LoopState) -> None:
    """Let the agents of a loop begin anew. Loops inside of it begin to count anew."""
    loop.taken += 1
    for inner in state.loops:
        if inner.agents < loop.agents:
            inner.taken = 0
    _begin_anew(state, loop.agents)


def begin_again(state: ExecutionState, agents: tuple[AgentName, ...], *, recall: bool) -> None:
    """Let agents begin anew after a rejection: the giver and all who wait for it, or whoever has to
    look at something else now. With ``recall`` they see what they had before."""
    for loop in state.loops:
        if loop.agents.issubset(agents):
            loop.taken = 0
    _begin_anew(state, agents, recall=recall)


def _begin_anew(state: ExecutionState, agents: Iterable[AgentName], *, recall: bool = True) -> None:
    for name in agents:
        agent = state.agents[name]
        agent.status = "waiting"
        agent.worker = None
        agent.round += 1
        agent.attempts = agent.losses = agent.failures = agent.checkpoint = 0
        agent.ended = agent.saved = None
        if recall:
            agent.recalled = agent.output
        agent.output = None
        agent.fits = ()
        agent.steps.clear()
        agent.calls.clear()


def grant_rounds(state: ExecutionState) -> None:
    """Count the loops anew that have no round left: resuming means to try again."""
    for agent in state.agents.values():
        while (loop := exhausted(state, agent)) is not None:
            loop.taken = 0


# ------------------------------------------------------------------------------- handoffs


def is_taken(state: ExecutionState, source: AgentName, to: AgentName) -> bool | None:
    """Whether ``source`` hands to ``to``; None while that is open."""
    giver, receiver = state.agents[source], state.agents[to]
    if not _is_final(state, giver):
        return None
    for loop in _left(state, source, to):
        if not _is_final(state, state.agents[loop.source]):
            return None
    if giver.status == "skipped":
        return False
    # A judge is handed what any of those is handed whom it judges for; so is a stand-in.
    served = receiver.judges or ((receiver.stands_in,) if receiver.stands_in else ())
    to_whom = [state.agents[name] for name in served] or [receiver]
    return any(_is_meant_for(state, giver, other) for other in to_whom)


def _left(state: ExecutionState, source: AgentName, to: AgentName) -> list[LoopState]:
    """The loops that are to be left before what ``source`` hands to ``to`` is the last of it:
    those that ``source`` is in and ``to`` is not, and those that would run the end of one of these
    again, by which it could be taken once more."""
    outside = [loop for loop in state.loops if to not in loop.agents]
    found = [loop for loop in outside if source in loop.agents]
    # The list grows while it is gone through.
    for loop in found:
        found += [one for one in outside if loop.source in one.agents and one not in found]
    return found


def _is_meant_for(state: ExecutionState, giver: AgentState, receiver: AgentState) -> bool:
    """Whether the output of ``giver`` goes to ``receiver``, as the conditions are."""
    source = giver.name
    if source in receiver.when:
        return receiver.name in giver.fits
    if source in receiver.otherwise:
        return not any(
            source in other.when and other.name in giver.fits for other in state.agents.values()
        )
    return True


def _incoming(state: ExecutionState, agent: AgentState) -> list[bool | None]:
    return [is_taken(state, source, agent.name) for source in agent.upstream]


def is_ready(state: ExecutionState, agent: AgentState) -> bool:
    """Whether an agent that waits may run. One that has asked something waits for the answer, and
    one that checks what it is handed for the offer of it."""
    if not _is_next(state, agent) or agent.questions:
        return False
    return not agent.checked or handoffs.may_be_delivered(state, agent, _givers(state, agent))


def _is_next(state: ExecutionState, agent: AgentState) -> bool:
    """Whether an agent that waits does so for nobody before it."""
    if agent.status != "waiting":
        return False
    if agent.stands_in is not None:
        return stand_ins.is_wanted(state, agent)
    taken = _incoming(state, agent)
    if None in taken or not (True in taken or not taken):
        return False
    return not agent.checked or not votes.unjudged(state, agent)


def _givers(state: ExecutionState, agent: AgentState) -> list[AgentName]:
    """Those who hand to an agent."""
    return [source for source in agent.upstream if is_taken(state, source, agent.name)]


def is_passed_over(state: ExecutionState, agent: AgentState) -> bool:
    """Whether an agent that waits is to be skipped."""
    if agent.status != "waiting" or not agent.upstream:
        return False
    if agent.stands_in is not None and stand_ins.is_dispensable(state, agent):
        return True
    return all(taken is False for taken in _incoming(state, agent))


def ready_agents(state: ExecutionState) -> list[AgentName]:
    """The agents that wait for nobody, in the order of the plan."""
    if state.status not in ("queued", "running"):
        return []
    return [agent.name for agent in state.agents.values() if is_ready(state, agent)]


def sinks(state: ExecutionState) -> tuple[AgentName, ...]:
    """The agents whose outputs are the result: those that completed and handed to nobody. A judge's
    output is its vote, and a stand-in's is offered as that of its giver."""
    handed = {
        source
        for agent in state.agents.values()
        for source in agent.upstream
        if is_taken(state, source, agent.name)
    }
    return tuple(
        agent.name
        for agent in state.agents.values()
        if agent.status == "completed"
        and agent.name not in handed
        and not agent.judges
        and agent.stands_in is None
    )


# ------------------------------------------------------------------------------- what is seen


def before(state: ExecutionState, name: AgentName) -> list[AgentName]:
    """The agents whose outputs ``name`` may see: those it waits for, and those they wait for.

    No others, though they may have completed: what an agent sees must not depend on timing.
    """
    found: set[AgentName] = set()
    ahead = [*state.agents[name].upstream]
    while ahead:
        upstream = ahead.pop()
        if upstream not in found:
            found.add(upstream)
            ahead += state.agents[upstream].upstream
    return [agent for agent in state.agents if agent in found]


def seen(state: ExecutionState, name: AgentName) -> dict[AgentName, Payload]:
    """The outputs that ``name`` is given, by agent; of those that have none, nothing.

    Of an agent before it that is the latest output. In a loop, of itself and of those that come
    after it in the loop, it is the output of the round before: what it was sent back with. So it is
    of an agent that runs again because its output was rejected. What a judge says is for nobody
    else to see, and what a stand-in has is seen as its giver's by the receiver.
    """
    given = {source: state.agents[source].output for source in before(state, name)}
    for one in state.agents[name].checked:
        handoff = offers.standing(state, one.source, name)
        if handoff is not None and handoff.value is not None:
            given[one.source] = handoff.value
    for source in state.agents[name].upstream:
        judged = stand_ins.judged_value(state, state.agents[name], source)
        if judged is not None:
            given[source] = judged.value
    for loop in state.loops:
        if name in loop.agents:
            for other in loop.agents:
                one = state.agents[other]
                is_seen = not one.judges and one.stands_in is None
                if other == name or (name in before(state, other) and is_seen):
                    given[other] = state.agents[other].recalled
    if handoffs.rejections(state, name):
        given[name] = state.agents[name].recalled
    return {agent: output for agent in state.agents if (output := given.get(agent)) is not None}


# ------------------------------------------------------------------------------- what follows


def due(state: ExecutionState) -> tuple[Event, ...]:
    """What the coordinator is to append next, as things stand; nothing while agents must act."""
    if state.status not in ("queued", "running"):
        return ()
    for agent in state.agents.values():
        loop = next_round(state, agent)
        if loop is not None:
            # All of the loop have to be done, and who stands in for nobody is not yet.
            return _skips(state, loop.agents) or (round_of(state, loop),)
        if exhausted(state, agent) is not None:
            failure = _used_up(state, agent)
            return (FailureRecorded(failure=failure), Failed(failure=failure))
    rejected = handoffs.after_rejection(state)
    if rejected:
        return rejected
    answered = tuple(stand_ins.answers(state))
    if answered:
        return answered
    skips = _skips(state, state.agents)
    if skips:
        return skips
    offered = [
        offer
        for agent in state.agents.values()
        if agent.checked and _is_next(state, agent)
        for offer in handoffs.to_offer(state, agent, _givers(state, agent))
    ]
    if offered:
        return tuple(offered)
    voted = votes.to_vote(state)
    if voted:
        return voted
    if is_at_end(state):
        return (Completed(sinks=sinks(state)),)
    return ()


def _skips(state: ExecutionState, among: Collection[AgentName]) -> tuple[Event, ...]:
    return tuple(
        AgentSkipped(agent=agent.name)
        for agent in state.agents.values()
        if agent.name in among and is_passed_over(state, agent)
    )


def is_at_end(state: ExecutionState) -> bool:
    """Whether all agents are done for good."""
    return all(_is_final(state, agent) for agent in state.agents.values())


def round_of(state: ExecutionState, loop: LoopState) -> RoundStarted:
    """The event by which ``loop`` is taken once more."""
    return RoundStarted(
        agent=loop.source,
        to=loop.to,
        agents=tuple(name for name in state.agents if name in loop.agents),
        round=loop.taken + 2,
    )


def _used_up(state: ExecutionState, agent: AgentState) -> Failure:
    loop = exhausted(state, agent)
    assert loop is not None
    return Failure(
        kind=ROUNDS_EXHAUSTED,
        message=f"agent {agent.name!r} hands back to {loop.to!r} again, "
        f"and its rounds are used up (max: {loop.rounds_max})",
        agent=agent.name,
        checkpoint=agent.checkpoint,
    )
