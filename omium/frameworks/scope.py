"""Where a call stands: its place in an attempt, and the header that carries it.

No I/O. The header's producer is ``hook``, its consumer the gateway.
"""

from __future__ import annotations

import base64
import threading
from dataclasses import dataclass, field

import msgspec

from omium.errors import InputError
from omium.types import AgentName, CallKind, ExecutionId, TenantId

SCOPE_HEADER = "x-omium-scope"
SCOPE_BYTES_MAX = 4_096

CONTROL_HEADER = "x-omium-control"
"""On a refusal of the gateway: ``fenced`` when the attempt was superseded or stopped."""

ERROR_HEADER = "x-omium-error"
"""On an error of the gateway: the kind of the Omium error, with its arguments as JSON."""

ERROR_FIELD = "omium"
"""The same, in the event of an error that breaks off a stream."""


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """Where an LLM call stands: what the header carries, as base64 of JSON.

    ``ordinal`` numbers the LLM calls of the scope, ``occurrence`` the equal ones.
    """

    tenant: TenantId
    execution_id: ExecutionId
    agent: AgentName
    epoch: int
    step: str
    scope: str
    ordinal: int
    occurrence: int


def encode_scope(scope: Scope) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(scope)).decode()


def decode_scope(header: str) -> Scope:
    """The inverse of ``encode_scope``. Raises ``InputError``."""
    if len(header) > SCOPE_BYTES_MAX:
        raise InputError(f"{SCOPE_HEADER} is over {SCOPE_BYTES_MAX} bytes")
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(header), type=Scope)
    except (ValueError, msgspec.DecodeError) as error:
        raise InputError(f"{SCOPE_HEADER} is not a scope: {error}") from error


@dataclass(frozen=True, slots=True)
class Place:
    """A step and, where a framework runs several things at once in it, the branch."""

    step: str
    branch: str = ""

    @property
    def scope(self) -> str:
        return f"{self.step}|{self.branch}" if self.branch else self.step


@dataclass(slots=True)
class Counters:
    """Ordinals and occurrences of one attempt. Safe for threads.

    An attempt that is run again begins at zero again, which is what makes its calls the same.
    """

    _lock: threading.Lock = field(default_factory=threading.Lock)
    _ordinals: dict[tuple[CallKind, str], int] = field(
        default_factory=dict[tuple[CallKind, str], int]
    )
    _given: dict[tuple[CallKind, str, str, str], tuple[int, int]] = field(
        default_factory=dict[tuple[CallKind, str, str, str], tuple[int, int]]
    )

    def next(self, kind: CallKind, scope: str, name: str, digest: str) -> tuple[int, int]:
        """(ordinal, occurrence) of one more call."""
        with self._lock:
            ordinal = self._ordinals.get((kind, scope), 0)
            self._ordinals[kind, scope] = ordinal + 1
            key = (kind, scope, name, digest)
            _, occurrence = self._given.get(key, (0, -1))
            self._given[key] = (ordinal, occurrence + 1)
            return ordinal, occurrence + 1

    def latest(self, kind: CallKind, scope: str, name: str, digest: str) -> tuple[int, int] | None:
        """What ``next`` gave last for an equal call, for an SDK that sends one again."""
        with self._lock:
            return self._given.get((kind, scope, name, digest))
