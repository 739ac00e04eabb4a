"""Omium from Python: ``run`` and ``arun``, and the handle of an execution.

A runtime is started with the first call and shared by all of this process. Its event loop
has a thread of its own, so that blocking and async callers use the same one. ``shutdown``
ends it; leaving the process does too, and what was not finished can be resumed.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from omium.actors.messages import ExecutionView
from omium.config import Settings, load_settings
from omium.errors import Conflict
from omium.execution.events import Entry, to_json
from omium.execution.records import Decision
from omium.runtime.located import Definition
from omium.runtime.prepare import prepare
from omium.runtime.runtime import Runtime
from omium.types import ExecutionId, Json, Status

_T = TypeVar("_T")


class _Host:
    """The runtime of this process, in an event loop of its own thread."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="omium-runtime", daemon=True
        )
        self._thread.start()
        self.runtime = Runtime(settings)
        try:
            self.wait(self.runtime.start())
        except BaseException:
            self.close()
            raise

    def submit(self, work: Coroutine[Any, Any, _T]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def wait(self, work: Coroutine[Any, Any, _T]) -> _T:
        return self.submit(work).result()

    def close(self) -> None:
        self.wait(self.runtime.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


_lock = threading.Lock()
_host: _Host | None = None


def _the_host(settings: Settings) -> _Host:
    global _host
    with _lock:
        if _host is None:
            _host = _Host(settings)
            atexit.register(shutdown)
        elif _host.settings.data_dir != settings.data_dir:
            raise Conflict(
                f"this process runs Omium on {str(_host.settings.data_dir)!r} already; "
                "call omium.shutdown() first"
            )
        return _host


def shutdown() -> None:
    """End the runtime of this process. Executions under way stay resumable."""
    global _host
    with _lock:
        host, _host = _host, None
    if host is not None:
        atexit.unregister(shutdown)
        host.close()


class Execution:
    """The handle of an execution, for blocking code. All of it survives in the journal."""

    def __init__(self, host: _Host, execution_id: ExecutionId) -> None:
        self._host = host
        self.id = execution_id

    def __repr__(self) -> str:
        return f"Execution({self.id!r})"

    def status(self) -> Status:
        """``queued``, ``running``, ``paused``, ``completed``, ``failed`` or ``cancelled``."""
        return self._host.wait(self._host.runtime.client.view(self.id)).status

    def events(self, after: int = 0) -> Iterator[dict[str, Any]]:
        """The journal from its beginning, or after an index, as JSON objects, as it grows.

        Ends when the execution has ended or is paused.
        """
        events = self._host.runtime.client.events(self.id, after)

        async def following() -> Entry | None:
            return await anext(events, None)

        while (entry := self._host.wait(following())) is not None:
            yield to_json(entry)

    def result(self, timeout_s: float | None = None) -> Json:
        """Wait for the end and return the output of the last agent.

        Raises ``ExecutionFailed``, ``ExecutionPaused``, ``ExecutionCancelled``, or
        ``DeadlineExceeded`` after ``timeout_s`` seconds.
        """
        return self._host.wait(self._host.runtime.client.result(self.id, timeout_s=timeout_s))

    def cancel(self) -> None:
        """Stop it for good."""
        self._host.wait(self._host.runtime.client.cancel(self.id, by="python"))

    def questions(self) -> list[dict[str, Any]]:
        """What its agents ask and nobody has answered yet.

        Each has the journal index of its ``call``, by which it is answered; the ``agent``, the
        ``text``, and a ``kind``: ``question`` (an answer fits ``schema``), ``approval`` (of running
        ``tool`` with ``arguments``, which are ``{"inline": …}`` or name a blob) or ``signal`` (of
        that ``name``).
        """
        return _questions(self._host.wait(self._host.runtime.client.view(self.id)))

    def answer(self, value: Json, *, call: int = 0) -> None:
        """Answer the question at journal index ``call``, or the first that is open.

        Raises ``AnswerError`` where that does not fit, ``Conflict`` where nobody asks. Of a tool
        that wants approval, ``value`` is the arguments to run it with instead.
        """
        self._resume(decision="answer", answer=value, call=call)

    def approve(self, *, call: int = 0, reason: str = "") -> None:
        """Approve of running a tool, once, with the arguments that are shown."""
        self._resume(decision="approve", call=call, reason=reason)

    def deny(self, reason: str = "", *, call: int = 0) -> None:
        """Refuse to run a tool, or to answer: the agent is told so, and goes on."""
        self._resume(decision="deny", call=call, reason=reason)

    def signal(self, name: str, payload: Json = None) -> None:
        """Send data to it. Raises ``Conflict`` when it has ended."""
        self._host.wait(self._host.runtime.client.signal(self.id, name, payload, by="python"))

    def _resume(self, **decided: Any) -> None:
        self._host.wait(self._host.runtime.client.resume(self.id, by="python", **decided))


class AsyncExecution:
    """The handle of an execution, for async code."""

    def __init__(self, host: _Host, execution_id: ExecutionId) -> None:
        self._host = host
        self.id = execution_id

    def __repr__(self) -> str:
        return f"AsyncExecution({self.id!r})"

    async def _wait(self, work: Coroutine[Any, Any, _T]) -> _T:
        return await asyncio.wrap_future(self._host.submit(work))

    async def status(self) -> Status:
        """See ``Execution.status``."""
        return (await self._wait(self._host.runtime.client.view(self.id))).status

    async def events(self, after: int = 0) -> AsyncIterator[dict[str, Any]]:
        """See ``Execution.events``."""
        events = self._host.runtime.client.events(self.id, after)

        async def following() -> Entry | None:
            return await anext(events, None)

        while (entry := await self._wait(following())) is not None:
            yield to_json(entry)

    async def result(self, timeout_s: float | None = None) -> Json:
        """See ``Execution.result``."""
        return await self._wait(self._host.runtime.client.result(self.id, timeout_s=timeout_s))

    async def cancel(self) -> None:
        """Stop it for good."""
        await self._wait(self._host.runtime.client.cancel(self.id, by="python"))

    async def questions(self) -> list[dict[str, Any]]:
        """See ``Execution.questions``."""
        return _questions(await self._wait(self._host.runtime.client.view(self.id)))

    async def answer(self, value: Json, *, call: int = 0) -> None:
        """See ``Execution.answer``."""
        await self._resume(decision="answer", answer=value, call=call)

    async def approve(self, *, call: int = 0, reason: str = "") -> None:
        """See ``Execution.approve``."""
        await self._resume(decision="approve", call=call, reason=reason)

    async def deny(self, reason: str = "", *, call: int = 0) -> None:
        """See ``Execution.deny``."""
        await self._resume(decision="deny", call=call, reason=reason)

    async def signal(self, name: str, payload: Json = None) -> None:
        """See ``Execution.signal``."""
        await self._wait(self._host.runtime.client.signal(self.id, name, payload, by="python"))

    async def _resume(self, **decided: Any) -> None:
        await self._wait(self._host.runtime.client.resume(self.id, by="python", **decided))


def _questions(view: ExecutionView) -> list[dict[str, Any]]:
    return [msgspec.to_builtins(question) for question in view.questions]


def run(
    workflow: Definition,
    inputs: Mapping[str, Json] | None = None,
    *,
    model: str | None = None,
    settings: Settings | None = None,
) -> Execution:
    """Start an execution and return its handle once it is durable.

    ``workflow`` is a definition or the path of its file; ``model`` overrides that of every
    agent. Starts a runtime when this process has none, which takes some seconds. Raises
    ``DefinitionError``, ``InputError``, ``ConfigError`` or ``NotFound`` before anything is
    started, and ``DataDirectoryBusy`` when another process has the data directory.
    """
    settings = settings or load_settings()
    prepared = prepare(workflow, inputs, settings, model=model)
    host = _the_host(settings)
    client = host.runtime.client
    execution_id = host.wait(
        client.submit(
            prepared.workflow,
            prepared.inputs,
            model=prepared.model,
            import_paths=prepared.import_paths,
            code=host.wait(client.put_code(prepared.code)),
        )
    )
    return Execution(host, execution_id)


async def arun(
    workflow: Definition,
    inputs: Mapping[str, Json] | None = None,
    *,
    model: str | None = None,
    settings: Settings | None = None,
) -> AsyncExecution:
    """``run`` for async code."""
    execution = await asyncio.to_thread(run, workflow, inputs, model=model, settings=settings)
    return AsyncExecution(execution._host, execution.id)


def attach(execution_id: str, *, settings: Settings | None = None) -> Execution:
    """The handle of an execution that this process or an earlier one has started.

    It goes on if it did; one that was interrupted waits for ``resume``. Raises ``NotFound``.
    """
    host = _the_host(settings or load_settings())
    identifier = ExecutionId(execution_id)
    host.wait(host.runtime.client.view(identifier))
    return Execution(host, identifier)


def resume(
    execution_id: str,
    *,
    decision: Decision | None = None,
    answer: Json = None,
    call: int = 0,
    reason: str = "",
    settings: Settings | None = None,
) -> Execution:
    """Let an interrupted, paused or failed execution go on, and return its handle.

    ``decision`` is about the call at journal index ``call``, else about the first that waits:
    ``answer``, ``approve`` or ``deny`` about what is asked, ``retry``, ``answer`` or ``fail``
    about a call whose outcome is unknown. Raises ``NotFound``, ``Conflict`` and ``AnswerError``.
    """
    host = _the_host(settings or load_settings())
    identifier = ExecutionId(execution_id)
    host.wait(
        host.runtime.client.resume(
            identifier, decision=decision, answer=answer, call=call, reason=reason, by="python"
        )
    )
    return Execution(host, identifier)


def fork(
    execution_id: str,
    at: int,
    changes: Mapping[str, Json] | None = None,
    *,
    settings: Settings | None = None,
) -> Execution:
    """Start a new execution from a point in another's journal; the other stays as it is.

    ``at`` is a journal index, such as a checkpoint's; ``changes`` maps dotted paths
    (``inputs.principal``, ``agents.analyst.model``, ``outputs.intake.years``) to new values.
    """
    host = _the_host(settings or load_settings())
    forked = host.wait(host.runtime.client.fork(ExecutionId(execution_id), at, dict(changes or {})))
    return Execution(host, forked)
