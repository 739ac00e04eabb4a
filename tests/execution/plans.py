"""Plans in short: ``a b<a c<b? d<b! b>a*2?``, as the transcripts write them."""

from __future__ import annotations

import re

from omium.execution.records import PlannedAgent, PlannedHandoff, PlannedLoop

_CHECK = re.compile(r"#(\d?)(?:@(\d+))?(?:~(\d)/(\d))?")
_LOOP = re.compile(r"(\w+)>(\w+)\*(\d+)(\??)(!?)")


def plan_of(*words: str) -> tuple[PlannedAgent, ...]:
    """The plan that ``words`` stand for. ``c<b?`` takes from b when its output fits, ``d<b!``
    otherwise; ``b<a#`` checks what a hands to it, and ``b<a#1`` lets a try again once,
    ``b<a#@60`` takes 60 s at most; ``b<a#~2/3`` has three validators, v1 to v3, of whom two have
    to be for it; in ``a j<a:b b<a#~2/1`` agent j is one more;
    in ``a f<a=b b<a#`` agent f stands in for a towards b;
    ``b>a*2?!`` hands back to a at most twice, when it fits, and fails after."""
    upstream: dict[str, list[str]] = {}
    loops: dict[str, list[PlannedLoop]] = {}
    judged: dict[str, list[str]] = {}
    stands_in: dict[str, str] = {}
    for word in words:
        if (loop := _LOOP.fullmatch(word)) is not None:
            source, to, rounds, conditional, fails = loop.groups()
            body = tuple(
                name
                for name in upstream
                if (name == to or to in _before(upstream, name))
                and any(
                    one == source or one in _before(upstream, source)
                    for one in judged.get(name) or [stands_in.get(name) or name]
                )
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
            word, _, receivers = word.partition(":")
            word, _, receiver = word.partition("=")
            name, _, givers = word.partition("<")
            stands_in[name] = receiver
            judged[name] = [receiver for receiver in receivers.split(",") if receiver]
            upstream[name] = [giver for giver in givers.split(",") if giver]
    checked: dict[str, list[PlannedHandoff]] = {}
    for name, givers in upstream.items():
        for giver in givers:
            if (check := _CHECK.search(giver)) is not None:
                source = _CHECK.sub("", giver).rstrip("?!")
                judges = [
                    judge
                    for judge, receivers in judged.items()
                    if name in receivers and upstream[judge] == [source]
                ]
                planned = PlannedHandoff(
                    source=source,
                    schema="v1",
                    retries=int(check[1] or 0),
                    deadline_s=float(check[2]) if check[2] else None,
                    validators=(*(f"v{n}" for n in range(1, int(check[4] or 0) + 1)), *judges),
                    votes_min=int(check[3] or 0),
                    stand_in=next(
                        (f for f in stands_in if stands_in[f] == name and upstream[f] == [source]),
                        None,
                    ),
                )
                checked.setdefault(name, []).append(planned)
        upstream[name] = [_CHECK.sub("", giver) for giver in givers]
    return tuple(
        PlannedAgent(
            name=name,
            upstream=tuple(giver.rstrip("?!") for giver in givers),
            when=tuple(giver[:-1] for giver in givers if giver.endswith("?")),
            otherwise=tuple(giver[:-1] for giver in givers if giver.endswith("!")),
            loops=tuple(loops.get(name, ())),
            checked=tuple(checked.get(name, ())),
            judges=tuple(judged[name]),
            stands_in=stands_in[name] or None,
        )
        for name, givers in upstream.items()
    )


def _before(upstream: dict[str, list[str]], name: str) -> set[str]:
    found: set[str] = set()
    ahead = [name]
    while ahead:
        for giver in upstream[ahead.pop()]:
            giver = _CHECK.sub("", giver).rstrip("?!")
            if giver not in found:
                found.add(giver)
                ahead.append(giver)
    return found
