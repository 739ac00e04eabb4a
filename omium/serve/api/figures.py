"""A tenant's own figures for Prometheus: what this process has answered, and what is open."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from omium.serve.api.slots import Slots
from omium.types import TenantId

BUCKETS_S = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)


class TenantFigures:
    """The figures of one tenant. A registry of its own, so that none can show another's."""

    def __init__(self, replica: str) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self._replica = replica
        self._requests = Counter(
            "omium_http_requests",
            "Requests answered, by route, method and status.",
            ("route", "method", "status", "replica"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "omium_http_request_seconds",
            "Time until the answer began.",
            ("route", "method", "replica"),
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        self._open = Gauge(
            "omium_open_streams",
            "Streams and waits that are open.",
            ("replica",),
            registry=self.registry,
        )
        # One for each route and method: labels are looked up under a lock.
        self._known: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answer."""
        known = self._known.get((method, route, status))
        if known is None:
            known = (
                self._requests.labels(route, method, str(status), self._replica),
                self._seconds.labels(route, method, self._replica),
            )
            self._known[(method, route, status)] = known
        known[0].inc()
        known[1].observe(seconds)

    def text(self, open_streams: int) -> bytes:
        """All of it in Prometheus' text format."""
        self._open.labels(self._replica).set(open_streams)
        return generate_latest(self.registry)


class Figures:
    """The figures of all tenants that have called."""

    def __init__(self, replica: str, slots: Slots) -> None:
        self._replica = replica
        self._slots = slots
        self._tenants: dict[TenantId, TenantFigures] = {}

    def of(self, tenant: TenantId) -> TenantFigures:
        found = self._tenants.get(tenant)
        if found is None:
            found = self._tenants[tenant] = TenantFigures(self._replica)
        return found

    def text(self, tenant: TenantId) -> bytes:
        return self.of(tenant).text(self._slots.open_of(tenant))
