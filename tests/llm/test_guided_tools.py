from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from omium.errors import InputError, ModelUnreachable
from omium.llm.guided_tools import as_tool_call, forced_tools, guided_request
from omium.llm.llamacpp import LlamaServer
from omium.llm.upstream import Upstream
from omium.llm.wire import chunks_of, merge_chunks

RATE: dict[str, Any] = {
    "name": "rate",
    "description": "Computes a rate.",
    "parameters": {
        "type": "object",
        "properties": {
            "principal": {"type": "number"},
            "interest": {"type": "number"},
            "term": {"$ref": "#/$defs/Term"},
        },
        "required": ["principal", "interest", "term"],
        "additionalProperties": False,
        "$defs": {"Term": {"enum": ["short", "long"]}},
    },
}
NOTE: dict[str, Any] = {
    "name": "note",
    "parameters": {
        "type": "object",
        "properties": {"word": {"enum": ["yes", "no"]}, "times": {"$ref": "#/$defs/Times"}},
        "required": ["word", "times"],
        "additionalProperties": False,
        "$defs": {"Times": {"type": "integer", "minimum": 1, "maximum": 3}},
    },
}
CLOCK: dict[str, Any] = {"name": "clock"}
NAMED = {"type": "function", "function": {"name": "note"}}


def request(*functions: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "model": "m",
        "messages": [{"role": "user", "content": "The loan: 10000, interest 550, a short term."}],
        "tools": [{"type": "function", "function": function} for function in functions],
        **fields,
    }


def answer(*contents: str | None, **fields: Any) -> dict[str, Any]:
    choices = [
        {
            "index": place,
            "message": {"role": "assistant", "content": content},
            "finish_reason": "stop",
        }
        for place, content in enumerate(contents)
    ]
    return {"id": "c1", "choices": choices, "usage": {"total_tokens": 3}, **fields}


def schema_of(guided: dict[str, Any]) -> dict[str, Any]:
    asked = guided["response_format"]
    assert (asked["type"], asked["json_schema"]["strict"]) == ("json_schema", True)
    return asked["json_schema"]["schema"]


# ------------------------------------------------------------------ which


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (request(RATE, NOTE), []),
        (request(RATE, tool_choice="auto"), []),
        (request(RATE, tool_choice="none"), []),
        (request(RATE, tool_choice=None), []),
        ({"messages": []}, []),
        ({"messages": [], "tools": None}, []),
        (request(RATE, NOTE, tool_choice="required"), ["rate", "note"]),
        (request(RATE, NOTE, tool_choice=NAMED), ["note"]),
    ],
)
def test_the_forced_functions_are_found(body: dict[str, Any], names: list[str]) -> None:
    assert [function["name"] for function in forced_tools(body)] == names


@pytest.mark.parametrize(
    "body",
    [
        request(RATE, tool_choice=NAMED),
        request(tool_choice="required"),
        {"messages": [], "tool_choice": "required"},
        request(RATE, tool_choice="rate"),
        request(RATE, tool_choice={"function": None}),
        request(RATE, tool_choice={"type": "function"}),
        {"messages": [], "tools": ["rate"], "tool_choice": "required"},
        {"messages": [], "tools": [{"function": {}}], "tool_choice": "required"},
        {"messages": [], "tools": {"rate": {}}, "tool_choice": "required"},
    ],
)
def test_a_force_without_its_tool_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="tool"):
        forced_tools(body)


# ------------------------------------------------------------------ the request


def test_one_function_is_asked_for_by_its_parameters() -> None:
    body = request(
        RATE,
        tool_choice="required",
        parallel_tool_calls=False,
        stream=True,
        stream_options={"include_usage": True},
        response_format={"type": "text"},
        temperature=0,
        max_tokens=9,
    )
    before = json.dumps(body)
    guided = guided_request(body, forced_tools(body))
    assert schema_of(guided) == RATE["parameters"]
    assert set(guided) == {"model", "messages", "response_format", "temperature", "max_tokens"}
    assert guided["messages"][:-1] == body["messages"]
    assert guided["messages"][-1]["role"] == "user"
    assert "rate" in guided["messages"][-1]["content"]
    assert json.dumps(body) == before


def test_several_functions_are_asked_for_by_name_and_parameters() -> None:
    body = request(RATE, NOTE, CLOCK, tool_choice="required")
    guided = guided_request(body, forced_tools(body))
    validator: Any = Draft202012Validator(schema_of(guided))
    loan = {"principal": 1, "interest": 2, "term": "short"}
    assert validator.is_valid({"name": "rate", "arguments": loan})
    assert validator.is_valid({"name": "note", "arguments": {"word": "yes", "times": 3}})
    assert validator.is_valid({"name": "clock", "arguments": {}})
    # Each function's own definitions hold, where they have been moved to.
    assert not validator.is_valid({"name": "rate", "arguments": {**loan, "term": "brief"}})
    assert not validator.is_valid({"name": "note", "arguments": {"word": "yes", "times": 4}})
    assert not validator.is_valid({"name": "note", "arguments": loan})
    assert not validator.is_valid({"name": "other", "arguments": {}})
    assert "rate, note, clock" in guided["messages"][-1]["content"]


def test_a_function_without_parameters_takes_an_object() -> None:
    assert schema_of(guided_request(request(CLOCK), [CLOCK])) == {"type": "object"}


# ------------------------------------------------------------------ the answer


def test_an_answer_becomes_the_call_and_keeps_the_rest() -> None:
    made = as_tool_call(answer('{"term": "é"}', model="x"), [RATE], "local/m")
    (choice,) = made["choices"]
    (call,) = choice["message"]["tool_calls"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert call["function"]["name"] == "rate"
    assert json.loads(call["function"]["arguments"]) == {"term": "é"}
    assert (made["usage"], made["model"]) == ({"total_tokens": 3}, "x")


def test_each_choice_becomes_a_call_with_an_id_of_its_own() -> None:
    contents = ['{"name": "note", "arguments": {"times": 1}}', '{"name": "clock", "arguments": {}}']
    made = as_tool_call(answer(*contents), [RATE, NOTE, CLOCK], "local/m")
    calls = [choice["message"]["tool_calls"][0] for choice in made["choices"]]
    assert [call["function"]["name"] for call in calls] == ["note", "clock"]
    assert [json.loads(call["function"]["arguments"]) for call in calls] == [{"times": 1}, {}]
    assert len({call["id"] for call in calls}) == 2


def test_the_call_can_be_streamed() -> None:
    made = as_tool_call(answer('{"term": "short"}'), [RATE], "local/m")
    assert merge_chunks(chunks_of(made, include_usage=True))["choices"] == made["choices"]


@pytest.mark.parametrize("content", ['{"principal": 100', "", None, "prose", "[1]", '"text"'])
def test_an_answer_that_was_cut_off_is_named(content: str | None) -> None:
    with pytest.raises(ModelUnreachable, match=r"local/m.*max_tokens"):
        as_tool_call(answer(content), [RATE], "local/m")


@pytest.mark.parametrize("content", ['{"word": "yes"}', '{"name": "note", "arguments": [1]}'])
def test_an_answer_that_names_no_function_is_refused(content: str) -> None:
    with pytest.raises(ModelUnreachable):
        as_tool_call(answer(content), [RATE, NOTE], "local/m")


# ------------------------------------------------------------------ the real model


@pytest.mark.model
async def test_the_real_model_calls_what_it_is_forced_to(smollm2: Path) -> None:
    valid: dict[str, Any] = {
        function["name"]: Draft202012Validator(function.get("parameters", {}))
        for function in (RATE, NOTE, CLOCK)
    }
    bodies = [
        request(RATE, NOTE, tool_choice={"type": "function", "function": {"name": "rate"}}),
        request(RATE, NOTE, tool_choice="required"),
        request(NOTE, RATE, tool_choice="required", temperature=1, seed=7),
    ]
    with LlamaServer() as server:
        server.start(smollm2, ctx_tokens=1024, threads=1, slots=1)
        async with Upstream(server.provider) as upstream:
            for body in bodies:
                functions = forced_tools(body)
                asked = guided_request({"temperature": 0, **body, "max_tokens": 80}, functions)
                made = as_tool_call(await upstream.complete(asked), functions, "local/m")
                (call,) = made["choices"][0]["message"]["tool_calls"]
                name = call["function"]["name"]
                assert name in {function["name"] for function in functions}
                arguments = json.loads(call["function"]["arguments"])
                assert valid[name].is_valid(arguments), (name, arguments)
