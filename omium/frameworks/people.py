"""What agents and tools may ask of people: questions, and signals.

Each function comes in two forms: the plain one is for blocking code in a thread, the ``_async``
one for code on an event loop. Where there is no answer yet they do not return: the attempt ends,
nothing is kept running, and when the answer is there the agent goes on from its last checkpoint
and gets it from the journal. What comes before in the same step, or in the same tool, is run
again then; calls that were answered are not made again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NoReturn

from pydantic import BaseModel

from omium.errors import AgentError, Asked
from omium.execution.records import Question
from omium.frameworks.protocol import Asks
from omium.types import Json


@dataclass(frozen=True, kw_only=True)
class Signal:
    """Data that somebody sent to the execution. ``index`` is that of its journal entry."""

    name: str
    payload: Json
    by: str
    index: int


def ask(question: str, *, schema: Mapping[str, Any] | type | None = None) -> Json:
    """Ask a person and return the answer, as JSON that satisfies ``schema``.

    ``schema`` is a JSON Schema or a pydantic model; without one any JSON will do. Raises
    ``Declined`` when the person refuses to answer, ``AgentError`` outside of an agent, for a
    question that is too long, and on an event loop, where ``ask_async`` is needed.
    """
    return _blocking(_question(question, schema))


async def ask_async(question: str, *, schema: Mapping[str, Any] | type | None = None) -> Json:
    """``ask`` for code on an event loop."""
    return await _async(_question(question, schema))


def wait_signal(name: str) -> Signal:
    """The oldest signal ``name`` that nobody has taken; where there is none, wait for one.

    Waiting is like asking: it holds no process, and lasts as long as it takes. Each signal is
    given to one caller, once.
    """
    return _signal(_blocking(_wait(name)))


async def wait_signal_async(name: str) -> Signal:
    """``wait_signal`` for code on an event loop."""
    return _signal(await _async(_wait(name)))


def signals(name: str = "") -> list[Signal]:
    """Take the signals that have come and that nobody has taken, all or those of one name.

    Does not wait. A later attempt that goes over the same code is given the same ones.
    """
    return _signals(_blocking(Question(kind="signals", name=name)))


async def signals_async(name: str = "") -> list[Signal]:
    """``signals`` for code on an event loop."""
    return _signals(await _async(Question(kind="signals", name=name)))


# ------------------------------------------------------------------ for adapters


@dataclass(frozen=True)
class _Asker:
    session: Asks
    stop: Callable[[Asked], BaseException] | None


_asker: ContextVar[_Asker | None] = ContextVar("omium_asker", default=None)


@contextmanager
def asking(session: Asks, stop: Callable[[Asked], BaseException] | None = None) -> Iterator[None]:
    """Code inside asks through ``session``. ``stop`` makes of ``Asked`` what the framework stops
    a branch of its own with, so that the other branches come to their end."""
    token = _asker.set(_Asker(session, stop))
    try:
        yield
    finally:
        _asker.reset(token)


# ------------------------------------------------------------------ in common


def _question(text: str, schema: Mapping[str, Any] | type | None) -> Question:
    if schema is None or isinstance(schema, Mapping):
        return Question(text=text, schema=None if schema is None else dict(schema))
    if not issubclass(schema, BaseModel):
        raise AgentError(f"schema {schema.__name__} is no pydantic model and no JSON Schema")
    return Question(text=text, schema=schema.model_json_schema())


def _wait(name: str) -> Question:
    return Question(kind="signal", name=name, text=f"signal {name!r}")


def _signal(shown: Any) -> Signal:
    return Signal(**shown)


def _signals(shown: Any) -> list[Signal]:
    return [_signal(one) for one in shown]


def _found() -> _Asker:
    asker = _asker.get()
    if asker is None:
        raise AgentError("nobody can be asked here: this code runs in no agent of an execution")
    return asker


def _blocking(question: Question) -> Json:
    asker = _found()
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        raise AgentError(
            f"{question.text or 'signals'!r}: this would block an event loop; "
            "await the _async form of the function"
        )
    try:
        return asker.session.blocking.ask(question)
    except Asked as asked:
        _stop(asker, asked)


async def _async(question: Question) -> Json:
    asker = _found()
    try:
        return await asker.session.ask(question)
    except Asked as asked:
        _stop(asker, asked)


def _stop(asker: _Asker, asked: Asked) -> NoReturn:
    raise asked if asker.stop is None else asker.stop(asked)
