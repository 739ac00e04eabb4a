"""The state of a team between two turns, as a checkpoint holds it.

AutoGen's own ``save_state`` is most of it. It leaves out the progress of termination
conditions, which ``autogen_ending`` answers for; which branches of a graph have been taken; the
agents inside agents that pass no state on; and the state of tools.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any

from autogen_agentchat.agents import BaseChatAgent
from autogen_agentchat.teams import BaseGroupChat, GraphFlow
from autogen_core import AgentId
from autogen_core.tools import Workbench
from pydantic_core import to_jsonable_python

from omium.errors import AgentError
from omium.frameworks.autogen_parts import Part, values_of
from omium.types import Json

# Where GraphFlow notes by which edges a node that waits was triggered. Without it a node of a
# loop is never triggered again.
_TRIGGERED = "_triggered_activation_groups"

_MEMBERS = "agent_states"
"""Where the state of a team has those of its participants and of its manager."""


async def save_parts(parts: list[Part]) -> dict[str, Json]:
    """The state of the root (the first of ``parts``) and of all that it does not save itself."""
    state: dict[str, Any] = {
        "root": await parts[0].thing.save_state(),
        "inner": {part.path: await part.thing.save_state() for part in parts if _is_lost(part)},
        "graphs": {},
        "workbenches": {},
    }
    for part in parts:
        if isinstance(part.thing, GraphFlow):
            triggered: Any = getattr(await _manager(part.thing), _TRIGGERED)
            state["graphs"][part.path] = {
                node: sorted(groups) for node, groups in triggered.items() if groups
            }
        for place, bench in _benches(part):
            said = await bench.save_state()
            if said.get("tools", said):
                state["workbenches"][place] = said
    return to_jsonable_python(state)


async def load_parts(agent: str, parts: list[Part], state: Mapping[str, Any]) -> None:
    """The inverse of ``save_parts``. Raises ``AgentError`` when the parts are others now."""
    by_path = {part.path: part.thing for part in parts}
    root = parts[0].thing
    await _fits(agent, root.load_state(state["root"]))
    if lost := _lost(state["root"], to_jsonable_python(await root.save_state())):
        raise AgentError(
            f"agent {agent!r} cannot go on from its checkpoint: its team has no "
            f"{' and no '.join(map(repr, lost))} any more. Bring the team back, or start anew."
        )
    for path, said in state["inner"].items():
        if path in by_path:
            await _fits(agent, by_path[path].load_state(said))
    for path, triggered in state["graphs"].items():
        team = by_path.get(path)
        if isinstance(team, GraphFlow):
            groups = {node: set(names) for node, names in triggered.items()}
            setattr(await _manager(team), _TRIGGERED, groups)
    for part in parts:
        for place, bench in _benches(part):
            if place in state["workbenches"]:
                await _fits(agent, bench.load_state(state["workbenches"][place]))


async def _fits(agent: str, loading: Awaitable[None]) -> None:
    try:
        await loading
    except (ValueError, KeyError) as error:
        raise AgentError(
            f"agent {agent!r} cannot go on from its checkpoint, which is of another team: {error} "
            "Bring the team back, or start anew."
        ) from error


def _lost(saved: Any, now: Any) -> list[str]:
    """The members whose states were saved and that are gone: AutoGen passes over them, while the
    state of the team that they were in may still give them the word."""
    if not isinstance(saved, Mapping) or not isinstance(now, Mapping):
        return []
    members: Any = saved.get(_MEMBERS, {})
    there: Any = now.get(_MEMBERS, {})
    found = [str(name) for name in members if name not in there]
    for name in saved.keys() & now.keys():
        found += _lost(saved[name], now[name])
    return sorted(found)


def _is_lost(part: Part) -> bool:
    """Whether whoever owns a part saves nothing, and so not the part either."""
    owner = None if part.owner is None else part.owner.thing
    return isinstance(owner, BaseChatAgent) and (type(owner).save_state is BaseChatAgent.save_state)


async def _manager(team: BaseGroupChat) -> Any:
    if not team._initialized:
        await team._init(team._runtime)
    manager = AgentId(type=team._group_chat_manager_topic_type, key=team._team_id)
    return await team._runtime.try_get_underlying_agent_instance(manager)


def _benches(part: Part) -> list[tuple[str, Workbench]]:
    found: list[Workbench] = []
    for _, value in values_of(part.thing):
        several = value if isinstance(value, list) else [value]
        found += [one for one in several if isinstance(one, Workbench)]
    return [(f"{part.path}#{number}", bench) for number, bench in enumerate(found)]
