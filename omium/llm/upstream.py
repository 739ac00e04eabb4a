"""Asks one provider over the OpenAI chat completions API.

Owns the connections to that provider, the limits of a call, and the translation of everything
that can go wrong into two errors: ModelUnreachable, where the same call may work later, and
ModelRefused, where it will not. It never retries: whoever calls decides, knowingly.

Bodies are plain JSON objects that travel as they are. The ``openai`` client is not used here:
it reads organisation and header settings for OpenAI from the environment whichever provider it
talks to, takes a stream that breaks off between two events for a finished one, and cannot bound
an answer.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any

import httpx

from omium.errors import InputError, ModelRefused, ModelUnreachable, ProtocolError
from omium.llm.providers import Provider
from omium.llm.wire import (
    JsonObject,
    SseDecoder,
    chunks_of,
    error_message,
    merge_chunks,
    read_json,
    usage_of,
)

CONNECT_TIMEOUT_S = 10.0
RESPONSE_BYTES_MAX = 32 << 20
CONNECTIONS_MAX = 256
UNSTREAMED_MAX = 1_024
_DRAIN_S = 1.0
_ERROR_BYTES_MAX = 64 << 10
_REASON_CHARS_MAX = 500


class Upstream:
    """An async client of one ``provider``; one object serves any number of calls at a time.

    ``response_bytes_max`` bounds one answer, decompressed, whole or as a stream.
    ``transport`` replaces the network in tests.
    """

    def __init__(
        self,
        provider: Provider,
        *,
        response_bytes_max: int = RESPONSE_BYTES_MAX,
        connections_max: int = CONNECTIONS_MAX,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.provider = provider
        self._response_bytes_max = response_bytes_max
        headers = dict(provider.headers)
        if provider.api_key is not None:
            headers["authorization"] = f"Bearer {provider.api_key.get_secret_value()}"
        self._client = httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(provider.timeout_s, connect=CONNECT_TIMEOUT_S),
            limits=httpx.Limits(max_connections=connections_max),
            follow_redirects=False,
            # The machine's proxy settings are for what lies beyond the machine.
            trust_env=not _is_loopback(provider.base_url),
            transport=transport,
        )
        self._url = f"{provider.base_url.rstrip('/')}/chat/completions"
        self._unstreamed: set[str] = set()

    async def complete(
        self, body: Mapping[str, Any], *, headers: Mapping[str, str] | None = None
    ) -> JsonObject:
        """The completion that answers the request ``body``, whose ``stream`` is switched off.

        ``headers`` go with this request only. Takes at most the provider's ``timeout_s``.
        Raises ModelUnreachable and ModelRefused.
        """
        request = {name: value for name, value in body.items() if name != "stream_options"}
        request["stream"] = False
        deadline_s = self._deadline_s()
        name = self._name_of(body)
        async with self._opened(request, headers, name, deadline_s) as response:
            data = bytearray()
            async with aclosing(self._blocks(response, name, deadline_s)) as blocks:
                async for block in blocks:
                    data += block
        return _completion(bytes(data), name)

    async def stream(
        self, body: Mapping[str, Any], *, headers: Mapping[str, str] | None = None
    ) -> AsyncGenerator[JsonObject]:
        """The chunks that answer the request ``body``, whose ``stream`` is switched on.

        Ends only after the provider said that the stream is complete (``[DONE]``); one that
        breaks off before raises ModelUnreachable after the chunks that did arrive. A whole answer
        from a provider that knows no streams comes in chunks as well. The whole
        stream takes at most the provider's ``timeout_s``. Close the generator (``aclose``) when
        leaving it early. Raises ModelUnreachable and ModelRefused.
        """
        request = {**body, "stream": True}
        deadline_s = self._deadline_s()
        name = self._name_of(body)
        decoder = SseDecoder(self._response_bytes_max)
        async with (
            self._opened(request, headers, name, deadline_s) as response,
            aclosing(self._blocks(response, name, deadline_s)) as blocks,
        ):
            if response.headers.get("content-type", "").startswith("application/json"):
                whole = _completion(b"".join([block async for block in blocks]), name)
                for chunk in chunks_of(whole, include_usage=True):
                    yield chunk
                return
            async for block in blocks:
                try:
                    events = decoder.feed(block)
                except ProtocolError as error:
                    raise ModelUnreachable(name, _clip(str(error))) from error
                for event in events:
                    if event.strip() == b"[DONE]":
                        await _drain(blocks)
                        return
                    yield _chunk(event, name)
            raise ModelUnreachable(name, "the stream broke off before its end")

    async def gather(
        self, body: Mapping[str, Any], see: Callable[[JsonObject], None]
    ) -> JsonObject:
        """The same as ``complete``, asked for as a stream, whose chunks ``see`` is shown as they
        come.

        Whole answers are asked for where the provider is set so, where no stream carries what
        is asked for, and from a model that has refused a stream or has left the usage out.
        """
        model = str(body.get("model", ""))
        if not self.provider.stream or model in self._unstreamed or _is_spoken(body):
            return await self.complete(body)
        chunks: list[JsonObject] = []
        try:
            request = {**body, "stream_options": {"include_usage": True}}
            async with aclosing(self.stream(request)) as stream:
                async for chunk in stream:
                    chunks.append(chunk)
                    see(chunk)
            completion = merge_chunks(chunks)
        except ModelRefused as refusal:
            # As from OpenAI to organisations that it has not verified, and from servers that do
            # not know ``stream_options``: nothing was answered, and nothing paid for, yet.
            if chunks or refusal.status not in (400, 422) or "stream" not in refusal.reason:
                raise
            self._ask_for_whole(model)
            return await self.complete(body)
        except ProtocolError as error:
            raise ModelUnreachable(self._name_of(body), _clip(str(error))) from error
        if usage_of(completion) is None:
            self._ask_for_whole(model)
        return completion

    def _ask_for_whole(self, model: str) -> None:
        if len(self._unstreamed) < UNSTREAMED_MAX:
            self._unstreamed.add(model)

    async def close(self) -> None:
        """Closes every connection. The object cannot be used afterwards."""
        await self._client.aclose()

    async def __aenter__(self) -> Upstream:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _name_of(self, body: Mapping[str, Any]) -> str:
        return f"{self.provider.name}/{body.get('model', '')}"

    def _deadline_s(self) -> float:
        return asyncio.get_running_loop().time() + self.provider.timeout_s

    @asynccontextmanager
    async def _opened(
        self,
        body: JsonObject,
        headers: Mapping[str, str] | None,
        name: str,
        deadline_s: float,
    ) -> AsyncIterator[httpx.Response]:
        """The response to ``body``, its status known to be good and its content still to come."""
        try:
            # Escaped, so that a lone surrogate passes as it came.
            content = json.dumps(body, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(
                f"the request for {name!r} cannot be written as JSON: {error}"
            ) from error
        request = self._client.build_request(
            "POST",
            self._url,
            content=content,
            headers={**(headers or {}), "content-type": "application/json"},
        )
        try:
            async with asyncio.timeout_at(deadline_s):
                response = await self._client.send(request, stream=True)
        except (httpx.HTTPError, TimeoutError) as error:
            raise self._unreachable(name, error) from error
        try:
            if not response.is_success:
                raise await self._refusal(response, name, deadline_s)
            yield response
        finally:
            await response.aclose()

    async def _blocks(
        self, response: httpx.Response, name: str, deadline_s: float
    ) -> AsyncGenerator[bytes]:
        """The content of ``response`` as it arrives, within the deadline and the size bound."""
        content = response.aiter_bytes()
        received = 0
        while True:
            try:
                # Only the wait is timed: what the caller does in between is not cut short.
                async with asyncio.timeout_at(deadline_s):
                    block = await anext(content, None)
            except (httpx.HTTPError, TimeoutError) as error:
                raise self._unreachable(name, error) from error
            if block is None:
                return
            received += len(block)
            if received > self._response_bytes_max:
                raise ModelUnreachable(name, f"answer above {self._response_bytes_max} bytes")
            yield block

    async def _refusal(
        self, response: httpx.Response, name: str, deadline_s: float
    ) -> ModelUnreachable | ModelRefused:
        data = b""
        async with aclosing(self._blocks(response, name, deadline_s)) as blocks:
            async for block in blocks:
                data += block
                if len(data) > _ERROR_BYTES_MAX:
                    break
        status = response.status_code
        reason = _reason(data) or response.reason_phrase
        if status >= 500:
            return ModelUnreachable(name, _clip(f"HTTP {status}: {reason}"))
        if response.is_redirect:
            reason = f"it redirects to {response.headers.get('location')!r}; change the base URL"
        return ModelRefused(name, status, _clip(reason))

    def _unreachable(self, name: str, error: httpx.HTTPError | TimeoutError) -> ModelUnreachable:
        match error:
            case httpx.ConnectTimeout():
                reason = f"no connection to {self._url} within {CONNECT_TIMEOUT_S:g} s"
            case httpx.TimeoutException() | TimeoutError():
                reason = f"no answer within {self.provider.timeout_s:g} s"
            case httpx.ConnectError():
                reason = f"no connection to {self._url}: {error}"
            case _:
                reason = f"the connection broke: {str(error) or type(error).__name__}"
        return ModelUnreachable(name, _clip(reason))


async def _drain(blocks: AsyncGenerator[bytes]) -> None:
    # Read to the end of the response, the connection can serve the next call; a provider that
    # keeps it open only costs the connection.
    try:
        async with asyncio.timeout(_DRAIN_S):
            async for _ in blocks:
                continue
    except (ModelUnreachable, TimeoutError):
        return


def _chunk(event: bytes, name: str) -> JsonObject:
    chunk = _parse(event, name)
    error = chunk.get("error")
    if not error:
        return chunk
    # The status line was sent before the error was known, so the body has to say whose fault.
    code = error.get("code") if isinstance(error, Mapping) else None
    reason = error_message(chunk) or repr(error)
    if isinstance(code, int) and 400 <= code < 500:
        raise ModelRefused(name, code, _clip(reason))
    raise ModelUnreachable(name, _clip(f"error within the stream: {reason}"))


def _completion(data: bytes, name: str) -> JsonObject:
    completion = _parse(data, name)
    if not isinstance(completion.get("choices"), list):
        raise ModelUnreachable(name, _clip(f"the answer holds no choices: {data!r}"))
    return completion


def _is_spoken(body: Mapping[str, Any]) -> bool:
    """Whether sound is asked for, most formats of which come in no stream."""
    return "audio" in (body.get("modalities") or ())


def _parse(data: bytes, name: str) -> JsonObject:
    try:
        return read_json(data)
    except ProtocolError as error:
        raise ModelUnreachable(name, _clip(f"it answered what is no answer: {error}")) from error


def _reason(data: bytes) -> str:
    try:
        return error_message(read_json(data)) or data.decode(errors="replace")
    except ProtocolError:
        # Proxies in between answer in text and HTML: better than nothing.
        return data.decode(errors="replace").strip()


def _clip(text: str) -> str:
    return text if len(text) <= _REASON_CHARS_MAX else f"{text[:_REASON_CHARS_MAX]}…"


def _is_loopback(url: str) -> bool:
    host = httpx.URL(url).host
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
