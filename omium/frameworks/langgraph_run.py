"""Graphs: taken from an entrypoint, put under the journal, resumed, and run.

Graphs run on a loop beside the worker's. Supersteps are steps; a graph goes on
from its latest checkpoint by thread id (see ADR 0012).
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

from langchain_core.messages import BaseMessage
from langgraph.errors import GraphInterrupt
from langgraph.graph import StateGraph
from langgraph.pregel import Pregel
from langgraph.types import Command
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from omium.errors import AgentError, Asked, EntrypointError
from omium.execution.records import Question
from omium.frameworks.effect import effect
from omium.frameworks.entrypoints import load_entrypoint, wanted_arguments
from omium.frameworks.langgraph_journal import Interruption, JournalSaver, JournalWatch
from omium.frameworks.langgraph_places import Places
from omium.frameworks.langgraph_tools import ToolJournal, journaled
from omium.frameworks.loop_thread import CallerLoop, LoopThread
from omium.frameworks.people import asking
from omium.frameworks.protocol import Session
from omium.types import Json

OUTPUT_KEYS = ("output", "structured_response")
"""Keys of a graph's final state that are the agent's output, where the state has one of them."""

_LOOP = LoopThread("omium-langgraph")
"""One for all graphs of a process: LangChain shares its HTTP clients between models."""

_TO, _JOIN, _SENDS = "branch:to:", "join:", "__pregel_tasks"
"""How LangGraph names the channels that lead to nodes, those of nodes that wait for several, and
the one of what is sent. It has no public names for them."""

_BELOW, _TASK = "|", ":"
"""What is between the parts of a namespace, and between the node of a part and its task."""

_BREAKS = "it has breakpoints (interrupt_before, interrupt_after): call interrupt() in a node"


async def run_graph(session: Session) -> Json:
    """Run the assigned agent's graph from its last checkpoint to its output."""
    loop = CallerLoop()
    return await _LOOP.run(lambda: _run(session, loop))


async def _run(session: Session, loop: CallerLoop) -> Json:
    assignment = session.assignment
    entrypoint = assignment.agent.entrypoint
    assert entrypoint is not None
    graph, given = await _graph_of(session, entrypoint)
    places = Places()
    session.locate_by(places.here)
    thread = f"{assignment.execution_id}/{assignment.agent.name}"
    saver = JournalSaver(session, loop, places, thread)
    graph.checkpointer = saver
    tools = ToolJournal(
        session=session,
        loop=loop,
        idempotent=frozenset(t.name for t in assignment.workflow.tools if t.idempotent),
        serde=saver.serde,
        inside=saver.inside,
    )
    config: Any = {
        "configurable": {"thread_id": thread},
        "callbacks": [JournalWatch(places, saver)],
    }
    await _check_nodes(assignment.agent.name, graph, saver, config)
    answers = await _answers(session, loop, saver.take_interrupts())
    if answers:
        given = Command(resume=answers)
    asked: list[Asked] = []

    def stop(one: Asked) -> GraphInterrupt:
        # What LangGraph stops a task with: those beside it come to their end.
        asked.append(one)
        return GraphInterrupt(())

    with journaled(tools), asking(session, stop):
        final = await graph.ainvoke(
            given if saver.empty or answers else None, config, durability="sync"
        )
    if saver.interrupts:
        interrupts = list(saver.interrupts.values())
        await saver.pause(interrupts[0].step)
        await _answers(session, loop, interrupts)
        # Each was answered before: it goes on from the checkpoint, which knows of them.
        raise Asked(0)
    if asked:
        raise asked[0]
    return _output(assignment.agent.name, final)


async def _check_nodes(agent: str, graph: Pregel, saver: JournalSaver, config: Any) -> None:
    """Refuse to go on where a checkpoint leads to nodes that the graph, or a graph within, no
    longer has: LangGraph passes over them, and ends with half of its work done. Raises
    ``AgentError``."""
    checked: set[str] = set()
    lost: set[str] = set()
    # The latest of each graph comes first. A graph within has some while its node is at work.
    async for saved in saver.alist(config):
        place: str = saved.config.get("configurable", {})["checkpoint_ns"]
        here = _graph_at(graph, place)
        if here is not None and place not in checked:
            lost |= _lost_nodes(here, saved.checkpoint["channel_values"])
        checked.add(place)
    if lost:
        raise AgentError(
            f"agent {agent!r} is to go on with {', '.join(map(repr, sorted(lost)))}, where its "
            "graph now has no such node, or other edges to it: bring them back, or start anew"
        )


def _graph_at(graph: Pregel, place: str) -> Pregel | None:
    """The graph whose checkpoints have this namespace; None where a node's function calls it, and
    only that knows which."""
    here: Any = graph
    for part in place.split(_BELOW) if place else ():
        node = here.nodes.get(part.partition(_TASK)[0])
        here = node.bound if node is not None else None
        if not isinstance(here, Pregel):
            return None
    return here


def _lost_nodes(graph: Pregel, values: dict[str, Any]) -> set[str]:
    """The nodes that are to run by a checkpoint's values, and that the graph has not."""
    lost = {send.node for send in values.get(_SENDS) or () if send.node not in graph.nodes}
    for channel, value in values.items():
        if channel.startswith(_TO) and channel not in graph.channels:
            lost.add(channel.removeprefix(_TO))
        # The name of a join is that of those before it, and of the node that waits for them.
        if channel.startswith(_JOIN) and value and channel not in graph.channels:
            lost.add(channel.rpartition(":")[2])
    return lost


async def _answers(
    session: Session, loop: CallerLoop, interrupts: list[Interruption]
) -> dict[str, Json]:
    """What people say to interrupts, by LangGraph's ids. All of them are asked; raises ``Asked``
    where one has no answer yet, and ``Declined`` where one gets none."""
    answers: dict[str, Json] = {}
    asked: list[Asked] = []

    async def ask(one: Interruption) -> Json:
        question = Question(text=one.text, schema=one.schema, name=f"interrupt {one.number}")
        with session.in_step(one.step, one.branch), effect("", one.inside):
            return await session.ask(question)

    for one in interrupts:
        try:
            answers[one.id] = await loop.run(ask(one))
        except Asked as waiting:
            asked.append(waiting)
    if asked:
        raise asked[0]
    return answers


async def _graph_of(session: Session, entrypoint: str) -> tuple[Pregel, Any]:
    """The user's graph, compiled, as a copy that this attempt may change; and its input.

    The entrypoint is a graph, or a function that makes one. One that returns a graph alone has
    the execution's inputs and the outputs of the agents before it as the graph's input, by name.
    Raises ``EntrypointError``.
    """
    assignment = session.assignment
    built: Any = load_entrypoint(entrypoint, assignment.import_paths, ready=(StateGraph, Pregel))
    if not isinstance(built, StateGraph | Pregel):
        built = await _made(session, entrypoint, built)
    given: Any = {**assignment.inputs, **assignment.outputs}
    if isinstance(built, tuple) and len(built) == 2:
        built, given = built
    if isinstance(built, StateGraph):
        try:
            built = built.compile()
        except Exception as error:
            reason = f"compiling the graph raised {type(error).__name__}: {error}"
            raise EntrypointError(entrypoint, reason) from error
    if not isinstance(built, Pregel):
        raise EntrypointError(
            entrypoint,
            f"it returned a {type(built).__name__}, expected a graph, or a graph and its input",
        )
    if built.interrupt_before_nodes or built.interrupt_after_nodes:
        raise EntrypointError(entrypoint, _BREAKS)
    # The user may share a graph between executions, each with a checkpointer of its own.
    return copy.copy(built), given


async def _made(session: Session, entrypoint: str, build: Callable[..., Any]) -> Any:
    assignment = session.assignment
    wanted = wanted_arguments(entrypoint, build, assignment.arguments)
    try:
        built = build(**wanted)
        return await built if inspect.isawaitable(built) else built
    except Exception as error:
        reason = f"building the graph raised {type(error).__name__}: {error}"
        raise EntrypointError(entrypoint, reason) from error


def _output(agent: str, final: Any) -> Json:
    """What an agent hands on of its graph's final state, as JSON."""
    if isinstance(final, BaseModel) and not isinstance(final, BaseMessage):
        final = dict(final)
    if isinstance(final, dict):
        named = [key for key in OUTPUT_KEYS if final.get(key) is not None]
        final = final[named[0]] if named else final
    try:
        return to_jsonable_python(final)
    except ValueError as error:
        raise AgentError(
            f"the final state of agent {agent!r} cannot be written as JSON: {error}; give the "
            "graph an output_schema, or its state a key 'output'"
        ) from error
