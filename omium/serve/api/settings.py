"""What whoever serves the API decides: code, models, keys, and every bound that may differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from omium.definitions import Workflow
from omium.errors import ConfigError
from omium.frameworks.registry import FRAMEWORKS

Check: TypeAlias = Callable[[Workflow, str | None], None]
"""Raises ``ConfigError`` or ``NotFound`` when a workflow, with the model that overrides its
own, cannot run here: a framework that is not installed, a model that is not known."""

PEPPER_BYTES = 32


def no_check(_: Workflow, __: str | None) -> None:
    """Take every workflow. What it lacks shows when it runs."""


@dataclass(frozen=True, kw_only=True)
class ApiSettings:
    """Bounds and surroundings of one application. Raises ``ConfigError`` for what is out of
    bounds.

    ``pepper`` are the 32 secret bytes under which keys are hashed. ``import_paths`` are the
    folders in which definitions may name code, of which ``not_code`` are no part wherever they
    lie; ``modules`` are installed modules that they may name as well, ``package.module`` or
    ``package.*``. ``model`` is for agents that name none, ``models`` is what ``/v1/models``
    lists. ``gateway_key`` opens the gateway, whose address is asked of the coordinator where
    ``gateway_url`` is empty. ``replica`` tells processes that serve the same application apart
    in their figures. ``webhook_hosts`` are hosts that webhooks may reach beside the public
    internet's; the coordinator must be told of the same. ``upload_tenants`` may upload code: each
    at most ``code_max`` bundles of ``code_bytes_max`` bytes, ``code_total_bytes_max`` in all.
    """

    pepper: bytes = field(repr=False)
    import_paths: tuple[str, ...] = ()
    not_code: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    frameworks: tuple[str, ...] = FRAMEWORKS
    model: str | None = None
    models: tuple[str, ...] = ()
    check: Check = no_check
    gateway_url: str = ""
    gateway_key: str = field(default="", repr=False)
    replica: str = ""
    body_bytes_max: int = 4 * 1024 * 1024
    diff_bytes_max: int = 1024 * 1024
    keys_max: int = 1_000
    upload_tenants: tuple[str, ...] = ()
    code_bytes_max: int = 32 * 1024 * 1024
    code_max: int = 1_000
    code_total_bytes_max: int = 1024 * 1024 * 1024
    upload_timeout_s: float = 120.0
    webhook_hosts: tuple[str, ...] = ()
    webhooks_max: int = 20
    streams_per_key_max: int = 1_000
    streams_per_tenant_max: int = 2_000
    heartbeat_s: float = 15.0
    stall_s: float = 60.0
    wait_s_max: float = 300.0
    key_cache_s: float = 1.0
    ready_timeout_s: float = 2.0

    def __post_init__(self) -> None:
        if len(self.pepper) != PEPPER_BYTES:
            raise ConfigError(f"the pepper has {len(self.pepper)} bytes, expected {PEPPER_BYTES}")
        for name, least, most in _BOUNDS:
            value = getattr(self, name)
            if not least <= value <= most:
                raise ConfigError(f"{name}: {value!r} is not between {least:g} and {most:g}")


# A body travels to the coordinator in one frame of 8 MiB, and nothing may know a revoked key
# for longer than a second.
_BOUNDS: tuple[tuple[str, float, float], ...] = (
    ("body_bytes_max", 1_024, 6 * 1024 * 1024),
    ("diff_bytes_max", 1_024, 64 * 1024 * 1024),
    ("keys_max", 1, 1_000),
    ("code_bytes_max", 1_024, 64 * 1024 * 1024),
    ("code_max", 1, 1_000),
    ("code_total_bytes_max", 1_024, 1024**4),
    ("upload_timeout_s", 0.01, 3_600),
    ("webhooks_max", 1, 100),
    ("streams_per_key_max", 1, 100_000),
    ("streams_per_tenant_max", 1, 100_000),
    ("heartbeat_s", 0.01, 300),
    ("stall_s", 0.01, 3_600),
    ("wait_s_max", 0.01, 3_600),
    ("key_cache_s", 0, 1),
    ("ready_timeout_s", 0.01, 60),
)
