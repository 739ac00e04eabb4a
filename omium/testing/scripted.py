"""A model provider that answers exactly what a script says: an OpenAI-compatible HTTP server.

Owns a port on the loopback address and the record of every request that reached it. In a test
it is a context manager (``ScriptedProvider``); as a process of its own it outlives whatever is
being killed:

    python -m omium.testing.scripted --script script.json --port 0 --log calls.jsonl

prints its base URL as the first line and then serves until it is interrupted. Of each request
to ``/chat/completions`` the log gets a line when it arrives (``received``) and one when it is
done with (``answered``, saying whether the answer was handed over whole); ``read_calls`` puts
them together. Counting calls here, not in any journal, is what makes a count honest.

It decides nothing: which answer a request gets is ``omium.testing.script``.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from omium.clock import Clock, SystemClock
from omium.errors import Conflict, DeadlineExceeded, InputError, OmiumError, Unavailable
from omium.testing.call_log import CallLog, RecordedCall, read_calls
from omium.testing.script import Answer, ErrorAnswer, Rule, Script, ToolCall, When, load_script
from omium.testing.scripted_app import Receive, Scope, ScriptedApp, Send

__all__ = [
    "Answer",
    "ErrorAnswer",
    "RecordedCall",
    "Rule",
    "Script",
    "ScriptedProvider",
    "ToolCall",
    "When",
    "load_script",
    "read_calls",
]

_HOST = "127.0.0.1"
_START_S = 15.0
_STOP_S = 15.0


class ScriptedProvider:
    """A scripted provider in this process, on a thread of its own.

    Use it with ``with`` or ``async with``; it answers at ``base_url`` meanwhile. ``rules`` is
    short for a script that has only rules. ``port`` 0 takes any free port. ``log`` is appended
    to, and may be shared by several providers one after another.
    """

    def __init__(
        self,
        rules: Sequence[Rule] = (),
        *,
        script: Script | None = None,
        port: int = 0,
        log: Path | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._log = CallLog(log)
        self._app = ScriptedApp(
            script or Script(rules=tuple(rules)), self._log, clock or SystemClock()
        )
        self._port = port
        self._base_url: str | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._failure: BaseException | None = None

    @property
    def base_url(self) -> str:
        """``http://127.0.0.1:port/v1``. Raises Unavailable when it is not running."""
        if self._base_url is None:
            raise Unavailable("the scripted provider is not running")
        return self._base_url

    @property
    def calls(self) -> list[RecordedCall]:
        """The requests that arrived, oldest first: the last ten thousand of them."""
        return self._log.calls()

    @property
    def received(self) -> int:
        """How many requests arrived in all."""
        return self._log.received

    def wait(self, *, received: int = 0, answered: int = 0, timeout_s: float = 10.0) -> None:
        """Blocks until so many requests arrived, and so many were done with, in all.

        On an event loop, call it through ``asyncio.to_thread``. Raises DeadlineExceeded.
        """
        self._log.wait(received=received, answered=answered, timeout_s=timeout_s)

    def start(self) -> str:
        """Starts to answer and returns ``base_url``.

        Raises InputError when the port is taken, StorageUnwritable when the log cannot be
        written, and Conflict when it was started before.
        """
        if self._thread is not None or self._app.stopping.is_set():
            raise Conflict("a scripted provider is started once")
        listener = _listen(self._port)
        try:
            self._log.open()
            started = threading.Event()
            self._thread = threading.Thread(
                target=self._serve, args=(listener, started), name="scripted-provider", daemon=True
            )
            self._thread.start()
            if not started.wait(_START_S):
                raise DeadlineExceeded("starting the scripted provider", _START_S)
            if self._failure is not None:
                raise Unavailable(f"the scripted provider did not start: {self._failure!r}")
        except BaseException:
            listener.close()
            raise
        self._base_url = f"http://{_HOST}:{listener.getsockname()[1]}/v1"
        return self._base_url

    def stop(self) -> None:
        """Stops answering: connections that wait for an answer are broken. May be repeated."""
        self._base_url = None
        thread, self._thread = self._thread, None
        if thread is None:
            return
        if self._loop is not None:
            # A loop that is closed already belongs to a thread that has ended by itself.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._app.stopping.set)
        thread.join(_STOP_S)
        self._log.close()
        if thread.is_alive():
            raise DeadlineExceeded("stopping the scripted provider", _STOP_S)

    def _serve(self, listener: socket.socket, started: threading.Event) -> None:
        try:
            asyncio.run(self._run(listener, started))
        except BaseException as error:  # noqa: BLE001 - told to whoever waits for the start
            self._failure = error
            started.set()

    async def _run(self, listener: socket.socket, started: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        await _serve(self._app, listener, started.set)

    def __enter__(self) -> ScriptedProvider:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> ScriptedProvider:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.stop)


# ------------------------------------------------------------------ the server


class _Server(uvicorn.Server):
    """Says when it is ready, and ends when the app is told to stop."""

    def __init__(self, config: uvicorn.Config, app: ScriptedApp, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._app, self._ready = app, ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    async def on_tick(self, counter: int) -> bool:
        return self._app.stopping.is_set() or await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Requests that are waiting out a delay end now instead of holding the shutdown up.
        self._app.stopping.set()
        await super().shutdown(sockets)


class _Protocol(H11Protocol):
    """Lets the app break the connection, which ASGI has no message for."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app = partial(_with_transport, self.app, transport)


async def _with_transport(
    app: Callable[..., Awaitable[None]],
    transport: asyncio.Transport,
    scope: Scope,
    receive: Receive,
    send: Send,
) -> None:
    await app({**scope, "omium.transport": transport}, receive, send)


async def _serve(app: ScriptedApp, listener: socket.socket, ready: Callable[[], None]) -> None:
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        interface="asgi3",
        timeout_graceful_shutdown=5,
        backlog=2048,
    )
    await _Server(config, app, ready).serve(sockets=[listener])


def _listen(port: int) -> socket.socket:
    # Named as TCP, or asyncio leaves Nagle's algorithm on and each answer takes 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        # A provider that was killed may come back on its port at once.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((_HOST, port))
        listener.listen(2048)
    except (OSError, OverflowError) as error:
        listener.close()
        raise InputError(f"cannot listen on port {port!r}: {error}") from error
    return listener


# ------------------------------------------------------------------ as a process


async def _run_process(app: ScriptedApp, listener: socket.socket) -> None:
    base_url = f"http://{_HOST}:{listener.getsockname()[1]}/v1"

    def announce() -> None:
        sys.stdout.write(f"{base_url}\n")
        sys.stdout.flush()

    await _serve(app, listener, announce)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of ``python -m omium.testing.scripted``; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m omium.testing.scripted",
        description="An OpenAI-compatible provider that answers what a script says.",
    )
    parser.add_argument("--script", type=Path, help="JSON or YAML file; without it: echo")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 (0: any free)")
    parser.add_argument("--log", type=Path, help="file that gets a line for each event")
    given = parser.parse_args(arguments)
    try:
        script = load_script(given.script) if given.script else Script()
        log = CallLog(given.log)
        log.open()
        app = ScriptedApp(script, log, SystemClock())
        listener = _listen(given.port)
    except OmiumError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    # Interrupted or terminated, it ends in good order and then as the signal wants it.
    with suppress(KeyboardInterrupt):
        asyncio.run(_run_process(app, listener))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
