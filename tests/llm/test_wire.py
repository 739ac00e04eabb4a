from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omium.errors import ProtocolError
from omium.llm.wire import (
    SseDecoder,
    chunks_of,
    error_message,
    merge_chunks,
    read_json,
    sse_encode,
    usage_of,
    wants_usage,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


def objects(required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[dict]:
    return st.fixed_dictionaries(required, optional=optional)


def with_unknown(known: st.SearchStrategy[dict], *taken: str) -> st.SearchStrategy[dict]:
    names = texts.filter(lambda name: name not in {"delta", "index", *taken})
    return st.builds(
        lambda extra, body: {**extra, **body}, st.dictionaries(names, values, max_size=2), known
    )


tool_calls = with_unknown(
    objects(
        {"id": texts, "type": st.just("function")},
        {"function": objects({"name": texts, "arguments": texts | st.none()}, {})},
    ),
)
messages = with_unknown(
    objects(
        {"role": st.just("assistant")},
        {
            "content": st.none() | texts,
            "refusal": st.none() | texts,
            "tool_calls": st.none() | st.lists(tool_calls, max_size=3),
            "reasoning_content": texts,
            "annotations": st.lists(values, max_size=2),
        },
    ),
    "tool_calls",
)
logprobs = st.none() | objects(
    {},
    {
        "content": st.none() | st.lists(st.dictionaries(texts, scalars, max_size=2), max_size=3),
        "refusal": st.none(),
    },
)
choices = with_unknown(
    objects(
        {"message": messages, "finish_reason": st.none() | texts},
        {"logprobs": logprobs},
    ),
    "message",
    "finish_reason",
    "logprobs",
)
completions = with_unknown(
    objects(
        {"object": st.just("chat.completion"), "choices": st.lists(choices, max_size=3)},
        {
            "id": texts,
            "created": st.integers(),
            "model": texts,
            "system_fingerprint": st.none() | texts,
            "usage": st.dictionaries(texts, values, max_size=3),
        },
    ),
    "object",
    "choices",
    "usage",
).map(
    lambda completion: {
        **completion,
        "choices": [{**c, "index": number} for number, c in enumerate(completion["choices"])],
    }
)


@given(completions, st.integers(min_value=1, max_value=9))
def test_merging_the_chunks_of_a_completion_gives_it_back(completion: dict, pieces: int) -> None:
    chunks = chunks_of(completion, include_usage=True, pieces=pieces)
    sent = [json.loads(sse_encode(chunk)[6:]) for chunk in chunks]
    assert merge_chunks(sent) == completion


@given(completions)
def test_without_include_usage_everything_but_the_usage_comes_back(completion: dict) -> None:
    chunks = chunks_of(completion, include_usage=False)
    assert all("usage" not in chunk for chunk in chunks)
    assert merge_chunks(chunks) == {k: v for k, v in completion.items() if k != "usage"}


@given(texts, st.integers(min_value=1, max_value=50))
def test_a_text_comes_in_no_more_pieces_than_asked_for(text: str, pieces: int) -> None:
    completion = _completion({"role": "assistant", "content": text})
    deltas = [chunk["choices"][0]["delta"] for chunk in _chunks(completion, pieces=pieces)]
    parts = [delta["content"] for delta in deltas[1:-1]]
    assert len(parts) <= pieces
    assert all(parts)
    assert "".join(parts) == text


def test_chunks_come_in_the_order_of_the_api() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "apr", "arguments": '{"y":1}'}}
    completion = {
        "id": "x",
        "model": "m",
        "created": 1,
        "object": "chat.completion",
        "timings": {"ms": 3},
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": None, "tool_calls": [call]},
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2},
    }
    first, head, one, two, last, usage = chunks_of(completion, include_usage=True, pieces=2)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": None}
    assert first["timings"] == {"ms": 3}
    assert "timings" not in head
    assert head["choices"][0]["delta"]["tool_calls"][0] == {
        "index": 0,
        "id": "c1",
        "type": "function",
        "function": {"name": "apr", "arguments": ""},
    }
    assert one["choices"][0]["delta"] == {
        "tool_calls": [{"index": 0, "function": {"arguments": '{"y"'}}]
    }
    assert two["choices"][0]["finish_reason"] is None
    assert last["choices"][0]["delta"] == {}
    assert last["choices"][0]["finish_reason"] == "tool_calls"
    assert usage["choices"] == []
    assert usage["usage"] == {"prompt_tokens": 5, "completion_tokens": 2}
    assert all(chunk["usage"] is None for chunk in (first, head, one, two, last))
    assert {chunk["id"] for chunk in (first, head, one, two, last, usage)} == {"x"}


def test_interleaved_choices_and_tool_calls_are_put_together() -> None:
    def chunk(index: int, delta: Any, finish: str | None = None) -> dict:
        return {"id": "x", "choices": [{"index": index, "delta": delta, "finish_reason": finish}]}

    def part(index: int, arguments: str, **more: Any) -> dict:
        return {"index": index, "function": {"arguments": arguments, **more}}

    merged = merge_chunks(
        [
            chunk(1, {"role": "assistant", "content": "b"}),
            chunk(0, {"role": "assistant", "content": None}),
            chunk(0, {"tool_calls": [{"id": "i1", **part(1, "", name="two")}]}),
            chunk(0, {"tool_calls": [{"id": "i0", **part(0, "{", name="one")}]}),
            chunk(1, {"role": "assistant", "content": "ye"}, "stop"),
            chunk(0, {"tool_calls": [part(1, "{}"), part(0, "}")]}),
            chunk(0, None, "tool_calls"),
            {"id": "x", "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
        ]
    )
    zero, one = merged["choices"]
    assert one == {
        "index": 1,
        "message": {"role": "assistant", "content": "bye"},
        "finish_reason": "stop",
    }
    assert zero["message"]["content"] is None
    assert zero["message"]["tool_calls"] == [
        {"id": "i0", "function": {"name": "one", "arguments": "{}"}},
        {"id": "i1", "function": {"name": "two", "arguments": "{}"}},
    ]
    assert zero["finish_reason"] == "tool_calls"
    assert merged["usage"] == {"prompt_tokens": 1, "completion_tokens": 2}


def test_tool_calls_without_an_index_are_told_apart_by_their_id() -> None:
    deltas = [
        [{"id": "a", "function": {"name": "f", "arguments": "{"}}],
        [{"function": {"arguments": "}"}}],
        [{"id": "b", "function": {"name": "g", "arguments": "[]"}}],
    ]
    merged = merge_chunks({"choices": [{"delta": {"tool_calls": calls}}]} for calls in deltas)
    assert merged["choices"][0]["message"]["tool_calls"] == [
        {"id": "a", "function": {"name": "f", "arguments": "{}"}},
        {"id": "b", "function": {"name": "g", "arguments": "[]"}},
    ]


@pytest.mark.parametrize(
    "chunks",
    [
        [],
        [{"choices": 3}],
        [{"choices": ["x"]}],
        [{"choices": [{"index": -1}]}],
        [{"choices": [{"index": "0"}]}],
        [{"choices": [{"delta": "x"}]}],
        [{"choices": [{"delta": {"tool_calls": [1]}}]}],
    ],
)
def test_what_is_no_stream_is_refused(chunks: list) -> None:
    with pytest.raises(ProtocolError):
        merge_chunks(chunks)


@pytest.mark.parametrize(
    "completion", [{}, {"choices": {}}, {"choices": [{"index": 0}]}, {"choices": [None]}]
)
def test_what_is_no_completion_is_refused(completion: dict) -> None:
    with pytest.raises(ProtocolError):
        chunks_of(completion, include_usage=True)


@pytest.mark.parametrize(
    ("usage", "found"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 0}, (3, 0)),
        ({"prompt_tokens": 3}, None),
        ({"prompt_tokens": True, "completion_tokens": 1}, None),
        ({"prompt_tokens": -3, "completion_tokens": 1}, None),
        ({"prompt_tokens": 3.5, "completion_tokens": 1}, None),
        (None, None),
        ("many", None),
    ],
)
def test_usage_is_known_or_none(usage: Any, found: tuple[int, int] | None) -> None:
    assert usage_of({"usage": usage}) == found


def test_usage_is_wanted_only_when_asked_for() -> None:
    assert wants_usage({"stream_options": {"include_usage": True}})
    assert not wants_usage({"stream_options": {"include_usage": False}})
    assert not wants_usage({"stream_options": None})
    assert not wants_usage({})


@given(
    st.lists(st.dictionaries(texts, values, max_size=3), max_size=5),
    st.lists(st.integers(min_value=1, max_value=40), min_size=1, max_size=20),
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
)
def test_events_survive_any_cut_and_any_line_end(
    chunks: list[dict], cuts: list[int], end: bytes
) -> None:
    data = b": ping\n\n".join([b"", *map(sse_encode, chunks)]).replace(b"\n", end)
    # One blank line more settles whether the last carriage return was half of a line end.
    data += b"\n\n"
    decoder = SseDecoder()
    found: list[bytes] = []
    while data:
        size = cuts[len(data) % len(cuts)]
        found += decoder.feed(data[:size])
        data = data[size:]
    assert [json.loads(event) for event in found] == chunks


def test_an_event_has_a_bound() -> None:
    decoder = SseDecoder(event_bytes_max=100)
    with pytest.raises(ProtocolError, match="more than 100 bytes"):
        for _ in range(20):
            decoder.feed(b"data: 123456\n")


def test_a_lone_surrogate_is_sent_as_an_escape() -> None:
    assert json.loads(sse_encode({"a": "\ud800"})[6:]) == {"a": "\ud800"}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[1]",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b"{",
        b"\xff{}",
        b"[" * 100_000,
        b'"text"',
    ],
)
def test_only_a_json_object_is_read(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        read_json(data)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "no"}}, "no"),
        ({"error": "no"}, "no"),
        ({"detail": "no"}, "no"),
        ({"error": {"code": 3}}, None),
        ({}, None),
    ],
)
def test_error_messages_are_found(body: dict, message: str | None) -> None:
    assert error_message(body) == message


def _completion(message: dict) -> dict:
    return {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }


def _chunks(completion: dict, *, pieces: int) -> list[dict]:
    return chunks_of(completion, include_usage=False, pieces=pieces)
