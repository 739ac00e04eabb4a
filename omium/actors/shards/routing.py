"""The client side of several shards: sends every message to the shard that it concerns.

Has the interface of a ``Link``, which is what it is made of, so that nobody above knows how many
shards there are.

A request by name is claimed in the home shard before it is carried out in another: the claim
says which execution it concerns, so that the same name finds the same execution however often
it comes, with whatever new id. Claim and deed are both such that they can be done again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, cast

from msgspec.structs import replace

from omium.actors import messages as m
from omium.actors.link import Address, Link
from omium.actors.shards.merging import merged
from omium.actors.shards.mirroring import Ask, mirror
from omium.actors.shards.placement import HOME, shard_of
from omium.actors.transport import Codec, Handler
from omium.errors import OmiumError
from omium.storage.outbox import DELIVERY_KIND, WEBHOOK_KIND
from omium.types import ExecutionId, TenantId

Named: TypeAlias = (
    m.Submit | m.Fork | m.Cancel | m.Interrupt | m.Signal | m.Resume | m.Redeliver | m.TestWebhook
)
"""What may have a name, and concerns one execution."""

_OF_ALL = (
    m.ListExecutions,
    m.CountExecutions,
    m.GetRuntime,
    m.BeginDrain,
    m.Drain,
    m.StopRuntime,
)


class Shards:
    """See the module's docstring."""

    def __init__(
        self,
        shards: Sequence[Sequence[Address]],
        codec: Codec,
        secret: bytes,
        *,
        handler: Handler,
        greeting: Callable[[], Any] | None = None,
    ) -> None:
        """``shards`` are the addresses of each, by number. The rest is what a ``Link`` takes."""
        self._links = [
            Link(addresses, codec, secret, handler=handler, greeting=greeting)
            for addresses in shards
        ]

    def open(self) -> None:
        """Start connecting to every shard in the background."""
        for link in self._links:
            link.open()

    async def close(self) -> None:
        """Stop connecting. Who waits for an answer gets ``Unavailable``."""
        for link in self._links:
            await link.close()

    @property
    def refused(self) -> OmiumError | None:
        """Why a shard turned us away for good, if one did."""
        return next((link.refused for link in self._links if link.refused is not None), None)

    def send(self, body: m.Deltas) -> None:
        """Send a message that may be lost."""
        self._of(body.execution_id).send(body)

    async def call(
        self, body: Any, *, deadline_s: float = 60.0, again: Any = None, patient: bool = False
    ) -> Any:
        """Ask whom it concerns, until answered; see ``Link.call``.

        What concerns several shards is answered when all of them have, and each has ``deadline_s``
        seconds for each thing that it is asked. Who is ``patient`` asks about one execution.
        """
        home = self._ask(HOME, deadline_s)
        match body:
            case m.PutRecord():
                answer = await home(body)
                if body.kind == WEBHOOK_KIND:
                    others = [self._ask(n, deadline_s) for n in range(1, len(self._links))]
                    await mirror(body.tenant, body.key, home, others)
                return answer
            case m.GetRecords() if body.kind != DELIVERY_KIND:
                return await home(body)
            case m.FindRequest():
                return await self._find(body, home, deadline_s)
            case m.GetRecords():
                # What became of a delivery is kept where its execution is.
                return await self._all(body, deadline_s)
            case _ if isinstance(body, _OF_ALL):
                return await self._all(body, deadline_s)
            case _ if isinstance(body, Named):
                return await self._carry_out(body, home, deadline_s)
            case _:
                link = self._of(body.execution_id)
                return await link.call(body, deadline_s=deadline_s, again=again, patient=patient)

    async def _carry_out(self, body: Named, home: Ask, deadline_s: float) -> Any:
        """Have what may have a name carried out once, where the execution is that it concerns."""
        concerned = _concerned(body)
        shard = self._shard(concerned)
        if body.request is None:
            return await self._ask(shard, deadline_s)(body)
        claim = m.ClaimRequest(tenant=_tenant(body), request=body.request, execution_id=concerned)
        answer = await home(body if shard == HOME else claim)
        claimed = self._claimed(answer)
        if claimed is None:
            return answer
        ask = self._ask(self._shard(claimed), deadline_s)
        done = await ask(body if claimed == concerned else _about(body, claimed))
        if claimed != concerned and isinstance(done, m.Appended):
            return replace(done, execution_id=claimed)
        return done

    async def _find(self, body: m.FindRequest, home: Ask, deadline_s: float) -> Any:
        answer = await home(body)
        claimed = self._claimed(answer)
        # A claim alone says that it was to be carried out, and not that it was.
        if claimed is None:
            return answer
        return await self._ask(self._shard(claimed), deadline_s)(body)

    def _claimed(self, answer: Any) -> ExecutionId | None:
        """The execution in another shard that the home shard says a request concerns; None for
        one that the home shard has carried out."""
        if not isinstance(answer, m.Appended) or answer.execution_id is None or answer.index:
            return None
        return answer.execution_id if self._shard(answer.execution_id) != HOME else None

    async def _all(self, body: Any, deadline_s: float) -> Any:
        asked = [
            asyncio.ensure_future(link.call(body, deadline_s=deadline_s)) for link in self._links
        ]
        try:
            return merged(body, await asyncio.gather(*asked))
        finally:
            for task in asked:
                task.cancel()

    def _ask(self, shard: int, deadline_s: float) -> Ask:
        return lambda body: self._links[shard].call(body, deadline_s=deadline_s)

    def _shard(self, execution_id: str) -> int:
        return shard_of(execution_id, len(self._links))

    def _of(self, execution_id: str) -> Link:
        return self._links[self._shard(execution_id)]


def link_to(
    coordinator: Address | Sequence[Address],
    further: Sequence[Sequence[Address]],
    codec: Codec,
    secret: bytes,
    *,
    handler: Handler,
    greeting: Callable[[], Any] | None = None,
) -> Link | Shards:
    """What leads to one coordinator, or, with ``further`` shards, to all of them."""
    if not further:
        return Link(coordinator, codec, secret, handler=handler, greeting=greeting)
    shards = [cast("Sequence[Address]", coordinator), *further]
    return Shards(shards, codec, secret, handler=handler, greeting=greeting)


def _concerned(body: Named) -> ExecutionId:
    """What a request concerns: an execution, or a trial message, which is placed like one."""
    match body:
        case m.Redeliver():
            return ExecutionId(body.delivery.partition("@")[0])
        case m.TestWebhook():
            return ExecutionId(body.name)
        case _:
            return body.execution_id


def _tenant(body: Named) -> TenantId:
    return body.created.tenant if isinstance(body, m.Submit) else body.tenant


def _about(body: Named, claimed: ExecutionId) -> Named:
    """The same request with the id that it was given the first time."""
    match body:
        case m.Submit() | m.Fork():
            return replace(body, execution_id=claimed)
        case m.TestWebhook():
            return replace(body, name=claimed)
        case _:
            return body
