"""The parts of a definition that may not be valid: whatever has the right shape, and no more.

Pure. Reads plain data, for the modules that look for mistakes between the parts.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from omium.definitions.graph import Edge, chain_edges, chain_names
from omium.definitions.model import AGENT_NAME, MAX_AGENTS, MAX_HANDOFFS, MAX_TASKS, MAX_TOOLS
from omium.definitions.problems import Path
from omium.types import Json

MAX_ITEMS = max(MAX_AGENTS, MAX_TOOLS, MAX_TASKS, MAX_HANDOFFS)

_MORE = ("when", "otherwise", "loop", "validators", "rule", "stand_in")
"""What makes a handoff more than who hands to whom."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """An agent of a definition that may not be valid."""

    path: Path
    name: str
    data: Mapping[str, Json]


@dataclass(frozen=True, kw_only=True)
class Link:
    """One item of ``handoffs``: its pairs of giver and receiver, and what it says of them."""

    path: Path
    pairs: tuple[Edge, ...]
    data: Mapping[str, Json]

    @property
    def giver(self) -> str:
        """Who hands over, in a handoff that is no chain; also in one that leads to nobody."""
        giver = self.data.get("from")
        return giver if isinstance(giver, str) else ""

    @property
    def is_loop(self) -> bool:
        return self.data.get("loop") is not None

    @property
    def is_plain(self) -> bool:
        return all(self.data.get(key) is None for key in _MORE)


def links(value: Json) -> Iterator[Link]:
    """The handoffs that have the right shape."""
    for i, item in enumerate(items(value)):
        path: Path = ("handoffs", i)
        if isinstance(item, str):
            names = chain_names(item)
            if all(re.fullmatch(AGENT_NAME, name) for name in names):
                yield Link(path=path, pairs=tuple(chain_edges(names)), data={})
        elif isinstance(item, dict):
            giver, to = item.get("from"), item.get("to")
            receivers = [to] if isinstance(to, str) else [name for _, name in strings(to)]
            if isinstance(giver, str):
                pairs = tuple((giver, receiver) for receiver in receivers)
                yield Link(path=path, pairs=pairs, data=item)


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


def declared_outputs(member: Member) -> list[Path]:
    """Where an agent says what its output is: itself, or its last task."""
    declared: list[Path] = []
    if member.data.get("output") is not None:
        declared.append((*member.path, "output"))
    tasks = list(mappings(member.data.get("tasks")))
    if tasks and tasks[-1][1].get("output") is not None:
        declared.append((*member.path, "tasks", tasks[-1][0], "output"))
    return declared
