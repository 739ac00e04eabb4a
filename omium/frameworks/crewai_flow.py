"""Flows of CrewAI: each run of a method is a step.

A flow that is resumed is run from its start, and its finished methods are answered for: each
gives the result that it gave, and the flow has the state that it had then. What triggers what
is decided by CrewAI itself, as the first time. Runs in a thread of the worker (see ADR 0021).
"""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any, get_type_hints

from crewai.crews.crew_output import CrewOutput
from crewai.flow.flow import Flow
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from omium.errors import AgentError, EntrypointError
from omium.frameworks.answers import parsed_answer
from omium.frameworks.crewai_build import govern_inner
from omium.frameworks.crewai_coworkers import WorkFailed
from omium.frameworks.crewai_inside import governing
from omium.frameworks.crewai_steps import Places
from omium.frameworks.protocol import Session
from omium.types import Json


def run_flow(
    session: Session,
    places: Places,
    entrypoint: str,
    flow: Flow[Any],
    inputs: dict[str, Json] | None,
) -> Json:
    """Run a user's flow from where its journal ends to its output. ``inputs`` are fields of its
    state. Raises ``EntrypointError`` for a flow that would act outside of the journal.
    """
    _subject(entrypoint, flow)
    steps = FlowSteps(session, places, flow)
    try:
        with governing(lambda one: govern_inner(session, places, entrypoint, one)):
            result = flow.kickoff(inputs=inputs)
    except WorkFailed as failed:
        raise failed.error from None
    finally:
        steps.settle()
    agent = session.assignment.agent
    if isinstance(result, CrewOutput):
        result = result.pydantic or result.json_dict or result.raw
    plain = to_jsonable_python(result)
    if isinstance(plain, str) and agent.final_output is not None:
        return parsed_answer(agent.name, plain)
    return plain


def _subject(entrypoint: str, flow: Flow[Any]) -> None:
    """Leave to Omium what Omium answers for; refuse what no journal would see."""
    flow.stream = False
    # Its events would be printed on standard output.
    flow.suppress_flow_events = True
    # Every flow has a memory, if it wants one or not.
    flow.memory = None
    for name in ("remember", "recall", "extract_memories"):
        object.__setattr__(flow, name, _refused(name, "keep it in the flow's state"))
    object.__setattr__(flow, "ask", _refused("ask", "call omium.ask"))
    definition = flow._definition
    if flow.persistence is not None or definition.persist is not None:
        raise EntrypointError(
            entrypoint,
            "its flow has persistence of its own; leave it out, its state is kept with each step",
        )
    for name, method in definition.methods.items():
        if method.human_feedback is not None:
            raise EntrypointError(
                entrypoint, f"its method {name!r} waits for a person's feedback; call omium.ask"
            )
        if method.persist is not None:
            raise EntrypointError(
                entrypoint, f"its method {name!r} has @persist; leave it out, every step is kept"
            )


def _refused(name: str, instead: str) -> Callable[..., Any]:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AgentError(f"a flow's {name}() is in no journal; {instead}")

    return refuse


class FlowSteps:
    """The methods of one attempt at a flow."""

    def __init__(self, session: Session, places: Places, flow: Flow[Any]) -> None:
        self._session, self._places, self._flow = session, places, flow
        saved: Any = session.assignment.saved or {}
        self._done: dict[str, Any] = saved.get("methods", {})
        self._state: Any = saved.get("state")
        self._runs: Counter[str] = Counter()
        self._committing = threading.Lock()
        self._live = 0
        self._still = threading.Condition()
        execute = flow._execute_method

        async def execute_method(name: Any, method: Any, *args: Any, **kwargs: Any) -> Any:
            self._restore()
            return await execute(name, self._step(str(name), method), *args, **kwargs)

        # Past pydantic, which takes no new attributes.
        object.__setattr__(flow, "_execute_method", execute_method)
        # Drawn at random, it would be another one in each attempt until a step is kept.
        own = f"{session.assignment.execution_id}/{session.assignment.agent.name}"
        flow._stamp_state_id(str(uuid.uuid5(uuid.NAMESPACE_OID, own)))

    def settle(self) -> None:
        """Wait until no method runs any more: one that failed leaves others in their threads."""
        with self._still:
            self._still.wait_for(lambda: self._live == 0)

    def _step(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        """What is run in the place of ``method``, whose next run has come."""
        number = self._runs[name]
        self._runs[name] += 1
        step = f"{name}.{number}" if number else name
        kept = Kept(name, method)

        async def answered(*_: Any, **__: Any) -> Any:
            return kept.read(self._done[step])

        async def live(*args: Any, **kwargs: Any) -> Any:
            with self._places.at(step):
                await asyncio.to_thread(self._session.blocking.start_step, step, name)
                result = await self._run(method, *args, **kwargs)
            await asyncio.to_thread(self._complete, step, name, kept.written(result))
            return result

        return answered if step in self._done else live

    async def _run(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """As CrewAI runs it: a coroutine on the flow's loop, anything else in a thread."""
        if inspect.iscoroutinefunction(method):
            return await method(*args, **kwargs)

        def counted() -> Any:
            try:
                return method(*args, **kwargs)
            finally:
                with self._still:
                    self._live -= 1
                    self._still.notify_all()

        with self._still:
            self._live += 1
        result = await asyncio.to_thread(counted)
        return await result if inspect.isawaitable(result) else result

    def _complete(self, step: str, name: str, result: Json) -> None:
        # One at a time, so that no checkpoint has less than the one before it.
        with self._committing:
            self._done[step] = result
            state: Json = {"methods": dict(self._done), "state": self._written_state()}
            self._session.blocking.complete_step(step, state, name)

    def _written_state(self) -> Json:
        state = self._flow._state
        try:
            plain = to_jsonable_python(state)
            again = type(state).model_validate(plain) if isinstance(state, BaseModel) else plain
        except (ValueError, ValidationError) as error:
            raise AgentError(f"its flow's state cannot be kept as JSON: {error}") from error
        if again != state:
            raise AgentError(
                "its flow's state would not come back from JSON as it is: keep plain data in it, "
                "or give the flow a pydantic model for its state"
            )
        return plain

    def _restore(self) -> None:
        """Give the flow the latest state that was kept, before its first method: kickoff has put
        its inputs there."""
        if self._state is not None:
            self._flow._restore_state(self._state)
            self._state = None


class Kept:
    """How the results of a method are kept: as JSON, or by the type that it says it returns."""

    def __init__(self, name: str, method: Callable[..., Any]) -> None:
        self._name = name
        self._type = _returned(method)

    def written(self, result: Any) -> Json:
        """``result`` for the checkpoint. Raises ``AgentError`` where it would not come back."""
        try:
            plain = json.loads(json.dumps(result, allow_nan=False))
            if plain == result:
                return {"json": plain}
        except (TypeError, ValueError, RecursionError):
            pass
        if isinstance(result, CrewOutput):
            return {"crew": to_jsonable_python(result.model_dump(mode="json", exclude=_LEFT_OUT))}
        if self._type is not None:
            try:
                typed = self._type.dump_python(result, mode="json")
                if self._type.validate_python(typed) == result:
                    return {"typed": typed}
            except (ValueError, TypeError):
                pass
        raise AgentError(
            f"method {self._name!r} returned a {type(result).__name__}, which no checkpoint gives "
            "back: return plain data, or annotate the method with what it returns"
        )

    def read(self, kept: dict[str, Any]) -> Any:
        """The inverse of ``written``."""
        match kept:
            case {"typed": typed} if self._type is not None:
                return self._type.validate_python(typed)
            case {"crew": crew}:
                return CrewOutput.model_validate(crew)
            case {"json": plain}:
                return plain
            case _:
                raise AgentError(
                    f"method {self._name!r} no longer says what it returns: annotate it again"
                )


_LEFT_OUT = {"pydantic": True, "tasks_output": {"__all__": {"pydantic", "messages"}}}


def _returned(method: Callable[..., Any]) -> TypeAdapter[Any] | None:
    try:
        said = get_type_hints(inspect.unwrap(getattr(method, "__func__", method))).get("return")
        return None if said in (None, Any) else TypeAdapter(said)
    except (NameError, TypeError):
        return None
