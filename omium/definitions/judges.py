"""Judges: agents of a valid workflow that vote about what another one hands over.

Pure. A judge is an agent like any other but for its output, which is its vote.
"""

from __future__ import annotations

from omium.definitions.graph import graph
from omium.definitions.model import Agent, Workflow
from omium.types import Json

VOTE: dict[str, Json] = {
    "type": "object",
    # In this order: under guided decoding a model gives its reason before it decides.
    "properties": {"reason": {"type": "string"}, "ballot": {"enum": ["for", "against"]}},
    "required": ["reason", "ballot"],
    "additionalProperties": False,
}
"""The JSON Schema of a vote: what a judge hands over."""


def is_judge(workflow: Workflow, name: str) -> bool:
    """Whether the agent ``name`` votes about handoffs."""
    return bool(graph(workflow).judged(name))


def at_work(workflow: Workflow, name: str) -> Agent:
    """The agent ``name`` as an attempt has to run it: a judge hands over a vote, and a stand-in
    what its giver would. Raises ``KeyError`` where there is no such agent."""
    agent, handoffs = workflow.agent(name), graph(workflow)
    if handoffs.judged(name):
        return agent.model_copy(update={"output": VOTE})
    if handoffs.stands_in(name) is not None:
        (giver,) = handoffs.givers(name)
        return agent.model_copy(update={"output": workflow.agent(giver).final_output})
    return agent
