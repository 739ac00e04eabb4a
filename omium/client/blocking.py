"""The client for blocking code: the async one, in an event loop of its own thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Generator, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from omium.client.aio import RETRY_S, AsyncClient, AsyncHandle
from omium.client.shapes import (
    ApiKey,
    Checkpoint,
    CodeInfo,
    Delivery,
    Event,
    Execution,
    ExecutionInfo,
    Question,
    Webhook,
    WorkflowInfo,
    WorkflowVersion,
)
from omium.execution.records import Decision
from omium.storage.code_bundle import Bundle
from omium.types import Json, Status

_T = TypeVar("_T")

CUT_OFF_S = 5.0


class _Loop:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="omium-client", daemon=True
        )
        self._thread.start()

    def wait(self, work: Coroutine[Any, Any, _T]) -> _T:
        """What ``work`` gives. When this thread is interrupted meanwhile, by Ctrl-C say, the
        work is cut off, and has ended before the interruption goes on."""
        ended = threading.Event()

        async def run() -> _T:
            try:
                return await work
            finally:
                ended.set()

        future = asyncio.run_coroutine_threadsafe(run(), self._loop)
        try:
            return future.result()
        except BaseException:
            if not future.done():
                future.cancel()
                ended.wait(CUT_OFF_S)
            raise

    def iterate(self, items: AsyncGenerator[_T]) -> Generator[_T]:
        async def following() -> _T | None:
            return await anext(items, None)

        try:
            while (item := self.wait(following())) is not None:
                yield item
        finally:
            # A loop that was closed first has closed what it followed.
            if not self._loop.is_closed():
                self.wait(items.aclose())

    def close(self, last: Coroutine[Any, Any, None]) -> None:
        """End the loop, after ``last`` and whatever somebody still follows in it."""

        async def end() -> None:
            await asyncio.get_running_loop().shutdown_asyncgens()
            await last

        try:
            self.wait(end())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


class Client:
    """See ``AsyncClient``: the same methods, blocking. Use it as a context manager."""

    def __init__(
        self, address: str | None = None, api_key: str | None = None, *, retry_s: float = RETRY_S
    ) -> None:
        # Before the thread, so that a wrong setting leaves none behind.
        self._client = AsyncClient(address, api_key, retry_s=retry_s)
        self._loop = _Loop()

    @property
    def address(self) -> str:
        return self._client.address

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._loop.close(self._client.close())

    def register(
        self, definition: Mapping[str, Any] | Path | str, *, code: CodeInfo | None = None
    ) -> WorkflowVersion:
        """See ``AsyncClient.register``."""
        return self._loop.wait(self._client.register(definition, code=code))

    def upload_code(self, code: Path | str | Bundle) -> CodeInfo:
        """See ``AsyncClient.upload_code``."""
        return self._loop.wait(self._client.upload_code(code))

    def workflow(self, name: str, version: str | None = None) -> WorkflowVersion:
        """See ``AsyncClient.workflow``."""
        return self._loop.wait(self._client.workflow(name, version))

    def workflows(self) -> Generator[WorkflowInfo]:
        """All workflows, by name."""
        return self._loop.iterate(self._client.workflows())

    def run(
        self,
        workflow: str,
        inputs: Mapping[str, Json] | None = None,
        *,
        version: str | None = None,
        model: str | None = None,
        labels: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> Handle:
        """See ``AsyncClient.run``."""
        handle = self._loop.wait(
            self._client.run(
                workflow,
                inputs,
                version=version,
                model=model,
                labels=labels,
                idempotency_key=idempotency_key,
            )
        )
        return Handle(self._loop, handle)

    def execution(self, execution_id: str) -> Handle:
        """The handle of an execution that exists. Asks nobody."""
        return Handle(self._loop, self._client.execution(execution_id))

    def executions(
        self,
        *,
        statuses: Iterable[Status] = (),
        workflow: str | None = None,
        id_prefix: str | None = None,
        labels: Mapping[str, str] | None = None,
        created_from: str | None = None,
        created_to: str | None = None,
    ) -> Generator[ExecutionInfo]:
        """See ``AsyncClient.executions``."""
        return self._loop.iterate(
            self._client.executions(
                statuses=statuses,
                workflow=workflow,
                id_prefix=id_prefix,
                labels=labels,
                created_from=created_from,
                created_to=created_to,
            )
        )

    def create_key(self, name: str, scopes: Iterable[str]) -> ApiKey:
        """See ``AsyncClient.create_key``."""
        return self._loop.wait(self._client.create_key(name, scopes))

    def keys(self) -> Generator[ApiKey]:
        """The keys of the own tenant, revoked ones too."""
        return self._loop.iterate(self._client.keys())

    def revoke_key(self, key_id: str) -> ApiKey:
        """See ``AsyncClient.revoke_key``."""
        return self._loop.wait(self._client.revoke_key(key_id))

    def create_webhook(
        self, url: str, events: Iterable[str] = (), *, description: str = ""
    ) -> Webhook:
        """See ``AsyncClient.create_webhook``."""
        return self._loop.wait(self._client.create_webhook(url, events, description=description))

    def webhooks(self) -> Generator[Webhook]:
        """The webhooks of the own tenant, by id."""
        return self._loop.iterate(self._client.webhooks())

    def webhook(self, webhook_id: str) -> Webhook:
        """A webhook, without its secret. Raises ``NotFound``."""
        return self._loop.wait(self._client.webhook(webhook_id))

    def delete_webhook(self, webhook_id: str) -> Webhook:
        """See ``AsyncClient.delete_webhook``."""
        return self._loop.wait(self._client.delete_webhook(webhook_id))

    def rotate_webhook(self, webhook_id: str) -> Webhook:
        """See ``AsyncClient.rotate_webhook``."""
        return self._loop.wait(self._client.rotate_webhook(webhook_id))

    def test_webhook(self, webhook_id: str) -> Delivery:
        """Send a trial message. Raises ``NotFound``."""
        return self._loop.wait(self._client.test_webhook(webhook_id))

    def deliveries(self, webhook_id: str) -> Generator[Delivery]:
        """See ``AsyncClient.deliveries``."""
        return self._loop.iterate(self._client.deliveries(webhook_id))

    def redeliver(self, webhook_id: str, delivery_id: str) -> Delivery:
        """See ``AsyncClient.redeliver``."""
        return self._loop.wait(self._client.redeliver(webhook_id, delivery_id))


class Handle:
    """See ``AsyncHandle``: the same methods, blocking."""

    def __init__(self, loop: _Loop, handle: AsyncHandle) -> None:
        self._loop = loop
        self._handle = handle

    @property
    def id(self) -> str:
        return self._handle.id

    def __repr__(self) -> str:
        return f"Handle({self.id!r})"

    def view(self) -> Execution:
        """The execution as it stands. Raises ``NotFound``."""
        return self._loop.wait(self._handle.view())

    def status(self) -> Status:
        return self._loop.wait(self._handle.status())

    def events(self, after: int = 0, *, live: bool = False) -> Generator[Event]:
        """See ``AsyncHandle.events``."""
        return self._loop.iterate(self._handle.events(after, live=live))

    def result(self, timeout_s: float | None = None) -> Json:
        """See ``AsyncHandle.result``."""
        return self._loop.wait(self._handle.result(timeout_s))

    def cancel(self) -> Execution:
        """See ``AsyncHandle.cancel``."""
        return self._loop.wait(self._handle.cancel())

    def interrupt(self, detail: str = "") -> Execution:
        """Pause it until it is resumed."""
        return self._loop.wait(self._handle.interrupt(detail))

    def resume(
        self,
        *,
        decision: Decision | None = None,
        answer: Json = None,
        call: int | None = None,
        reason: str = "",
    ) -> Execution:
        """See ``AsyncHandle.resume``."""
        return self._loop.wait(
            self._handle.resume(decision=decision, answer=answer, call=call, reason=reason)
        )

    def questions(self) -> tuple[Question, ...]:
        """See ``AsyncHandle.questions``."""
        return self._loop.wait(self._handle.questions())

    def answer(self, value: Json, *, call: int | None = None) -> Execution:
        """See ``AsyncHandle.answer``."""
        return self._loop.wait(self._handle.answer(value, call=call))

    def approve(self, *, call: int | None = None, reason: str = "") -> Execution:
        """See ``AsyncHandle.approve``."""
        return self._loop.wait(self._handle.approve(call=call, reason=reason))

    def deny(self, reason: str = "", *, call: int | None = None) -> Execution:
        """See ``AsyncHandle.deny``."""
        return self._loop.wait(self._handle.deny(reason, call=call))

    def retry(self) -> Execution:
        """Try again what failed, from the last checkpoint."""
        return self._loop.wait(self._handle.retry())

    def signal(self, name: str, payload: Json = None) -> Execution:
        """Send data to it. Raises ``Conflict`` when it has ended."""
        return self._loop.wait(self._handle.signal(name, payload))

    def fork(self, at: int, changes: Mapping[str, Json] | None = None) -> Handle:
        """Start a new execution from a point in this one's journal, which is only read."""
        return Handle(self._loop, self._loop.wait(self._handle.fork(at, changes)))

    def checkpoints(self) -> Generator[Checkpoint]:
        """Its checkpoints, in the order of the journal."""
        return self._loop.iterate(self._handle.checkpoints())

    def state(self, checkpoint: int) -> Json:
        """The state that a checkpoint holds. Raises ``NotFound``."""
        return self._loop.wait(self._handle.state(checkpoint))

    def blob(self, digest: str) -> Json:
        """See ``AsyncHandle.blob``."""
        return self._loop.wait(self._handle.blob(digest))

    def journal(self, after: int = 0) -> Generator[dict[str, Any]]:
        """Journal entries after an index, as they are now."""
        return self._loop.iterate(self._handle.journal(after))
