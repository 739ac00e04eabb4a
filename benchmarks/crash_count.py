"""What the crash benchmark counts of one execution: journal, provider and tool, held together."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from omium.execution.events import (
    CallCompleted,
    CallFailed,
    CallIntended,
    Entry,
    Resumed,
    StepCompleted,
)
from omium.testing.call_log import RecordedCall
from omium.testing.script import request_digest

PROVIDERS_MODEL = "scripted"
"""What the provider calls the model, whatever the agents call it."""


@dataclass(frozen=True, kw_only=True)
class CallTally:
    """``repeated`` are calls that were made though an answer was on record. ``in_flight_retried``
    were under way when some part died, and on no record as answered. ``sent_retried`` are LLM
    calls that reached the provider once more, and no death of their gateway explains it."""

    repeated: int = 0
    in_flight_retried: int = 0
    sent_retried: int = 0
    problems: tuple[str, ...] = ()


@dataclass
class _Request:
    """One request as the provider sees it: the ``calls`` that ask it, and how often one of them
    was asked again because the ``gateway`` that had sent it was gone."""

    calls: set[Any] = field(default_factory=set[Any])
    gateway_lost: int = 0


def count_calls(
    entries: Iterable[Entry],
    provider: Sequence[RecordedCall],
    tool_runs: int,
    gateway_killed_ms: Sequence[int],
) -> CallTally:
    """Compare what reached the provider and the tool with what the journal holds.

    Every call that was made needs an intent of its own. More than one intent for the same call
    is a retry of one in flight, unless the call had been completed before: then it is repeated.
    A gateway is gone where it was killed, at ``gateway_killed_ms`` since the epoch, and where a
    new runtime has taken the execution over: what a killed driver leaves behind goes on for a
    while, so the time of that kill says little.
    """
    completed: set[Any] = set()
    keys: dict[int, Any] = {}
    intents: Counter[str] = Counter()
    finished_steps: set[tuple[str, str]] = set()
    seen: dict[Any, int] = {}
    requests: dict[str, _Request] = {}
    resumed_ms: list[int] = []
    problems: list[str] = []
    repeated = retried = 0
    for entry in entries:
        match entry.event:
            case CallIntended() as event:
                key = (event.agent, event.key)
                keys[entry.index] = key
                intents[event.key.kind] += 1
                done = key in completed or (event.agent, event.step) in finished_steps
                again = key in seen and not done
                repeated += done
                retried += again
                if event.key.kind == "llm":
                    request = requests.setdefault(digest_of(event), _Request())
                    request.calls.add(key)
                    gone_ms = [*resumed_ms, *gateway_killed_ms]
                    lost = again and any(seen[key] <= at <= entry.at_ms for at in gone_ms)
                    request.gateway_lost += lost
                seen[key] = entry.at_ms
            case CallCompleted() as event:
                completed.add(keys[event.call])
            case CallFailed() as event:
                problems.append(event.failure.message)
            case StepCompleted() as event:
                finished_steps.add((event.agent, event.step))
            case Resumed():
                resumed_ms.append(entry.at_ms)
            case _:
                pass
    if len(provider) > intents["llm"]:
        repeated += len(provider) - intents["llm"]
        problems.append(f"{len(provider)} calls at the provider, {intents['llm']} intents")
    if tool_runs > intents["tool"]:
        repeated += tool_runs - intents["tool"]
        problems.append(f"{tool_runs} runs of the tool, {intents['tool']} intents")
    sent = 0
    for digest, times in Counter(call.digest for call in provider).items():
        request = requests.get(digest)
        if request is None:
            problems.append("the provider was asked what no journal knows of")
            continue
        sent += max(0, times - len(request.calls) - request.gateway_lost)
    return CallTally(
        repeated=repeated,
        in_flight_retried=retried,
        sent_retried=sent,
        problems=tuple(problems),
    )


def count_lost(entries: Iterable[Any], told: Iterable[dict[str, Any]]) -> int:
    """How much a driver was ``told`` that is not in the journal's ``entries``, or not so; both as
    ``to_json`` writes them."""
    kept = {entry["index"]: json.loads(json.dumps(entry)) for entry in entries}
    return sum(kept.get(line["index"]) != line for line in told)


def digest_of(event: CallIntended) -> str:
    """How the provider's log names the question that an LLM call asks."""
    body = event.request.inline
    if not isinstance(body, dict):
        raise TypeError(f"call {event.key.name!r} was to be small enough for the journal")
    return request_digest({**body, "model": PROVIDERS_MODEL})
