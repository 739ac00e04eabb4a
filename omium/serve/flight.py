"""One LLM call on its way, shared by everybody who asks for the same one.

The call goes on when those who asked have gone: an agent that died will be asked for it
again by its successor, and finds the answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, Protocol

from msgspec.structs import replace

from omium.actors import messages as m
from omium.actors.attempt import CALL_DEADLINE_S
from omium.actors.link import Link
from omium.actors.payloads import Blobs, payload_of, value_of
from omium.actors.shards.routing import Shards
from omium.errors import AttemptFenced, OmiumError, PlatformError, ProtocolError, Unavailable
from omium.execution.calls import Replay, Run
from omium.execution.events import CallCompleted, CallFailed
from omium.execution.records import CallKey, Failure, Usage
from omium.frameworks.scope import Scope
from omium.llm.guided_tools import as_tool_call, forced_tools, guided_request
from omium.llm.providers import LOCAL
from omium.llm.router import Router
from omium.llm.wire import chunks_of, merge_chunks, usage_of
from omium.serve.deltas import Deltas
from omium.types import AgentName


class Flight:
    """A call under way. ``completion`` is its whole answer, ``chunks`` the same as a stream.

    ``epoch`` is that of the attempt which asked first, 0 where none did.
    """

    def __init__(self, epoch: int = 0) -> None:
        self.epoch = epoch
        self._chunks: list[dict[str, Any]] = []
        self._grown = asyncio.Event()
        self._done: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.source = ""
        """``journal`` when the answer was recorded before, else who served it."""

    # ------------------------------------------------------------------ for those who ask

    async def completion(self) -> dict[str, Any]:
        """The whole answer. Raises what the call failed with."""
        return await asyncio.shield(self._done)

    @property
    def is_fenced(self) -> bool:
        """Whether it came to nothing, since the attempt that asked first was over."""
        done = self._done
        return done.done() and isinstance(done.exception(), AttemptFenced)

    async def begun(self) -> None:
        """Wait until there is something to send. Raises what the call failed with."""
        while not self._chunks and not self._done.done():
            await self._grown.wait()
        if not self._chunks:
            self._done.result()

    async def chunks(self, *, usage: bool) -> AsyncIterator[dict[str, Any]]:
        """The answer as a stream, from its beginning however late one asks.

        With ``usage``, a chunk without choices that carries the usage comes last. Raises what
        the call failed with.
        """
        position = 0
        while True:
            while position < len(self._chunks):
                chunk = self._chunks[position]
                position += 1
                if chunk.get("choices") or usage:
                    yield chunk
            if self._done.done():
                completion = self._done.result()
                if position == 0:
                    for chunk in chunks_of(completion, include_usage=usage):
                        yield chunk
                return
            await self._grown.wait()

    # ------------------------------------------------------------------ for who flies

    def add(self, chunk: dict[str, Any]) -> None:
        self._chunks.append(chunk)
        self._wake()

    def land(self, completion: dict[str, Any]) -> None:
        self._done.set_result(completion)
        self._wake()

    def crash(self, error: BaseException) -> None:
        self._done.set_exception(error)
        self._done.exception()  # looked at: there may be nobody left to raise it to
        self._wake()

    def _wake(self) -> None:
        self._grown.set()
        self._grown = asyncio.Event()


class Understudy(Protocol):
    """Who answers in place of a provider, in replays."""

    def completion(self, agent: AgentName, key: CallKey) -> tuple[dict[str, Any], str] | None:
        """The answer to a call and who gave it; None has the provider asked.

        Raises ``ServiceError`` where nobody is to be asked.
        """
        ...


class Pilot:
    """Makes calls: looks in the journal, asks the provider, records the answer."""

    def __init__(
        self,
        link: Link | Shards,
        router: Router,
        blobs: Blobs,
        understudy: Understudy | None = None,
    ) -> None:
        self._link = link
        self._router = router
        self._blobs = blobs
        self._understudy = understudy

    async def fly(
        self, flight: Flight, body: dict[str, Any], scope: Scope | None, key: CallKey | None
    ) -> None:
        """Carry one call through. How it ended is told through ``flight``."""
        try:
            if scope is None or key is None:
                completion, flight.source = await self._ask(flight, body)
            else:
                completion = await self._journaled(flight, body, scope, key)
        except (OmiumError, AttemptFenced) as error:
            flight.crash(error)
        except asyncio.CancelledError:
            flight.crash(Unavailable("the call was given up"))
            raise
        except Exception as error:
            flight.crash(PlatformError(f"the gateway failed: {type(error).__name__}: {error}"))
            raise
        else:
            flight.land(completion)

    async def _journaled(
        self, flight: Flight, body: dict[str, Any], scope: Scope, key: CallKey
    ) -> dict[str, Any]:
        begin = m.BeginCall(
            execution_id=scope.execution_id,
            agent=scope.agent,
            epoch=scope.epoch,
            step=scope.step,
            key=key,
            ordinal=scope.ordinal,
            idempotent=True,
            request=await payload_of(body, self._blobs, scope.tenant),
        )
        begun = await self._link.call(
            begin, deadline_s=CALL_DEADLINE_S, again=replace(begin, again=True)
        )
        if isinstance(begun, m.Refused):
            raise AttemptFenced(begun.refusal.message)
        match begun.decision:
            case Replay(response=response):
                flight.source = "journal"
                return await value_of(response, self._blobs, scope.tenant)
            case Run():
                return await self._recorded(flight, body, scope, key, begun.index)
            case other:
                raise ProtocolError(f"no version decides {other!r} about an LLM call")

    async def _recorded(
        self, flight: Flight, body: dict[str, Any], scope: Scope, key: CallKey, call: int
    ) -> dict[str, Any]:
        started_s = time.monotonic()
        held: list[dict[str, Any]] = []
        deltas = Deltas(self._link, scope, call)
        try:
            understudy = self._understudy
            known = understudy.completion(scope.agent, key) if understudy is not None else None
            completion, flight.source = known or await self._ask(
                flight, body, held=held, deltas=deltas
            )
        except OmiumError as error:
            failure = Failure(kind=error.kind, message=str(error)[:2_000], agent=scope.agent)
            await self._end(scope, CallFailed(agent=scope.agent, call=call, failure=failure))
            raise
        finally:
            deltas.close()
        counted = usage_of(completion)
        usage = Usage()
        if counted is not None:
            usage = Usage(prompt_tokens=counted[0], completion_tokens=counted[1])
        await self._end(
            scope,
            CallCompleted(
                agent=scope.agent,
                call=call,
                response=await payload_of(completion, self._blobs, scope.tenant),
                served_by=flight.source,
                usage=usage,
                duration_ms=round((time.monotonic() - started_s) * 1000),
            ),
        )
        for chunk in held:
            flight.add(chunk)
        return completion

    async def _ask(
        self,
        flight: Flight,
        body: dict[str, Any],
        *,
        held: list[dict[str, Any]] | None = None,
        deltas: Deltas | None = None,
    ) -> tuple[dict[str, Any], str]:
        """Ask the provider. What ends a stream is put into ``held``, where that is given,
        instead of being sent, so that nobody takes an answer for whole before it is on record."""
        upstream, route = await self._router.route(str(body.get("model", "")))
        request = {**body, "model": route.model}
        forced = forced_tools(body) if route.provider.name == LOCAL else []
        if forced:
            completion = await upstream.complete(guided_request(request, forced))
            return as_tool_call(completion, forced, route.name), route.name
        if not body.get("stream"):
            if deltas is None:
                return await upstream.complete(request), route.name
            return await upstream.gather(request, deltas.see), route.name
        options = body.get("stream_options") or {}
        request["stream_options"] = {**options, "include_usage": True}
        chunks: list[dict[str, Any]] = []
        ended = False
        async for chunk in upstream.stream(request):
            chunks.append(chunk)
            ended = ended or _ends(chunk)
            if deltas is not None:
                deltas.see(chunk)
            if ended and held is not None:
                held.append(chunk)
            else:
                flight.add(chunk)
        return merge_chunks(chunks), route.name

    async def _end(self, scope: Scope, event: CallCompleted | CallFailed) -> None:
        answer = await self._link.call(
            m.EndCall(execution_id=scope.execution_id, event=event), deadline_s=CALL_DEADLINE_S
        )
        if isinstance(answer, m.Refused):
            raise PlatformError(f"the answer was not recorded: {answer.refusal.message}")


def _ends(chunk: dict[str, Any]) -> bool:
    choices = chunk.get("choices") or []
    return not choices or any(choice.get("finish_reason") for choice in choices)
