"""Running a team or an agent of AutoGen by turns, from its last checkpoint.

A team is made to stop after every turn and asked to go on, since only then its state is whole.
Why it stops for good is decided here.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from autogen_agentchat.messages import (
    BaseChatMessage,
    HandoffMessage,
    StructuredMessage,
    TextMessage,
)
from autogen_agentchat.teams import BaseGroupChat, MagenticOneGroupChat

from omium.errors import AgentError
from omium.frameworks.answers import parsed_answer
from omium.frameworks.autogen_apart import Apart
from omium.frameworks.autogen_build import check_parts, let_go, subject_of
from omium.frameworks.autogen_ending import Ending
from omium.frameworks.autogen_parts import Part, parts_of
from omium.frameworks.autogen_people import ask_durably, handoff_to_person, reply_of_person
from omium.frameworks.autogen_state import load_parts, save_parts
from omium.frameworks.autogen_tools import journal_tools
from omium.frameworks.autogen_turns import Turns, run_through
from omium.frameworks.protocol import Session
from omium.types import Json

TURNS_MAX = 1_000
"""A team that has not ended after so many turns never will."""

_AFTER_A_TURN = "Maximum number of turns 1 reached."
"""How a team says that it stopped because it was told to, and not for a reason of its own."""


async def run_agent(session: Session) -> Json:
    """Build the assigned team or agent, load what it had come to, and run the rest of it."""
    assignment = session.assignment
    saved: Any = assignment.saved
    if saved is not None and saved["stop_reason"] is not None:
        return saved["answer"]
    definition = assignment.agent
    root = await subject_of(session)
    parts = parts_of(root)
    named = definition.entrypoint or f"the component of agent {definition.name!r}"
    check_parts(named, parts)
    apart = Apart(session, named, root)
    parts = parts_of(root)
    turns = Turns(session, parts)
    journal_tools(session, turns, parts)
    ask_durably(session, parts)
    task = _task(session)
    try:
        await apart.open(turns)
        # MagenticOne begins anew whenever it is run: all of it is one turn.
        if isinstance(root, BaseGroupChat) and not isinstance(root, MagenticOneGroupChat):
            return await _Conversation(session, root, parts, turns).run(task, saved)
        return await _at_once(session, root, parts, turns, task)
    finally:
        await let_go(parts)


def _task(session: Session) -> list[BaseChatMessage]:
    """What the team is set to, as messages; none where the definition says nothing."""
    assignment = session.assignment
    if assignment.agent.task is None:
        return []
    task = assignment.told(assignment.rendered(assignment.agent.task))
    return [TextMessage(content=task, source="user")]


async def _at_once(
    session: Session, root: Any, parts: list[Part], turns: Turns, task: list[BaseChatMessage]
) -> Json:
    """Run an agent, or a team that cannot be stopped on its way, in one step."""
    await session.start_step("0", root.name)
    result = await turns.run("0", partial(run_through, root, task))
    answer = _answer(session, result.messages)
    state = {
        "stop_reason": result.stop_reason or "it answered",
        "answer": answer,
        "parts": await save_parts(parts),
        "turns": [[message.dump() for message in result.messages]],
    }
    await session.complete_step("0", state, root.name)
    return answer


class _Conversation:
    """The turns of one team, made and to come."""

    def __init__(
        self, session: Session, team: BaseGroupChat, parts: list[Part], turns: Turns
    ) -> None:
        self._session, self._team, self._parts, self._turns = session, team, parts, turns
        self._ending = Ending(team._termination_condition, team._max_turns)
        # Read when the team is first run: from then on it stops after each turn, and for
        # nothing else but its own end.
        team._termination_condition, team._max_turns = None, 1
        self._manager = team._group_chat_manager_name
        self._task: list[Any] = []
        self._said: list[list[Any]] = []
        self._started_s = time.monotonic()

    async def run(self, task: list[BaseChatMessage], saved: Any) -> Json:
        if saved is None:
            self._task = list(task)
            reason = await self._ending.after(task, 0) if task else None
        else:
            reason = await self._restore(saved)
        if reason is not None:
            return _answer(self._session, self._messages())
        while reason is None:
            reason = await self._turn()
        return _answer(self._session, self._messages())

    async def _restore(self, saved: Any) -> str | None:
        name = self._session.assignment.agent.name
        await load_parts(name, self._parts, saved["parts"])
        factory = self._team._message_factory
        self._task = [factory.create(one) for one in saved["task"]]
        self._said = [[factory.create(one) for one in turn] for turn in saved["turns"]]
        self._started_s -= saved["elapsed_s"]
        shown = [self._task, *self._said] if self._task else self._said
        reason = await self._ending.restore(shown, saved["elapsed_s"])
        if reason is not None and self._handed_over() is not None:
            await self._ending.begin_again()
            return None
        return reason

    def _handed_over(self) -> HandoffMessage | None:
        """What the last turn handed over to a person."""
        last = self._said[-1] if self._said else self._task
        return handoff_to_person(last, self._team._participant_names)

    async def _turn(self) -> str | None:
        """Make a turn, and commit it. Why it was the last one; None where it was not."""
        number = len(self._said)
        if number >= TURNS_MAX:
            name = self._session.assignment.agent.name
            raise AgentError(
                f"agent {name!r} made {TURNS_MAX} turns and did not end: give its team a "
                "termination condition that it meets, or max_turns"
            )
        step = str(number)
        await self._session.start_step(step)
        task = self._task if number == 0 else []
        handoff = self._handed_over()
        if handoff is not None:
            with self._session.in_step(step):
                task = [await reply_of_person(self._session, handoff)]
        result = await self._turns.run(step, partial(run_through, self._team, task))
        # What the manager says of its choice of speakers is part of no turn.
        said = [message for message in result.messages if message.source != self._manager]
        said = [*(task if handoff is not None else ()), *said]
        self._said.append(said)
        reason = await self._ending.after(said, number + 1)
        if result.stop_reason != _AFTER_A_TURN:
            reason = result.stop_reason or "the team stopped"
        if reason is not None and self._handed_over() is not None:
            await self._ending.begin_again()
            reason = None
        state: dict[str, Json] = {
            "task": [_dumped(message) for message in self._task],
            "turns": [[_dumped(message) for message in turn] for turn in self._said],
            "elapsed_s": round(time.monotonic() - self._started_s, 3),
            "stop_reason": reason,
            "answer": None if reason is None else _answer(self._session, self._messages()),
            "parts": await save_parts(self._parts),
        }
        await self._session.complete_step(step, state, self._speakers(said))
        return reason

    def _speakers(self, said: Sequence[Any]) -> str:
        """Who spoke: participants, or the members of one that is a team."""
        sources = {m.source for m in said if isinstance(m, BaseChatMessage)}
        # Sorted, since who is the first of several side by side is chance.
        return ", ".join(sorted(sources.intersection(self._team._participant_names) or sources))

    def _messages(self) -> list[Any]:
        return [*self._task, *(message for turn in self._said for message in turn)]


def _dumped(message: Any) -> Json:
    return dict(message.dump())


# ---------------------------------------------------------------------- the output


def _answer(session: Session, messages: Sequence[Any]) -> Json:
    """What the last message says, or the last of the member that the definition names."""
    agent = session.assignment.agent
    spoken = [m for m in messages if isinstance(m, BaseChatMessage)]
    if agent.answer_from is not None:
        spoken = [m for m in spoken if m.source == agent.answer_from]
    if not spoken:
        who = f"{agent.answer_from!r}" if agent.answer_from else "anybody"
        raise AgentError(f"agent {agent.name!r} ended before {who} of its team said anything")
    last = spoken[-1]
    if isinstance(last, StructuredMessage):
        return last.content.model_dump(mode="json")
    text = last.to_text()
    return text if agent.final_output is None else parsed_answer(agent.name, text)
