"""Random events and appends, and records of any shape their types allow."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import NoneType, UnionType
from typing import Any, Literal, NewType, Union, get_args, get_origin

import msgspec
from hypothesis import strategies as st
from msgspec.structs import replace

from omium.execution import events as ev
from omium.execution.handoffs import run_again
from omium.execution.records import CallKey, Failure, Payload, Question, Reason, Usage, Writer
from omium.execution.routing import due
from omium.execution.state import ExecutionState
from omium.types import DEFAULT_TENANT, ExecutionId, WorkerId
from tests.execution.plans import plan_of

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


@functools.cache
def values_of(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a type that a record's field may have."""
    if kind is Any:
        return JSON
    if isinstance(kind, NewType):
        return values_of(kind.__supertype__)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return records_of(kind)
    leaves: dict[Any, st.SearchStrategy[Any]] = {
        str: TEXT,
        int: st.integers(0, 2**53),
        float: st.floats(0, 1e9),
        bool: st.booleans(),
        NoneType: st.none(),
    }
    if kind in leaves:
        return leaves[kind]
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return st.one_of(*map(values_of, arguments))
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is dict:
        return st.dictionaries(*map(values_of, arguments), max_size=3)
    if origin is tuple:
        return st.lists(values_of(arguments[0]), max_size=3).map(tuple)
    raise NotImplementedError(f"no values of {kind!r}")


@functools.cache
def records_of(cls: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Records of ``cls``, every field of it drawn."""
    fields = {field.name: values_of(field.type) for field in msgspec.structs.fields(cls)}
    return st.builds(cls, **fields)


EVENTS: st.SearchStrategy[ev.Event] = st.one_of(*map(records_of, get_args(ev.Event)))

# ---------------------------------------------------------------- appends that might be written

AGENTS = ("a", "b", "c")
STEPS = ("s1", "s2", "s3")
PLAN = plan_of("a", "b<a?", "b>a*2?!", "c<a#1")

_agents = st.sampled_from((*AGENTS, *AGENTS, *AGENTS, "z"))
_fits = st.sampled_from(((), ("b",), ("a",), ("a", "b")))
_steps = st.sampled_from(STEPS)
_payloads = st.integers(0, 9).map(lambda value: Payload(inline=value))
_failures = st.builds(
    Failure, kind=st.just("tool"), message=TEXT, agent=_agents | st.none(), step=st.just("s1")
)
_keys = st.builds(
    CallKey,
    kind=st.sampled_from(("llm", "tool", "human")),
    scope=_steps,
    name=st.just("n"),
    digest=st.sampled_from(("q1", "q2")),
    occurrence=st.integers(0, 1),
)


_arguments = st.just(Payload(inline={"amount": 7}))
_questions = st.builds(
    Question,
    kind=st.sampled_from(("question", "approval", "approval", "signal", "signals")),
    text=st.just("?"),
    tool=st.just("n"),
    name=st.sampled_from(("go", "stop")),
)


def _with_question(intent: ev.CallIntended) -> st.SearchStrategy[ev.CallIntended]:
    if intent.key.kind != "human":
        return st.just(intent)
    return _questions.map(lambda question: replace(intent, question=question, approval=0))


def appends(state: ExecutionState) -> st.SearchStrategy[ev.Append]:
    """Appends to ``state`` that are right often enough to get somewhere."""
    calls = [c.index for agent in state.agents.values() for c in agent.calls.values()]
    approvals = {c.index for a in state.agents.values() for c in a.calls.values() if c.approved}
    owners = {c.index: a.name for a in state.agents.values() for c in a.calls.values()}
    indexes = st.sampled_from([*calls, *calls, 1, state.index + 1])
    epochs = st.sampled_from([state.epoch + 1] * 4 + [state.epoch, 0])
    owned = indexes.map(lambda index: {"agent": owners.get(index, "a"), "call": index})

    def about_calls(
        cls: Callable[..., ev.Event], **fields: st.SearchStrategy[Any]
    ) -> st.SearchStrategy[ev.Event]:
        return st.builds(
            lambda call, rest: cls(**call, **rest), owned, st.fixed_dictionaries(fields)
        )

    decided = st.sampled_from(("retry", "answer", "answer", "fail", "approve", "deny")).flatmap(
        lambda decision: about_calls(
            ev.CallDecided,
            decision=st.just(decision),
            response=_payloads | _arguments if decision == "answer" else st.none(),
            by=st.just("Ann"),
        )
    )
    lease = st.builds(
        ev.AttemptStarted,
        agent=_agents,
        epoch=epochs,
        worker=st.just(WorkerId("w")),
        cause=st.just("first"),
    )
    intend = st.builds(
        ev.CallIntended,
        agent=_agents,
        step=_steps,
        key=_keys,
        ordinal=st.integers(0, 3),
        request=_payloads,
        idempotent=st.booleans(),
        approval=st.sampled_from((0, 0, *(c for c in calls if c in approvals))),
    ).flatmap(_with_question)
    progress = [
        st.builds(ev.StepStarted, agent=_agents, step=_steps),
        intend,
        intend,
        about_calls(
            ev.CallCompleted,
            response=_payloads,
            usage=st.builds(Usage, completion_tokens=st.none() | st.integers(0, 9)),
        ),
        about_calls(ev.CallFailed, failure=_failures),
        about_calls(ev.CallSuspended),
        st.builds(ev.StepCompleted, agent=_agents, step=_steps, state=_payloads),
        *_verdicts(state),
        *_verdicts(state),
    ]
    others = [
        lease,
        lease,
        st.builds(
            ev.AttemptEnded,
            agent=_agents,
            epoch=st.integers(0, state.epoch),
            end=st.sampled_from(("worker_lost", "failed", "paused")),
        ),
        decided,
        st.builds(ev.AgentCompleted, agent=_agents, output=_payloads, fits=_fits),
        st.builds(ev.AgentSkipped, agent=_agents),
        *map(st.just, due(state)),
        *_decisions(state),
        st.builds(ev.FailureRecorded, failure=_failures),
        st.builds(
            ev.Paused,
            reason=st.sampled_from(("outcome_unknown", "requested", "question", "approval")),
            call=indexes,
        ),
        st.builds(ev.Resumed),
        st.builds(ev.Signalled, name=st.sampled_from(("go", "stop")), payload=_payloads),
        st.builds(ev.Completed, sinks=st.just(("b",))),
        st.builds(ev.Failed, failure=_failures),
        st.just(created()),
    ]
    if state.index > 40:
        others.append(st.builds(ev.Cancelled))
    events = st.lists(st.one_of(*progress, *progress, *others), min_size=1, max_size=3) | st.lists(
        st.one_of(*progress), min_size=1, max_size=2
    )
    return st.builds(
        ev.Append,
        execution_id=st.just(state.id),
        events=events.map(tuple),
        at_ms=st.integers(0, 1000),
        writer=st.none() | writers(state),
    )


def _verdicts(state: ExecutionState) -> list[st.SearchStrategy[ev.Event]]:
    """What may be said of handoffs, those too that are settled or superseded."""
    reasons = st.just((Reason(code="schema", message="unfit"),))
    return [
        said
        for handoff in state.handoffs.values()
        for said in (
            st.just(ev.HandoffAccepted(agent=handoff.to, handoff=handoff.name)),
            st.builds(
                ev.HandoffRejected,
                agent=st.just(handoff.to),
                handoff=st.just(handoff.name),
                reasons=reasons,
            ),
        )
    ]


def _decisions(state: ExecutionState) -> list[st.SearchStrategy[ev.Event]]:
    return [
        st.sampled_from(("retry", "answer", "approve", "fail")).flatmap(
            lambda decision, handoff=handoff: st.builds(
                ev.HandoffDecided,
                agent=st.just(handoff.to),
                handoff=st.just(handoff.name),
                decision=st.just(decision),
                agents=st.just(run_again(state, handoff) if decision == "retry" else ()),
                output=_payloads if decision == "answer" else st.none(),
                by=st.sampled_from(("", "Ann")),
            )
        )
        for handoff in state.handoffs.values()
    ]


def writers(state: ExecutionState) -> st.SearchStrategy[Writer]:
    """Attempts that may append, or might once have."""
    return st.sampled_from([*state.agents.values()]).flatmap(
        lambda agent: st.builds(
            Writer,
            agent=st.just(agent.name),
            epoch=st.sampled_from((agent.epoch, agent.epoch, max(agent.epoch - 1, 0))),
            sequence=st.sampled_from((0, agent.sequence + 1, agent.sequence + 1, agent.sequence)),
        )
    )


def created() -> ev.Created:
    return ev.Created(
        tenant=DEFAULT_TENANT,
        workflow="w",
        version="1",
        digest="d",
        definition=Payload(inline={"agents": []}),
        inputs=Payload(inline={}),
        plan=PLAN,
    )


def creation(execution_id: str) -> ev.Append:
    return ev.Append(execution_id=ExecutionId(execution_id), events=(created(),), at_ms=1)


CHAT_REQUESTS = st.fixed_dictionaries(
    {"model": TEXT},
    optional={
        "messages": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "role": st.sampled_from(("user", "assistant", "tool")),
                    "content": st.none() | TEXT,
                    "id": TEXT,
                    "tool_call_id": st.sampled_from(("x", "y", "call_1")),
                    "tool_calls": st.lists(
                        st.fixed_dictionaries(
                            {"id": st.sampled_from(("x", "y", "call_1"))}, optional={"type": TEXT}
                        ),
                        max_size=2,
                    ),
                },
            ),
            max_size=4,
        ),
        "stream": st.booleans(),
        "temperature": st.floats(0, 2),
        "user": TEXT,
    },
)
