"""Records of the group, written, read and written on condition, and what each client saw of it.

A record counts its versions, so that its model is stricter than a register's: an answer tells
which write it follows.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from random import Random
from typing import TypeAlias

from omium.actors.client import Client
from omium.errors import Conflict, OmiumError, Unavailable
from omium.execution.events import Request
from omium.testing.linearizability import Model, Recorder, Result, check

KIND = "chaos"
NEWCOMERS = 3
PATIENCE_S = 0.5
"""After so long a newcomer looks elsewhere: it may have come to one that stands still."""

STAY_S = 1.0
"""After so long a newcomer goes, whatever becomes of what it has asked: one that waits for a leader
that is cut off writes nothing under the next."""

FIND_TIMEOUT_S = 60.0
KEYS_AT_ONCE = 3
OPERATIONS_PER_KEY = 60
"""After so many another key is taken: a search grows faster than the history."""

CHECK_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Answers (version, value), and (0, None) where there is nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """Writes ``value``, where ``expect`` is given only over that version. Answers the new version,
    or None where another one was there."""

    value: str
    expect: int | None = None


Asked: TypeAlias = Look | Put
Record: TypeAlias = tuple[int, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Versioned(Model[Record, Asked, Hashable]):
    """A record of the group."""

    initial: Record = (0, None)

    def apply(self, state: Record, request: Asked, /) -> tuple[Record, Hashable]:
        match request:
            case Look():
                return state, state
            case Put():
                version, _ = state
                if request.expect is not None and request.expect != version:
                    return state, None
                return (version + 1, request.value), version + 1

    def only_reads(self, request: Asked, output: Hashable, /) -> bool:
        return isinstance(request, Look) or output is None


class Registers:
    """Clients of the coordinators, and their history. ``once`` is one request of one of them."""

    def __init__(self, client: Client, fresh: Callable[[], Client], seed: int) -> None:
        """``fresh`` makes another one, which looks for the leader from any address on."""
        self._client = client
        self._fresh = fresh
        self._random = Random(seed)
        self._recorder: Recorder[Asked, Hashable] = Recorder()
        self._numbers = itertools.count()
        self._seen: dict[str, int] = {}
        self.acknowledged: dict[str, int] = {}
        """The highest version of each key that somebody was told of."""

    async def once(self, process: int) -> None:
        """Ask one thing as the client ``process``, and note what was answered. Raises what it
        raised, after which nothing is known of it.

        The first ``NEWCOMERS`` come anew each time: those who have a stream to a leader wait with
        it while it stands still, and who comes meanwhile finds the next one."""
        number = next(self._numbers)
        place = number // (KEYS_AT_ONCE * OPERATIONS_PER_KEY)
        key = f"{place:05d}-{number % KEYS_AT_ONCE}"
        chosen = self._random.random()
        asked: Asked
        if chosen < 0.5:
            asked = Look()
        elif chosen < 0.8:
            asked = Put(value=f"v{number}")
        else:
            asked = Put(value=f"v{number}", expect=self._seen.get(key, 0))
        noted = self._recorder.invoke(process, key=key, request=asked)
        try:
            if process < NEWCOMERS:
                answer = await self._ask_anew(key, asked, number)
            else:
                answer = await self._ask(self._client, key, asked, number)
        except TimeoutError:
            noted.info()
            return
        except OmiumError:
            noted.info()
            raise
        noted.ok(answer)
        version = answer[0] if isinstance(answer, tuple) else answer
        if version is not None:
            self._seen[key] = version
            if version > self.acknowledged.get(key, 0):
                self.acknowledged[key] = version

    async def _ask_anew(self, key: str, asked: Asked, number: int) -> Record | int | None:
        """Raises ``TimeoutError`` where the newcomer has gone again."""
        client = await self._newcomer()
        try:
            async with asyncio.timeout(STAY_S):
                return await self._ask(client, key, asked, number)
        finally:
            await client.close()

    async def _newcomer(self) -> Client:
        """A client with a stream to who takes itself for the leader."""
        by_s = time.monotonic() + FIND_TIMEOUT_S
        while True:
            client = self._fresh()
            client.open()
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await client.runtime()
            except (TimeoutError, Unavailable) as error:
                await client.close()
                if time.monotonic() > by_s:
                    raise Unavailable("a client that came anew found no leader") from error
            else:
                return client

    async def _ask(
        self, client: Client, key: str, asked: Asked, number: int
    ) -> Record | int | None:
        if isinstance(asked, Look):
            found = await client.record(KIND, key)
            return (0, None) if found is None else (found.version, str(found.body))
        name = f"record-{number}"
        try:
            return await client.put_record(
                KIND,
                key,
                asked.value,
                expect=asked.expect,
                request=Request(key=name, digest=name),
            )
        except Conflict:
            return None

    async def lost(self) -> int:
        """How many keys are behind what somebody was told of them."""
        versions: dict[str, int] = {}
        after = ""
        while page := await self._client.records(KIND, after=after, limit=1_000):
            versions |= {record.key: record.version for record in page}
            after = page[-1].key
        return sum(versions.get(key, 0) < told for key, told in self.acknowledged.items())

    async def verdict(self) -> tuple[int, Result[Asked, Hashable]]:
        """The number of operations, and whether they are the story of single records. Takes up to
        ``CHECK_TIMEOUT_S`` seconds."""
        history = self._recorder.history()
        result = await asyncio.to_thread(check, history, Versioned(), timeout_s=CHECK_TIMEOUT_S)
        return len(history), result
