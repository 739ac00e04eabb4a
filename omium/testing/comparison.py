"""What differs between two recordings: in results, steps, calls and cost. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from omium.testing.recording import Recording
from omium.types import Json

DIFFERENCES_MAX = 200


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A place, such as ``outputs.writer.line``, and what is there. ``None`` is also nothing."""

    where: str
    before: Json
    after: Json


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What an execution took. Tokens and cost (millionths of a US dollar) are None where nobody
    reported them, which is not zero."""

    steps: int
    llm_calls: int
    tool_calls: int
    outputs: int
    prompt_tokens: int | None
    completion_tokens: int | None
    cost_micros: int | None


def figures_of(recording: Recording) -> Figures:
    """The figures of a recording, of each call once."""
    usage = recording.usage
    return Figures(
        steps=len(recording.steps),
        llm_calls=len(recording.llm_calls()),
        tool_calls=len(recording.tool_calls()),
        outputs=len(recording.outputs),
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cost_micros=usage.cost_micros,
    )


def compare(before: Recording, after: Recording) -> list[Difference]:
    """Every difference in status, outputs, steps and figures; the first 200 of them."""
    found: list[Difference] = []
    for difference in _differences(before, after):
        if len(found) == DIFFERENCES_MAX:
            break
        found.append(difference)
    return found


def _differences(before: Recording, after: Recording) -> Iterator[Difference]:
    yield from json_differences("status", before.status, after.status)
    yield from json_differences("failure", _failure(before), _failure(after))
    yield from json_differences("outputs", before.outputs, after.outputs)
    yield from _step_differences(_steps(before), _steps(after))
    figures: Any = asdict(figures_of(before))
    yield from json_differences("figures", figures, asdict(figures_of(after)))


def _failure(recording: Recording) -> Json:
    failure = recording.failure
    return None if failure is None else f"{failure.kind}: {failure.message}"


def _steps(recording: Recording) -> dict[str, list[str]]:
    """The steps of each agent, in order, by what they are called."""
    steps: dict[str, list[str]] = {}
    for step in recording.steps:
        steps.setdefault(step.agent, []).append(step.name or step.step)
    return steps


def _step_differences(
    before: dict[str, list[str]], after: dict[str, list[str]]
) -> Iterator[Difference]:
    for agent in dict.fromkeys((*before, *after)):
        was, now = before.get(agent, []), after.get(agent, [])
        # Steps that run side by side end in whatever order.
        if sorted(was) != sorted(now):
            yield Difference(where=f"steps.{agent}", before=[*was], after=[*now])


def json_differences(where: str, before: Any, after: Any) -> Iterator[Difference]:
    """The places below ``where`` at which two JSON values differ, as deep as they go."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in dict.fromkeys((*before, *after)):
            yield from json_differences(f"{where}.{name}", before.get(name), after.get(name))
    elif isinstance(before, list) and isinstance(after, list):
        for position in range(max(len(before), len(after))):
            yield from json_differences(
                f"{where}.{position}", _at(before, position), _at(after, position)
            )
    elif before != after or isinstance(before, bool) != isinstance(after, bool):
        yield Difference(where=where, before=before, after=after)


def _at(values: list[Any], position: int) -> Any:
    return values[position] if position < len(values) else None
