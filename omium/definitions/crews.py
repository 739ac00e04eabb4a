"""Mistakes between the tasks and members of a crew: who works, on what, and in which order.

Pure. Reads plain data, as ``checks`` does, and passes over what ``structure`` has told. The
rules are CrewAI's own, told before anything starts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

from omium.definitions.problems import Path, Problem, described, did_you_mean, listed
from omium.types import Json


def crew_problems(agent: Mapping[str, Json], path: Path) -> Iterator[Problem]:
    """Every mistake in how the tasks and the members of ``agent`` hang together."""
    tasks = _mappings(agent.get("tasks"))
    yield from _contexts(tasks, path)
    yield from _ending(tasks, path)
    yield from _members(agent, path)
    for i, task in tasks if agent.get("tool_calls") == "text" else ():
        if task.get("tool_choice") == "required":
            text = "found required beside tool_calls: text, expected auto: words cannot be forced"
            yield Problem(path=(*path, "tasks", i, "tool_choice"), text=text)


def _members(agent: Mapping[str, Json], path: Path) -> Iterator[Problem]:
    described_here = agent.get("framework") == "crewai" and agent.get("entrypoint") is None
    for key in ("process", "members", "tool_calls"):
        if agent.get(key) is not None and not described_here:
            text = "found it here, expected it for a crew that the definition describes only"
            yield Problem(path=(*path, key), text=text)
    members, hierarchical = agent.get("members"), agent.get("process") == "hierarchical"
    if hierarchical and members is None and described_here:
        text = "found nothing, expected those to whom the manager hands work"
        yield Problem(path=(*path, "members"), text=text, missing=True)
    if members is not None and not hierarchical and described_here:
        text = "found them in a crew without a manager, expected process: hierarchical"
        yield Problem(path=(*path, "members"), text=text)
    yield from _roles(agent, path)


def _roles(agent: Mapping[str, Json], path: Path) -> Iterator[Problem]:
    """The manager names a member by its role, in whatever spacing and case."""
    first: dict[str, int] = {}
    own = agent.get("tools")
    tools = [name for name in own if isinstance(name, str)] if isinstance(own, list) else []
    for i, member in _mappings(agent.get("members")):
        role = member.get("role")
        if isinstance(role, str):
            plain = " ".join(role.split()).casefold()
            if plain in first:
                expected = f"a role that no other member has (as members[{first[plain]}])"
                text = f"found {described(role)} a second time, expected {expected}"
                yield Problem(path=(*path, "members", i, "role"), text=text)
            first.setdefault(plain, i)
        named = member.get("tools")
        for n, name in enumerate(named if isinstance(named, list) else ()):
            if isinstance(name, str) and name not in tools:
                expected = f"a tool of the agent: {listed(tools)}{did_you_mean(name, tools)}"
                text = f"found {described(name)}, expected {expected}"
                yield Problem(path=(*path, "members", i, "tools", n), text=text)


def _contexts(tasks: list[tuple[int, dict[str, Json]]], path: Path) -> Iterator[Problem]:
    names = {task["name"]: i for i, task in tasks if isinstance(task.get("name"), str)}
    parallel = {i for i, task in tasks if task.get("async") is True}
    for i, task in tasks:
        context = task.get("context")
        before = [str(name) for name, n in names.items() if n < i]
        for n, name in enumerate(cast("list[Json]", context) if isinstance(context, list) else ()):
            if not isinstance(name, str):
                continue
            place = (*path, "tasks", i, "context", n)
            if name not in before:
                close = did_you_mean(name, before)
                expected = f"the name of an earlier task: {listed(before)}{close}"
                yield Problem(path=place, text=f"found {described(name)}, expected {expected}")
            elif i in parallel and parallel.issuperset(range(names[name], i)):
                text = (
                    f"found {described(name)}, which may still be at work, "
                    "expected a task that has ended: put one that is not async between them"
                )
                yield Problem(path=place, text=text)


def _ending(tasks: list[tuple[int, dict[str, Json]]], path: Path) -> Iterator[Problem]:
    """The last task's answer is the crew's: it cannot be one of several at once."""
    last = [(i, task) for i, task in tasks[-2:] if task.get("async") is True]
    if len(last) == 2:
        text = "found async tasks at the end, expected at most one: let a last task join them"
        yield Problem(path=(*path, "tasks", last[1][0], "async"), text=text)


def _mappings(value: Json) -> list[tuple[int, dict[str, Json]]]:
    items = value if isinstance(value, list) else []
    return [(i, item) for i, item in enumerate(items[:256]) if isinstance(item, dict)]
