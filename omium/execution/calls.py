"""The rules of the call journal: what makes a call the same call, and what is done about it.

The key of a call is ``(scope, name, digest of the canonical request, occurrence)``. Canonical
means without what a retry changes though the question is the same: message ids, the stream
flag, and the random ids that link a tool call to its result.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, TypeAlias, cast

import msgspec

from omium.execution.records import CallKey, Failure, Payload
from omium.execution.state import AgentState, CallState

# Fields that say how to deliver an answer, not which answer is wanted.
_DELIVERY_FIELDS = frozenset({"stream", "stream_options", "user", "metadata", "store"})


class Run(msgspec.Struct, frozen=True, kw_only=True, tag="run"):
    """Make the call. ``retry_of`` is the index of an earlier intent without an outcome, or 0."""

    effect_key: str
    retry_of: int = 0


class Replay(msgspec.Struct, frozen=True, kw_only=True, tag="replay"):
    """Return the recorded response; ``forced`` when by ordinal and not by key."""

    call: int
    response: Payload
    forced: bool = False


class ReplayFailure(msgspec.Struct, frozen=True, kw_only=True, tag="replay_failure"):
    """Raise the recorded failure again: the agent went on from it the first time too."""

    call: int
    failure: Failure


class Unknown(msgspec.Struct, frozen=True, kw_only=True, tag="unknown"):
    """An earlier attempt started this call, nobody knows how it ended, and running it again
    is not declared safe."""

    call: int


class Waiting(msgspec.Struct, frozen=True, kw_only=True, tag="waiting"):
    """It was asked before, and nobody has answered yet."""

    call: int


CallDecision: TypeAlias = Run | Replay | ReplayFailure | Unknown | Waiting


def decide_call(
    execution_id: str,
    agent: AgentState,
    key: CallKey,
    *,
    ordinal: int,
    epoch: int,
    idempotent: bool,
    forced_until: int,
) -> CallDecision:
    """What to do about the call ``key`` that the attempt ``epoch`` of ``agent`` wants to make.

    An LLM call may always be run again: it costs, and changes nothing. A tool call may be
    when it is declared idempotent, or when this same attempt asks twice, because an attempt
    starts a tool only after it was told to. A tool that stopped to ask somebody did not get any
    further, and starts over.
    """
    if key.kind == "llm" and forced_until:
        forced = _by_ordinal(agent, key.scope, ordinal, forced_until)
        if forced is not None and forced.response is not None:
            return Replay(call=forced.index, response=forced.response, forced=True)
    effect_key = effect_key_of(execution_id, agent.name, key)
    call = agent.calls.get(key)
    if call is None:
        return Run(effect_key=effect_key)
    if call.status == "completed" and call.response is not None:
        return Replay(call=call.index, response=call.response)
    if call.status == "failed":
        # A provider's failure says nothing that a model said: asking again is right.
        if key.kind == "llm":
            return Run(effect_key=effect_key, retry_of=call.index)
        failure = call.failure or Failure(kind="tool", message="no reason is on record")
        return ReplayFailure(call=call.index, failure=failure)
    if key.kind == "human":
        return Waiting(call=call.index)
    if key.kind == "llm" or idempotent or call.epoch == epoch or _stopped_to_ask(agent, call):
        return Run(effect_key=call.effect_key or effect_key, retry_of=call.index)
    return Unknown(call=call.index)


def _stopped_to_ask(agent: AgentState, call: CallState) -> bool:
    return call.suspended or any(asked.inside == call.index for asked in agent.calls.values())


def _by_ordinal(agent: AgentState, scope: str, ordinal: int, forced_until: int) -> CallState | None:
    for call in agent.calls.values():
        if (
            call.key.kind == "llm"
            and call.key.scope == scope
            and call.ordinal == ordinal
            and call.index <= forced_until
            and call.status == "completed"
        ):
            return call
    return None


def effect_key_of(execution_id: str, agent: str, key: CallKey) -> str:
    """The stable key that an idempotent tool is handed: the same in every try of one call."""
    text = "\0".join(
        (execution_id, agent, key.kind, key.scope, key.name, key.digest, str(key.occurrence))
    )
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def step_of_round(step: str, number: int) -> str:
    """The name of an adapter's ``step`` in the journal. In a later round of a loop it says which,
    or the agent would be answered with what it heard, and did, in the first."""
    return step if number == 1 else f"{_round_prefix(number)}{step}"


def step_in_round(name: str, number: int) -> str:
    """The inverse of ``step_of_round``."""
    return name if number == 1 else name.removeprefix(_round_prefix(number))


def _round_prefix(number: int) -> str:
    # No framework has names that begin so.
    return f"#{number}/"


def digest_of(value: Any) -> str:
    """SHA-256, in hex, of a value's canonical JSON (sorted keys, no spaces, NaN refused)."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def canonical_chat_request(body: Mapping[str, Any]) -> dict[str, Any]:
    """A chat-completions request reduced to what decides its answer.

    Tool-call ids are renamed by order of appearance, because frameworks and providers draw
    them at random. The source of the field names is the OpenAI API reference, "Create chat
    completion".
    """
    canonical = {name: body[name] for name in body if name not in _DELIVERY_FIELDS}
    messages = canonical.get("messages")
    if isinstance(messages, list):
        canonical["messages"] = _canonical_messages(cast("list[Any]", messages))
    return canonical


def _canonical_messages(messages: list[Any]) -> list[Any]:
    names: dict[str, str] = {}

    def renamed(identifier: Any) -> str:
        return names.setdefault(str(identifier), f"call_{len(names)}")

    def canonical_call(call: Any) -> Any:
        if not isinstance(call, dict):
            return call
        fields = cast("dict[str, Any]", call)
        return {**fields, "id": renamed(fields.get("id"))}

    result: list[Any] = []
    for message in messages:
        if not isinstance(message, dict):
            result.append(message)
            continue
        fields = cast("dict[str, Any]", message)
        kept = {k: v for k, v in fields.items() if k != "id" and v is not None}
        calls = kept.get("tool_calls")
        if isinstance(calls, list):
            kept["tool_calls"] = [canonical_call(call) for call in cast("list[Any]", calls)]
        if "tool_call_id" in kept:
            kept["tool_call_id"] = renamed(kept["tool_call_id"])
        result.append(kept)
    return result
