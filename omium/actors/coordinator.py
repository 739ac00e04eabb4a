"""The coordinator: one object that owns a journal, and everything that may be asked of it.

A plain class in an event loop. It takes messages apart and hands them on: ``Committer``
writes, ``Supervisor`` leases and watches, ``Desk`` serves clients, ``Readers`` follow,
``Courier`` tells webhooks.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from omium.actors import messages as m
from omium.actors.committer import CommitObserver, Committer
from omium.actors.courier import Courier, WebhookSettings
from omium.actors.desk import Desk, answer_of
from omium.actors.ordering import Alone, CommitResult, Order
from omium.actors.readers import Readers
from omium.actors.shipper import Shipper, ShippingSettings
from omium.actors.supervision import pause_due
from omium.actors.supervisor import Supervisor
from omium.actors.transport import (
    Answer,
    Codec,
    Connection,
    ErrorReply,
    answer_later,
    error_reply,
    serve,
    stop_listening,
)
from omium.actors.workforce import Spawner, SupervisorSettings
from omium.clock import Clock
from omium.errors import CorruptRecord, NotFound, OmiumError, ProtocolError
from omium.execution.calls import Replay, Run, decide_call
from omium.execution.events import (
    AgentCompleted,
    AgentSkipped,
    Append,
    AttemptEnded,
    CallDecided,
    CallIntended,
    Cancelled,
    Created,
    Entry,
    Failed,
    HandoffDecided,
    HandoffOffered,
    HandoffRejected,
    Paused,
    Resumed,
    RoundStarted,
    Signalled,
    StepCompleted,
)
from omium.execution.machine import Refusal
from omium.execution.records import Writer
from omium.execution.state import AgentState
from omium.storage.replica import Replica, Written

CODEC = Codec(m.Messages)
TICK_S = 0.2
FLUSH_S = 5.0
"""For how long an end in good order waits for the archive."""

_AS_IT_IS_NOW = (
    m.Fork,
    m.Cancel,
    m.Interrupt,
    m.Signal,
    m.Resume,
    m.FindRequest,
    m.GetExecution,
    m.ListExecutions,
    m.CountExecutions,
    m.GetRecords,
    m.Redeliver,
    m.TestWebhook,
    m.ReadJournal,
)
"""What may be answered from the state alone, and so only from one that is known to be the newest.
The rest ends in a commit, or is answered with a fact that stays one."""

_TELLS_NO_CLIENT = (
    m.AppendEvents,
    m.EndCall,
    m.AttemptOver,
    m.WorkerHello,
    m.GatewayHello,
    m.Heartbeat,
    m.Deltas,
    m.GetRuntime,
    m.Drain,
    m.StopRuntime,
)
"""What is answered at once, though the archive is to have first what clients are told."""

_STOPPED = ("completed", "failed", "cancelled", "paused")


class Coordinator:
    """See the module's docstring. ``start`` it, then talk to it over a ``Link``."""

    def __init__(
        self,
        replica: Replica,
        *,
        clock: Clock,
        secret: bytes,
        spawner: Spawner,
        settings: SupervisorSettings | None = None,
        webhooks: WebhookSettings | None = None,
        observer: CommitObserver | None = None,
        order: Order | None = None,
        shipping: ShippingSettings | None = None,
    ) -> None:
        """``order`` is the group that ``replica`` belongs to; None where it is alone."""
        self._replica = replica
        self._order = order or Alone(replica)
        self._secret = secret
        self._committer = Committer(
            self._order,
            clock,
            on_written=self._react,
            on_trouble=self._fall,
            observer=observer,
        )
        settings = settings or SupervisorSettings()
        self._spawner = spawner
        self._supervisor = Supervisor(replica, self._committer, clock, spawner, settings)
        self._courier = Courier(replica, self._committer, clock, webhooks or WebhookSettings())
        self._desk = Desk(replica, self._committer, self._courier, settings.awake_from_ms)
        self._readers = Readers(replica)
        self._shipper = Shipper(replica, clock, shipping) if shipping is not None else None
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._stopped = False
        self._ticker: asyncio.Task[None] | None = None
        self._connections: set[Connection] = set()
        self._handlers: dict[type[Any], Callable[[Connection, Any, Answer], None]] = {
            m.AppendEvents: self._append,
            m.BeginCall: self._begin_call,
            m.EndCall: self._end_call,
            m.AttemptOver: self._attempt_over,
            m.WorkerHello: lambda c, hello, _: self._supervisor.worker_hello(c, hello),
            m.GatewayHello: lambda c, hello, _: self._supervisor.gateway_hello(c, hello),
            m.Heartbeat: lambda c, _, __: self._supervisor.heartbeat(c),
            m.Submit: lambda _, message, answer: self._desk.submit(message, answer),
            m.Fork: lambda _, message, answer: self._desk.fork(message, answer),
            m.Cancel: lambda _, message, answer: self._desk.cancel(message, answer),
            m.Interrupt: lambda _, message, answer: self._desk.interrupt(message, answer),
            m.Signal: lambda _, message, answer: self._desk.signal(message, answer),
            m.Resume: lambda _, message, answer: self._desk.resume(message, answer),
            m.FindRequest: lambda _, message, answer: self._desk.find_request(message, answer),
            m.ClaimRequest: lambda _, message, answer: self._desk.claim(message, answer),
            m.GetExecution: lambda _, message, answer: answer(self._desk.view(message)),
            m.ListExecutions: lambda _, message, answer: answer(self._desk.executions(message)),
            m.CountExecutions: lambda _, message, answer: answer(self._desk.counts(message)),
            m.PutRecord: lambda _, message, answer: self._desk.put_record(message, answer),
            m.GetRecords: lambda _, message, answer: answer(self._desk.records(message)),
            m.Redeliver: lambda _, message, answer: self._desk.redeliver(message, answer),
            m.TestWebhook: lambda _, message, answer: self._desk.test_webhook(message, answer),
            m.Deltas: lambda _, message, __: self._readers.tell(message),
            m.GetRuntime: lambda _, __, answer: answer(self.view()),
            m.ReadJournal: lambda _, message, answer: answer_later(
                lambda: self._readers.read(message), answer, self._tasks
            ),
            m.BeginDrain: self._begin_drain,
            m.Drain: self._drain,
            m.StopRuntime: self._stop_runtime,
        }

    def view(self) -> m.RuntimeView:
        """Who is connected."""
        view = self._supervisor.view(os.getpid())
        archive = self._shipper.view() if self._shipper is not None else None
        return replace(view, followers=self._order.followers, archive=archive)

    async def start(self, host: str, port: int) -> int:
        """Take up every unfinished execution and listen. Returns the port."""
        self._supervisor.take_up()
        self._server = await serve(
            host,
            port,
            CODEC,
            self._secret,
            handler=self._handle,
            on_made=self._made,
            on_closed=self._closed,
        )
        self._ticker = asyncio.create_task(self._ticks(), name="omium-tick")
        self._courier.start()
        if self._shipper is not None:
            self._shipper.start()
        return self._server.sockets[0].getsockname()[1]

    async def stop(self, *, end_workers: bool = True) -> None:
        """Stop listening and supervising. What was acknowledged is on disk already."""
        self._stopped = True
        self._supervisor.shut_down(end_workers=end_workers)
        if self._ticker is not None:
            self._ticker.cancel()
        if self._server is not None:
            await stop_listening(self._server)
        for connection in list(self._connections):
            connection.close()
        for task in list(self._tasks):
            task.cancel()
        await self._courier.stop()
        if self._shipper is not None:
            await self._shipper.stop()
        # Sockets are let go of in the loop's next turn.
        await asyncio.sleep(0)

    def tick(self, late_s: float = 0.0) -> None:
        """Look at the clock; it is done every ``TICK_S`` seconds without being asked."""
        self._supervisor.tick(late_s)

    async def _ticks(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due_s = loop.time() + TICK_S
            await asyncio.sleep(TICK_S)
            self.tick(loop.time() - due_s)

    def _handle(self, connection: Connection, message: Any, given: Answer) -> None:
        told = self._after_shipping(message, given)

        def answer(reply: Any) -> None:
            if isinstance(reply, ErrorReply) and reply.kind == CorruptRecord.kind:
                self._order.distrust(CorruptRecord(*reply.args), lambda: told(reply))
            else:
                told(reply)

        def confirmed(error: OmiumError | None) -> None:
            if error is None:
                self._dispatch(connection, message, answer)
            else:
                answer(error_reply(error))

        if isinstance(message, _AS_IT_IS_NOW):
            self._order.confirm(confirmed)
        else:
            self._dispatch(connection, message, answer)

    def _after_shipping(self, message: Any, answer: Answer) -> Answer:
        """``answer``, or one that is held until the archive has what it tells of."""
        shipper = self._shipper
        if shipper is None or not shipper.first or isinstance(message, _TELLS_NO_CLIENT):
            return answer
        # An agent waits for as long as it takes, before what cannot be done twice.
        to_agent = isinstance(message, m.BeginCall)
        if to_agent and message.idempotent:
            return answer
        return lambda reply: shipper.hold(
            lambda error: answer(reply if error is None else error_reply(error)),
            limited=not to_agent,
        )

    def _dispatch(self, connection: Connection, message: Any, answer: Answer) -> None:
        handler = self._handlers.get(type(message))
        try:
            if handler is None:
                raise ProtocolError(f"a coordinator takes no {type(message).__name__}")
            handler(connection, message, answer)
        except OmiumError as error:
            answer(error_reply(error))

    def _made(self, connection: Connection) -> None:
        self._connections.add(connection)
        if self._stopped:
            # Accepted by the system before the server was closed.
            connection.close()

    def _closed(self, connection: Connection, error: Exception | None) -> None:
        self._connections.discard(connection)
        self._supervisor.closed(connection, error)

    def _fall(self, trouble: OmiumError) -> None:
        """Nothing was committed: the states in memory are to be read again."""
        self._supervisor.reload()
        self._readers.fail(trouble)

    def _react(self, entries: tuple[Entry, ...]) -> None:
        """Do what follows from entries that were just committed."""
        execution_id = entries[0].execution_id
        state = self._replica.state(execution_id)
        stopped = state is not None and state.status in _STOPPED
        self._readers.committed(execution_id, stopped=stopped)
        if state is None:
            return
        if stopped and not self._replica.outbox.is_empty:
            self._courier.wake()
        self._supervisor.noted(state, entries[-1].epoch)
        if state.status in ("completed", "failed", "cancelled"):
            self._readers.ended(execution_id)
        pause = pause_due(state)
        if pause is not None:
            self._committer.own(execution_id, pause)
        decides = False
        for entry in entries:
            match entry.event:
                case (
                    AgentCompleted()
                    | AgentSkipped()
                    | RoundStarted()
                    | HandoffRejected()
                    | HandoffDecided()
                    | Resumed()
                ):
                    decides = True
                    self._supervisor.schedule()
                case StepCompleted():
                    self._supervisor.step_completed(execution_id, entry.event.agent)
                case Created() | AttemptEnded() | CallDecided() | HandoffOffered() | Signalled():
                    self._supervisor.schedule()
                case Cancelled():
                    self._supervisor.stop_attempts(execution_id, cancelled=True)
                case Paused() | Failed():
                    self._supervisor.stop_attempts(execution_id, cancelled=False)
                case _:
                    pass
        if decides:
            # Once for all entries: more may follow from them together than from each.
            self._supervisor.decide(state)

    # ------------------------------------------------------------------ from attempts

    def _append(self, _: Connection, message: m.AppendEvents, answer: Answer) -> None:
        append = Append(
            execution_id=message.execution_id, events=message.events, writer=message.writer
        )
        self._committer.submit(append, lambda result: answer(answer_of(result)))

    def _end_call(self, _: Connection, message: m.EndCall, answer: Answer) -> None:
        self._committer.own(
            message.execution_id, message.event, then=lambda result: answer(answer_of(result))
        )

    def _begin_call(
        self, connection: Connection, message: m.BeginCall, answer: Answer, *, again: bool = False
    ) -> None:
        state = self._replica.state(message.execution_id)
        agent = state.agents.get(message.agent) if state is not None else None
        if state is None or agent is None:
            raise NotFound("agent", f"{message.execution_id}/{message.agent}")
        if agent.epoch != message.epoch or agent.status != "leased":
            answer(_fenced(agent, f"epoch {message.epoch} of agent {agent.name!r} is superseded"))
            return
        if self._supervisor.is_told_to_stop(state.id, agent.name, message.epoch):
            # What is begun now would end with an outcome that nobody knows.
            answer(_fenced(agent, f"agent {agent.name!r} is to stop where it is"))
            return
        decision = decide_call(
            state.id,
            agent,
            message.key,
            ordinal=message.ordinal,
            epoch=message.epoch,
            idempotent=message.idempotent,
            forced_until=state.forced_until,
        )
        if not isinstance(decision, Run):
            answer(m.CallBegun(decision=decision))
            return
        if message.again and _is_open(agent, message):
            # Its intent was committed, and whoever was to say so is gone.
            answer(self._begun(message, decision, decision.retry_of))
            return
        intent = CallIntended(
            agent=message.agent,
            step=message.step,
            key=message.key,
            ordinal=message.ordinal,
            request=message.request,
            idempotent=message.idempotent,
            effect_key=decision.effect_key,
            question=message.question,
            inside=message.inside,
            approval=message.approval,
        )

        def begun(result: CommitResult) -> None:
            if isinstance(result, Written):
                answer(self._begun(message, decision, result.last_index))
            elif isinstance(result, Refusal) and result.code == "conflict" and not again:
                # The call may have been answered in the very batch that this joined.
                self._begin_call(connection, message, answer, again=True)
            else:
                answer(answer_of(result))

        # Fenced, since the attempt may be superseded in the very batch that this joins.
        fence = Writer(agent=message.agent, epoch=message.epoch, sequence=0)
        self._committer.submit(
            Append(execution_id=message.execution_id, events=(intent,), writer=fence), begun
        )

    def _begun(self, message: m.BeginCall, decision: Run, index: int) -> m.CallBegun:
        """What is said of a call whose intent is committed."""
        state = self._replica.state(message.execution_id)
        found = state.call_at(index) if state is not None and message.question else None
        response = found[1].response if found is not None else None
        if response is not None:
            # A signal that had come before it was waited for.
            return m.CallBegun(decision=Replay(call=index, response=response), index=index)
        return m.CallBegun(decision=decision, index=index)

    def _attempt_over(self, _: Connection, message: m.AttemptOver, answer: Answer) -> None:
        self._supervisor.attempt_over(message)
        answer(m.Done())

    # ------------------------------------------------------------------ from clients

    def _begin_drain(self, _: Connection, __: m.BeginDrain, answer: Answer) -> None:
        self._supervisor.drain()
        answer(m.Drained(attempts=self._supervisor.attempts))

    def _drain(self, _: Connection, message: m.Drain, answer: Answer) -> None:
        self._supervisor.drain()
        answer_later(lambda: self._drained(message), answer, self._tasks)

    async def _drained(self, message: m.Drain) -> m.Drained:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(message.grace_s):
                await self._supervisor.drained.wait()
        if self._shipper is not None:
            await self._shipper.flush(FLUSH_S)
        return m.Drained(attempts=self._supervisor.attempts)

    def _stop_runtime(self, _: Connection, __: m.StopRuntime, answer: Answer) -> None:
        self._supervisor.shut_down()
        answer_later(self._ended_workers, answer, self._tasks)

    async def _ended_workers(self) -> m.Done:
        await self._spawner.settled()
        return m.Done()


def _is_open(agent: AgentState, message: m.BeginCall) -> bool:
    """Whether this very attempt has intended the call, and it has no outcome yet."""
    call = agent.calls.get(message.key)
    return call is not None and call.status == "open" and call.epoch == message.epoch


def _fenced(agent: AgentState, message: str) -> m.Refused:
    return m.Refused(
        refusal=Refusal(code="stale_epoch", message=message, current_epoch=agent.epoch)
    )
