"""How many streams and waits are open: bounded for each key and each tenant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from omium.serve.api.auth import Principal
from omium.serve.api.problems import limited
from omium.types import TenantId


class Slots:
    """Places for streams and waits, of one process."""

    def __init__(self, per_key_max: int, per_tenant_max: int) -> None:
        self._per_key_max = per_key_max
        self._per_tenant_max = per_tenant_max
        self._keys: Counter[str] = Counter()
        self._tenants: Counter[TenantId] = Counter()

    def open_of(self, tenant: TenantId) -> int:
        return self._tenants[tenant]

    def take(self, principal: Principal) -> Callable[[], None]:
        """Take a place; call what is returned to leave it. Raises ``too_many_streams``."""
        key, tenant = principal.key_id, principal.tenant
        if self._keys[key] >= self._per_key_max:
            raise _full("streams_per_key_max", self._per_key_max, "this key")
        if self._tenants[tenant] >= self._per_tenant_max:
            raise _full("streams_per_tenant_max", self._per_tenant_max, "this tenant")
        self._keys[key] += 1
        self._tenants[tenant] += 1
        taken = True

        def leave() -> None:
            nonlocal taken
            if taken:
                taken = False
                self._keys[key] -= 1
                self._tenants[tenant] -= 1
                # Without what has come to nothing, so that they stay as small as what is open.
                self._keys, self._tenants = +self._keys, +self._tenants

        return leave


def _full(name: str, limit: int, whose: str) -> Exception:
    detail = f"{whose} has {limit} streams and waits open already: close one, or come again"
    return limited(name, limit, detail, kind="too_many_streams")
