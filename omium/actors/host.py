"""The process of a host: a part of an agent that lives apart from its worker.

It connects to the worker, is told what it is to be, answers, and ends with the connection. It
writes nothing to the journal: tools and questions go by way of the worker, LLM calls straight to
the gateway, under the worker's attempt.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any

import msgspec

from omium.actors.duplex import CODEC, Duplex, HostHello
from omium.actors.link import CONNECT_TIMEOUT_S, Address
from omium.actors.transport import Answer, Connection
from omium.definitions import at_work, workflow_from_data
from omium.errors import Control, ProtocolError
from omium.execution.calls import step_of_round
from omium.execution.records import Rejection
from omium.frameworks.hook import CallSite, watched
from omium.frameworks.protocol import Assignment, Guest, ModelEndpoint
from omium.frameworks.scope import Place
from omium.types import AgentName, ExecutionId, Json, TenantId


def given_to(assignment: Assignment, site: CallSite, guest: str, part: str, host: str) -> Json:
    """What a host is told first: the attempt, and which part of it is its guest."""
    given: dict[str, Any] = {
        "guest": guest,
        "part": part,
        "tenant": site.tenant,
        "gateway_url": site.gateway_url,
        # Its own, as each attempt's in one process is; the gateway ignores the suffix.
        "api_key": f"{site.api_key}.{host}",
        "execution_id": assignment.execution_id,
        "workflow": assignment.workflow.to_data(),
        "agent": assignment.agent.name,
        "epoch": assignment.epoch,
        "inputs": assignment.inputs,
        "outputs": assignment.outputs,
        "absent": sorted(assignment.absent),
        "round": assignment.round,
        "rejections": msgspec.to_builtins(assignment.rejections),
        "import_paths": list(assignment.import_paths),
        "model": assignment.endpoint.model,
    }
    return given


async def live(host: str, worker: Address, secret: bytes) -> None:
    """Be the host ``host`` of the worker that listens at ``worker``, until it hangs up. Raises
    ``OSError`` where it is gone already."""
    loop = asyncio.get_running_loop()
    lost: asyncio.Future[None] = loop.create_future()
    inside = _Inside()

    def ready(connection: Connection) -> None:
        inside.duplex = Duplex(connection, inside.become)
        connection.send(HostHello(host=host))

    def closed(_: Connection, __: Exception | None) -> None:
        if not lost.done():
            lost.set_result(None)

    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        opened, _ = await loop.create_connection(
            lambda: Connection(
                CODEC,
                secret,
                serving=False,
                handler=inside.heard,
                on_ready=ready,
                on_closed=closed,
            ),
            *worker,
        )
    try:
        await lost
    finally:
        opened.close()
        await inside.end()


class _Inside:
    """What is in the process: first nothing, then the guest."""

    def __init__(self) -> None:
        self.duplex: Duplex | None = None
        self._living: asyncio.Task[None] | None = None
        self._over = asyncio.Event()

    def heard(self, _: Connection, message: Any, answer: Answer) -> None:
        assert self.duplex is not None, "the handshake comes first"
        self.duplex.heard(message, answer)

    async def become(self, given: Any) -> Json:
        """Take the guest in. Raises what it raises."""
        if self._living is not None:
            raise ProtocolError("a host has one guest")
        here: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # A task of its own: all that is asked of the guest is done in its context.
        self._living = asyncio.create_task(self._live(given, here))
        await here
        return None

    async def _live(self, given: Any, here: asyncio.Future[None]) -> None:
        duplex = self.duplex
        assert duplex is not None, "the handshake comes first"
        site = CallSite(
            tenant=TenantId(given["tenant"]),
            execution_id=ExecutionId(given["execution_id"]),
            agent=AgentName(given["agent"]),
            epoch=given["epoch"],
            gateway_url=given["gateway_url"],
            api_key=given["api_key"],
        )
        assignment = _assignment(given)

        def at(step: str, branch: str) -> AbstractContextManager[None]:
            return site.at(Place(step_of_round(step, assignment.round), branch))

        module, _, name = given["guest"].partition(":")
        try:
            guest: Guest = getattr(await asyncio.to_thread(import_module, module), name)
            with watched(site):
                async with guest(assignment, given["part"], at, duplex.ask) as answering:
                    duplex.take(answering, site)
                    if not here.done():
                        here.set_result(None)
                    await self._over.wait()
        except (Exception, SystemExit, Control) as error:
            if here.done():
                raise
            here.set_exception(error)

    async def end(self) -> None:
        """Stop what is at work, and let the guest go."""
        if self.duplex is not None:
            self.duplex.stop()
            await self.duplex.stopped()
        self._over.set()
        if self._living is not None:
            await self._living


def _assignment(given: Any) -> Assignment:
    workflow = workflow_from_data(given["workflow"])
    return Assignment(
        execution_id=ExecutionId(given["execution_id"]),
        workflow=workflow,
        agent=at_work(workflow, given["agent"]),
        epoch=given["epoch"],
        inputs=given["inputs"],
        outputs=given["outputs"],
        saved=None,
        steps=(),
        absent=frozenset(given["absent"]),
        round=given["round"],
        rejections=msgspec.convert(given["rejections"], tuple[Rejection, ...]),
        import_paths=tuple(given["import_paths"]),
        endpoint=ModelEndpoint(
            base_url=f"{given['gateway_url']}/v1",
            api_key=given["api_key"],
            model=given["model"],
        ),
    )
