"""API keys: made, listed, revoked and verified. A key is shown once and stored as a keyed hash.

``omk_<id>_<secret>``: the id finds the record, the secret proves the rest. Records are of kind
``api_key`` under the tenant ``_system``, so that the id alone finds them; a pointer under the
key's own tenant lets its keys be listed.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, cast

import msgspec

from omium.actors.client import Client
from omium.clock import Clock, SystemClock
from omium.errors import Conflict, NotFound, RequestConflict
from omium.execution.events import Request
from omium.serve.api.problems import ProblemError, limited
from omium.types import DEFAULT_TENANT, TenantId

Scope = Literal["read", "run", "admin"]
SCOPES: tuple[Scope, ...] = ("read", "run", "admin")

SYSTEM_TENANT = TenantId("_system")
KIND = "api_key"
NAME_CHARS_MAX = 100
CACHED_MAX = 10_000
_KEY = re.compile(r"omk_([a-z2-7]{8})_([A-Za-z0-9_-]{43})")
_ID = re.compile(r"[a-z2-7]{8}")
_TRIES = 8


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored of a key. ``hash`` is HMAC-SHA-256 under the pepper, in hex.

    ``request`` is the idempotency key that it was made with, and the digest that goes with it.
    """

    id: str
    tenant: TenantId
    name: str
    scopes: tuple[Scope, ...]
    hash: str
    created_ms: int
    revoked_ms: int | None = None
    request: Request | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Principal:
    """Who calls: the key's tenant, its id, and all that it may do."""

    tenant: TenantId
    key_id: str
    scopes: frozenset[Scope]


@dataclass(frozen=True, kw_only=True)
class NewKey:
    """``secret`` is the whole key, to be shown once; None for one that was made before."""

    key: ApiKey
    secret: str | None


class Keys:
    """The keys of all tenants, over one client."""

    def __init__(
        self,
        client: Client,
        pepper: bytes,
        *,
        clock: Clock | None = None,
        keys_max: int = 1_000,
        cache_s: float = 1.0,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._system = client.for_tenant(SYSTEM_TENANT)
        self._pepper = pepper
        self._clock = clock or SystemClock()
        self._keys_max = keys_max
        self._cache_s = cache_s
        self._now_s = now_s
        self._cached: OrderedDict[str, tuple[float, asyncio.Future[ApiKey | None]]] = OrderedDict()

    # ------------------------------------------------------------------ making

    async def create(
        self,
        tenant: TenantId,
        name: str,
        scopes: Iterable[Scope],
        *,
        request: Request | None = None,
    ) -> NewKey:
        """Make a key. One that was made by the same ``request`` is given again, without its
        secret. Raises ``RequestConflict``, and a ``limit_reached`` problem."""
        own = self._client.for_tenant(tenant)
        for attempt in range(_TRIES):
            key_id = self._new_id(tenant, request, attempt)
            found = await self._stored(key_id)
            if found is not None:
                if request is not None and _is_of(found, tenant, request):
                    return NewKey(key=found, secret=None)
                continue
            await self._check_room(own)
            secret = base64.urlsafe_b64encode(secrets.token_bytes(32))[:43].decode()
            whole = f"omk_{key_id}_{secret}"
            key = ApiKey(
                id=key_id,
                tenant=tenant,
                name=name,
                scopes=tuple(scope for scope in SCOPES if scope in set(scopes)),
                hash=self._hash(whole),
                created_ms=self._clock.now_ms(),
                request=request,
            )
            # The pointer first: one without a key is passed over, a key without one is not seen.
            await own.put_record(KIND, key_id, {})
            try:
                await self._system.put_record(KIND, key_id, msgspec.to_builtins(key), expect=0)
            except Conflict:
                # Somebody was quicker: perhaps the same request, sent twice.
                stored = await self._stored(key_id)
                if stored is not None and request is not None and _is_of(stored, tenant, request):
                    return NewKey(key=stored, secret=None)
                continue
            self._cached.pop(key_id, None)
            return NewKey(key=key, secret=whole)
        raise Conflict("no free id was found for a key: try again")

    async def _check_room(self, own: Client) -> None:
        if len(await own.records(KIND, limit=self._keys_max)) >= self._keys_max:
            raise limited(
                "keys_max",
                self._keys_max,
                f"the tenant has {self._keys_max} keys already",
                kind="limit_reached",
            )

    def _new_id(self, tenant: TenantId, request: Request | None, attempt: int) -> str:
        """A random id, or always the same one for a request of the same name."""
        if request is None:
            return _base32(secrets.token_bytes(5))
        named = msgspec.json.encode(["key id", tenant, request.key, attempt])
        return _base32(hmac.digest(self._pepper, named, "sha256")[:5])

    # ------------------------------------------------------------------ looking and revoking

    async def page(
        self, tenant: TenantId, *, after: str = "", limit: int = 100
    ) -> tuple[list[ApiKey], str | None]:
        """Keys of a tenant by id, revoked ones too, those after ``after``; and what the next
        page comes after, None on the last one."""
        pointers = await self._client.for_tenant(tenant).records(KIND, after=after, limit=limit + 1)
        page = pointers[:limit]
        found = await asyncio.gather(*(self._stored(pointer.key) for pointer in page))
        keys = [key for key in found if key is not None and key.tenant == tenant]
        return keys, page[-1].key if len(pointers) > limit else None

    async def revoke(self, tenant: TenantId, key_id: str) -> ApiKey:
        """Let a key open nothing from here on. Raises ``NotFound``."""
        while True:
            record = await self._system.record(KIND, key_id) if _ID.fullmatch(key_id) else None
            key = _key_of(record.body) if record is not None else None
            if record is None or key is None or key.tenant != tenant:
                raise NotFound("key", key_id)
            if key.revoked_ms is not None:
                return key
            revoked = msgspec.structs.replace(key, revoked_ms=self._clock.now_ms())
            try:
                await self._system.put_record(
                    KIND, key_id, msgspec.to_builtins(revoked), expect=record.version
                )
            except Conflict:
                continue
            self._cached.pop(key_id, None)
            return revoked

    # ------------------------------------------------------------------ verifying

    async def verify(self, header: str) -> Principal:
        """Who sends this ``Authorization`` header. Raises an ``unauthorized`` problem.

        A revoked key is known for as long as records are cached: a second at most.
        """
        scheme, _, given = header.partition(" ")
        if scheme.lower() != "bearer" or not given:
            raise unauthorized("send an API key: 'Authorization: Bearer omk_…'")
        given = given.strip()
        shape = _KEY.fullmatch(given)
        key = await self._known(shape[1]) if shape is not None else None
        # Always compared, so that time does not tell an unknown id from a wrong secret.
        expected = key.hash if key is not None else "0" * 64
        same = hmac.compare_digest(self._hash(given), expected)
        if key is None or not same or key.revoked_ms is not None:
            raise unauthorized("this API key is not valid here", "invalid_token")
        return Principal(tenant=key.tenant, key_id=key.id, scopes=scopes_of(key.scopes))

    async def _known(self, key_id: str) -> ApiKey | None:
        now_s = self._now_s()
        cached = self._cached.get(key_id)
        if cached is None or now_s >= cached[0]:
            future = asyncio.ensure_future(self._stored(key_id))
            cached = (now_s + self._cache_s, future)
            self._cached[key_id] = cached
            self._cached.move_to_end(key_id)
            while len(self._cached) > CACHED_MAX:
                self._cached.popitem(last=False)
        _, future = cached
        if future.done() and not future.cancelled() and future.exception() is None:
            return future.result()
        try:
            # Shared with others who ask meanwhile: one who leaves must not cancel it for them.
            return await asyncio.shield(future)
        except Exception:
            self._cached.pop(key_id, None)
            raise

    async def _stored(self, key_id: str) -> ApiKey | None:
        record = await self._system.record(KIND, key_id)
        return _key_of(record.body) if record is not None else None

    def _hash(self, key: str) -> str:
        return hmac.digest(self._pepper, key.encode(), "sha256").hex()


async def ensure_admin_key(
    client: Client,
    pepper: bytes,
    *,
    known: str | None = None,
    tenant: TenantId = DEFAULT_TENANT,
    name: str = "omium up",
) -> str:
    """A key with every scope: ``known`` where that still opens everything, else a new one."""
    keys = Keys(client, pepper)
    if known is not None:
        try:
            principal = await keys.verify(f"Bearer {known}")
        except ProblemError:
            principal = None
        if principal is not None and principal.tenant == tenant and "admin" in principal.scopes:
            return known
    made = await keys.create(tenant, name, ("admin",))
    assert made.secret is not None
    return made.secret


def scopes_of(scopes: Iterable[Scope]) -> frozenset[Scope]:
    """All that those scopes allow: admin includes run, and run includes read."""
    highest = max((SCOPES.index(scope) for scope in scopes), default=-1)
    return frozenset(SCOPES[: highest + 1])


def unauthorized(detail: str, error: str = "") -> ProblemError:
    challenge = 'Bearer realm="omium"' + (f', error="{error}"' if error else "")
    return ProblemError("unauthorized", detail, headers={"WWW-Authenticate": challenge})


def allow(principal: Principal, scope: Scope) -> None:
    """Raise a ``forbidden`` problem that names the scope, unless the principal has it."""
    if scope not in principal.scopes:
        challenge = f'Bearer realm="omium", error="insufficient_scope", scope="{scope}"'
        raise ProblemError(
            "forbidden",
            f"this needs a key with the scope {scope!r}",
            headers={"WWW-Authenticate": challenge},
            extra={"scope": scope},
        )


def request_digest(*parts: Any) -> str:
    """SHA-256, in hex, of the canonical JSON of ``parts``: keys sorted, no spaces."""
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()


def _is_of(key: ApiKey, tenant: TenantId, request: Request) -> bool:
    """Whether this very request made a key. Raises ``RequestConflict`` for one of its name."""
    if key.tenant != tenant or key.request is None or key.request.key != request.key:
        return False
    if key.request.digest != request.digest:
        raise RequestConflict(f"the idempotency key {request.key!r} was used for another request")
    return True


def _key_of(body: Any) -> ApiKey:
    return msgspec.convert(body, ApiKey)


def _base32(data: bytes) -> str:
    return cast("str", base64.b32encode(data).decode().lower())
