"""Plans in short: ``a b<a c<b? d<b! b>a*2?``, as the transcripts write them."""

from __future__ import annotations

import re

from omium.execution.records import PlannedAgent, PlannedLoop

_LOOP = re.compile(r"(\w+)>(\w+)\*(\d+)(\??)(!?)")


def plan_of(*words: str) -> tuple[PlannedAgent, ...]:
    """The plan that ``words`` stand for. ``c<b?`` takes from b when its output fits, ``d<b!``
    otherwise; ``b>a*2?!`` hands back to a at most twice, when it fits, and fails after."""
    upstream: dict[str, list[str]] = {}
    loops: dict[str, list[PlannedLoop]] = {}
    for word in words:
        if (loop := _LOOP.fullmatch(word)) is not None:
            source, to, rounds, conditional, fails = loop.groups()
            body = tuple(
                name
                for name in upstream
                if (name == to or to in _before(upstream, name))
                and (name == source or name in _before(upstream, source))
            )
            loops.setdefault(source, []).append(
                PlannedLoop(
                    to=to,
                    agents=body,
                    rounds_max=int(rounds),
                    conditional=bool(conditional),
                    then="fail" if fails else "continue",
                )
            )
        else:
            name, _, givers = word.partition("<")
            upstream[name] = [giver for giver in givers.split(",") if giver]
    return tuple(
        PlannedAgent(
            name=name,
            upstream=tuple(giver.rstrip("?!") for giver in givers),
            when=tuple(giver[:-1] for giver in givers if giver.endswith("?")),
            otherwise=tuple(giver[:-1] for giver in givers if giver.endswith("!")),
            loops=tuple(loops.get(name, ())),
        )
        for name, givers in upstream.items()
    )


def _before(upstream: dict[str, list[str]], name: str) -> set[str]:
    found: set[str] = set()
    ahead = [name]
    while ahead:
        for giver in upstream[ahead.pop()]:
            giver = giver.rstrip("?!")
            if giver not in found:
                found.add(giver)
                ahead.append(giver)
    return found
