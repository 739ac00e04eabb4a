"""One execution, driven by one-line commands: what the transcripts are written in.

Appends are applied as a replica does it, ``check`` and then ``evolve``, and after each one
the journal, encoded and decoded, must fold to the very state that was reached.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any, get_args

import msgspec

from omium.actors.supervision import pause_due
from omium.errors import OmiumError
from omium.execution import events as ev
from omium.execution.calls import (
    Replay,
    ReplayFailure,
    Run,
    Unknown,
    Waiting,
    canonical_chat_request,
    decide_call,
    digest_of,
)
from omium.execution.commands import decode_command, encode_command
from omium.execution.fold import create, evolve
from omium.execution.fork import ChangedOutput, changed, fork_events
from omium.execution.handoffs import line_of, overdue, rejections
from omium.execution.machine import check
from omium.execution.records import (
    Ballot,
    CallKey,
    Failure,
    HandoffDecision,
    Payload,
    Question,
    QuestionKind,
    Reason,
    Usage,
    Writer,
)
from omium.execution.routing import due, ready_agents, seen
from omium.execution.state import ExecutionState
from omium.types import DEFAULT_TENANT, CallKind, ExecutionId, WorkerId
from tests.execution.plans import plan_of

DEFINITION = {"agents": [{"name": "a", "role": "clerk"}, {"name": "b", "role": "judge"}]}
INPUTS = {"principal": 10000}


class Session:
    """``$ a/1/2 step a s1`` appends as the attempt of agent a under epoch 1, sequence 2; without
    such a prefix the coordinator does. ``;`` joins the events of one append."""

    def __init__(self) -> None:
        self.id = ExecutionId("exe_1")
        self.state: ExecutionState | None = None
        self.entries: list[ev.Entry] = []
        self._clock_ms = 0

    def __call__(self, line: str) -> str:
        name, *words = line.split()
        command: Callable[..., str] | None = getattr(self, f"do_{name}", None)
        return command(*words) if command is not None else self._append_line(line)

    # ------------------------------------------------------------------ appending

    def _append_line(self, line: str) -> str:
        head, _, rest = line.partition(" ")
        writer = None
        if "/" in head:
            agent, epoch, sequence = head.split("/")
            writer = Writer(agent=agent, epoch=int(epoch), sequence=int(sequence))
            line = rest
        parts = [part.split() for part in line.split(" ; ")] if line else []
        return self.append(*(event_of(*part) for part in parts), writer=writer)

    def append(self, *events: ev.Event, writer: Writer | None = None) -> str:
        self._clock_ms += 10
        append = ev.Append(execution_id=self.id, events=events, writer=writer, at_ms=self._clock_ms)
        assert decode_command(encode_command(append), "here") == append
        before = copy.deepcopy(self.state)
        refusal = check(self.state, append)
        assert self.state == before, "check changed the state"
        if refusal is not None:
            current = f", current epoch {refusal.current_epoch}" if refusal.current_epoch else ""
            return f"refused, {refusal.code}{current}: {refusal.message}"
        first = len(self.entries) + 1
        for event in append.events:
            entry = ev.Entry(
                execution_id=self.id,
                index=len(self.entries) + 1,
                at_ms=append.at_ms,
                epoch=writer.epoch if writer is not None else 0,
                sequence=writer.sequence if writer is not None else 0,
                event=event,
            )
            if self.state is None:
                self.state = create(entry)
            else:
                evolve(self.state, entry)
            self.entries.append(entry)
        assert self.state is not None
        assert folded(self.entries) == self.state
        last = len(self.entries)
        return f"{f'{first}-{last}' if last > first else last} {self.state.status}"

    def do_create(self, *plan: str) -> str:
        """The words are those of ``plans``."""
        return self.append(
            ev.Created(
                tenant=DEFAULT_TENANT,
                workflow="loan",
                version="1",
                digest="d1",
                definition=Payload(inline=DEFINITION),
                inputs=Payload(inline=INPUTS),
                plan=plan_of(*plan),
            )
        )

    def do_nothing(self) -> str:
        """An append without events."""
        return self.append()

    # ------------------------------------------------------------------ looking

    def do_state(self) -> str:
        state = self._known()
        lines = [f"{state.status} at {state.index}"]
        if state.origin is not None:
            lines[0] += f", from {state.origin.execution_id}@{state.origin.index}"
            lines[0] += f", forced until {state.forced_until}"
        for agent in state.agents.values():
            facts = [agent.status]
            if agent.worker is not None:
                facts.append(f"by {agent.worker}")
            counted = ("epoch", "sequence", "losses", "failures", "checkpoint")
            if agent.round > 1:
                facts.append(f"round {agent.round}")
            facts += [f"{name} {value}" for name in counted if (value := getattr(agent, name))]
            if agent.steps:
                steps = (f"{step}@{index}" for step, index in agent.steps.items())
                facts.append(f"steps {' '.join(steps)}")
            if agent.saved is not None:
                facts.append(f"saved {compact(agent.saved.inline)}")
            if agent.output is not None:
                facts.append(f"output {compact(agent.output.inline)}")
            if agent.recalled is not None:
                facts.append(f"recalled {compact(agent.recalled.inline)}")
            lines.append(f"  {agent.name}: {', '.join(facts)}")
            for call in agent.calls.values():
                key = call.key
                lines.append(
                    f"    call {call.index}: {key.kind} {key.name} {key.digest}#{key.occurrence} "
                    f"in {key.scope}, ordinal {call.ordinal}, {call.status}"
                    + (", suspended" if call.suspended else "")
                    + (f" {compact(call.response.inline)}" if call.response else "")
                    + (f" {call.failure.message!r}" if call.failure else "")
                )
        for handoff in state.handoffs.values():
            facts = [f"{handoff.name}: {handoff.status}, epoch {handoff.epoch}"]
            facts += [f"{vote.validator} {vote.ballot}" for vote in handoff.votes]
            facts += [f"rejected {handoff.rejections}"] if handoff.rejections else []
            facts += [f"instead {compact(handoff.value.inline)}"] if handoff.value else []
            lines.append(f"  handoff {', '.join(facts)}")
        if state.signals:
            lines.append(f"  signals: {' '.join(signal.name for signal in state.signals)}")
        if state.pause is not None:
            pause = state.pause
            lines.append(f"  paused: {pause.reason}, call {pause.call} of {pause.agent}")
            lines += [f"    {pause.detail}"] if pause.detail else []
        if state.failure is not None:
            lines.append(f"  failure: {state.failure.kind}: {state.failure.message}")
        if state.result:
            lines.append(f"  result of {', '.join(state.result)}")
        return "\n".join(lines)

    def do_totals(self) -> str:
        totals = self._known().totals
        return ", ".join(
            f"{name} {getattr(totals, name)}"
            for name in totals.__slots__
            if getattr(totals, name) not in (0, None)
        )

    def do_journal(self) -> str:
        return "\n".join(f"{entry.index} {shown(entry.event)}" for entry in self.entries)

    def do_due(self) -> str:
        """The pause that is due, and the agents that are ready."""
        pause = pause_due(self._known())
        ready = f"ready {' '.join(ready_agents(self._known())) or 'nobody'}"
        return ready if pause is None else f"{ready}; pause {pause.reason} {pause.call}"

    # ------------------------------------------------------------------ deciding

    def do_call(self, name: str, epoch: str, *words: str) -> str:
        """``call AGENT EPOCH KIND NAME DIGEST#OCCURRENCE SCOPE [ordinal=N] [idempotent]``"""
        state = self._known()
        decision = decide_call(
            state.id,
            state.agents[name],
            key_of(*words[:4]),
            ordinal=ordinal_of(words),
            epoch=int(epoch),
            idempotent="idempotent" in words,
            forced_until=state.forced_until,
        )
        match decision:
            case Run(retry_of=0):
                return f"run, effect key {decision.effect_key[:8]}"
            case Run():
                return f"run, effect key {decision.effect_key[:8]}, retry of {decision.retry_of}"
            case Replay():
                how = "replay, forced," if decision.forced else "replay"
                return f"{how} {compact(decision.response.inline)} of {decision.call}"
            case ReplayFailure():
                return f"raise {decision.failure.message!r} of {decision.call}"
            case Unknown():
                return f"unknown, see {decision.call}"
            case Waiting():
                return f"waits for an answer to {decision.call}"

    def do_next(self) -> str:
        """Who may run, what each of them is given, and what the coordinator is to write."""
        state = self._known()
        lines: list[str] = []
        for name in ready_agents(state):
            given = {agent: output.inline for agent, output in seen(state, name).items()}
            told = "".join(
                f"; {one.to} says {', '.join(line_of(reason) for reason in one.reasons)}"
                for one in rejections(state, name)
            )
            lines.append(f"run {name} with {compact(given)}{told}")
        return "\n".join([*lines, *(shown(event) for event in due(state))]) or "nothing"

    def do_late(self, after_ms: str) -> str:
        """What is to be written about handoffs so long after the last event."""
        state = self._known()
        rejected = overdue(state, state.updated_ms + int(after_ms))
        return (
            "\n".join(
                f"{shown(event)} reasons={','.join(reason.code for reason in event.reasons)}"
                for event in rejected
            )
            or "nothing"
        )

    def do_follow(self) -> str:
        """Write what is due, until agents must act."""
        lines: list[str] = []
        while events := due(self._known()):
            lines += [*map(shown, events), self.append(*events)]
        return "\n".join(lines) or "nothing"

    # ------------------------------------------------------------------ forking

    def do_fork(self, at: str, *changes: str) -> str:
        """Go on with the fork at index ``at``. Changes are those of a desk: paths below
        ``inputs``, ``agents`` and ``outputs``, each ``path=json``."""
        entries = self.entries[: int(at)]
        outputs = {
            entry.event.agent: entry.event.output.inline
            for entry in entries
            if isinstance(entry.event, ev.AgentCompleted)
        }
        document: dict[str, Any] = {**DEFINITION, "inputs": INPUTS, "outputs": outputs}
        replaced: dict[str, Any] = {}
        for change in changes:
            path, _, value = change.partition("=")
            try:
                document = changed(document, path, json.loads(value))
            except OmiumError as error:
                return f"{error.kind}: {error}"
            if path.startswith("outputs."):
                agent = path.split(".")[1]
                replaced[agent] = document["outputs"][agent]
        before = copy.deepcopy(self.entries)
        try:
            copied = fork_events(
                entries,
                definition={"agents": document["agents"]},
                digest="d2" if changes else "d1",
                inputs=document["inputs"],
                outputs={name: ChangedOutput(value=value) for name, value in replaced.items()},
            )
        except OmiumError as error:
            return f"{error.kind}: {error}"
        assert self.entries == before, "a fork changed its origin"
        self.id = ExecutionId(f"{self.id}f")
        self.state, self.entries = None, []
        return self.append(*copied)

    def do_fork_events(self, at: str) -> str:
        """What a fork at ``at`` would begin with."""
        copied = fork_events(
            self.entries[: int(at)], definition=DEFINITION, digest="d1", inputs=INPUTS
        )
        return "\n".join(f"  {index} {shown(event)}" for index, event in enumerate(copied, 1))

    def do_forks(self) -> str:
        """What a fork at each index would begin with, where it is not what the last one was."""
        lines: list[str] = []
        last = ""
        for entry in self.entries:
            told = self.do_fork_events(str(entry.index))
            lines.append(f"at {entry.index} {shown(entry.event)}")
            lines += ["  the same"] if told == last else told.splitlines()
            last = told
        return "\n".join(lines)

    def do_set(self, document: str, path: str, value: str) -> str:
        """``changed(document, path, value)``; the document must stay as it is."""
        given = json.loads(document)
        try:
            result = changed(given, path, json.loads(value))
        except OmiumError as error:
            return f"{error.kind}: {error}"
        assert given == json.loads(document), "changed its argument"
        return compact(result)

    def do_canonical(self, body: str) -> str:
        request = json.loads(body)
        canonical = canonical_chat_request(request)
        assert request == json.loads(body), "changed its argument"
        return compact(canonical)

    def do_same(self, one: str, other: str) -> str:
        """Whether two chat requests are one call."""
        digests = {digest_of(canonical_chat_request(json.loads(body))) for body in (one, other)}
        return "the same call" if len(digests) == 1 else "two calls"

    def _known(self) -> ExecutionState:
        assert self.state is not None
        return self.state


def folded(entries: list[ev.Entry]) -> ExecutionState:
    """The state that ``entries`` add up to after a trip through their encoding."""
    first, *rest = (
        msgspec.structs.replace(
            entry, event=ev.decode_event(ev.encode_event(entry.event), str(entry.index))
        )
        for entry in entries
    )
    state = create(first)
    for entry in rest:
        evolve(state, entry)
    return state


def event_of(name: str, *words: str) -> ev.Event:
    """The event that one command stands for."""
    match name, words:
        case "lease", (agent, epoch, worker, *cause):
            return ev.AttemptStarted(
                agent=agent,
                epoch=int(epoch),
                worker=WorkerId(worker),
                cause=msgspec.convert(cause[0] if cause else "first", ev.AttemptCause),
            )
        case "end", (agent, epoch, end):
            return ev.AttemptEnded(
                agent=agent, epoch=int(epoch), end=msgspec.convert(end, ev.AttemptEnd)
            )
        case "step", (agent, step):
            return ev.StepStarted(agent=agent, step=step)
        case "done", (agent, step, *state):
            return ev.StepCompleted(agent=agent, step=step, state=payload(*state))
        case "output", (agent, *output):
            fits = [word.removeprefix("fits=") for word in output if word.startswith("fits=")]
            return ev.AgentCompleted(
                agent=agent,
                output=payload(" ".join(w for w in output if not w.startswith("fits=")) or "null"),
                fits=tuple(fits[0].split(",")) if fits else (),
            )
        case "skip", (agent,):
            return ev.AgentSkipped(agent=agent)
        case "round", (agent, to, number, *agents):
            return ev.RoundStarted(agent=agent, to=to, agents=tuple(agents), round=int(number))
        case "offer", (agent, to, *flags):
            return ev.HandoffOffered(
                agent=agent,
                to=to,
                handoff=next((f for f in flags if ">" in f), f"{agent}#1>{to}"),
                epoch=number_of("epoch", flags),
                schema="v1" if "v0" not in flags else "v0",
            )
        case "vote", (agent, handoff, validator, ballot, *reason):
            return ev.HandoffVoted(
                agent=agent,
                handoff=handoff,
                validator=validator,
                ballot=msgspec.convert(ballot, Ballot),
                reason=" ".join(reason),
            )
        case "outvoted", (agent, handoff, *votes):
            reasons = tuple(
                Reason(code="vote", validator=name, message=message)
                for name, _, message in (vote.partition("=") for vote in votes)
            )
            return ev.HandoffRejected(agent=agent, handoff=handoff, reasons=reasons)
        case "accept", (agent, handoff):
            return ev.HandoffAccepted(agent=agent, handoff=handoff)
        case "reject", (agent, handoff, *message):
            reason = Reason(code="schema", path="/n", message=" ".join(message))
            return ev.HandoffRejected(
                agent=agent, handoff=handoff, reasons=(reason,) if message else ()
            )
        case "expire", (agent, handoff):
            reason = Reason(code="deadline", message="late")
            return ev.HandoffRejected(agent=agent, handoff=handoff, reasons=(reason,))
        case "settle", (agent, handoff, decision, *rest):
            return ev.HandoffDecided(
                agent=agent,
                handoff=handoff,
                decision=msgspec.convert(decision, HandoffDecision),
                agents=tuple(rest) if decision == "retry" else (),
                output=payload(*rest) if decision == "answer" else None,
                by="Ann",
            )
        case "stand", (agent, handoff, stand_in, value):
            return ev.HandoffDecided(
                agent=agent,
                handoff=handoff,
                decision="answer",
                output=payload(value),
                reason=f"by agent {stand_in!r}",
            )
        case "intend", (agent, step, kind, tool, digest, *flags):
            return ev.CallIntended(
                agent=agent,
                step=step,
                key=key_of(kind, tool, digest, step),
                ordinal=ordinal_of(flags),
                request=payload(),
                idempotent="idempotent" in flags,
                effect_key="e-" + digest,
                approval=number_of("approval", flags),
            )
        case "ask", (agent, step, kind, name, digest, *flags):
            named: dict[str, Any] = {"tool": name} if kind == "approval" else {"name": name}
            return ev.CallIntended(
                agent=agent,
                step=step,
                key=key_of("human", name, digest, step),
                ordinal=ordinal_of(flags),
                request=payload('{"amount": 7}') if kind == "approval" else payload(),
                question=Question(kind=msgspec.convert(kind, QuestionKind), text=name, **named),
                inside=number_of("inside", flags),
            )
        case "answer", (agent, call, *rest):
            tokens = [int(word.removeprefix("tokens=")) for word in rest if "tokens=" in word]
            return ev.CallCompleted(
                agent=agent,
                call=int(call),
                response=payload(*rest[:1]),
                usage=Usage(completion_tokens=tokens[0]) if tokens else Usage(),
            )
        case "broke", (agent, call, *message):
            failure = Failure(kind="tool", message=" ".join(message))
            return ev.CallFailed(agent=agent, call=int(call), failure=failure)
        case "suspend", (agent, call):
            return ev.CallSuspended(agent=agent, call=int(call))
        case "decide", (agent, call, decision, *response):
            return ev.CallDecided(
                agent=agent,
                call=int(call),
                decision=msgspec.convert(decision, ev.Decision),
                response=payload(*response) if response else None,
                by="Ann",
            )
        case "failure", (agent, *message):
            return ev.FailureRecorded(failure=failure_of(agent, message))
        case "pause", (reason, *call):
            return ev.Paused(
                reason=msgspec.convert(reason, ev.PauseReason), call=int(call[0]) if call else 0
            )
        case "resume", ():
            return ev.Resumed()
        case "signal", (name, *value):
            return ev.Signalled(name=name, payload=payload(*value))
        case "complete", sinks:
            return ev.Completed(sinks=sinks)
        case "fail", (agent, *message):
            return ev.Failed(failure=failure_of(agent, message))
        case "cancel", ():
            return ev.Cancelled()
        case "created", ():
            return ev.Created(
                tenant=DEFAULT_TENANT,
                workflow="loan",
                version="1",
                digest="d1",
                definition=payload(),
                inputs=payload(),
                plan=plan_of("a"),
            )
        case _:
            raise ValueError(f"no command {name} {words}")


def failure_of(agent: str, message: list[str]) -> Failure:
    return Failure(kind="agent", message=" ".join(message), agent=agent if agent != "-" else None)


def key_of(kind: str, name: str, digest: str, scope: str) -> CallKey:
    digest, _, occurrence = digest.partition("#")
    assert kind in get_args(CallKind)
    return CallKey(
        kind=msgspec.convert(kind, CallKind),
        scope=scope,
        name=name,
        digest=digest,
        occurrence=int(occurrence or 0),
    )


def ordinal_of(words: list[str] | tuple[str, ...]) -> int:
    return number_of("ordinal", words)


def number_of(name: str, words: list[str] | tuple[str, ...]) -> int:
    start = f"{name}="
    return next((int(word.removeprefix(start)) for word in words if word.startswith(start)), 0)


def payload(text: str = "null") -> Payload:
    return Payload(inline=json.loads(text))


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def shown(event: ev.Event) -> str:
    """An event with the fields that tell it from others of its type."""
    fields = {
        name: getattr(event, name)
        for name in (
            "agent",
            "to",
            "epoch",
            "step",
            "call",
            "inside",
            "handoff",
            "decision",
            "reason",
            "round",
        )
        if getattr(event, name, None) not in (None, "", 0)
    }
    for name in ("state", "output", "response", "inputs"):
        value = getattr(event, name, None)
        if isinstance(value, Payload):
            fields[name] = compact(value.inline)
    for name in ("fits", "agents", "sinks"):
        if getattr(event, name, ()):
            fields[name] = ",".join(getattr(event, name))
    if isinstance(event, ev.CallIntended):
        fields["digest"] = f"{event.key.digest}#{event.key.occurrence}"
    if isinstance(event, ev.Created) and event.origin is not None:
        fields["origin"] = f"{event.origin.execution_id}@{event.origin.index}"
    if isinstance(event, ev.CallFailed | ev.Failed | ev.FailureRecorded):
        fields["failure"] = event.failure.message
    return " ".join([ev.type_of(event), *(f"{name}={value}" for name, value in fields.items())])
