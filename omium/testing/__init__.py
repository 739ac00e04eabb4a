"""What tests of workflows need: stand-ins that behave like the real parts, and exactly.

    from omium.testing import Answer, Rule, When, try_workflow

Names are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omium.testing.people import Asked, Said
    from omium.testing.recording import Call, Recording, Step
    from omium.testing.runtime import InProcessRuntime
    from omium.testing.script import Answer, ErrorAnswer, Rule, Script, ToolCall, When
    from omium.testing.scripted import ScriptedProvider
    from omium.testing.trial import atry_workflow, try_workflow

_HOMES = {
    "omium.testing.people": ("Asked", "Said"),
    "omium.testing.recording": ("Call", "Recording", "Step"),
    "omium.testing.runtime": ("InProcessRuntime",),
    "omium.testing.script": ("Answer", "ErrorAnswer", "Rule", "Script", "ToolCall", "When"),
    "omium.testing.scripted": ("ScriptedProvider",),
    "omium.testing.trial": ("atry_workflow", "try_workflow"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Answer",
    "Asked",
    "Call",
    "ErrorAnswer",
    "InProcessRuntime",
    "Recording",
    "Rule",
    "Said",
    "Script",
    "ScriptedProvider",
    "Step",
    "ToolCall",
    "When",
    "atry_workflow",
    "try_workflow",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'omium.testing' has no attribute {name!r}")
    return getattr(import_module(home), name)
