"""What a client of a coordinator is made of: a link, and the tenant that it speaks for."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Self

from omium.actors import messages as m
from omium.actors.link import Address
from omium.actors.payloads import Blobs
from omium.actors.shards.routing import link_to
from omium.actors.transport import Answer, Codec, Connection
from omium.clock import Clock
from omium.errors import OmiumError, ProtocolError
from omium.types import DEFAULT_TENANT, TenantId


class Bound:
    """A link that is bound to a tenant. What may be asked over it is for those who derive."""

    def __init__(
        self,
        coordinator: Address | Sequence[Address],
        secret: bytes,
        *,
        blobs: Blobs,
        clock: Clock,
        tenant: TenantId = DEFAULT_TENANT,
        further: Sequence[Sequence[Address]] = (),
    ) -> None:
        """``further`` are the addresses of each of the shards that there are beside the first,
        whose ``coordinator`` is."""
        self._clock = clock
        self._blobs = blobs
        self._tenant = tenant
        self._shards = 1 + len(further)
        self._link = link_to(coordinator, further, Codec(m.Messages), secret, handler=_no_requests)

    def for_tenant(self, tenant: TenantId) -> Self:
        """The same client for another tenant. It lives as long as this one."""
        other = copy.copy(self)
        other._tenant = tenant
        return other

    @property
    def tenant(self) -> TenantId:
        return self._tenant

    def open(self) -> None:
        self._link.open()

    async def close(self) -> None:
        await self._link.close()

    @property
    def refused(self) -> OmiumError | None:
        """Why the coordinator turned this client away for good, if it did."""
        return self._link.refused


def _no_requests(_: Connection, message: Any, __: Answer) -> None:
    raise ProtocolError(f"a client takes no {type(message).__name__}")
