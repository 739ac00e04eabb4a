"""The laws of the state machine, for any sequence of appends."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from omium.execution import events as ev
from omium.execution.calls import (
    Replay,
    ReplayFailure,
    canonical_chat_request,
    decide_call,
    digest_of,
)
from omium.execution.fold import create, evolve
from omium.execution.fork import fork_events
from omium.execution.machine import check
from omium.execution.people import refusal, refused
from omium.execution.records import CallKey, Payload, Writer
from omium.execution.state import ExecutionState
from omium.types import ExecutionId
from tests.execution.session import folded
from tests.execution.strategies import AGENTS, CHAT_REQUESTS, JSON, appends, creation

EXECUTION = "exe_1"


class JournalMachine(RuleBasedStateMachine):
    """A state, the journal it came from, and what must never be lost from it."""

    def __init__(self) -> None:
        super().__init__()
        append = creation(EXECUTION)
        assert check(None, append) is None
        self.entries = [
            ev.Entry(execution_id=append.execution_id, index=1, at_ms=1, event=append.events[0])
        ]
        self.state = create(self.entries[0])
        self.answers: dict[tuple[str, CallKey], Payload] = {}
        self.outputs: dict[str, Payload] = {}
        self.accepted: set[str] = set()

    @rule(data=st.data())
    def append(self, data: st.DataObject) -> None:
        append = data.draw(appends(self.state))
        before = copy.deepcopy(self.state)
        refusal = check(self.state, append)
        assert self.state == before, "check changed the state"
        if refusal is not None:
            return
        note(f"written: {append.events}")
        for event in append.events:
            entry = ev.Entry(
                execution_id=append.execution_id,
                index=self.state.index + 1,
                at_ms=append.at_ms,
                epoch=append.writer.epoch if append.writer is not None else 0,
                sequence=append.writer.sequence if append.writer is not None else 0,
                event=event,
            )
            evolve(self.state, entry)
            self.entries.append(entry)
            if isinstance(event, ev.RoundStarted | ev.HandoffDecided):
                self._begin_anew(event.agents)
            self._handed_over(event, append.writer)
        self._completed_is_kept()

    def _begin_anew(self, agents: tuple[str, ...]) -> None:
        """What the agents of a loop did is past: the last output of each is recalled."""
        for name in agents:
            assert self.state.agents[name].recalled == self.outputs.get(name)
        self.answers = {key: v for key, v in self.answers.items() if key[0] not in agents}
        self.outputs = {name: v for name, v in self.outputs.items() if name not in agents}

    def _handed_over(self, event: ev.Event, writer: Writer | None) -> None:
        """What is checked is accepted once, and nothing is done with it before."""
        if isinstance(event, ev.HandoffAccepted):
            assert event.handoff not in self.accepted, f"{event.handoff} is accepted twice"
            self.accepted.add(event.handoff)
        elif isinstance(event, ev.StepStarted | ev.CallIntended | ev.StepCompleted) and writer:
            agent = self.state.agents[event.agent]
            for one in agent.checked:
                handoff = self.state.handoffs[one.source, agent.name]
                assert handoff.status == "accepted", f"{event} before {handoff.name} was accepted"
                assert handoff.epoch == self.state.agents[one.source].epoch

    def _completed_is_kept(self) -> None:
        for agent in self.state.agents.values():
            for key, call in agent.calls.items():
                if call.response is not None:
                    self.answers.setdefault((agent.name, key), call.response)
        for (name, key), response in list(self.answers.items()):
            agent = self.state.agents[name]
            call = agent.calls.get(key)
            if call is not None:
                assert call.status == "completed"
                assert call.response == response, f"the answer of {key} was lost"
            else:
                steps = {*_steps_of(self.entries, name, key)}
                assert agent.status == "completed" or steps & agent.steps.keys()
                del self.answers[name, key]
        for name, output in self.outputs.items():
            assert self.state.agents[name].output == output, f"the output of {name} changed"
        self.outputs = {a.name: a.output for a in self.state.agents.values() if a.output}

    @invariant()
    def indexes_are_dense(self) -> None:
        assert [entry.index for entry in self.entries] == [*range(1, self.state.index + 1)]

    @invariant()
    def epochs_are_given_once(self) -> None:
        given_out = [e.event.epoch for e in self.entries if isinstance(e.event, ev.AttemptStarted)]
        assert given_out == sorted(set(given_out))

    @invariant()
    def only_running_executions_are_worked_on(self) -> None:
        leased = [agent for agent in self.state.agents.values() if agent.status == "leased"]
        assert not leased or self.state.status == "running"
        assert all(
            (agent.worker is not None) == (agent in leased) for agent in self.state.agents.values()
        )

    @invariant()
    def what_is_said_goes_with_the_status(self) -> None:
        state = self.state
        assert (state.pause is not None) == (state.status == "paused")
        assert (state.failure is not None) == (state.status == "failed")
        if state.status == "completed":
            assert all(agent.is_done for agent in state.agents.values())
        for agent in state.agents.values():
            assert (agent.output is not None) == (agent.status == "completed")
        assert all(loop.taken <= loop.rounds_max for loop in state.loops)

    @rule()
    def fold(self) -> None:
        assert folded(self.entries) == self.state

    @rule(data=st.data())
    def fork(self, data: st.DataObject) -> None:
        at = data.draw(st.integers(1, len(self.entries)))
        before = copy.deepcopy(self.entries)
        fork = forked(self.entries[:at])
        assert self.entries == before, "a fork changed its origin"
        agree(folded(self.entries[:at]), fork)

    @rule(name=st.sampled_from(AGENTS), epoch=st.integers(0, 3), idempotent=st.booleans())
    def decide(self, name: str, epoch: int, idempotent: bool) -> None:
        agent = self.state.agents[name]
        for key, call in agent.calls.items():
            decision = decide_call(
                self.state.id,
                agent,
                key,
                ordinal=call.ordinal,
                epoch=epoch,
                idempotent=idempotent,
                forced_until=0,
            )
            if call.status == "completed":
                assert decision == Replay(call=call.index, response=call.response or Payload())
            elif call.status == "failed" and key.kind == "tool":
                assert isinstance(decision, ReplayFailure)


def _steps_of(entries: Sequence[ev.Entry], agent: str, key: CallKey) -> Iterator[str]:
    for entry in entries:
        event = entry.event
        if isinstance(event, ev.CallIntended) and (event.agent, event.key) == (agent, key):
            yield event.step


def forked(entries: Sequence[ev.Entry]) -> ExecutionState:
    """The state of a fork of ``entries``, which every replica must let through."""
    copied = fork_events(entries, definition={}, digest="d", inputs={})
    append = ev.Append(execution_id=ExecutionId("exe_2"), events=copied, at_ms=5)
    assert check(None, append) is None
    return folded(
        [
            ev.Entry(execution_id=append.execution_id, index=index, at_ms=5, event=event)
            for index, event in enumerate(append.events, start=1)
        ]
    )


def agree(origin: ExecutionState, fork: ExecutionState) -> None:
    """What was done at the point of the fork is done in the fork, and gives the same."""
    for agent in origin.agents.values():
        copied = fork.agents[agent.name]
        assert copied.output == agent.output
        assert copied.steps.keys() == agent.steps.keys()
        assert copied.saved == agent.saved
        assert copied.is_done == agent.is_done
        assert (copied.round, copied.recalled) == (agent.round, agent.recalled)
        for call in agent.calls.values():
            decision = decide_call(
                fork.id,
                copied,
                call.key,
                ordinal=call.ordinal,
                epoch=1,
                idempotent=False,
                forced_until=0,
            )
            if call.status == "completed":
                assert isinstance(decision, Replay)
                assert decision.response == call.response
            if isinstance(decision, ReplayFailure):
                assert decision.failure == call.failure
        for copied_call in copied.calls.values():
            assert copied_call.status != "open"
            if copied_call.key.kind == "llm" and copied_call.status == "completed":
                forced = decide_call(
                    fork.id,
                    copied,
                    CallKey(
                        kind="llm",
                        scope=copied_call.key.scope,
                        name="other",
                        digest="other",
                        occurrence=0,
                    ),
                    ordinal=copied_call.ordinal,
                    epoch=1,
                    idempotent=False,
                    forced_until=fork.forced_until,
                )
                assert isinstance(forced, Replay)
                assert forced.forced
    assert fork.totals.llm_calls == fork.totals.tool_calls == fork.totals.attempts == 0
    assert fork.status == "queued"
    assert fork.forced_until == (fork.index if fork.index > 1 else 0)


@pytest.mark.timeout(400)
def test_any_sequence_of_appends_keeps_the_laws() -> None:
    run_state_machine_as_test(
        JournalMachine,
        settings=settings(max_examples=60, stateful_step_count=50, deadline=None),
    )


@given(CHAT_REQUESTS)
def test_a_canonical_request_is_canonical(body: dict[str, Any]) -> None:
    once = canonical_chat_request(body)
    assert canonical_chat_request(once) == once
    assert digest_of(once) == digest_of(canonical_chat_request({**body, "stream": True}))


@given(st.dictionaries(st.text(max_size=4), JSON, max_size=4))
def test_a_digest_ignores_the_order_of_keys(value: dict[str, Any]) -> None:
    assert digest_of(dict(reversed(value.items()))) == digest_of(value)


@given(JSON, JSON)
def test_different_values_have_different_digests(one: Any, other: Any) -> None:
    same = repr(one) == repr(other)
    assert same <= (digest_of(one) == digest_of(other))
    if one != other:
        assert digest_of(one) != digest_of(other)


def test_what_is_no_json_has_no_digest() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        digest_of({"apr": float("nan")})


def test_text_that_is_no_unicode_has_a_digest() -> None:
    assert digest_of("\ud800") != digest_of("\ud801")


# What is made of names and reasons, whatever these have in common with the words around them.
_SAID = st.text() | st.lists(st.sampled_from([": ", ":", " by ", "not answered", "x", "\n"])).map(
    "".join
)


@given(st.sampled_from(["question", "approval", "signal"]), _SAID, _SAID)
def test_who_refused_and_why_is_read_out_of_the_words(kind: str, by: str, reason: str) -> None:
    words = refusal(kind, by=by, reason=reason)
    read_by, read_reason = refused(words)
    assert refusal(kind, by=read_by, reason=read_reason) == words
    if ":" not in by:
        assert (read_by, read_reason) == (by, reason)
