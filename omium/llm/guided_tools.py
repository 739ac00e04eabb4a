"""Tool calls from models that know of none: the arguments asked for as guided JSON. Pure.

llama.cpp takes ``tools`` for a model whose template has no place for them and answers in
prose. A call that the request forces anyway needs no such place: its arguments are an answer
under a schema, which is then put where a tool call belongs. The fields are those of the
OpenAI API reference, "Create chat completion".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from omium.errors import InputError, ModelUnreachable

# They make a tool call, or say how an answer is delivered.
_REPLACED = frozenset(
    {"tools", "tool_choice", "parallel_tool_calls", "response_format", "stream", "stream_options"}
)


def forced_tools(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The functions of which a chat-completions request forces one; none when it does not.

    Raises ``InputError`` for a request that forces what it does not declare.
    """
    choice = body.get("tool_choice")
    if choice is None or choice in ("none", "auto"):
        return []
    functions = _functions(body.get("tools"))
    if choice == "required" and functions:
        return list(functions.values())
    match choice:
        case {"function": {"name": str() as name}} if name in functions:
            return [functions[name]]
        case _:
            declared = ", ".join(map(repr, functions)) or "none"
            raise InputError(
                f"tool_choice is {choice!r}, and the request's tools are {declared}; expected "
                "'none', 'auto', 'required', or one of the tools"
            )


def _functions(tools: Any) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for tool in tools if isinstance(tools, list) else []:
        match tool:
            case {"function": {"name": str() as name, **fields}}:
                found[name] = {"name": name, **fields}
            case _:
                raise InputError(f"a tool of the request is {tool!r}, expected a named function")
    return found


def guided_request(body: Mapping[str, Any], functions: list[dict[str, Any]]) -> dict[str, Any]:
    """The same request with the forced call asked for as an answer under a schema."""
    request = {name: value for name, value in body.items() if name not in _REPLACED}
    if len(functions) == 1:
        schema = _parameters(functions[0])
        asked = f"Call the function {functions[0]['name']}. Its arguments as JSON:"
    else:
        calls = [_call_schema(function, place) for place, function in enumerate(functions)]
        schema = {"anyOf": calls}
        names = ", ".join(function["name"] for function in functions)
        asked = f"Call one of the functions {names}. Its name and arguments as JSON:"
    request["messages"] = [*body["messages"], {"role": "user", "content": asked}]
    request["response_format"] = {
        "type": "json_schema",
        "json_schema": {"name": "call", "strict": True, "schema": schema},
    }
    return request


def _parameters(function: Mapping[str, Any]) -> dict[str, Any]:
    return function.get("parameters") or {"type": "object"}


def _call_schema(function: Mapping[str, Any], place: int) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "name": {"const": function["name"]},
            "arguments": _moved(_parameters(function), f"/anyOf/{place}/properties/arguments"),
        },
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _moved(schema: Any, to: str) -> Any:
    """A schema whose references into itself hold at ``to``, a JSON Pointer (RFC 6901)."""
    if isinstance(schema, list):
        return [_moved(part, to) for part in schema]
    if not isinstance(schema, dict):
        return schema
    moved = {key: _moved(part, to) for key, part in schema.items()}
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        moved["$ref"] = f"#{to}{reference[1:]}"
    return moved


def as_tool_call(
    completion: Mapping[str, Any], functions: list[dict[str, Any]], model: str
) -> dict[str, Any]:
    """The completion of a guided request, as the tool call that was asked for.

    Raises ``ModelUnreachable`` when the answer is not what was asked for, as when it was cut
    off.
    """
    choices: list[dict[str, Any]] = []
    for choice in completion["choices"]:
        content = choice["message"].get("content") or ""
        name, arguments = _called(content, functions, model)
        call = {
            "id": f"call_{completion.get('id', '')}_{choice.get('index', 0)}",
            "type": "function",
            "function": {"name": name, "arguments": json.dumps(arguments)},
        }
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
        choices.append({**choice, "message": message, "finish_reason": "tool_calls"})
    return {**completion, "choices": choices}


def _called(
    content: str, functions: list[dict[str, Any]], model: str
) -> tuple[str, dict[str, Any]]:
    try:
        answer = json.loads(content)
    except ValueError:
        answer = None
    match answer:
        case dict() if len(functions) == 1:
            return functions[0]["name"], answer
        case {"name": str() as name, "arguments": dict() as arguments} if len(functions) > 1:
            return name, arguments
        case _:
            reason = f"its tool call is no JSON, perhaps cut off by max_tokens: {content[:200]!r}"
            raise ModelUnreachable(model, reason)
