"""Building teams and agents: from a definition, or by the user's own entrypoint.

Each attempt gets its own. What would go past the journal is refused, or put under it.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from typing import Any
from weakref import WeakValueDictionary

from autogen_agentchat.agents import AssistantAgent, CodeExecutorAgent
from autogen_agentchat.base import ChatAgent, Team
from autogen_agentchat.messages import StructuredMessage
from autogen_agentchat.teams import BaseGroupChat
from autogen_core.models import ChatCompletionClient

from omium.errors import EntrypointError
from omium.frameworks.autogen_component import subject_of_component
from omium.frameworks.autogen_model import close_connections
from omium.frameworks.autogen_parts import Part, teams_of, values_of
from omium.frameworks.entrypoints import load_entrypoint, wanted_arguments
from omium.frameworks.protocol import Calls
from omium.frameworks.threads import in_thread


async def subject_of(session: Calls) -> Team | ChatAgent:
    """The team or agent that is assigned. Raises ``EntrypointError``, ``DefinitionError`` or
    ``ConfigError``."""
    definition = session.assignment.agent
    if definition.entrypoint is not None:
        return await _of_entrypoint(session, definition.entrypoint)
    return subject_of_component(session, definition.component or {})


async def _of_entrypoint(session: Calls, entrypoint: str) -> Team | ChatAgent:
    assignment = session.assignment
    build = await in_thread(load_entrypoint, entrypoint, assignment.import_paths)
    wanted = wanted_arguments(entrypoint, build, assignment.arguments)
    try:
        # In a thread, since nothing keeps it from taking its time.
        made = await in_thread(build, **wanted)
        if inspect.iscoroutine(made):
            made = await made
    except Exception as error:
        reason = f"building the team raised {type(error).__name__}: {error}"
        raise EntrypointError(entrypoint, reason) from error
    if not isinstance(made, Team | ChatAgent):
        reason = f"it returned a {type(made).__name__}, not a team or an agent of AutoGen"
        raise EntrypointError(entrypoint, reason)
    return made


def check_parts(named: str, parts: list[Part]) -> None:
    """Refuse what cannot be run durably. ``named`` is the entrypoint, or what else to blame.

    Raises ``EntrypointError``.
    """
    for part in parts:
        if isinstance(part.thing, CodeExecutorAgent):
            raise EntrypointError(
                named,
                f"agent {part.path!r} runs code past the journal; let a declared tool run it",
            )
    for path, team in teams_of(parts):
        if not team._embedded_runtime:
            raise EntrypointError(
                named, f"team {path or team.name!r} has a runtime of its own; leave 'runtime' out"
            )
        if team._initialized:
            raise EntrypointError(named, f"team {path or team.name!r} has been run already")
        _know_messages(team)
    _refuse_shared(named, parts)


def _know_messages(team: BaseGroupChat) -> None:
    """Let a team take the structured messages of its members, which AutoGen registers under
    another name than they have."""
    factory = team._message_factory
    for member in team._participants:
        content = member._output_content_type if isinstance(member, AssistantAgent) else None
        if content is not None:
            message = StructuredMessage[content]
            if not factory.is_registered(message):
                factory.register(message)


_used: WeakValueDictionary[int, Any] = WeakValueDictionary()
_using = threading.Lock()


def _refuse_shared(named: str, parts: list[Part]) -> None:
    """Refuse a part of an earlier team: teams run side by side in one process, and AutoGen
    keeps conversations and counts in these objects."""
    things: list[Any] = [part.thing for part in parts]
    for _, team in teams_of(parts):
        ending = team._termination_condition
        things += [] if ending is None else [ending]
    with _using:
        for thing in things:
            if _used.get(id(thing)) is thing:
                name = getattr(thing, "name", "")
                what = f"{type(thing).__name__} {name!r}" if name else type(thing).__name__
                raise EntrypointError(
                    named,
                    f"the {what} was in an earlier team already; "
                    "make team, agents and termination conditions anew in each call",
                )
        _used.update({id(thing): thing for thing in things})


async def let_go(parts: list[Part], *, busy: bool = False) -> None:
    """Close the connections that the model clients of these parts have kept.

    A client of the user's may be shared with other teams: it stays usable, and what it has
    under way goes on, unless it is told by ``busy`` that nobody else is there.
    """
    clients = {
        id(value): value
        for part in parts
        for _, value in values_of(part.thing)
        if isinstance(value, ChatCompletionClient)
    }
    await asyncio.gather(*(close_connections(client, busy=busy) for client in clients.values()))
