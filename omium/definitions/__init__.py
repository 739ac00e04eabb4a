"""What a workflow is, and how a YAML file or a Python mapping becomes a validated one.

Pure but for ``loader``, which reads files.
"""

from omium.definitions.checks import KNOWN_FRAMEWORKS
from omium.definitions.graph import HandoffGraph, graph
from omium.definitions.inputs import coerce_inputs, validate_inputs
from omium.definitions.judges import VOTE, at_work, is_judge
from omium.definitions.loader import load_workflow
from omium.definitions.model import Agent, Handoff, Loop, Member, Task, Tool, Workflow
from omium.definitions.problems import Problem
from omium.definitions.routes import (
    conditional,
    fitting,
    handoffs_of,
    misfits,
    stand_in_of,
    takes,
    unheard,
    votes_on,
)
from omium.definitions.schema import value_problems
from omium.definitions.schema_strict import strict
from omium.definitions.templates import escaped, render
from omium.definitions.validation import parse_workflow, workflow_from, workflow_from_data

__all__ = [
    "KNOWN_FRAMEWORKS",
    "VOTE",
    "Agent",
    "Handoff",
    "HandoffGraph",
    "Loop",
    "Member",
    "Problem",
    "Task",
    "Tool",
    "Workflow",
    "at_work",
    "coerce_inputs",
    "conditional",
    "escaped",
    "fitting",
    "graph",
    "handoffs_of",
    "is_judge",
    "load_workflow",
    "misfits",
    "parse_workflow",
    "render",
    "stand_in_of",
    "strict",
    "takes",
    "unheard",
    "validate_inputs",
    "value_problems",
    "votes_on",
    "workflow_from",
    "workflow_from_data",
]
