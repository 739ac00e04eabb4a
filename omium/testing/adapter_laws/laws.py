"""The laws of an adapter, each stated once. ``LAWS`` lists them.

A law is a function of a bench; it raises when it does not hold, and ``NotApplicable`` when the
subject has no agent for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

from omium.errors import ExecutionCancelled, ExecutionPaused
from omium.execution.events import type_of
from omium.testing.adapter_laws.bench import TOPIC, Bench, Life, events_of, indexes_of
from omium.testing.adapter_laws.ledger import REFUSAL
from omium.testing.adapter_laws.subject import AgentFields
from omium.testing.script import Answer, ErrorAnswer, Rule, When

CANCEL_S = 1.0
"""How long it may take from the order to cancel until the agent has stopped."""

CANCEL_TRIES_MAX = 3
"""A machine that has other work may be late by itself. Who cannot stop is late each time."""

Law = Callable[[Bench], Awaitable[None]]


class NotApplicable(Exception):
    """The subject has no agent that this law is about."""


def _there(agent: AgentFields | None, what: str) -> AgentFields:
    if agent is None:
        raise NotApplicable(f"the subject has no {what!r}")
    return agent


async def each_step_is_a_checkpoint(bench: Bench) -> None:
    """A step ends with its state on record, under a name of its own, before the next one asks."""
    async with bench.stage(bench.subject.steps) as stage:
        await stage.result()
        entries = await stage.journal()
    steps = [one.step for one in events_of(entries, "step.completed")]
    assert len(steps) >= 3, f"three steps, and {steps} are on record"
    assert len(set(steps)) == len(steps), f"a step has the name of another: {steps}"
    calls = [one for one in events_of(entries, "call.intended") if one.key.kind == "llm"]
    assert len(calls) == 3, f"{len(calls)} LLM calls on record"
    asked, ended = indexes_of(entries, "call.intended"), indexes_of(entries, "step.completed")
    for earlier, later in pairwise(asked):
        assert any(earlier < end < later for end in ended), "no checkpoint between two steps' calls"
    assert all(one.step for one in calls), "a call belongs to no step"


async def a_loss_changes_nothing(bench: Bench) -> None:
    """Wherever the worker is lost, the agent goes on from the checkpoint: the same is asked, in
    the same words, once; the same comes of it; no step ends twice."""
    whole = await bench.live(bench.subject.steps)
    assert len(whole.questions) == 3
    assert any(TOPIC in text for question in whole.questions for text in question)
    await _survives(bench, bench.subject.steps, whole)


async def streamed_answers_are_kept(bench: Bench) -> None:
    """The same holds when answers are streamed."""
    agent = _there(bench.subject.streaming, "streaming")
    async with bench.stage(agent) as stage:
        await stage.result()
        entries = await stage.journal()
    # The gateway asks for streams whatever the agent asked for: what that was, the intents say.
    intents = events_of(entries, "call.intended")
    assert all(one.request.inline.get("stream") for one in intents), "nothing is streamed"
    await _survives(bench, agent, await bench.live(agent))


async def branches_are_told_apart(bench: Bench) -> None:
    """Calls that are made side by side are each made once, wherever the worker is lost."""
    agent = _there(bench.subject.parallel, "parallel")
    whole = await bench.live(agent)
    assert len(whole.questions) >= 2
    # Branches end in either order, so there may be an entry more or less.
    for fatal in bench.points(whole, until=len(whole.written) - 2):
        life = await bench.live(agent, fatal=fatal)
        where = f"lost at {fatal} of {whole.written}"
        assert sorted(life.questions) == sorted(whole.questions), where
        assert len(set(life.steps)) == len(life.steps), where


async def equal_questions_of_different_steps_are_each_asked(bench: Bench) -> None:
    """A later round is given no answer of an earlier one."""
    async with bench.stage(bench.subject.loop) as stage:
        await stage.result()
        entries = await stage.journal()
        assert stage.provider.received == 3, f"asked {stage.provider.received} times, not 3"
    scopes = [one.key.scope for one in events_of(entries, "call.intended")]
    assert len(set(scopes)) == 3, f"three steps have the scopes {scopes}"


async def a_tool_runs_once_in_effect(bench: Bench) -> None:
    """A tool's call is journaled. Wherever the worker is lost, an idempotent one has one effect
    key, and the model is not asked again what led to it."""
    agent = bench.subject.tool("book")
    whole = await bench.live(agent)
    assert len(whole.booked) == 1 and whole.booked[0], "the tool ran outside of the journal"
    for fatal in bench.points(whole):
        life = await bench.live(agent, fatal=fatal)
        where = f"lost at {fatal} of {whole.written}: {life.booked}"
        assert len(set(life.booked)) == 1 and None not in life.booked, where
        assert life.result == whole.result, where
        assert life.questions == whole.questions, where


async def an_unknown_outcome_waits_for_a_decision(bench: Bench) -> None:
    """A tool that is not idempotent, and was under way when the worker was lost, is not run
    again: the execution waits, and goes on with the answer that it is given."""
    agent = bench.subject.tool("pay")
    whole = await bench.live(agent)
    assert len(whole.booked) == 1
    begun = _place_of_tool(whole)
    async with bench.stage(agent, fatal=begun) as stage:
        try:
            await stage.result()
        except ExecutionPaused:
            pass
        else:
            raise AssertionError("nobody was asked about a call whose outcome nobody knows")
        view = await stage.client.view(stage.execution_id)
        assert view.pause_reason == "outcome_unknown", view.pause_reason
        ran = len(stage.booked)
        assert ran <= 1
        await stage.client.resume(stage.execution_id, decision="answer", answer="booked")
        assert await stage.result() == whole.result
        assert len(stage.booked) == ran, "the tool ran again"
        assert stage.questions == whole.questions


async def a_tool_that_failed_is_told_to_its_agent(bench: Bench) -> None:
    """A tool that raised is no failure of the agent. After a loss it is not tried again: the
    agent is told what it was told before."""
    agent = bench.subject.tool("refuse")
    whole = await bench.live(agent)
    assert len(whole.booked) == 1, f"the tool ran {len(whole.booked)} times"
    assert any(REFUSAL in text for text in whole.questions[-1]), "the agent was not told"
    failed = whole.written.index("call.failed") + 1
    for fatal in bench.points(whole, since=failed):
        life = await bench.live(agent, fatal=fatal)
        where = f"lost at {fatal} of {whole.written}"
        assert len(life.booked) == 1, f"the tool was tried again, {where}"
        assert life.result == whole.result, where


async def a_question_waits_for_its_answer(bench: Bench) -> None:
    """An agent whose tool asks a person ends its attempt, and keeps nobody busy. It goes on with
    the answer, and asks neither person nor model again."""
    agent = bench.subject.tool("inquire")
    async with bench.stage(agent) as stage:
        for _ in range(2):
            try:
                await stage.result()
            except ExecutionPaused:
                pass
            else:
                raise AssertionError("it went on without an answer")
        view = await stage.client.view(stage.execution_id)
        assert view.pause_reason == "question", view.pause_reason
        await stage.idle()
        assert not stage.booked, "the tool went on without an answer"
        await stage.client.resume(stage.execution_id, decision="answer", answer="blue")
        await stage.result()
        assert len(stage.booked) == 1
        assert len(stage.questions) == 2, f"the model was asked {len(stage.questions)} times"
        assert any("blue" in text for text in stage.questions[1]), "the answer was not told"


async def the_past_is_forced_and_a_change_takes_hold(bench: Bench) -> None:
    """A fork in the middle of a step is not asked again what was answered before, and the first
    new question carries the change."""
    async with bench.stage(bench.subject.steps) as stage:
        await stage.result()
        before = await stage.journal()
        second = indexes_of(before, "call.completed")[1]
        fork = await stage.client.fork(stage.execution_id, second, {"inputs.topic": "roses"})
        await stage.result(fork)
        new = stage.questions[3:]
        assert len(new) == 1, f"{len(new)} questions were asked anew, not 1"
        assert any("roses" in text for text in new[0]), f"the change is in none of {new[0]}"
        assert await stage.journal() == before


async def a_failed_step_is_tried_again_from_its_checkpoint(bench: Bench) -> None:
    """With ``retries`` a step that failed is made anew, and those before it are not."""
    whole = await bench.live(bench.subject.steps)
    asked = 0

    def second_fails(_: dict[str, Any]) -> bool:
        nonlocal asked
        asked += 1
        return asked == 2

    # A status that no client tries again by itself.
    refusal = Answer(error=ErrorAnswer(status=400, message="no such deployment"))
    failing = Rule(when=When(predicate=second_fails), answer=refusal)
    async with bench.stage(bench.subject.steps, rules=(failing,), retries=1) as stage:
        assert await stage.result() == whole.result
        entries = await stage.journal()
        again = stage.questions
    assert len(events_of(entries, "failure.recorded")) == 1
    assert again == [whole.questions[0], *[whole.questions[1]] * 2, whole.questions[2]]
    steps = [one.step for one in events_of(entries, "step.completed")]
    assert len(set(steps)) == len(steps)


async def a_cancelled_agent_stops(bench: Bench) -> None:
    """Within a second of the order an execution that is cancelled asks nothing more and its worker
    is free, with no need to kill it; and nothing of it is on record afterwards."""
    late = ""
    for _ in range(CANCEL_TRIES_MAX):
        late = await _late_to_stop(bench)
        if not late:
            return
    raise AssertionError(f"{late}, {CANCEL_TRIES_MAX} times in a row")


# ---------------------------------------------------------------------- in common


async def _late_to_stop(bench: Bench) -> str:
    """Cancel an agent that waits for its model: how it was late, or nothing where it was not."""
    slow = Rule(when=When(), answer=Answer(content="too late", delay_s=60.0))
    async with bench.stage(bench.subject.steps, rules=(slow,)) as stage:
        await stage.asked(1)
        workers = set(stage.runtime.spawner.workers)
        try:
            async with asyncio.timeout(CANCEL_S):
                await stage.client.cancel(stage.execution_id)
                await stage.idle()
        except TimeoutError:
            return f"still at work {CANCEL_S:g} s after it was cancelled"
        if set(stage.runtime.spawner.workers) != workers:
            return "its worker had to be killed"
        try:
            await stage.result()
        except ExecutionCancelled:
            pass
        else:
            raise AssertionError("a cancelled execution has a result")
        assert stage.provider.received == 1
        assert stage.runtime.replica is not None
        last = stage.runtime.replica.journal.entries(stage.execution_id)[-1].event
        assert type_of(last) == "execution.cancelled", f"{type_of(last)} came after the end"
    return ""


async def _survives(bench: Bench, agent: AgentFields, whole: Life) -> None:
    for fatal in bench.points(whole):
        life = await bench.live(agent, fatal=fatal)
        where = f"lost at {fatal} of {whole.written}, {whole.written[fatal - 1]}"
        assert life.attempts == 2, where
        assert life.questions == whole.questions, where
        assert life.result == whole.result, where
        assert life.steps == whole.steps, where


def _place_of_tool(whole: Life) -> int:
    """Which entry is the intent of the tool: the second, after that of the question."""
    return [n for n, kind in enumerate(whole.written, 1) if kind == "call.intended"][1]


LAWS: tuple[Law, ...] = (
    each_step_is_a_checkpoint,
    a_loss_changes_nothing,
    streamed_answers_are_kept,
    branches_are_told_apart,
    equal_questions_of_different_steps_are_each_asked,
    a_tool_runs_once_in_effect,
    an_unknown_outcome_waits_for_a_decision,
    a_tool_that_failed_is_told_to_its_agent,
    a_question_waits_for_its_answer,
    the_past_is_forced_and_a_change_takes_hold,
    a_failed_step_is_tried_again_from_its_checkpoint,
    a_cancelled_agent_stops,
)
