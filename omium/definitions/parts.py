"""The parts of a definition that may not be valid: whatever has the right shape, and no more.

Pure. Reads plain data, for the modules that look for mistakes between the parts.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from omium.definitions.model import MAX_AGENTS, MAX_HANDOFFS, MAX_TASKS, MAX_TOOLS
from omium.definitions.problems import Path
from omium.types import Json

MAX_ITEMS = max(MAX_AGENTS, MAX_TOOLS, MAX_TASKS, MAX_HANDOFFS)


@dataclass(frozen=True, kw_only=True)
class Member:
    """An agent of a definition that may not be valid."""

    path: Path
    name: str
    data: Mapping[str, Json]


def mappings(value: Json) -> Iterator[tuple[int, dict[str, Json]]]:
    for i, item in enumerate(items(value)):
        if isinstance(item, dict):
            yield i, item


def strings(value: Json) -> Iterator[tuple[int, str]]:
    for i, item in enumerate(items(value)):
        if isinstance(item, str):
            yield i, item


def items(value: Json) -> list[Json]:
    # A longer list is a mistake that structure tells; it must not cost time here.
    return value[:MAX_ITEMS] if isinstance(value, list) else []


def members_of(data: Mapping[str, Json]) -> list[Member]:
    members: list[Member] = []
    for i, agent in itertools.islice(mappings(data.get("agents")), MAX_AGENTS):
        name = agent.get("name")
        text = name if isinstance(name, str) else ""
        members.append(Member(path=("agents", i), name=text, data=agent))
    return members


def final_output(member: Member) -> Json:
    own = member.data.get("output")
    if own is not None:
        return own
    tasks = [task for _, task in mappings(member.data.get("tasks"))]
    return tasks[-1].get("output") if tasks else None
