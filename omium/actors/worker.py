"""The agent actor: a process that hosts many executions of one agent.

It connects to the coordinator, says what it can do, runs the attempts that it is leased, and
reports how each one ended. It decides nothing about retries, and keeps nothing that matters.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from msgspec.structs import replace

from omium.actors import messages as m
from omium.actors.attempt import AttemptSession
from omium.actors.failures import failure_of
from omium.actors.hosting import Hosting, HostStarter
from omium.actors.link import Address, Link
from omium.actors.outside import StandIns
from omium.actors.payloads import Blobs, as_json, payload_of, value_of
from omium.actors.receiving import to_vote, verdicts
from omium.actors.requirements import Install
from omium.actors.supervision import Binding, binding_of
from omium.actors.transport import Answer, Codec, Connection
from omium.actors.voting import cut, vote_of
from omium.definitions import (
    Workflow,
    at_work,
    fitting,
    is_judge,
    unheard,
    value_problems,
    workflow_from_data,
)
from omium.errors import (
    Asked,
    AttemptCancelled,
    AttemptFenced,
    Control,
    OutcomeUnknown,
    OutputSchemaError,
    ProtocolError,
    Unavailable,
)
from omium.execution.calls import step_in_round
from omium.execution.events import AgentCompleted, HandoffAccepted, HandoffVoted
from omium.execution.records import Failure
from omium.frameworks.hook import CallSite, watched
from omium.frameworks.people import asking
from omium.frameworks.protocol import Adapter, Assignment, ModelEndpoint
from omium.storage.code_bundle import unpack
from omium.types import AgentName, ExecutionId, Json, WorkerId

log = logging.getLogger(__name__)

HEARTBEAT_S = 1.0
ORPHANED_AFTER_S = 60.0
"""A worker that found no coordinator for this long ends itself."""

_Key: TypeAlias = tuple[ExecutionId, AgentName]


class Worker:
    """See the module's docstring. ``ended`` is set when its process should go."""

    def __init__(
        self,
        worker_id: WorkerId,
        adapter: Adapter,
        *,
        coordinator: Address | Sequence[Address],
        secret: bytes,
        api_key: str,
        blobs: Blobs,
        capacity: int = 8,
        stand_ins: StandIns | None = None,
        code_directory: Path | None = None,
        install: Install | None = None,
        hosts: HostStarter | None = None,
    ) -> None:
        """``code_directory`` is where code that executions are pinned to is unpacked, once.
        ``install`` installs what it requires there; without, what is installed has to do.
        ``hosts`` starts processes for parts of agents; without, none can live apart."""
        self._id = worker_id
        self._stand_ins = stand_ins
        self._adapter = adapter
        self._api_key = api_key
        self._blobs = blobs
        self._capacity = capacity
        self._link = Link(
            coordinator,
            Codec(m.Messages),
            secret,
            handler=self._handle,
            greeting=self._hello,
        )
        self._attempts: dict[_Key, tuple[int, asyncio.Task[None], CallSite]] = {}
        self._over: dict[_Key, int] = {}
        """The epochs of attempts that have ended, and of which no coordinator has heard that."""
        self._binding: Binding | None = None
        self._hosting = None if hosts is None else Hosting(worker_id, hosts)
        self._code_directory = code_directory
        self._install = install
        self._code: asyncio.Task[tuple[str, ...]] | None = None
        self._attempts_made = 0
        self._beat: asyncio.Task[None] | None = None
        self.ended = asyncio.Event()

    async def start(self) -> None:
        """Import the framework, then connect: a worker that has said hello is warm."""
        await asyncio.to_thread(self._adapter.preload)
        self._link.open()
        self._beat = asyncio.create_task(self._heartbeats(), name="omium-heartbeats")

    async def stop(self) -> None:
        """Stop at once, telling nobody: the coordinator sees the connection close."""
        if self._beat is not None:
            self._beat.cancel()
        await self._link.close()
        for _, task, site in self._attempts.values():
            site.stopped = site.stopped or AttemptFenced("the worker ends")
            task.cancel()
        if self._hosting is not None:
            await self._hosting.stop()

    def _hello(self) -> m.WorkerHello:
        return m.WorkerHello(
            worker=self._id,
            framework=self._adapter.framework,
            capacity=self._capacity,
            pid=os.getpid(),
            binding=self._binding,
            attempts=(
                *((*key, epoch) for key, (epoch, _, _site) in self._attempts.items()),
                # How they ended follows; until then nobody is to take them for lost.
                *((*key, epoch) for key, epoch in self._over.items()),
            ),
        )

    async def _heartbeats(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            self._link.send(m.Heartbeat())
            lost_at = self._link.lost_at
            if lost_at is not None and loop.time() - lost_at > ORPHANED_AFTER_S:
                log.error("no coordinator for %g s: ending", ORPHANED_AFTER_S)
                self.ended.set()
            if self._link.refused is not None:
                log.error("turned away: %s", self._link.refused)
                self.ended.set()

    # ------------------------------------------------------------------ messages

    def _handle(self, _: Connection, message: Any, __: Answer) -> None:
        match message:
            case m.Lease():
                self._take(message)
            case m.Stop():
                self._stop_attempt(message)
            case m.Shutdown():
                self.ended.set()
            case _:
                raise ProtocolError(f"a worker takes no {type(message).__name__}")

    def _take(self, lease: m.Lease) -> None:
        self._binding = binding_of(lease.tenant, lease.digest, lease.code, lease.agent)
        self._attempts_made += 1
        site = CallSite(
            tenant=lease.tenant,
            execution_id=lease.execution_id,
            agent=lease.agent,
            epoch=lease.epoch,
            gateway_url=lease.gateway_url,
            # The suffix tells attempts in one process apart; the gateway ignores it.
            api_key=f"{self._api_key}.{self._id}.{self._attempts_made}",
        )
        key = (lease.execution_id, lease.agent)
        running = self._attempts.get(key)
        if running is not None:
            running[2].stopped = AttemptFenced(f"superseded by epoch {lease.epoch}")
            running[1].cancel()
        task = asyncio.create_task(
            self._run(lease, site), name=f"{lease.execution_id}/{lease.agent}#{lease.epoch}"
        )
        self._attempts[key] = (lease.epoch, task, site)

    def _stop_attempt(self, stop: m.Stop) -> None:
        running = self._attempts.get((stop.execution_id, stop.agent))
        if running is None or running[0] != stop.epoch:
            return
        _, task, site = running
        site.stopped = AttemptCancelled("cancelled") if stop.cancelled else AttemptFenced("stopped")
        task.cancel()

    # ------------------------------------------------------------------ one attempt

    async def _run(self, lease: m.Lease, site: CallSite) -> None:
        over = await self._outcome(lease, site)
        key = (lease.execution_id, lease.agent)
        running = self._attempts.get(key)
        if running is not None and running[0] == lease.epoch:
            del self._attempts[key]
        self._over[key] = lease.epoch
        try:
            await self._link.call(over)
        except Unavailable as error:
            # The coordinator finds out by itself that nobody works on the attempt.
            log.warning("could not report the end of %s/%s: %s", *key, error)
        finally:
            if self._over.get(key) == lease.epoch:
                del self._over[key]

    async def _outcome(self, lease: m.Lease, site: CallSite) -> m.AttemptOver:
        """Run an attempt and say how it ended. Nothing is raised but programming errors."""

        def over(
            end: Literal["completed", "failed", "outcome_unknown", "asked", "rejected", "stopped"],
            failure: Failure | None = None,
            call: int = 0,
        ) -> m.AttemptOver:
            return m.AttemptOver(
                execution_id=lease.execution_id,
                agent=lease.agent,
                epoch=lease.epoch,
                end=end,
                failure=failure,
                call=call,
            )

        try:
            with watched(site):
                session = await self._session(lease, site)
                if not await self._receive(session, lease.offers):
                    return over("rejected")
                try:
                    with asking(session):
                        output = await self._run_adapter(session)
                finally:
                    await session.end_hosts()
                await self._complete(session, output)
        except OutcomeUnknown as unknown:
            return over("outcome_unknown", call=unknown.call_index)
        except Asked as asked:
            return over("asked", call=asked.call)
        except (Control, asyncio.CancelledError):
            return over("stopped")
        except (Exception, SystemExit) as error:
            # An agent that wants to leave the process is one guest of it among many.
            if site.stopped is not None:
                return over("stopped")
            log.info("attempt %s/%s failed", lease.execution_id, lease.agent, exc_info=error)
            failure = failure_of(
                error,
                lease.agent,
                site.here().step,
                model_error=site.model_error,
                gateway_lost=site.gateway_lost,
            )
            return over("failed", failure)
        return over("completed")

    async def _receive(self, session: AttemptSession, offers: Sequence[m.Offer]) -> bool:
        """Accept what is offered, or reject it, before anything else; whether all was taken."""
        if not offers:
            return True
        assignment = session.assignment
        voted = [await self._voted(session, offer) for offer in offers]
        said = verdicts(assignment.agent, voted, assignment.outputs)
        await session.append(*said)
        return all(isinstance(verdict, HandoffAccepted) for verdict in said)

    async def _voted(self, session: AttemptSession, offer: m.Offer) -> m.Offer:
        """The offer with the votes about it, each on record before the next is asked for."""
        assignment = session.assignment
        output = assignment.outputs[offer.source]
        for validator in to_vote(assignment.agent, offer, output):
            vote = await vote_of(validator, output, assignment.import_paths)
            await session.append(
                HandoffVoted(
                    agent=assignment.agent.name,
                    handoff=offer.handoff,
                    validator=vote.validator,
                    ballot=vote.ballot,
                    reason=vote.reason,
                )
            )
            offer = replace(offer, votes=(*offer.votes, vote))
        return offer

    async def _run_adapter(self, session: AttemptSession) -> Json:
        """Run the agent. When it asks somebody, the tools that it has at work come to their
        end first."""
        try:
            return await self._adapter.run(session)
        except Asked as asked:
            await session.settled(asked)
            raise
        except BaseExceptionGroup as group:
            # What a task group makes of it.
            asked = _asked_in(group)
            if asked is None:
                raise
            await session.settled(asked)
            raise asked from group

    async def _session(self, lease: m.Lease, site: CallSite) -> AttemptSession:
        tenant = lease.tenant

        async def value(payload: Any) -> Any:
            return await value_of(payload, self._blobs, tenant)

        workflow = workflow_from_data(lease.definition.inline)
        agent = at_work(workflow, lease.agent)
        if agent.framework != self._adapter.framework:
            raise ProtocolError(
                f"a worker of {self._adapter.framework} was leased a {agent.framework} agent"
            )
        assignment = Assignment(
            execution_id=lease.execution_id,
            workflow=workflow,
            agent=agent,
            epoch=lease.epoch,
            inputs=await value(lease.inputs),
            outputs={name: await value(output) for name, output in lease.outputs.items()},
            saved=await value(lease.saved) if lease.saved is not None else None,
            steps=tuple(step_in_round(step, lease.round) for step in lease.steps),
            absent=frozenset(unheard(workflow, lease.agent, lease.outputs)),
            round=lease.round,
            rejections=lease.rejections,
            import_paths=await self._import_paths(lease, workflow),
            endpoint=ModelEndpoint(
                base_url=f"{lease.gateway_url}/v1",
                api_key=site.api_key,
                model=lease.model or workflow.model_of(agent) or "",
            ),
        )
        return AttemptSession(
            assignment, tenant, site, self._link, self._blobs, self._stand_ins, self._hosting
        )

    async def _import_paths(self, lease: m.Lease, workflow: Workflow) -> tuple[str, ...]:
        """Where the code of an execution is looked up. All of this worker's have the same."""
        requirements = workflow.requirements or ()
        if lease.code is None and not requirements:
            return lease.import_paths
        if self._code is None or (self._code.done() and self._code.exception() is not None):
            self._code = asyncio.create_task(self._made_ready(lease, requirements))
        return await asyncio.shield(self._code)

    async def _made_ready(self, lease: m.Lease, requirements: Sequence[str]) -> tuple[str, ...]:
        if self._code_directory is None:
            raise ProtocolError("this worker has no place for code")
        paths = lease.import_paths
        if lease.code is not None:
            # Checked against the content's hash, which the journal pins.
            data = await self._blobs.get(lease.code.blob, tenant=lease.tenant)
            digest = lease.code.blob.digest.removeprefix("sha256:")[:16]
            place = self._code_directory / f"{digest}-{self._attempts_made}"
            paths = await asyncio.to_thread(unpack, data, place)
        if requirements and self._install is not None:
            place = self._code_directory / f"requirements-{self._attempts_made}"
            await self._install(requirements, paths, place)
        return paths

    async def _complete(self, session: AttemptSession, output: Json) -> None:
        agent = session.assignment.agent
        output = as_json(output, f"the output of agent {agent.name!r}")
        if agent.final_output is not None:
            problems = value_problems(agent.final_output, output)
            if problems:
                raise OutputSchemaError(agent.name, problems)
        if is_judge(session.assignment.workflow, agent.name):
            output = cut(output)
        payload = await payload_of(output, self._blobs, session.tenant)
        fits = fitting(session.assignment.workflow, agent.name, output)
        await session.append(AgentCompleted(agent=agent.name, output=payload, fits=fits))


def _asked_in(group: BaseExceptionGroup[BaseException]) -> Asked | None:
    """The question among exceptions of a group, where all else is of no account."""
    found, rest = group.split(Asked)
    if found is None or rest is not None:
        return None
    first: BaseException = found
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first if isinstance(first, Asked) else None
