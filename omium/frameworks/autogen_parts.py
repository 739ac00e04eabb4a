"""What a team or an agent of AutoGen consists of, each part with its place.

Looks only. Names that begin with an underscore are AutoGen's private ones: the version is
pinned, and the tests watch what they are here for (see ADR 0013).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from autogen_agentchat.base import ChatAgent, Team
from autogen_agentchat.teams import BaseGroupChat
from autogen_agentchat.tools import AgentTool, TeamTool
from autogen_core.tools import StaticWorkbench


@dataclass(frozen=True, kw_only=True)
class Part:
    """A team or an agent, at ``path`` from the root: names joined by ``/``, empty for a team
    that is the root itself.

    ``owner`` is what it is a part of, None for the root.
    """

    path: str
    thing: Any
    owner: Part | None = None

    @property
    def is_member(self) -> bool:
        """Whether it is the root, or a participant of the root team: an exception that it
        raises ends the run, and nobody within AutoGen gets to handle it."""
        return self.owner is None or (
            self.owner.owner is None and isinstance(self.owner.thing, BaseGroupChat)
        )


def parts_of(root: Any) -> list[Part]:
    """The root, its participants, and whatever teams and agents these have inside: wrapped, as
    an inner team, or as a tool. Each once."""
    path = "" if isinstance(root, Team) else root.name
    found: list[Part] = []
    seen: set[int] = set()
    waiting = [Part(path=path, thing=root)]
    while waiting:
        part = waiting.pop(0)
        if id(part.thing) in seen:
            continue
        seen.add(id(part.thing))
        found.append(part)
        for inner in _inside(part.thing):
            place = f"{part.path}/{inner.name}" if part.path else inner.name
            waiting.append(Part(path=place, thing=inner, owner=part))
    return found


def teams_of(parts: list[Part]) -> list[tuple[str, BaseGroupChat]]:
    """The group chats among ``parts``, with their paths."""
    return [(part.path, part.thing) for part in parts if isinstance(part.thing, BaseGroupChat)]


def values_of(thing: Any) -> Iterator[tuple[str, Any]]:
    """The attributes of a part, by name."""
    yield from getattr(thing, "__dict__", {}).items()


def _inside(thing: Any) -> Iterator[Any]:
    if isinstance(thing, BaseGroupChat):
        yield from thing._participants
        return
    for _, value in values_of(thing):
        for one in _several(value):
            if isinstance(one, ChatAgent | Team):
                yield one
            elif isinstance(one, AgentTool | TeamTool):
                yield one._task_runner
            elif isinstance(one, StaticWorkbench):
                for tool in one._tools:
                    if isinstance(tool, AgentTool | TeamTool):
                        yield tool._task_runner


def _several(value: Any) -> Iterator[Any]:
    match value:
        case list() | tuple():
            yield from value
        case dict():
            yield from value.values()
        case _:
            yield value
