"""What the provider of the crash benchmark answers, where it does more than to fill in schemas."""

from __future__ import annotations

from typing import Any

_FIGURE = {"figure": 1}

CREWS: dict[str, Any] = {
    "rules": [
        {
            # The manager's first question: it has nothing back from anybody yet.
            "when": {"any_contains": "Manage figures.", "tool_messages": 0},
            "answer": {
                "tool_calls": [
                    {
                        "name": "delegate_work_to_coworker",
                        "arguments": {
                            "coworker": role,
                            "task": f"{role}: record a figure.",
                            "context": "none",
                        },
                    }
                    for role in ("left", "right")
                ],
                "delay_s": 0.05,
            },
        },
        {
            "when": {"any_contains": "record a figure.", "tool_messages": 0},
            "answer": {
                "tool_calls": [{"name": "record", "arguments": _FIGURE}],
                "delay_s": 0.05,
            },
        },
        {"answer": {"auto": True, "content": _FIGURE, "delay_s": 0.05}},
    ]
}
"""What the provider answers: managers hand on, workers use the tool."""

TEAMS: dict[str, Any] = {
    "rules": [
        {
            "when": {"any_contains": "Record a figure.", "tool_messages": 0},
            "answer": {"tool_calls": [{"name": "record", "arguments": _FIGURE}], "delay_s": 0.05},
        },
        {"answer": {"auto": True, "content": "A figure.", "delay_s": 0.05}},
    ]
}
"""The same for AutoGen's teams."""
