"""Which agent of the crash benchmark has which shape, and how its answers come.

Every agent that takes its answers either way has them whole in the first execution and streamed in
the next, and so on in turn, so two executions go through everything.
"""

from __future__ import annotations

WORKFLOWS = ("autogen", "crewai", "langgraph", "mixed")
"""What there is a ``crash_….yaml`` of."""

_SHAPES: dict[str, dict[str, str]] = {
    "autogen": {
        "first": "sequential",
        "second": "sequential, from data",
        "third": "parallel",
        "fourth": "looping",
    },
    "crewai": {
        "first": "sequential",
        "second": "parallel, from data",
        "third": "hierarchical",
        "fourth": "looping",
        "fifth": "parallel",
    },
    "langgraph": {"first": "sequential", "second": "looping", "third": "parallel"},
    "mixed": {
        "first": "sequential, from data",
        "branches": "parallel",
        "second": "looping",
        "third": "sequential, from data",
        "fourth": "sequential, from data",
    },
}

PLACES: dict[str, tuple[str, ...]] = {
    "autogen": ("first", "second", "third", "third", "fourth"),
    "crewai": ("first", "second", "third", "fourth", "fifth"),
    "langgraph": ("first", "first", "second", "third"),
    # The agent that is sent back is hit in its second round as well.
    "mixed": ("first", "branches", "second", "third", "second", "fourth"),
}
"""The agents that are hit in one execution, in their order: one kill in each step or so, that the
next may find the execution at work again."""

SENDS_BACK = {"mixed": "third"}
"""The agent that hands back to an earlier one, in the workflows that have a loop of agents."""


def streams(number: int) -> bool:
    """Whether the answers of execution ``number`` are streamed."""
    return number % 2 == 1


def shape_of(framework: str, agent: str, number: int) -> str:
    """The shape of an agent in execution ``number``, and how its answers come."""
    shape = _SHAPES[framework][agent]
    # AutoGen and CrewAI stream where their own code says so: data names a model, and no more.
    streamed = streams(number) and "from data" not in shape
    return f"{shape}, {'streamed' if streamed else 'plain'}"


def shapes_of(framework: str) -> list[str]:
    """All shapes of a workflow."""
    return sorted(
        {shape_of(framework, agent, number) for agent in _SHAPES[framework] for number in (0, 1)}
    )
