"""The supervisor's decisions: transcripts of cases, and laws that hold for all of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from omium.actors.supervision import (
    LOSSES_MAX,
    PLATFORM_RETRIES_MAX,
    Assign,
    Binding,
    Limits,
    Retire,
    Start,
    SupervisorDecision,
    Want,
    WorkerFacts,
    after_failure,
    after_loss,
    not_held_back,
    plan,
)
from omium.execution.events import Created, Entry
from omium.execution.fold import create
from omium.execution.records import Failure, Payload, PlannedAgent
from omium.execution.routing import before, ready_agents, sinks
from omium.execution.state import AgentState, ExecutionState
from omium.types import DEFAULT_TENANT, ExecutionId, WorkerId
from tests.definitions.transcripts import check

TESTDATA = Path(__file__).parent / "testdata"


def binding(agent: str) -> Binding:
    return (DEFAULT_TENANT, "sha256:0", agent)


def test_plans_are_as_written(rewrite: bool) -> None:
    check(TESTDATA / "plan.txt", _planned, rewrite=rewrite)


def _planned(text: str) -> str:
    waiting_max = 64
    wants: list[Want] = []
    workers: list[WorkerFacts] = []
    starting: Counter[str] = Counter()
    warm: dict[str, int] = {}
    limits = Limits()
    for line in text.splitlines():
        kind, *words = line.split() or [""]
        options = dict(word.split("=") for word in words if "=" in word)
        framework = options.get("framework", "python")
        match kind:
            case "want":
                wants.append(
                    Want(
                        execution_id=ExecutionId(words[0]),
                        agent=words[1],
                        framework=framework,
                        binding=binding(words[1]),
                        receivers=tuple(
                            binding(to) for to in options.get("to", "").split(",") if to
                        ),
                    )
                )
            case "worker":
                bound = options.get("bound")
                workers.append(
                    WorkerFacts(
                        worker=WorkerId(words[0]),
                        framework=framework,
                        binding=binding(bound) if bound else None,
                        free=int(options.get("free", 8)),
                        idle="busy" not in words,
                    )
                )
            case "starting":
                starting[framework] = int(words[0])
            case "warm":
                warm[framework] = int(words[0])
            case "max":
                limits = replace(limits, workers_max=int(words[0]))
            case "idle_max":
                limits = replace(limits, idle_max=int(words[0]))
            case "starting_max":
                limits = replace(limits, starting_max=int(words[0]))
            case "waiting_max":
                waiting_max = int(words[0])
            case _:
                assert not kind, f"no fact is called {kind!r}"
    wants = not_held_back(wants, waiting_max)
    return "\n".join(map(_told, plan(wants, workers, starting, warm, limits)))


def _told(decision: SupervisorDecision) -> str:
    match decision:
        case Assign(want=want, worker=worker):
            return f"assign {want.execution_id}/{want.agent} to {worker}"
        case Start(framework=framework):
            return f"start {framework}"
        case Retire(worker=worker):
            return f"retire {worker}"


# ------------------------------------------------------------------ laws

FRAMEWORKS = ["python", "crewai"]
AGENTS = ["a", "b", "c"]


def _framework_of(agent: str) -> str:
    return FRAMEWORKS[AGENTS.index(agent) % 2]


@st.composite
def _situation(draw: st.DrawFn) -> dict[str, Any]:
    agents = draw(st.lists(st.sampled_from(AGENTS), max_size=12))
    wants = [
        Want(
            execution_id=ExecutionId(f"e{number}"),
            agent=agent,
            framework=_framework_of(agent),
            binding=binding(agent),
        )
        for number, agent in enumerate(agents)
    ]
    workers: list[WorkerFacts] = []
    for number in range(draw(st.integers(0, 6))):
        bound = draw(st.none() | st.sampled_from(AGENTS))
        capacity = draw(st.integers(0, 4))
        busy = draw(st.integers(0, capacity)) if bound else 0
        workers.append(
            WorkerFacts(
                worker=WorkerId(f"w{number}"),
                framework=_framework_of(bound) if bound else draw(st.sampled_from(FRAMEWORKS)),
                binding=binding(bound) if bound else None,
                free=capacity - busy,
                idle=not busy,
            )
        )
    counts = st.dictionaries(st.sampled_from(FRAMEWORKS), st.integers(0, 3))
    return {
        "wants": wants,
        "workers": workers,
        "starting": draw(counts),
        "warm": draw(counts),
        "limits": Limits(
            workers_max=draw(st.integers(0, 8)),
            starting_max=draw(st.integers(0, 4)),
            idle_max=draw(st.none() | st.integers(0, 4)),
        ),
    }


@given(_situation())
def test_nobody_gets_more_than_they_take_or_what_is_not_for_them(facts: dict[str, Any]) -> None:
    decisions = plan(**facts)
    workers = {worker.worker: worker for worker in facts["workers"]}
    given_to: dict[WorkerId, list[Want]] = {}
    for decision in decisions:
        if isinstance(decision, Assign):
            given_to.setdefault(decision.worker, []).append(decision.want)
    for name, wants in given_to.items():
        worker = workers[name]
        assert len(wants) <= worker.free
        assert {want.framework for want in wants} == {worker.framework}
        # One binding a worker, for life: two tenants or workflows never share a process.
        bindings = {want.binding for want in wants}
        assert len(bindings) == 1
        assert worker.binding is None or bindings == {worker.binding}
    assigned = [want.execution_id for wants in given_to.values() for want in wants]
    assert len(assigned) == len(set(assigned))


@given(_situation())
def test_no_worker_is_started_beyond_the_limits(facts: dict[str, Any]) -> None:
    started = sum(isinstance(decision, Start) for decision in plan(**facts))
    limits, starting = facts["limits"], sum(facts["starting"].values())
    if started:
        assert starting + started <= limits.starting_max
        assert len(facts["workers"]) + starting + started <= limits.workers_max


@given(_situation())
def test_only_the_idle_are_retired_once_and_never_with_work_in_hand(facts: dict[str, Any]) -> None:
    decisions = plan(**facts)
    retired = [d.worker for d in decisions if isinstance(d, Retire)]
    assigned = {d.worker for d in decisions if isinstance(d, Assign)}
    assert len(retired) == len(set(retired))
    assert assigned.isdisjoint(retired)
    for worker in facts["workers"]:
        assert worker.idle or worker.worker not in retired


@given(_situation())
def test_a_want_waits_only_where_nobody_could_take_it(facts: dict[str, Any]) -> None:
    decisions = plan(**facts)
    left = {worker.worker: worker.free for worker in facts["workers"]}
    bound = {worker.worker: worker.binding for worker in facts["workers"]}
    assigned: set[ExecutionId] = set()
    for decision in decisions:
        if isinstance(decision, Assign):
            assigned.add(decision.want.execution_id)
            left[decision.worker] -= 1
            bound[decision.worker] = decision.want.binding
    for want in facts["wants"]:
        if want.execution_id not in assigned:
            assert not any(
                left[worker.worker] > 0
                and worker.framework == want.framework
                and bound[worker.worker] in (None, want.binding)
                for worker in facts["workers"]
            )


@given(_situation())
def test_where_somebody_waits_and_nobody_works_something_is_done(facts: dict[str, Any]) -> None:
    facts["starting"] = {}
    facts["workers"] = [replace(w, free=w.free + 1, idle=True) for w in facts["workers"]]
    limits = facts["limits"]
    if facts["wants"] and limits.workers_max and limits.starting_max:
        assert any(
            isinstance(d, Assign | Retire)
            or (isinstance(d, Start) and d.framework in {w.framework for w in facts["wants"]})
            for d in plan(**facts)
        )


@given(_situation())
def test_every_want_is_served_in_the_end(facts: dict[str, Any]) -> None:
    """Carry the decisions out again and again, as if each attempt ended at once."""
    limits = Limits(
        workers_max=max(facts["limits"].workers_max, 1),
        starting_max=max(facts["limits"].starting_max, 1),
    )
    wants = facts["wants"]
    workers = [replace(w, free=2, idle=True) for w in facts["workers"][: limits.workers_max]]
    made = 0
    for _ in range(4 * len(wants) + 4):
        for decision in plan(wants, workers, {}, facts["warm"], limits):
            match decision:
                case Assign(want=want, worker=name):
                    wants = [w for w in wants if w is not want]
                    workers = [
                        replace(w, binding=want.binding) if w.worker == name else w for w in workers
                    ]
                case Start(framework=framework):
                    made += 1
                    workers.append(
                        WorkerFacts(
                            worker=WorkerId(f"new{made}"),
                            framework=framework,
                            binding=None,
                            free=2,
                            idle=True,
                        )
                    )
                case Retire(worker=name):
                    workers = [w for w in workers if w.worker != name]
    assert wants == []


# ------------------------------------------------------------------ the rest


def execution(**upstream: tuple[str, ...]) -> ExecutionState:
    """A queued execution whose agents wait for those named."""
    created = Created(
        tenant=DEFAULT_TENANT,
        workflow="w",
        version="1",
        digest="sha256:0",
        definition=Payload(),
        inputs=Payload(),
        plan=tuple(PlannedAgent(name=name, upstream=ups) for name, ups in upstream.items()),
    )
    return create(Entry(execution_id=ExecutionId("ex"), index=1, at_ms=1, event=created))


def test_agents_are_ready_when_those_before_them_are_done() -> None:
    state = execution(top=(), left=("top",), right=("top",), end=("left", "right"))
    assert ready_agents(state) == ["top"]
    state.agents["top"].status = "leased"
    assert ready_agents(state) == []
    state.agents["top"].status = "completed"
    assert ready_agents(state) == ["left", "right"]
    state.agents["left"].status = "completed"
    assert ready_agents(state) == ["right"]
    state.agents["right"].status = "completed"
    assert ready_agents(state) == ["end"]
    state.status = "paused"
    assert ready_agents(state) == []
    assert sinks(state) == ()
    state.agents["end"].status = "completed"
    assert sinks(state) == ("end",)


def test_an_agent_sees_all_who_come_before_it_in_the_order_of_the_plan() -> None:
    state = execution(top=(), aside=(), left=("top",), right=("top",), end=("right", "left"))
    assert before(state, "end") == ["top", "left", "right"]
    assert before(state, "left") == ["top"]
    assert before(state, "top") == []


def test_losses_in_a_row_are_bounded() -> None:
    agent = AgentState(name="a", upstream=())
    verdicts = []
    for losses in range(LOSSES_MAX):
        agent.losses = losses
        verdicts.append(after_loss(agent))
    assert verdicts == ["retry"] * (LOSSES_MAX - 1) + ["fail"]


def test_failures_are_retried_as_often_as_the_definition_says() -> None:
    agent = AgentState(name="a", upstream=())
    own = Failure(kind="agent", message="")
    platform = Failure(kind="unavailable", message="")
    assert after_failure(agent, own, 0) == "fail"
    assert after_failure(agent, own, 1) == "retry"
    agent.failures = 1
    assert after_failure(agent, own, 1) == "fail"
    # What is the platform's own fault is not on the definition's account.
    assert after_failure(agent, platform, 0) == "retry"
    agent.failures = PLATFORM_RETRIES_MAX
    assert after_failure(agent, platform, 0) == "fail"
