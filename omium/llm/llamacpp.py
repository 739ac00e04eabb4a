"""Runs a GGUF model on this machine: llama.cpp's OpenAI-compatible server, in this process.

Owns one server and its port on the loopback address. It does not fetch models, and it says
nothing on the terminal. The server's threads are native: they do not need the interpreter.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import socket
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import psutil
from pydantic import SecretStr

from omium.clock import Clock, SystemClock
from omium.errors import ConfigError, Conflict, DeadlineExceeded, InputError, Unavailable
from omium.llm.providers import LOCAL, TIMEOUT_S, Provider
from omium.llm.pull import require_gguf

_HOST = "127.0.0.1"
_QUIET = -1
_WAIT_POLICY = "OMP_WAIT_POLICY"
_DRAIN_S = 10.0
_DRAIN_POLL_S = 0.01


class LlamaServer:
    """One loaded model that answers over the OpenAI HTTP API on the loopback address.

    Any model name in a request reaches the loaded model. Requests need ``provider.api_key``, so
    that neither other users of the machine nor web pages in a browser can ask it.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._provider: Provider | None = None
        self._finalizer: weakref.finalize[..., LlamaServer] | None = None

    @property
    def provider(self) -> Provider:
        """How to reach the model. Raises Unavailable when it is not started."""
        if self._provider is None:
            raise Unavailable("the local model is not started")
        return self._provider

    def start(
        self,
        path: Path,
        *,
        ctx_tokens: int,
        threads: int,
        slots: int,
        timeout_s: float = TIMEOUT_S,
    ) -> str:
        """Loads the model at ``path`` and returns the base URL, ``http://127.0.0.1:port/v1``.

        ``ctx_tokens`` is the context of each of the ``slots`` requests that are answered at a
        time; ``threads`` is the number of CPU threads for all of them together: one core
        less than there are leaves room for the rest of the runtime. ``timeout_s``
        goes into ``provider``. Blocks while it loads (about a second for a small model).

        Raises ConfigError (the extra is not installed), InputError (the file, or a number that
        cannot be), Conflict (already started) and Unavailable (llama.cpp cannot load it).
        """
        if self._provider is not None:
            raise Conflict(f"the local model already answers at {self._provider.base_url}")
        for name, value in (("ctx_tokens", ctx_tokens), ("threads", threads), ("slots", slots)):
            if value < 1:
                raise InputError(f"{name} must be at least 1, found {value!r}")
        llama = _load_library()
        require_gguf(path)
        key = SecretStr(secrets.token_urlsafe(24))
        parameters = _parameters(llama, path, ctx_tokens, threads, slots, key)
        try:
            holder = [llama.Server(parameters)]
        except RuntimeError as error:
            raise Unavailable(
                f"llama.cpp cannot load {str(path)!r}: it is damaged, of a kind that this version "
                "does not know, or larger than the memory that is left"
            ) from error
        address: str = holder[0].listening_address
        # The finalizer also runs when the interpreter exits without a stop.
        port = int(address.rpartition(":")[2])
        self._finalizer = weakref.finalize(self, _release, holder, port, self._clock)
        self._provider = Provider(
            name=LOCAL, base_url=f"{address}/v1", api_key=key, timeout_s=timeout_s
        )
        return self._provider.base_url

    def stop(self) -> None:
        """Ends requests in flight, unloads the model and frees the port. May be repeated.

        Takes about a second when requests are in flight, which see their connection close, and
        holds the interpreter meanwhile. Raises DeadlineExceeded, and leaves the server be, when
        a connection does not close.
        """
        self._provider = None
        if self._finalizer is not None:
            self._finalizer()

    def __enter__(self) -> LlamaServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _load_library() -> Any:
    try:
        with _patient_threads():
            return import_module("xllamacpp")
    except ImportError as error:
        raise ConfigError(
            "running a model on this machine needs llama.cpp: install it with "
            f"pip install 'omium[local]', or choose another model ({error})"
        ) from error


@contextmanager
def _patient_threads() -> Iterator[None]:
    """Lets threads that wait for one another sleep; by default they spin.

    Spinning threads on cores that others use too cost a factor of 20: measured on two busy
    cores with two threads, 1 to 2 tokens/s spinning, 26 to 30 sleeping. The OpenMP runtime
    reads the setting once, while it is loaded, and has no other way to be told. A user's own
    setting stays.
    """
    if _WAIT_POLICY in os.environ:
        yield
        return
    os.environ[_WAIT_POLICY] = "passive"
    try:
        yield
    finally:
        del os.environ[_WAIT_POLICY]


def _parameters(
    llama: Any, path: Path, ctx_tokens: int, threads: int, slots: int, key: SecretStr
) -> Any:
    parameters = llama.CommonParams()
    parameters.model.path = str(path)
    parameters.model_alias = {path.stem}
    parameters.hostnames = [_HOST]
    parameters.port = 0
    parameters.api_keys = [key.get_secret_value()]
    # llama.cpp divides the context between its slots.
    parameters.n_ctx = ctx_tokens * slots
    parameters.n_parallel = slots
    parameters.cpuparams.n_threads = threads
    parameters.cpuparams_batch.n_threads = threads
    # A thread holds a connection; the ones above the slots answer while others wait.
    parameters.n_threads_http = slots + 2
    parameters.use_jinja = True
    parameters.n_gpu_layers = 0
    parameters.fit_params = False
    parameters.ui = False
    parameters.endpoint_slots = False
    parameters.warmup = False
    # A cache of old prompts grows to gigabytes and helps no one here.
    parameters.cache_ram_mib = 0
    parameters.verbosity = _QUIET
    return parameters


def _release(holder: list[Any], port: int, clock: Clock) -> None:
    """Closes every connection to ``port``, then lets the server go.

    The order matters: the server waits for its requests when it ends, and nobody computes
    their answers any more, so that an open request would keep it, and this interpreter, waiting
    for ever.
    """
    deadline_s = clock.monotonic_s() + _DRAIN_S
    while _shut_sockets(port):
        if clock.monotonic_s() > deadline_s:
            # Ending it would hang, at the interpreter's exit too: it is kept for good.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(holder[0]))
            raise DeadlineExceeded("closing the connections of the local model", _DRAIN_S)
        time.sleep(_DRAIN_POLL_S)
    holder.clear()


def _shut_sockets(port: int) -> int:
    """Shuts this process's sockets on ``port`` down; how many connections were still open."""
    found = 0
    for connection in psutil.Process().net_connections("tcp"):
        if not connection.laddr or connection.laddr.port != port or connection.fd < 0:
            continue
        found += connection.status != psutil.CONN_LISTEN
        try:
            shadow = socket.socket(fileno=os.dup(connection.fd))
        except OSError:
            continue  # Closed since it was listed: what was wanted.
        with shadow:
            # The number may by now belong to a socket that is none of ours.
            if shadow.getsockname()[1] == port:
                try:
                    shadow.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # Its peer was faster, or the system cannot shut a listener down.
    return found
