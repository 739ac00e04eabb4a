"""What a workflow is, and how a YAML file or a Python mapping becomes a validated one.

Pure but for ``loader``, which reads files.
"""

from omium.definitions.checks import KNOWN_FRAMEWORKS
from omium.definitions.graph import HandoffGraph, graph
from omium.definitions.inputs import coerce_inputs, validate_inputs
from omium.definitions.loader import load_workflow
from omium.definitions.model import Agent, Handoff, Loop, Member, Task, Tool, Workflow
from omium.definitions.routes import conditional, fitting, handoffs_of, unheard
from omium.definitions.schema import value_problems
from omium.definitions.schema_strict import strict
from omium.definitions.templates import escaped, render
from omium.definitions.validation import parse_workflow, workflow_from, workflow_from_data

__all__ = [
    "KNOWN_FRAMEWORKS",
    "Agent",
    "Handoff",
    "HandoffGraph",
    "Loop",
    "Member",
    "Task",
    "Tool",
    "Workflow",
    "coerce_inputs",
    "conditional",
    "escaped",
    "fitting",
    "graph",
    "handoffs_of",
    "load_workflow",
    "parse_workflow",
    "render",
    "strict",
    "unheard",
    "validate_inputs",
    "value_problems",
    "workflow_from",
    "workflow_from_data",
]
