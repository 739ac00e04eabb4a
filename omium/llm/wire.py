"""The wire format of the OpenAI chat completions API. Pure: values in, values out.

Owns how a stream of chunks and a whole completion turn into one another, what the usage of a
completion is, and how events and errors look in bytes. It opens no connection and knows no
provider; bodies stay plain JSON objects, so that fields that this version does not know pass
through unharmed.

The law that replay stands on: for a completion ``c`` in the form that the API describes
(choices numbered from 0, tool calls without a position of their own),
``merge_chunks(chunks_of(c, include_usage=True)) == c``.

Source of the shapes: "Chat Completions" and "Streaming" in OpenAI's API reference.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from omium.errors import ProtocolError

JsonObject: TypeAlias = dict[str, Any]

SSE_DONE = b"data: [DONE]\n\n"
"""The event that ends a stream."""

# Top-level fields that OpenAI repeats in every chunk; all others travel once, in the first.
_REPEATED = ("id", "created", "model", "service_tier", "system_fingerprint")

# Strings that a delta states whole; every other string in a delta is a piece of a longer one.
_WHOLE = frozenset({"role", "id", "type", "name", "format"})

_EVENT_BYTES_MAX = 16 << 20


class _Pieces(list[str]):
    """A string that is still arriving; joined once at the end, so that merging stays linear."""


# ------------------------------------------------------------------ chunks -> completion


def merge_chunks(chunks: Iterable[Mapping[str, Any]]) -> JsonObject:
    """The completion that a stream of ``chunks`` amounts to.

    Strings in deltas are joined, tool calls are put together by their index, log probabilities
    are appended, and everything else keeps the last value that was not null. ``usage`` is there
    if the stream carried it.

    Raises ProtocolError when the chunks do not have the shape of a stream, or there are none.
    """
    whole: JsonObject = {}
    choices: dict[int, JsonObject] = {}
    for chunk in chunks:
        for name, value in chunk.items():
            if name != "choices":
                _set(whole, name, value)
        for choice in _objects(chunk.get("choices"), "choices"):
            index = _index(choice, default=0)
            target = choices.setdefault(index, {"index": index, "message": {}})
            _merge_choice(target, choice)
    if not whole and not choices:
        raise ProtocolError("a stream without a single chunk")
    whole["object"] = "chat.completion"
    whole["choices"] = [_finish_choice(choices[index]) for index in sorted(choices)]
    return whole


def _merge_choice(target: JsonObject, choice: Mapping[str, Any]) -> None:
    for name, value in choice.items():
        match name:
            case "delta":
                _merge_delta(target["message"], value)
            case "logprobs" if isinstance(value, Mapping):
                if not isinstance(target.get(name), dict):
                    target[name] = {}
                _merge_fields(target[name], value)
            case _:
                _set(target, name, value)


def _merge_delta(message: JsonObject, delta: Any) -> None:
    if delta is None:
        return
    if not isinstance(delta, Mapping):
        raise ProtocolError(f"a delta must be an object, found {_brief(delta)}")
    for name, value in delta.items():
        if name == "tool_calls" and value is not None:
            calls = message.get(name)
            if not isinstance(calls, dict):
                calls = message[name] = {}
            for call in _objects(value, "tool_calls"):
                _merge_tool_call(calls, call)
        else:
            _merge_field(message, name, value)


def _merge_tool_call(calls: dict[int, JsonObject], call: Mapping[str, Any]) -> None:
    last = max(calls, default=-1)
    # Some servers leave the index out: a call that brings an id is then a new one.
    index = _index(call, default=last + 1 if call.get("id") or last < 0 else last)
    target = calls.setdefault(index, {})
    _merge_fields(target, {name: value for name, value in call.items() if name != "index"})


def _merge_fields(target: JsonObject, source: Mapping[str, Any]) -> None:
    for name, value in source.items():
        _merge_field(target, name, value)


def _merge_field(target: JsonObject, name: str, value: Any) -> None:
    known = target.get(name)
    if isinstance(value, str) and name not in _WHOLE:
        if isinstance(known, _Pieces):
            known.append(value)
        else:
            target[name] = _Pieces([value])
    elif isinstance(value, list):
        target[name] = [*known, *value] if isinstance(known, list) else list(value)
    elif isinstance(value, Mapping):
        if not isinstance(known, dict):
            known = target[name] = {}
        _merge_fields(known, value)
    else:
        _set(target, name, value)


def _set(target: JsonObject, name: str, value: Any) -> None:
    # A null, or an empty whole string, tells nothing about a field that is known already.
    if name not in target or (value is not None and not (value == "" and target[name])):
        target[name] = value


def _finish_choice(choice: JsonObject) -> JsonObject:
    message = choice["message"]
    calls = message.get("tool_calls")
    if isinstance(calls, dict):
        message["tool_calls"] = [calls[index] for index in sorted(calls)]
    choice.setdefault("finish_reason", None)
    return _joined(choice)


def _joined(value: Any) -> Any:
    if isinstance(value, _Pieces):
        return "".join(value)
    if isinstance(value, dict):
        return {name: _joined(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_joined(inner) for inner in value]
    return value


# ------------------------------------------------------------------ completion -> chunks


def chunks_of(
    completion: Mapping[str, Any], *, include_usage: bool, pieces: int = 8
) -> list[JsonObject]:
    """The chunks that stream ``completion``, in the order in which OpenAI sends them.

    ``pieces`` bounds into how many chunks a text is cut. ``include_usage`` adds the last chunk
    with the usage, as ``stream_options.include_usage`` asks for; without it the usage is left
    out.

    Raises ProtocolError when ``completion`` does not have the shape of one.
    """
    if pieces < 1:
        raise ValueError(f"pieces must be at least 1, found {pieces}")
    if not isinstance(completion.get("choices"), list):
        raise ProtocolError("a completion without a list of choices")
    base: JsonObject = {"object": "chat.completion.chunk"}
    base |= {name: completion[name] for name in _REPEATED if name in completion}
    extra = {
        name: value
        for name, value in completion.items()
        if name not in base and name not in {"choices", "usage"}
    }
    tell_usage = include_usage and "usage" in completion
    if tell_usage:
        base["usage"] = None
    bodies = [
        [body]
        for position, choice in enumerate(_objects(completion["choices"], "choices"))
        for body in _choice_chunks(choice, position, pieces)
    ]
    chunks = [{**base, "choices": body} for body in bodies or [[]]]
    chunks[0] |= extra
    if tell_usage:
        chunks.append({**base, "choices": [], "usage": completion["usage"]})
    return chunks


def _choice_chunks(choice: Mapping[str, Any], position: int, pieces: int) -> Iterator[JsonObject]:
    index = _index(choice, default=position)
    message = choice.get("message")
    if not isinstance(message, Mapping):
        raise ProtocolError(f"choice {index} has no message")
    first = dict(message)
    later: list[JsonObject] = []
    for name in ("content", "refusal"):
        text = message.get(name)
        if isinstance(text, str):
            first[name] = ""
            later += [{name: piece} for piece in _cut(text, pieces)]
    calls = message.get("tool_calls")
    if isinstance(calls, list) and calls:
        del first["tool_calls"]
        later += [
            {"tool_calls": [part]}
            for number, call in enumerate(_objects(calls, "tool_calls"))
            for part in _tool_call_parts(number, call, pieces)
        ]
    for number, delta in enumerate([first, *later]):
        body: JsonObject = {"index": index, "delta": delta, "finish_reason": None}
        if "logprobs" in choice:
            body["logprobs"] = choice["logprobs"] if number == 0 else None
        yield body
    last: JsonObject = {name: value for name, value in choice.items() if name != "message"}
    if "logprobs" in last:
        last["logprobs"] = None
    yield {**last, "index": index, "delta": {}, "finish_reason": choice.get("finish_reason")}


def _tool_call_parts(number: int, call: Mapping[str, Any], pieces: int) -> Iterator[JsonObject]:
    head: JsonObject = {**call, "index": number}
    function = call.get("function")
    if not isinstance(function, Mapping) or not isinstance(function.get("arguments"), str):
        yield head
        return
    head["function"] = {**function, "arguments": ""}
    yield head
    for piece in _cut(function["arguments"], pieces):
        yield {"index": number, "function": {"arguments": piece}}


def _cut(text: str, pieces: int) -> list[str]:
    size = max(1, -(-len(text) // pieces))
    return [text[start : start + size] for start in range(0, len(text), size)]


# ------------------------------------------------------------------ reading bodies


def usage_of(completion: Mapping[str, Any]) -> tuple[int, int] | None:
    """``(prompt_tokens, completion_tokens)`` of a completion; None where it does not say."""
    usage = completion.get("usage")
    if not isinstance(usage, Mapping):
        return None
    counts = (usage.get("prompt_tokens"), usage.get("completion_tokens"))
    prompt, answer = counts
    if type(prompt) is not int or type(answer) is not int or prompt < 0 or answer < 0:
        return None
    return prompt, answer


def wants_usage(request: Mapping[str, Any]) -> bool:
    """Whether a streaming ``request`` asks for the chunk with the usage."""
    options = request.get("stream_options")
    return isinstance(options, Mapping) and options.get("include_usage") is True


def read_json(data: bytes | str) -> JsonObject:
    """The JSON object in ``data``, strictly: UTF-8, finite numbers, an object at the top.

    Raises ProtocolError with what was found.
    """
    try:
        value = json.loads(data, parse_float=_finite, parse_constant=_finite)
    except RecursionError:
        raise ProtocolError("JSON that is nested too deeply") from None
    except ValueError as error:
        raise ProtocolError(f"malformed JSON ({error}): {_brief(data)}") from error
    if not isinstance(value, dict):
        raise ProtocolError(f"expected a JSON object, found {_brief(data)}")
    return value


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} cannot be written as JSON again")
    return value


# ------------------------------------------------------------------ events and errors


def sse_encode(chunk: Mapping[str, Any]) -> bytes:
    """``chunk`` as one server-sent event (WHATWG HTML, "Server-sent events")."""
    text = json.dumps(chunk, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    try:
        data = text.encode()
    except UnicodeEncodeError:
        # A lone surrogate is legal in JSON as an escape, and in no other way.
        data = json.dumps(chunk, separators=(",", ":"), allow_nan=False).encode()
    return b"data: " + data + b"\n\n"


class SseDecoder:
    """Cuts a stream of bytes into the data of its server-sent events.

    Comments (``: ping``) and other fields are skipped. ``event_bytes_max`` bounds one event.
    """

    def __init__(self, event_bytes_max: int = _EVENT_BYTES_MAX) -> None:
        self._event_bytes_max = event_bytes_max
        self._buffer = b""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The events that ``data`` completes.

        Raises ProtocolError when an event outgrows the bound.
        """
        # A carriage return at the very end may be half of a line end: it waits for the rest.
        buffer = self._buffer + data
        held = b"\r" if buffer.endswith(b"\r") else b""
        buffer = buffer[: len(buffer) - len(held)].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = buffer.split(b"\n")
        self._buffer = rest + held
        events: list[bytes] = []
        for line in lines:
            if line.startswith(b"data:"):
                value = line[5:].removeprefix(b" ")
                self._data.append(value)
                self._size += len(value)
            elif not line and self._data:
                events.append(b"\n".join(self._data))
                self._data, self._size = [], 0
        if self._size + len(self._buffer) > self._event_bytes_max:
            raise ProtocolError(f"an event of more than {self._event_bytes_max} bytes")
        return events


def error_body(
    message: str,
    *,
    kind: str = "invalid_request_error",
    code: str | None = None,
    param: str | None = None,
) -> JsonObject:
    """An error in OpenAI's shape; ``kind`` is its ``type``."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def error_message(body: Mapping[str, Any]) -> str | None:
    """What an error in OpenAI's shape, or in one of the shapes near it, says; None if nothing."""
    error = body.get("error", body)
    if isinstance(error, str):
        return error
    if isinstance(error, Mapping):
        for name in ("message", "detail", "reason"):
            if isinstance(error.get(name), str):
                return error[name]
    return None


# ------------------------------------------------------------------ shapes


def _objects(value: Any, what: str) -> list[Mapping[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise ProtocolError(f"{what} must be a list of objects, found {_brief(value)}")
    return value


def _index(value: Mapping[str, Any], *, default: int) -> int:
    index = value.get("index")
    if index is None:
        return default
    if type(index) is not int or index < 0:
        raise ProtocolError(f"an index must be a whole number from 0, found {_brief(index)}")
    return index


def _brief(value: Any) -> str:
    text = value if isinstance(value, bytes) else repr(value)
    return repr(text[:80]) if isinstance(text, bytes) else text[:80]
