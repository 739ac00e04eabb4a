"""What must hold between the parts of a definition: names, order, references, schemas.

Pure. Reads plain data, not records, so that it can look at a definition whose parts are not
all right and tell every mistake at once. A part of the wrong shape is passed over here;
``structure`` has told it.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping

from omium.definitions.components import component_problems
from omium.definitions.crews import crew_problems
from omium.definitions.graph import HandoffGraph
from omium.definitions.handoff_checks import graph_in, handoff_problems, voted_about
from omium.definitions.parts import MAX_ITEMS, Member, final_output, mappings, members_of, strings
from omium.definitions.problems import Path, Problem, described, did_you_mean, listed
from omium.definitions.schema_check import schema_problems
from omium.definitions.schema_walk import properties, types
from omium.definitions.templates import Reference, mistake, references
from omium.types import Json

KNOWN_FRAMEWORKS = ("autogen", "crewai", "langgraph", "python")
RESERVED_NAMES = ("inputs",)

_CREW_TEXTS = ("role", "goal", "backstory")
_CREW_KEYS = (*_CREW_TEXTS, "tasks")
_A_CREW = "role, goal, backstory and tasks"
_TEAM_KEYS = ("component", "task", "answer_from", "isolation")
_EXPECTED_KEYS = {
    "role": "a text",
    "goal": "a text",
    "backstory": "a text",
    "tasks": "a list of tasks",
}


def relational_problems(
    data: Mapping[str, Json], frameworks: Collection[str] | None
) -> Iterator[Problem]:
    """Every mistake between the parts of ``data``; ``frameworks`` of ``None`` takes any."""
    members = members_of(data)
    graph, unplaced = graph_in(data, members)
    yield from _names(data, members)
    for member in members:
        yield from _framework(member, frameworks)
        yield from _component(member)
        yield from _tools(data, member)
        yield from crew_problems(member.data, member.path)
    yield from unplaced
    yield from handoff_problems(data, members, graph)
    yield from _schemas(data, members)
    yield from _inputs(members, graph, voted_about(data))
    yield from _references(data, members, graph)


def templates(agent: Mapping[str, Json]) -> Iterator[tuple[Path, str]]:
    """The templates of an agent, each with its place in the agent."""
    for key in (*_CREW_TEXTS, "task"):
        text = agent.get(key)
        if isinstance(text, str):
            yield (key,), text
    for part, keys in (("tasks", ("description", "expected_output")), ("members", _CREW_TEXTS)):
        for i, item in mappings(agent.get(part)):
            for key in keys:
                text = item.get(key)
                if isinstance(text, str):
                    yield (part, i, key), text


# ------------------------------------------------------------------------------- names


def _names(data: Mapping[str, Json], members: list[Member]) -> Iterator[Problem]:
    yield from _repeated(data.get("tools"), ("tools",), "tool")
    yield from _repeated(data.get("agents"), ("agents",), "agent")
    inputs = data.get("inputs")
    named = inputs.get("properties") if isinstance(inputs, dict) else None
    for member in members:
        yield from _repeated(member.data.get("tasks"), (*member.path, "tasks"), "task")
        if member.name in RESERVED_NAMES:
            text = f"found {member.name!r}, which is reserved, expected another name"
            yield Problem(path=(*member.path, "name"), text=text)
        if isinstance(named, dict) and member.name in named:
            text = "found the name of an agent, expected a name that references can tell apart"
            yield Problem(path=("inputs", "properties", member.name), text=text)


def _repeated(value: Json, path: Path, what: str) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for i, item in mappings(value):
        name = item.get("name")
        if not isinstance(name, str):
            continue
        if name in first:
            expected = f"a name that no other {what} has (as {path[-1]}[{first[name]}])"
            text = f"found {described(name)} a second time, expected {expected}"
            yield Problem(path=(*path, i, "name"), text=text)
        first.setdefault(name, i)


# -------------------------------------------------------------------- framework and tools


def _framework(member: Member, frameworks: Collection[str] | None) -> Iterator[Problem]:
    framework = member.data.get("framework")
    crew = [key for key in _CREW_KEYS if member.data.get(key) not in (None, [])]
    has_entrypoint = member.data.get("entrypoint") is not None
    entrypoint = (*member.path, "entrypoint")
    if has_entrypoint and crew:
        text = f"found beside {listed(crew)}, expected either an entrypoint or {_A_CREW}"
        yield Problem(path=entrypoint, text=text)
    if not isinstance(framework, str):
        return
    if frameworks is not None and framework not in frameworks:
        known = sorted(frameworks)
        close = did_you_mean(framework, known)
        text = f"found {described(framework)}, expected one of {listed(known)}{close}"
        yield Problem(path=(*member.path, "framework"), text=text)
    elif framework == "crewai" and not has_entrypoint:
        for key in _CREW_KEYS:
            if member.data.get(key) in (None, []):
                found = "an empty list" if member.data.get(key) == [] else "nothing"
                text = f"found {found}, expected {_EXPECTED_KEYS[key]} (or an entrypoint instead)"
                yield Problem(path=(*member.path, key), text=text, missing=True)
    elif framework == "autogen":
        return
    elif framework != "crewai" and not has_entrypoint:
        text = f"found nothing, expected package.module:function for framework {framework!r}"
        yield Problem(path=entrypoint, text=text, missing=True)


def _component(member: Member) -> Iterator[Problem]:
    """What is said of an AutoGen agent, and what only an AutoGen agent may be told."""
    if member.data.get("framework") != "autogen":
        for key in _TEAM_KEYS:
            if member.data.get(key) is not None:
                text = "found for another framework, expected it for framework 'autogen' only"
                yield Problem(path=(*member.path, key), text=text)
        return
    component = member.data.get("component")
    path = (*member.path, "component")
    if component is None:
        if member.data.get("entrypoint") is None:
            text = "found nothing, expected an AutoGen component (or an entrypoint instead)"
            yield Problem(path=path, text=text, missing=True)
        return
    if member.data.get("entrypoint") is not None:
        text = "found beside an entrypoint, expected either an entrypoint or a component"
        yield Problem(path=path, text=text)
    if member.data.get("task") is None:
        text = "found nothing, expected a text: what the team or agent is set to"
        yield Problem(path=(*member.path, "task"), text=text, missing=True)
    own = [name for _, name in strings(member.data.get("tools"))]
    if isinstance(component, dict):
        yield from itertools.islice(component_problems(component, path, own), MAX_ITEMS)


def _tools(data: Mapping[str, Json], member: Member) -> Iterator[Problem]:
    declared = [str(tool["name"]) for _, tool in mappings(data.get("tools")) if "name" in tool]
    own = [name for _, name in strings(member.data.get("tools"))]
    yield from _chosen(member.data.get("tools"), (*member.path, "tools"), declared, "tool")
    # A tool mistyped in the agent's list would be told once more for each task that uses it.
    usable = own if set(own) <= set(declared) else [*own, *declared]
    for i, task in mappings(member.data.get("tasks")):
        path = (*member.path, "tasks", i, "tools")
        what = f"tool of agent {member.name!r}"
        yield from _chosen(task.get("tools"), path, usable, what)


def _chosen(value: Json, path: Path, known: list[str], what: str) -> Iterator[Problem]:
    seen: set[str] = set()
    for i, name in strings(value):
        if name not in known:
            expected = f"a declared {what}: {listed(known)}{did_you_mean(name, known)}"
            text = f"found {described(name)}, expected {expected}"
            yield Problem(path=(*path, i), text=text)
        elif name in seen:
            text = f"found {described(name)} a second time, expected each tool once"
            yield Problem(path=(*path, i), text=text)
        seen.add(name)


# ------------------------------------------------------------------- schemas and references


def _schemas(data: Mapping[str, Json], members: list[Member]) -> Iterator[Problem]:
    inputs = data.get("inputs")
    if isinstance(inputs, dict):
        problems = schema_problems(inputs, ("inputs",))
        yield from problems
        if not problems and types(inputs, inputs) != frozenset(["object"]) and "type" in inputs:
            text = f"found {described(inputs['type'])}, expected 'object'"
            yield Problem(path=("inputs", "type"), text=text)
    for member in members:
        yield from schema_problems(member.data.get("output"), (*member.path, "output"))
        for i, task in mappings(member.data.get("tasks")):
            yield from schema_problems(task.get("output"), (*member.path, "tasks", i, "output"))


def _inputs(
    members: list[Member], graph: HandoffGraph, voted: Collection[str]
) -> Iterator[Problem]:
    """Input schemas: of what others hand over, so of agents to whom somebody hands. About what is
    handed to ``voted`` validators vote."""
    for member in members:
        path = (*member.path, "input")
        yield from schema_problems(member.data.get("input"), path)
        if member.data.get("input") is None:
            if member.data.get("accept_timeout_s") is not None and member.name not in voted:
                text = "found without input, expected it where something is to be accepted"
                yield Problem(path=(*member.path, "accept_timeout_s"), text=text)
            continue
        if member.name not in graph.agents:
            continue
        if not graph.givers(member.name):
            text = "found for an agent that nobody hands to, expected it where outputs are taken"
            yield Problem(path=path, text=text)


def _references(
    data: Mapping[str, Json], members: list[Member], graph: HandoffGraph
) -> Iterator[Problem]:
    inputs = data.get("inputs")
    schema: Json = inputs if isinstance(inputs, dict) else {"type": "object"}
    known = properties(schema, schema)
    for member in members:
        if not member.name:
            continue
        before = set(graph.upstream(member.name)) - {member.name}
        before.update(graph.recalled(member.name))
        upstream = [m for m in members if m.name in before]
        for step, text in templates(member.data):
            path = (*member.path, *step)
            wrong = mistake(text)
            if wrong:
                yield Problem(path=path, text=wrong)
            for reference in references(text):
                found = _unresolved(reference, member, members, upstream, known, schema)
                if found:
                    yield Problem(path=path, text=f"found {reference}, {found}")


def _unresolved(
    reference: Reference,
    member: Member,
    members: list[Member],
    upstream: list[Member],
    inputs: dict[str, list[Json]] | None,
    inputs_schema: Json,
) -> str | None:
    """Why ``reference`` has no value in ``member``, or ``None`` where it has one."""
    name = reference.name
    if inputs is not None and name in inputs:
        return _no_field(f"input {name!r}", reference.fields, inputs[name], inputs_schema)
    available = [*(inputs or ()), *(m.name for m in upstream)]
    choice = f"an input or an upstream agent: {listed(available)}"
    if name == member.name and member not in upstream:
        return f"the agent's own output, expected {choice}"
    if any(m.name == name for m in members):
        giver = next((m for m in upstream if m.name == name), None)
        if giver is None:
            return f"an agent that is not upstream of {member.name!r}, expected {choice}"
        schema = final_output(giver)
        if schema is None:
            return (
                "an agent without an output schema, expected no field" if reference.fields else None
            )
        return _no_field(f"the output of {name!r}", reference.fields, [schema], schema)
    if inputs is None:
        return None
    return f"expected {choice}{did_you_mean(name, available)}"


def _no_field(what: str, fields: tuple[str, ...], schemas: list[Json], root: Json) -> str | None:
    for field in fields:
        each = [properties(schema, root) for schema in schemas]
        if any(named is None for named in each):
            return None
        named: dict[str, list[Json]] = {}
        for part in each:
            for name, parts in (part or {}).items():
                named.setdefault(name, []).extend(parts)
        if field not in named:
            return f"expected a field of {what}: {listed(named)}{did_you_mean(field, named)}"
        what, schemas = f"{what}, field {field!r}", named[field]
    return None
