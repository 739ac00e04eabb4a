"""What the scripted provider answers: rules, tried in order, each with its answer. Pure.

A script is a record, or a JSON or YAML file of the same shape:

    {"rules": [
      {"when": {"contains": "APR"}, "answer": {"content": {"apr": 5.5}}, "times": 1},
      {"when": {"tool_messages": 0}, "answer": {"tool_calls": [{"name": "apr",
                                                                "arguments": {"years": 1}}]}},
      {"answer": {"error": {"status": 503, "message": "overloaded"}}}
    ]}

Where no rule matches, the last user message comes back as ``echo: …``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from omium.errors import InputError
from omium.llm.wire import JsonObject, error_body
from omium.testing.minimal import minimal_value

_SCRIPT_BYTES_MAX = 8 << 20


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class When(_Record):
    """What a request must be for a rule to match; what is left out matches everything.

    ``contains`` and ``matches`` (a regular expression, searched) look at the last user message,
    their ``any_`` twins at every message. ``tool_messages`` is the exact number of tool results
    in the conversation. ``predicate`` sees the whole request body; it exists in Python only.
    """

    model: str | None = None
    contains: str | None = None
    matches: str | None = None
    any_contains: str | None = None
    any_matches: str | None = None
    tool_messages: int | None = None
    stream: bool | None = None
    predicate: Callable[[JsonObject], bool] | None = None

    @field_validator("matches", "any_matches")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return pattern

    def holds(self, request: JsonObject) -> bool:
        """Whether ``request`` is what this asks for."""
        messages = _messages(request)
        last = last_user_text(request)
        every = [_text(message.get("content")) for message in messages]
        results = sum(message.get("role") == "tool" for message in messages)
        return (
            (self.model is None or request.get("model") == self.model)
            and (self.contains is None or self.contains in last)
            and (self.matches is None or re.search(self.matches, last) is not None)
            and _any(self.any_contains, every, lambda part, text: part in text)
            and _any(self.any_matches, every, lambda part, text: bool(re.search(part, text)))
            and (self.tool_messages is None or results == self.tool_messages)
            and (self.stream is None or bool(request.get("stream")) == self.stream)
            and (self.predicate is None or self.predicate(request))
        )


class ToolCall(_Record):
    """A tool call to answer with. ``arguments`` may be text, to answer with broken JSON."""

    name: str
    arguments: JsonValue = Field(default_factory=dict)
    id: str | None = None


class ErrorAnswer(_Record):
    """An HTTP error. ``body`` replaces the usual one in OpenAI's shape, which says ``message``."""

    status: int = Field(ge=400, le=599)
    message: str = "scripted error"
    body: JsonValue = None


class Answer(_Record):
    """One exact answer.

    ``content`` that is no text is sent as JSON text. ``auto`` answers a guided request with the
    smallest value that its schema, or the parameters of the tool it forces, accept; other
    requests get the rest of the answer. ``delay_s`` passes before the first byte,
    ``chunk_delay_s`` before each further chunk of a stream, whose text comes in ``chunks``
    pieces. ``drop_after_chunks`` breaks the connection after so many chunks, 0 before anything;
    a request without a stream is then dropped in the middle of its body, or before it with 0.
    ``malformed`` sends what is not JSON.
    """

    content: JsonValue = None
    tool_calls: tuple[ToolCall, ...] = ()
    auto: bool = False
    error: ErrorAnswer | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = Field(default=None, ge=0)
    completion_tokens: int | None = Field(default=None, ge=0)
    delay_s: float = Field(default=0.0, ge=0)
    chunk_delay_s: float = Field(default=0.0, ge=0)
    chunks: int = Field(default=4, ge=1, le=10_000)
    drop_after_chunks: int | None = Field(default=None, ge=0)
    malformed: bool = False


class Rule(_Record):
    """``answer`` for requests of which ``when`` holds, at most ``times`` times (None: always).

    In Python ``answer`` may be a function of the request body.
    """

    when: When = When()
    answer: Answer | Callable[[JsonObject], Answer] = Answer()
    times: int | None = Field(default=None, ge=1)


class Script(_Record):
    """All that a scripted provider knows.

    ``models`` is what ``/v1/models`` lists; with ``only_models`` any other is refused with 404.
    With ``api_key`` set, requests that do not carry it are refused with 401.
    """

    rules: tuple[Rule, ...] = ()
    models: tuple[str, ...] = ("scripted",)
    only_models: bool = False
    api_key: str | None = None


def load_script(path: Path) -> Script:
    """The script in the file at ``path``: YAML if its name ends so, else JSON.

    Raises InputError naming each mistake.
    """
    try:
        data = path.read_bytes()
        if len(data) > _SCRIPT_BYTES_MAX:
            raise InputError(f"script {str(path)!r} is larger than {_SCRIPT_BYTES_MAX} bytes")
        if path.suffix in {".yaml", ".yml"}:
            tree = YAML(typ="safe", pure=True).load(data)
        else:
            tree = json.loads(data)
        return Script.model_validate(tree)
    except OSError as error:
        raise InputError(f"cannot read script {str(path)!r}: {error.strerror}") from error
    except ValidationError as error:
        lines = (
            f"{'.'.join(map(str, item['loc'])) or 'the script'}: {item['msg']}"
            for item in error.errors()
        )
        raise InputError(f"script {str(path)!r}: " + "; ".join(lines)) from error
    except (ValueError, YAMLError) as error:
        raise InputError(f"script {str(path)!r}: {error}") from error


# ------------------------------------------------------------------ from request to answer


class Playback:
    """Where a run of a ``script`` stands: how often each of its rules was used."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self._used = [0] * len(script.rules)

    def choose(self, request: JsonObject) -> tuple[int | None, Answer]:
        """The number of the rule that answers ``request`` (None: the echo), and its answer."""
        for number, rule in enumerate(self.script.rules):
            spent = rule.times is not None and self._used[number] >= rule.times
            if not spent and rule.when.holds(request):
                self._used[number] += 1
                answer = rule.answer
                return number, answer if isinstance(answer, Answer) else answer(request)
        return None, Answer(content=f"echo: {last_user_text(request)}")


def completion_of(request: JsonObject, answer: Answer, *, number: int) -> JsonObject:
    """The completion that ``answer`` gives to ``request``; ``number`` makes its ids distinct.

    Raises InputError when ``auto`` finds no value for the request's schema.
    """
    content: Any = answer.content
    calls: Sequence[ToolCall] = answer.tool_calls
    if answer.auto:
        guided = _guided(request)
        if isinstance(guided, ToolCall):
            calls = (guided,)
        elif guided is not None:
            content = guided
    if content is not None and not isinstance(content, str):
        content = json.dumps(content, ensure_ascii=False)
    message: JsonObject = {"role": "assistant", "content": content, "refusal": None}
    if calls:
        message["tool_calls"] = [
            {
                "id": call.id or f"call_{number:06d}_{position}",
                "type": "function",
                "function": {"name": call.name, "arguments": _as_text(call.arguments)},
            }
            for position, call in enumerate(calls)
        ]
    asked = json.dumps(request.get("messages", []))
    said = json.dumps(message)
    prompt = answer.prompt_tokens if answer.prompt_tokens is not None else _tokens(asked)
    spent = answer.completion_tokens if answer.completion_tokens is not None else _tokens(said)
    finish = answer.finish_reason or ("tool_calls" if calls else "stop")
    return {
        "id": f"chatcmpl-{number:06d}",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": request.get("model") or "scripted",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": spent,
            "total_tokens": prompt + spent,
        },
    }


def error_answer_body(error: ErrorAnswer) -> JsonValue:
    """The body that goes with ``error``."""
    if error.body is not None:
        return error.body
    kind = "server_error" if error.status >= 500 else "invalid_request_error"
    return error_body(error.message, kind=kind)


def request_digest(request: Mapping[str, Any]) -> str:
    """SHA-256 of ``request``, the same however the answer is to be delivered (stream or not)."""
    question = {
        name: value for name, value in request.items() if name not in {"stream", "stream_options"}
    }
    text = json.dumps(question, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def last_user_text(request: JsonObject) -> str:
    """The text of the last user message; empty where there is none."""
    for message in reversed(_messages(request)):
        if message.get("role") == "user":
            return _text(message.get("content"))
    return ""


def _guided(request: JsonObject) -> ToolCall | Any | None:
    tool = _forced_tool(request)
    if tool is not None:
        return ToolCall(name=tool["name"], arguments=minimal_value(tool.get("parameters") or {}))
    format_ = request.get("response_format")
    if not isinstance(format_, Mapping):
        return None
    if format_.get("type") == "json_schema":
        described = format_.get("json_schema")
        schema = described.get("schema") if isinstance(described, Mapping) else None
        return minimal_value(schema if isinstance(schema, Mapping) else {})
    return {} if format_.get("type") == "json_object" else None


def _forced_tool(request: JsonObject) -> Mapping[str, Any] | None:
    choice = request.get("tool_choice")
    functions = [
        tool["function"]
        for tool in request.get("tools") or []
        if isinstance(tool, Mapping) and isinstance(tool.get("function"), Mapping)
    ]
    if choice == "required":
        return functions[0] if functions else None
    if isinstance(choice, Mapping):
        name = (choice.get("function") or {}).get("name")
        return next((function for function in functions if function.get("name") == name), None)
    return None


def _messages(request: JsonObject) -> list[Mapping[str, Any]]:
    messages = request.get("messages")
    if not isinstance(messages, list):
        return []
    return [message for message in messages if isinstance(message, Mapping)]


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, Mapping)]
        return "\n".join(part for part in parts if isinstance(part, str))
    return ""


def _any(wanted: str | None, texts: Sequence[str], found: Callable[[str, str], bool]) -> bool:
    return wanted is None or any(found(wanted, text) for text in texts)


def _as_text(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


def _tokens(text: str) -> int:
    # Four characters to a token: exact enough for figures that tests compare with themselves.
    return max(1, len(text) // 4)
