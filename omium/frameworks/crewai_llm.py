"""CrewAI's OpenAI client with two habits that small models need.

Every answer that has a schema is asked for under it (``response_format``), and a task may be
told to call a tool before it answers. CrewAI itself leaves tool choice to the model and
sends no schema beside tools.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from crewai.llms.providers.openai.completion import OpenAICompletion
from pydantic import Field


@dataclass(frozen=True, kw_only=True)
class TaskShape:
    """How a task's answers are asked for: under ``schema``, and with ``tool_first`` only after
    one of its tools has returned something."""

    schema: dict[str, Any] | None
    tool_first: bool


class GuidedLLM(OpenAICompletion):
    """``shapes`` holds the shape of each task by the task's id; ``served`` the ids of the tasks
    for which a tool has returned something. With ``in_words`` the model is told of tools in
    words, and calls them so."""

    in_words: bool = Field(default=False, exclude=True)
    shapes: dict[str, TaskShape] = Field(default_factory=dict, exclude=True)
    served: set[str] = Field(default_factory=set, exclude=True)

    def supports_function_calling(self) -> bool:
        return not self.in_words and super().supports_function_calling()

    def _handle_completion(
        self, params: dict[str, Any], *args: Any, from_task: Any = None, **kwargs: Any
    ) -> Any:
        shaped = self._shaped(params, from_task)
        return super()._handle_completion(shaped, *args, from_task=from_task, **kwargs)

    async def _ahandle_completion(
        self, params: dict[str, Any], *args: Any, from_task: Any = None, **kwargs: Any
    ) -> Any:
        shaped = self._shaped(params, from_task)
        return await super()._ahandle_completion(shaped, *args, from_task=from_task, **kwargs)

    def _shaped(self, params: dict[str, Any], from_task: Any) -> dict[str, Any]:
        task = str(getattr(from_task, "id", ""))
        shape = self.shapes.get(task)
        return params if shape is None else shaped(params, shape, served=task in self.served)


def shaped(params: dict[str, Any], shape: TaskShape, *, served: bool) -> dict[str, Any]:
    """The request ``params`` as ``shape`` wants it; ``served`` says that a tool has returned
    something for the task."""
    params = dict(params)
    tools = params.get("tools") or []
    if tools and shape.tool_first and not served:
        params["tool_choice"] = (
            {"type": "function", "function": {"name": tools[0]["function"]["name"]}}
            if len(tools) == 1
            else "required"
        )
        params["parallel_tool_calls"] = False
        return params
    if shape.tool_first:
        # A model too small to see when to call a tool does not see when to stop either.
        for name in ("tools", "tool_choice", "parallel_tool_calls"):
            params.pop(name, None)
    if shape.schema is not None:
        params["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": shape.schema},
        }
    return params
