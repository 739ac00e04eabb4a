"""What the runtime asks of a framework's adapter, and what it offers in return.

An adapter turns an agent's definition into running code of its framework and tells the
session of every step. It holds no state of its own between attempts.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from omium.definitions import Agent, Workflow, render
from omium.execution.handoffs import REASONS_TOLD_MAX, line_of
from omium.execution.records import Question, Rejection
from omium.types import ExecutionId, Json

LAST_OUTPUT_CHARS_MAX = 4_000
"""How much a model is shown of an answer that was not taken."""

_NOT_TAKEN = "Your last answer to this was not accepted. It was:"
_NOT_TAKEN_OF = "The answer of {} to this was not accepted. It was:"
_BECAUSE = "Give another one. This was wrong with it:"


@dataclass(frozen=True, kw_only=True)
class ModelEndpoint:
    """Where an attempt's LLM calls go: the node's gateway, OpenAI-compatible.

    ``model`` is the full name, such as ``local/smollm2-135m-instruct``; ``api_key`` belongs to
    this one attempt, which is how the gateway's hook tells attempts in one process apart.
    """

    base_url: str
    api_key: str
    model: str


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """One agent of one execution, to be run from where its journal ends.

    ``outputs`` are those that it sees, by agent: of the agents before it, and in a loop the last
    round's of itself and of those after it. An agent that was skipped, or had no round yet, has
    none; ``absent`` names all that are without one. ``saved`` is the state of the last completed
    step as the adapter stored it, None before the first; ``steps`` names all completed ones.
    ``round`` counts the times that the agent has begun anew, from 1. ``rejections`` say why, where
    others did not take its last output, which is among ``outputs`` then, or that of the agent for
    which it stands in.
    """

    execution_id: ExecutionId
    workflow: Workflow
    agent: Agent
    epoch: int
    inputs: dict[str, Json]
    outputs: dict[str, Json]
    saved: Json
    steps: tuple[str, ...]
    endpoint: ModelEndpoint
    import_paths: tuple[str, ...] = ()
    absent: frozenset[str] = frozenset()
    round: int = 1
    rejections: tuple[Rejection, ...] = ()

    def rendered(self, template: str) -> str:
        """A template of the definition with inputs and outputs put in. Raises ``InputError``."""
        return render(template, {**self.inputs, **self.outputs}, absent=self.absent)

    @property
    def arguments(self) -> dict[str, Any]:
        """What an entrypoint may take, by name."""
        return {
            "inputs": self.inputs,
            "outputs": self.outputs,
            "rejections": msgspec.to_builtins(self.rejections),
        }

    def told(self, task: str) -> str:
        """What a model is asked for, and below it why its last answer to that was not taken, or the
        answer of the agent for which it stands in."""
        if not self.rejections:
            return task
        source = self.rejections[0].source
        last = json.dumps(self.outputs.get(source or self.agent.name), ensure_ascii=False)
        if len(last) > LAST_OUTPUT_CHARS_MAX:
            last = f"{last[: LAST_OUTPUT_CHARS_MAX - 1]}…"
        not_taken = _NOT_TAKEN_OF.format(source) if source else _NOT_TAKEN
        lines = [
            f"- {rejection.to}: {line_of(reason)}"
            for rejection in self.rejections
            for reason in rejection.reasons[:REASONS_TOLD_MAX]
        ]
        return "\n".join([task, "", not_taken, last, "", _BECAUSE, *lines])


ToolRun = Callable[[Json], Awaitable[Json]]
"""Runs a tool with these arguments: those it was called with, unless a person has edited them."""

BlockingToolRun = Callable[[Json], Json]

Answering = Callable[[Json], Awaitable[Json]]
"""Answers what the other process asks."""


Guest = Callable[
    ["Assignment", str, Callable[[str, str], AbstractContextManager[None]], Answering],
    AbstractAsyncContextManager[Answering],
]
"""A part of an agent in a process of its own. It is given the assignment, with no ``saved``, the
part's name, how calls are made in a (step, branch), and how to ask the attempt; and gives what
answers it."""


class Host(Protocol):
    """A process of its own for a part of an agent: a guest. It ends with the attempt."""

    async def ask(self, body: Json) -> Json:
        """What the guest answers. Cancelled, it first waits until the guest has stopped.

        Raises what the guest raised: an Omium error or control flow as it was, anything else as
        an ``AgentError``; and ``HostLost`` where the process has died.
        """
        ...


class BlockingAsks(Protocol):
    """Asking for code that runs in a thread."""

    def ask(self, question: Question) -> Json: ...


class Asks(Protocol):
    """What asks people."""

    @property
    def blocking(self) -> BlockingAsks: ...

    async def ask(self, question: Question) -> Json:
        """What a person says to ``question``, or the signals that it asks for.

        Raises ``Asked`` where there is no answer yet: the attempt is to end, and another one
        finds the answer here. Raises ``Declined`` where a person refused.
        """
        ...


class Calls(Protocol):
    """What makes the calls of an agent's code."""

    @property
    def assignment(self) -> Assignment: ...

    async def call_tool(
        self, name: str, arguments: Json, run: ToolRun, *, idempotent: bool
    ) -> Json:
        """Run a tool once in effect: journaled, or answered from the journal.

        Raises ``ToolError`` when the tool raised, ``OutcomeUnknown`` when an earlier attempt
        started this call, its end is on no record, and ``idempotent`` is False. Raises ``Asked``
        for a tool that wants an approval which nobody has given, and ``ToolError`` where one
        was denied.
        """
        ...

    def in_step(self, step: str, branch: str = "") -> AbstractContextManager[None]:
        """Calls made inside belong to ``step``; ``branch`` tells parallel ones apart.

        For the event loop and for threads alike.
        """
        ...


class Session(Calls, Asks, Protocol):
    """What an attempt may do. All methods are for the event loop; ``blocking`` is for threads.

    Each may raise ``AttemptFenced`` or ``AttemptCancelled``, which derive from
    ``BaseException`` and must be let through, as ``Asked`` must.
    """

    @property
    def blocking(self) -> BlockingSession: ...

    async def start_step(self, step: str, name: str = "") -> None:
        """A step begins. Calls made ``in_step`` of it are journaled under it."""
        ...

    async def complete_step(self, step: str, state: Json, name: str = "") -> None:
        """A step is done; ``state`` is all that the adapter needs to go on after it.

        Returns when the checkpoint is durable.
        """
        ...

    def enter_step(self, step: str) -> None:
        """Calls made from here on belong to ``step``, where no context says otherwise."""
        ...

    async def open_host(self, guest: str, part: str, answering: Answering) -> Host:
        """Start a process for the part of the agent that ``part`` names.

        ``guest`` names a ``Guest`` of the adapter's as ``package.module:name``; ``answering``
        answers what it asks. LLM calls are journaled from there, and numbered there. Raises
        ``Unavailable`` where the process does not start, and what the guest raised.
        """
        ...

    def locate_by(self, where: Callable[[], tuple[str, str] | None]) -> None:
        """Let ``where`` say in which (step, branch) a call stands that no ``in_step`` surrounds.

        It is called in the context of each such call; None is the step entered last.
        """
        ...


class BlockingSession(BlockingAsks, Protocol):
    """The same for code that runs in a thread."""

    def start_step(self, step: str, name: str = "") -> None: ...

    def complete_step(self, step: str, state: Json, name: str = "") -> None: ...

    def call_tool(
        self, name: str, arguments: Json, run: BlockingToolRun, *, idempotent: bool
    ) -> Json: ...


class Adapter(Protocol):
    """One framework. Made once in a worker's process, used by all its attempts."""

    framework: str

    def preload(self) -> None:
        """Import the framework and whatever else is slow, before the first attempt."""
        ...

    async def run(self, session: Session) -> Json:
        """Run the assigned agent to its output, from ``session.assignment.saved`` on."""
        ...
