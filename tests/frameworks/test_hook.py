"""The hook on httpx: which requests it marks, how, and what it makes of the answers."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from omium.errors import AttemptCancelled, AttemptFenced
from omium.frameworks import hook
from omium.frameworks.hook import CallSite, watched
from omium.frameworks.scope import (
    CONTROL_HEADER,
    ERROR_HEADER,
    SCOPE_HEADER,
    Place,
    Scope,
    decode_scope,
)
from omium.types import DEFAULT_TENANT, ExecutionId

GATEWAY = "http://127.0.0.1:4321"
URL = f"{GATEWAY}/v1/chat/completions"
Respond = Callable[[httpx.Request], httpx.Response]


def site(number: int = 1, **fields: Any) -> CallSite:
    return CallSite(
        tenant=DEFAULT_TENANT,
        execution_id=ExecutionId(f"ex_{number}"),
        agent="doer",
        epoch=number,
        gateway_url=GATEWAY,
        api_key=f"key.{number}",
        place=Place("0"),
        **fields,
    )


def client(respond: Respond | None = None) -> tuple[httpx.Client, list[httpx.Request]]:
    """A client of the user's own, and the requests that it sends."""
    sent: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return respond(request) if respond is not None else httpx.Response(200, json={})

    return httpx.Client(transport=httpx.MockTransport(handle)), sent


def body(text: str = "hello") -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}]}


def scope_of(request: httpx.Request) -> Scope:
    return decode_scope(request.headers[SCOPE_HEADER])


def test_a_request_to_the_gateway_carries_its_scope_and_the_attempts_key() -> None:
    http, sent = client()
    with http, watched(site()):
        http.post(URL, json=body(), headers={"authorization": "Bearer made-up"})
    assert sent[0].headers["authorization"] == "Bearer key.1"
    assert scope_of(sent[0]) == Scope(
        tenant=DEFAULT_TENANT,
        execution_id=ExecutionId("ex_1"),
        agent="doer",
        epoch=1,
        step="0",
        scope="0",
        ordinal=0,
        occurrence=0,
    )


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:43210/v1/chat/completions",
        "http://127.0.0.1/v1/chat/completions",
        "https://api.example.com/v1/chat/completions",
        "https://127.0.0.1:4321/v1/chat/completions",
    ],
)
def test_a_request_to_anywhere_else_is_left_alone(url: str) -> None:
    http, sent = client()
    with http, watched(site()):
        http.post(url, json=body(), headers={"authorization": "Bearer mine"})
    assert SCOPE_HEADER not in sent[0].headers
    assert sent[0].headers["authorization"] == "Bearer mine"


def test_outside_of_an_attempt_nothing_is_marked() -> None:
    http, sent = client()
    with watched(site()):
        pass
    with http:
        http.post(URL, json=body())
    assert SCOPE_HEADER not in sent[0].headers


@pytest.mark.parametrize("content", [b"", b"plain", b"[1]"])
def test_what_is_no_chat_completion_is_passed_on_without_a_scope(content: bytes) -> None:
    http, sent = client()
    with http, watched(site()):
        http.post(URL, content=content)
        http.get(f"{GATEWAY}/v1/models")
    assert [SCOPE_HEADER in request.headers for request in sent] == [False, False]
    assert [request.headers["authorization"] for request in sent] == ["Bearer key.1"] * 2


def test_calls_are_numbered_in_their_scope_and_equal_ones_among_themselves() -> None:
    http, sent = client()
    here = site()
    with http, watched(here):
        for text in ("a", "b", "a"):
            http.post(URL, json=body(text))
        with here.at(Place("0", "left")):
            http.post(URL, json=body("a"))
        here.place = Place("1")
        http.post(URL, json=body("a"))
    scopes = [scope_of(request) for request in sent]
    assert [(s.step, s.scope, s.ordinal, s.occurrence) for s in scopes] == [
        ("0", "0", 0, 0),
        ("0", "0", 1, 0),
        ("0", "0", 2, 1),
        ("0", "0|left", 0, 0),
        ("1", "1", 0, 0),
    ]


def test_a_request_that_an_sdk_sends_again_is_the_same_call() -> None:
    http, sent = client()
    with http, watched(site()):
        http.post(URL, json=body("a"))
        http.post(URL, json=body("b"))
        http.post(URL, json=body("a"), headers={"x-stainless-retry-count": "1"})
        http.post(URL, json=body("c"), headers={"x-stainless-retry-count": "0"})
    scopes = [scope_of(request) for request in sent]
    assert [(s.ordinal, s.occurrence) for s in scopes] == [(0, 0), (1, 0), (0, 0), (2, 0)]


def test_two_attempts_in_one_process_are_told_apart() -> None:
    http, sent = client()
    first, second = site(1), site(2)
    with http, watched(first), watched(second):
        http.post(URL, json=body(), headers={"authorization": "Bearer key.1"})
        http.post(URL, json=body(), headers={"authorization": "Bearer key.2"})
        # A key of nobody's: the context decides.
        with first.at(Place("7")):
            http.post(URL, json=body(), headers={"authorization": "Bearer key"})
        http.post(URL, json=body(), headers={"authorization": "Bearer key"})
    assert [scope_of(request).execution_id for request in sent] == ["ex_1", "ex_2", "ex_1", "ex_2"]


def test_a_thread_without_context_belongs_to_the_only_attempt_there_is() -> None:
    http, sent = client()
    here = site()
    with http, watched(here), here.at(Place("3")):
        thread = threading.Thread(target=lambda: http.post(URL, json=body()))
        thread.start()
        thread.join()
    assert scope_of(sent[0]).step == "3"


async def test_branches_that_run_side_by_side_keep_their_own_places() -> None:
    sent: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, json={})

    here = site()
    async with httpx.AsyncClient(transport=httpx.MockTransport(handle)) as http:
        both = asyncio.Barrier(2)

        async def branch(name: str) -> None:
            with here.at(Place("0", name)):
                await both.wait()
                await http.post(URL, json=body(name))

        with watched(here):
            await asyncio.gather(branch("left"), branch("right"))
    told = {json.loads(r.content)["messages"][0]["content"]: scope_of(r).scope for r in sent}
    assert told == {"left": "0|left", "right": "0|right"}


# ------------------------------------------------------------------ what comes back


def test_the_gateways_word_that_the_attempt_is_over_stops_it() -> None:
    http, sent = client(lambda _: httpx.Response(409, headers={CONTROL_HEADER: "fenced"}))
    here = site()
    with http, watched(here):
        with pytest.raises(AttemptFenced):
            http.post(URL, json=body())
        with pytest.raises(AttemptFenced):
            http.post(URL, json=body("another"))
    assert len(sent) == 1
    assert isinstance(here.stopped, AttemptFenced)


async def test_an_attempt_that_was_stopped_sends_nothing_more() -> None:
    http, sent = client()
    with (
        http,
        watched(site(stopped=AttemptCancelled("cancelled"))),
        pytest.raises(AttemptCancelled),
    ):
        http.post(URL, json=body())
    assert sent == []


def test_the_last_error_of_the_gateway_is_kept_until_a_call_goes_well() -> None:
    told = {ERROR_HEADER: json.dumps(["model_refused", ["m", 401, "no"]])}
    answers = iter([httpx.Response(401, headers=told), httpx.Response(200, json={})])
    http, _ = client(lambda _: next(answers))
    here = site()
    with http, watched(here):
        http.post(URL, json=body())
        assert here.model_error == ("model_refused", ["m", 401, "no"])
        http.post(URL, json=body("again"))
        assert here.model_error is None


@pytest.mark.parametrize("asynchronous", [False, True], ids=["blocking", "async"])
async def test_a_gateway_that_is_away_is_waited_for(asynchronous: bool) -> None:
    away = iter([httpx.ConnectError("refused"), httpx.ReadError("reset"), None])
    sent: list[Scope] = []

    def handle(request: httpx.Request) -> httpx.Response:
        sent.append(scope_of(request))
        error = next(away)
        if error is not None:
            raise error
        return httpx.Response(200, json={})

    transport = httpx.MockTransport(handle)
    here = site()
    with watched(here):
        if asynchronous:
            async with httpx.AsyncClient(transport=transport) as http:
                response = await http.post(URL, json=body())
        else:
            with httpx.Client(transport=transport) as blocking:
                response = await asyncio.to_thread(blocking.post, URL, json=body())
    assert response.status_code == 200
    # Each try is the same call.
    assert len(sent) == 3
    assert len(set(sent)) == 1
    assert not here.gateway_lost


def test_a_gateway_that_stays_away_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hook, "GATEWAY_WAIT_S", 0)

    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    http, sent = client(refuse)
    here = site()
    with http, watched(here), pytest.raises(httpx.ConnectError):
        http.post(URL, json=body())
    assert here.gateway_lost
    assert len(sent) == 1


def test_an_error_of_another_server_is_not_waited_out() -> None:
    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    http, sent = client(refuse)
    here = site()
    with http, watched(here), pytest.raises(httpx.ConnectError):
        http.post("https://api.example.com/", json={})
    assert not here.gateway_lost
    assert len(sent) == 1


class _Broken(httpx.SyncByteStream):
    def __iter__(self) -> Any:
        yield b'data: {"choices": []}\n\n'
        raise httpx.ReadError("reset")


def test_a_gateway_that_is_lost_in_mid_stream_is_noted() -> None:
    headers = {"content-type": "text/event-stream"}
    http, _ = client(lambda _: httpx.Response(200, headers=headers, stream=_Broken()))
    here = site()
    with (
        http,
        watched(here),
        http.stream("POST", URL, json=body()) as response,
        pytest.raises(httpx.ReadError),
    ):
        response.read()
    assert here.gateway_lost


def test_an_error_that_breaks_off_a_stream_is_noted() -> None:
    error = {"error": {"message": "x"}, "omium": ["model_unreachable", ["m", "gone"]]}
    events = [b'data: {"choices": []}\n\n', b"data: " + json.dumps(error).encode()[:20]]
    events += [json.dumps(error).encode()[20:] + b"\n\n"]
    headers = {"content-type": "text/event-stream"}

    def respond(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers=headers, content=iter(events))

    http, _ = client(respond)
    here = site()
    with http, watched(here), http.stream("POST", URL, json=body()) as response:
        assert b"".join(response.iter_bytes()) == b"".join(events)
    assert here.model_error == ("model_unreachable", ["m", "gone"])
