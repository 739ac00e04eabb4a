"""Replays: a recorded execution run again, against code, prompts or a model that have changed.

What was answered is answered from the record where the same is asked. Owns the record while it
is being used up, and the list of where the replay left it. Tools act only where that was asked
for; nothing is guessed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec

from omium.actors.outside import StandIn
from omium.definitions import value_problems
from omium.errors import AgentError, ModelUnreachable
from omium.execution.records import CallKey
from omium.frameworks.people import Signal
from omium.llm.router import Router
from omium.runtime.located import Located
from omium.testing.comparison import Difference, compare, json_differences
from omium.testing.people import Asked, Said
from omium.testing.recording import Call, Recording
from omium.testing.trial import run_in_process
from omium.types import AgentName, Json

DivergenceKind: TypeAlias = Literal[
    "asked_anew", "not_asked", "not_run", "not_answered", "not_made"
]
Tools: TypeAlias = Literal["recorded", "live"]
DETAILS_MAX = 3
DETAIL_CHARS_MAX = 60
CONTEXT_CHARS = 20
TIMEOUT_S = 300.0


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """A call by which the replay left the record.

    ``asked_anew``: a model was asked what it had not been asked. ``not_asked``: it was to be,
    but the replay is offline. ``not_run``: a tool was called in a way that is on no record, and
    did not act. ``not_answered``: people are asked what they had not been asked, or had not
    answered, or not decided about a handoff, or what they had said does not fit any more, and the
    replay waits for them in the end. ``not_made``: a recorded call that the replay did not make, or
    a decision about a handoff that was not rejected again. ``detail`` says what of the request, or
    of the question, differs from the recorded call in that place, where there is one, and why an
    answer does not fit.
    """

    kind: DivergenceKind
    agent: AgentName
    step: str
    name: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Replay:
    """A recording, the replay of it, and all that differs."""

    recorded: Recording
    replayed: Recording
    differences: tuple[Difference, ...]
    divergences: tuple[Divergence, ...]

    @property
    def same(self) -> bool:
        """Whether nothing differs: in result, steps, calls and cost."""
        return not self.differences and not self.divergences


async def replay(
    recorded: Recording,
    found: Located,
    *,
    model: str,
    router: Callable[[], Router],
    tools: Tools = "recorded",
    offline: bool = False,
    timeout_s: float = TIMEOUT_S,
) -> Replay:
    """Run ``found`` on the inputs of a recording and compare.

    ``model`` is what holds for all agents, where it is not empty. A request that is on record is
    answered from there, any other by ``router``, or with ``offline`` by nobody: that call fails.
    People say what they had said to the same question, and decide what they had decided about the
    same handoff; to anything else nobody says anything, nor what does not fit any more. Signals
    are given to whoever took them, in the same call; in one that is not on record none have come.
    With ``tools="live"`` every tool acts. Raises ``InputError`` where the inputs do not fit the
    workflow any more, and ``DeadlineExceeded``.
    """
    record = Record(recorded, tools=tools, offline=offline)
    with fresh_modules(found.import_paths):
        replayed = await run_in_process(
            found,
            recorded.inputs,
            model=model,
            router=router,
            stand_ins=record,
            understudy=record,
            people=record.people,
            timeout_s=timeout_s,
        )
    replayed = record.with_signals(replayed)
    return Replay(
        recorded=recorded,
        replayed=replayed,
        differences=tuple(compare(recorded, replayed)),
        divergences=tuple(record.divergences(replayed)),
    )


class Record:
    """The answers and signals of a recording, each given once.

    Implements ``actors.outside.StandIns`` and ``serve.flight.Understudy``. The very same call is
    preferred; where code has changed the steps, a call of the same agent with the same request
    will do, and for a model one of any agent. Who takes the signals that have come asks the same
    everywhere, so there only the very same call will do.
    """

    def __init__(self, recording: Recording, *, tools: Tools, offline: bool) -> None:
        self._calls = [
            call
            for call in recording.calls
            if call.answered or call.failure is not None or call.decision
        ]
        # Of those in one place the first, and one that has an outcome before one that has none.
        known = (*reversed(recording.calls), *reversed(self._calls))
        self._recorded = {_place(call): call for call in known}
        self._tools = tools
        self._offline = offline
        self._used: set[int] = set()
        self._missed: list[tuple[AgentName, CallKey]] = []
        self._decided = list(recording.decided)
        self._undecided: list[tuple[Asked, str]] = []
        self._signals: dict[tuple[AgentName, CallKey], tuple[Signal, ...]] = {}

    def tool(self, agent: AgentName, key: CallKey) -> StandIn | None:
        call = self._take(agent, key)
        if self._tools == "live":
            return None
        if call is None:
            self._missed.append((agent, key))
        return lambda: _result(call)

    def signals(self, agent: AgentName, key: CallKey) -> list[Json]:
        # An attempt that goes over the same code again makes the same call.
        if (agent, key) not in self._signals:
            call = next((one for one in self._calls if (one.agent, one.key) == (agent, key)), None)
            self._signals[agent, key] = call.signals if call is not None else ()
            if call is not None:
                self._used.add(call.index)
        return [asdict(signal) for signal in self._signals[agent, key]]

    def with_signals(self, replayed: Recording) -> Recording:
        """The recording of a replay with the signals that were given from here, of which its
        journal knows nothing."""
        return replace(replayed, calls=tuple(map(self._with_signals, replayed.calls)))

    def _with_signals(self, call: Call) -> Call:
        given = self._signals.get((call.agent, call.key))
        if given is None:
            return call
        return replace(call, signals=given, response=[signal.payload for signal in given])

    def completion(self, agent: AgentName, key: CallKey) -> tuple[dict[str, Any], str] | None:
        call = self._take(agent, key)
        if call is not None and isinstance(call.response, dict):
            return call.response, call.served_by
        self._missed.append((agent, key))
        if self._offline:
            raise ModelUnreachable(key.name, "this request is not on record, and nobody is asked")
        return None

    def people(self, asked: Asked) -> Said | None:
        """What somebody had said to this, if anybody had."""
        if asked.key is None:
            return self._about_handoff(asked)
        call = self._take(asked.agent, asked.key)
        # What was said to a question fits it: another schema makes it another question.
        if call is None:
            self._missed.append((asked.agent, asked.key))
            return None
        match call.decision:
            case "approve":
                return Said(decision="approve", reason=call.reason, by=call.by)
            case "deny":
                return Said(decision="deny", reason=call.reason, by=call.by)
            case _:
                return Said(answer=call.response, reason=call.reason, by=call.by)

    def _about_handoff(self, asked: Asked) -> Said | None:
        found = next((one for one in self._decided if one.handoff == asked.name), None)
        if found is None:
            self._undecided.append((asked, asked.text))
            return None
        self._decided.remove(found)
        misfit = _misfit(asked.schema, found.answer) if found.decision == "answer" else ""
        if misfit:
            self._undecided.append((asked, misfit))
            return None
        return Said(decision=found.decision, answer=found.answer, reason=found.reason, by=found.by)

    def _take(self, agent: AgentName, key: CallKey) -> Call | None:
        left = [
            call
            for call in self._calls
            if call.index not in self._used
            and (call.kind, call.name, call.key.digest) == (key.kind, key.name, key.digest)
            # A provider that failed says nothing that a model said.
            and (call.answered or key.kind != "llm")
        ]
        mine = [call for call in left if call.agent == agent]
        exact = [call for call in mine if call.key == key]
        any_agent = left if key.kind == "llm" else []
        found = next(iter((*exact, *mine, *any_agent)), None)
        if found is not None:
            self._used.add(found.index)
        return found

    def divergences(self, replayed: Recording) -> Iterator[Divergence]:
        """Where the replay left the record, in the order of its calls."""
        made = {(call.agent, call.key): call for call in replayed.calls}
        missed = [(*one, made.get(one)) for one in dict.fromkeys(self._missed)]
        kinds: dict[str, DivergenceKind] = {
            "llm": "not_asked" if self._offline else "asked_anew",
            "tool": "not_run",
            "human": "not_answered",
        }
        for agent, key, call in missed:
            yield Divergence(
                kind=kinds[key.kind],
                agent=agent,
                step=call.step if call is not None else "",
                name=key.name,
                detail=self._detail(call) if call is not None else "",
            )
        for asked, why in self._undecided:
            yield Divergence(
                kind="not_answered",
                agent=asked.agent,
                step="",
                name=asked.name,
                detail=why,
            )
        for one in self._decided:
            yield Divergence(kind="not_made", agent=one.agent, step="", name=one.handoff)
        # A call that was made in another way is told already.
        told = {_place(call) for _, _, call in missed if call is not None}
        for call in self._calls:
            # Who takes signals where none have come learns nothing.
            polled = call.question is not None and call.question.kind == "signals"
            counts = bool(call.signals) if polled else call.answered or call.kind != "llm"
            # A tool that does not act asks nobody.
            counts = counts and not (call.inside and self._tools == "recorded")
            if counts and call.index not in self._used and _place(call) not in told:
                yield Divergence(kind="not_made", agent=call.agent, step=call.step, name=call.name)

    def _detail(self, call: Call) -> str:
        """How the call differs from the recorded one in its place, and why what was answered
        there is not said here."""
        there = self._recorded.get(_place(call))
        if there is None:
            return _with_question(call, "no call was recorded here")
        found = list(json_differences("request", there.request, call.request))
        # An approval is about its request, which its words repeat.
        if call.question is not None and call.question.kind != "approval":
            before, after = msgspec.to_builtins((there.question, call.question))
            found += json_differences("question", before, after)
        more = len(found) - DETAILS_MAX
        told = [_told(difference) for difference in found[:DETAILS_MAX]]
        if more > 0:
            told.append(f"and {more} more")
        if call.question is not None and not (there.answered or there.decision):
            told.append("nobody had answered")
        elif call.question is not None and there.answered:
            told.append(_misfit(call.question.schema, there.response))
        return _with_question(call, "; ".join(filter(None, told)))


def _place(call: Call) -> tuple[AgentName, str, str, str, int]:
    """Where a call stands, whatever it asks."""
    return call.agent, call.kind, call.step, call.key.scope, call.ordinal


def _with_question(call: Call, detail: str) -> str:
    """The detail behind the words in which a person is asked."""
    asked = [_shortened(call.question.text)] if call.question is not None else []
    return ": ".join(filter(None, [*asked, detail]))


def _misfit(schema: dict[str, Any] | None, answer: Json) -> str:
    """Why a recorded answer does not satisfy a schema; empty where it does."""
    problems = value_problems(schema, answer) if schema is not None else ()
    if not problems:
        return ""
    said = _shortened(answer)
    return f"the recorded answer {said} does not fit: {'; '.join(problems[:DETAILS_MAX])}"


def _shortened(value: Json) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= DETAIL_CHARS_MAX else f"{text[:DETAIL_CHARS_MAX]}…"


def _told(difference: Difference) -> str:
    """A difference of two values; of long texts, the part from where they part."""
    before, after = json.dumps(difference.before), json.dumps(difference.after)
    pairs = enumerate(zip(before, after, strict=False))
    alike = next((n for n, (a, b) in pairs if a != b), min(len(before), len(after)))
    start = max(0, alike - CONTEXT_CHARS)
    parts = (
        ("…" if start else "")
        + text[start : alike + DETAIL_CHARS_MAX]
        + ("…" if len(text) > alike + DETAIL_CHARS_MAX else "")
        for text in (before, after)
    )
    return f"{difference.where}: {' → '.join(parts)}"


def _result(call: Call | None) -> Json:
    if call is None:
        raise AgentError("no result of this call is on record, and the replay runs no tools")
    if call.answered:
        return call.response
    # As it was told the first time: the same words, whoever raises them.
    raise AgentError(call.failure.message if call.failure is not None else "")


@contextmanager
def fresh_modules(import_paths: tuple[str, ...]) -> Iterator[None]:
    """Forget, in the end, the modules that were loaded from these folders: another execution may
    have others of the same names."""
    before = set(sys.modules)
    try:
        yield
    finally:
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None)
            if file is not None and _is_of(name, Path(file), import_paths):
                del sys.modules[name]


def _is_of(name: str, file: Path, import_paths: tuple[str, ...]) -> bool:
    top, *rest = name.split(".")
    if top == "omium" or "site-packages" in file.parts:
        return False
    depth = len(rest) + (file.name == "__init__.py")
    return len(file.parents) > depth and str(file.parents[depth]) in import_paths
