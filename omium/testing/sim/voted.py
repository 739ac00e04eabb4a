"""The law of votes, told from the entries of a journal alone.

Whoever is to vote about a handoff does so once, before the verdict; and a verdict by votes is what
all the votes on record come to. The vote of an agent is the one that it handed over. What is given
in answer is voted about anew: by all, where an agent stands in, and by no agent, where it is a
person's. What was only late is not. Who has voted before an attempt began is not asked by it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from omium.execution.events import (
    AgentCompleted,
    Created,
    Entry,
    HandoffAccepted,
    HandoffDecided,
    HandoffOffered,
    HandoffRejected,
    HandoffVoted,
    RoundStarted,
)
from omium.execution.records import PlannedHandoff
from omium.execution.state import ExecutionState
from omium.execution.votes import ANSWERED
from omium.types import ExecutionId


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A validator is asked about a handoff, by the attempt whose lease is at index ``leased``."""

    execution: ExecutionId
    handoff: str
    validator: str
    leased: int


class VoteLaw:
    """Sees the entries of one journal, in order. ``note`` and ``stands`` raise AssertionError.

    ``counts`` are of the votes ``for`` and ``against``, of those that agents gave (``judged``), of
    those with which an attempt went on where another one had come to (``gone_on``), of what was
    ``accepted``, ``outvoted`` or found ``unfit``, and of what was decided then: ``retry``,
    ``delegate`` and its answer (``stood_in``), which need no person, and the others.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._planned: dict[tuple[str, str], PlannedHandoff] = {}
        self._rules: dict[str, PlannedHandoff] = {}
        self._judges: set[str] = set()
        # Of each agent that is done and may be a judge, its ballot and its reason.
        self._given: dict[str, tuple[object, object]] = {}
        # Of each handoff, the votes: why, where it was against.
        self._votes: dict[str, dict[str, str | None]] = {}
        self._closed: set[str] = set()
        self._answered: set[str] = set()
        self._epochs: dict[str, int] = {}

    def note(self, where: str, entry: Entry) -> None:
        """Judge one more entry, which is at ``where``."""
        event = entry.event
        match event:
            case Created():
                self._planned = {
                    (one.source, agent.name): one for agent in event.plan for one in agent.checked
                }
                self._judges = {agent.name for agent in event.plan if agent.judges}
            case AgentCompleted() if event.agent in self._judges:
                match event.output.inline:
                    case {"ballot": ballot, "reason": reason}:
                        self._given[event.agent] = (ballot, reason)
                    case other:
                        raise AssertionError(f"{where}: {event.agent} hands over {other}")
            case HandoffOffered():
                self._rules[event.handoff] = self._planned[event.agent, event.to]
                self._votes[event.handoff] = {}
            case HandoffVoted():
                self._voted(where, entry.epoch, event)
            case HandoffRejected() if not entry.epoch:
                # Nobody has looked at it; who has voted is not asked again if somebody does.
                self._closed.add(event.handoff)
            case HandoffAccepted() | HandoffRejected():
                self._judged(where, event)
            case HandoffDecided():
                self._decided(event)
                self._begin_anew(event.agents)
            case RoundStarted():
                self._begin_anew(event.agents)
            case _:
                pass

    def _begin_anew(self, agents: Iterable[str]) -> None:
        for agent in agents:
            self._given.pop(agent, None)

    def _decided(self, event: HandoffDecided) -> None:
        name = event.handoff
        by_agent = event.decision == "answer" and not event.by
        self.counts["stood_in" if by_agent else event.decision] += 1
        if event.decision == "answer":
            self._votes[name] = {}
            if not by_agent:
                self._answered.add(name)
        if event.decision in ("answer", "approve"):
            self._closed.discard(name)

    def _voted(self, where: str, epoch: int, event: HandoffVoted) -> None:
        name, validator = event.handoff, event.validator
        judge = validator in self._judges
        assert epoch or judge, f"{where}: nobody who owns {event.agent} asks {validator}"
        assert name not in self._closed, (
            f"{where}: {validator} votes about {name} after the verdict"
        )
        assert validator in self._rules[name].validators, f"{where}: {validator} has no vote"
        assert validator not in self._votes[name], f"{where}: {validator} votes twice about {name}"
        if judge:
            given = self._given.get(validator)
            given = ("for", ANSWERED) if name in self._answered else given
            assert given == (event.ballot, event.reason), (
                f"{where}: {validator} votes {event.ballot}, {event.reason!r}, about {name}, "
                f"and has handed over {given}"
            )
            self.counts["judged"] += 1
        else:
            self.counts["gone_on"] += self._epochs.setdefault(name, epoch) != epoch
            self._epochs[name] = epoch
        self._votes[name][validator] = None if event.ballot == "for" else event.reason
        self.counts[event.ballot] += 1

    def _judged(self, where: str, event: HandoffAccepted | HandoffRejected) -> None:
        name = event.handoff
        rule, votes = self._rules[name], self._votes[name]
        self._closed.add(name)
        against = [(who, why) for who, why in votes.items() if why is not None]
        in_favour = len(votes) - len(against)
        told = (
            f"{where}: {in_favour} of {len(votes)} votes are for {name}, and {rule.votes_min} "
            f"of {len(rule.validators)} have to be"
        )
        whole = set(votes) == set(rule.validators)
        if isinstance(event, HandoffAccepted):
            assert whole and in_favour >= rule.votes_min, f"{told}: it is accepted"
            self.counts["accepted"] += 1
        elif any(reason.code == "vote" for reason in event.reasons):
            assert whole and in_favour < rule.votes_min, f"{told}: it is outvoted"
            reasons = [(reason.validator, reason.message) for reason in event.reasons]
            assert reasons == against, f"{where}: {name} is outvoted by {reasons}, not {against}"
            self.counts["outvoted"] += 1
        else:
            self.counts["unfit"] += 1

    def stands(self, where: str, state: ExecutionState) -> None:
        """The votes that the state counts are those on record."""
        for handoff in state.handoffs.values():
            counted = {
                vote.validator: None if vote.ballot == "for" else vote.reason
                for vote in handoff.votes
            }
            votes = self._votes[handoff.name]
            assert counted == votes, (
                f"{where}: the state has the votes {counted} about {handoff.name}, not {votes}"
            )


def asked_again(journals: Mapping[ExecutionId, Sequence[Entry]], asked: Iterable[Asked]) -> int:
    """How often a validator was asked once more about the same, since its vote was not written.

    Raises AssertionError where it was on record when the attempt that asks began.
    """
    known: set[tuple[ExecutionId, str, str, int]] = set()
    again = 0
    for one in asked:
        before = [entry.event for entry in journals[one.execution][: one.leased]]
        votes = answers = 0
        for event in before:
            match event:
                case HandoffDecided(handoff=one.handoff, decision="answer"):
                    answers += 1
                    votes = 0
                case HandoffVoted(handoff=one.handoff, validator=one.validator):
                    votes += 1
                case _:
                    pass
        assert not votes, (
            f"{one.execution}: {one.validator} has voted about {one.handoff} before "
            f"{one.leased}, and is asked again"
        )
        key = (one.execution, one.handoff, one.validator, answers)
        again += key in known
        known.add(key)
    return again
