"""Tool calls from models that know of none: the arguments asked for as guided JSON. Pure.

llama.cpp takes ``tools`` for a model whose template has no place for them and answers in
prose. A call that the request forces anyway needs no such place: its arguments are an answer
under a schema, which is then put where a tool call belongs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from omium.errors import ModelUnreachable


def forced_tools(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The functions of which a chat-completions request forces one; none when it does not."""
    functions = [tool["function"] for tool in body.get("tools") or [] if "function" in tool]
    choice = body.get("tool_choice")
    if choice == "required":
        return functions
    if isinstance(choice, Mapping):
        name = choice.get("function", {}).get("name")
        return [function for function in functions if function.get("name") == name]
    return []


def guided_request(body: Mapping[str, Any], functions: list[dict[str, Any]]) -> dict[str, Any]:
    """The same request with the forced call asked for as an answer under a schema."""
    hidden = ("tools", "tool_choice", "parallel_tool_calls", "stream", "stream_options")
    request = {name: value for name, value in body.items() if name not in hidden}
    if len(functions) == 1:
        schema = functions[0].get("parameters") or {"type": "object"}
        asked = f"Call the function {functions[0]['name']}. Its arguments as JSON:"
    else:
        schema = {"anyOf": [_call_schema(function) for function in functions]}
        names = ", ".join(function["name"] for function in functions)
        asked = f"Call one of the functions {names}. Its name and arguments as JSON:"
    request["messages"] = [*body["messages"], {"role": "user", "content": asked}]
    request["response_format"] = {
        "type": "json_schema",
        "json_schema": {"name": "call", "strict": True, "schema": schema},
    }
    return request


def _call_schema(function: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "name": {"const": function["name"]},
            "arguments": function.get("parameters") or {"type": "object"},
        },
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def as_tool_call(
    completion: Mapping[str, Any], functions: list[dict[str, Any]], model: str
) -> dict[str, Any]:
    """The completion of a guided request, as the tool call that was asked for.

    Raises ``ModelUnreachable`` when the answer was cut off and is no JSON.
    """
    choices: list[dict[str, Any]] = []
    for choice in completion["choices"]:
        content = choice["message"].get("content") or ""
        try:
            answer = json.loads(content)
        except ValueError as error:
            raise ModelUnreachable(
                model, f"its tool call is no JSON, perhaps cut off by max_tokens: {content[:200]!r}"
            ) from error
        name, arguments = (
            (functions[0]["name"], answer)
            if len(functions) == 1
            else (answer["name"], answer["arguments"])
        )
        call = {
            "id": f"call_{completion.get('id', '')}_{choice.get('index', 0)}",
            "type": "function",
            "function": {"name": name, "arguments": json.dumps(arguments)},
        }
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
        choices.append({**choice, "message": message, "finish_reason": "tool_calls"})
    return {**completion, "choices": choices}
