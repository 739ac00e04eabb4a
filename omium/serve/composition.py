"""What the processes of a runtime are told, made from the settings.

Whoever starts them (a driver, a service, the host of a deployment) tells them the same things
in the same way.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
from pydantic import SecretStr

from omium.actors.group.opening import claim_group
from omium.actors.runtime_config import RuntimeConfig, SeatPlace
from omium.actors.shards.opening import claim_shard, shard_folder, shard_url
from omium.actors.shards.placement import HOME
from omium.actors.supervision import Limits
from omium.actors.workforce import SupervisorSettings
from omium.config import Settings, environment
from omium.definitions import Workflow
from omium.errors import ConfigError, CorruptRecord
from omium.frameworks.registry import require
from omium.llm.catalogue import CATALOGUE
from omium.llm.providers import LocalRoute, Provider, openai_provider, resolve
from omium.llm.router import RouterSettings, local_path
from omium.ports import free_ports
from omium.serve.api import ApiSettings
from omium.serve.shipping import not_code
from omium.storage.object_urls import open_object_store
from omium.storage.objects import ObjectStore, S3Options
from omium.storage.private_file import kept

HOST = "127.0.0.1"
PEPPER_NAME = "pepper"
IDENTITY_NAME = "identity.json"


class ShardPorts(msgspec.Struct, frozen=True, kw_only=True):
    """The port of a shard's coordinator; ``seats`` as in ``Identity``."""

    coordinator: int
    seats: tuple[tuple[int, int], ...] = ()


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """By what the parts of a runtime find and know one another: its id, two ports, the
    coordinator's secret (hexadecimal) and the gateway's key. ``seats`` are the ports of each
    coordinator of a group, for clients and for peers; ``further`` are those of each shard beside
    the first."""

    runtime_id: str
    coordinator_port: int
    gateway_port: int
    secret: str
    api_key: str
    seats: tuple[tuple[int, int], ...] = ()
    further: tuple[ShardPorts, ...] = ()

    def __repr__(self) -> str:
        return f"Identity({self.runtime_id})"


def new_identity(runtime_id: str, coordinators: int = 1, shards: int = 1) -> Identity:
    """An identity for one start of a runtime, with ports that are free now."""
    seats = coordinators if coordinators > 1 else 0
    of_shard = 1 + 2 * seats
    gateway_port, *ports = free_ports(1 + shards * of_shard)
    home, *further = (
        _shard_ports(ports[first : first + of_shard]) for first in range(0, len(ports), of_shard)
    )
    return Identity(
        seats=home.seats,
        further=tuple(further),
        runtime_id=runtime_id,
        coordinator_port=home.coordinator,
        gateway_port=gateway_port,
        secret=secrets.token_hex(32),
        api_key=f"omium-{secrets.token_hex(16)}",
    )


def _shard_ports(ports: Sequence[int]) -> ShardPorts:
    coordinator, *seats = ports
    return ShardPorts(
        coordinator=coordinator, seats=tuple(zip(seats[::2], seats[1::2], strict=True))
    )


def kept_identity(
    data_dir: Path, runtime_id: str, coordinators: int = 1, shards: int = 1
) -> Identity:
    """The identity that stays with a data directory, made with the first start on it.

    Raises ``CorruptRecord``, ``StorageUnwritable``, ``StorageFull``, and ``ConfigError`` for one
    that was made for another number of coordinators or shards.
    """
    path = data_dir / IDENTITY_NAME
    content = kept(
        path, lambda: msgspec.json.encode(new_identity(runtime_id, coordinators, shards))
    )
    try:
        identity = msgspec.json.decode(content, type=Identity)
    except msgspec.DecodeError as error:
        raise CorruptRecord(str(path), str(error)) from error
    if max(len(identity.seats), 1) != coordinators:
        raise ConfigError(
            f"{path} was made for {max(len(identity.seats), 1)} coordinators, not {coordinators}"
        )
    if 1 + len(identity.further) != shards:
        raise ConfigError(f"{path} was made for {1 + len(identity.further)} shards, not {shards}")
    return identity


def pepper_of(data_dir: Path) -> bytes:
    """The 32 bytes that API keys are hashed with, made with the first start on a data directory.

    Without them no stored key is worth anything. Raises ``CorruptRecord``,
    ``StorageUnwritable`` and ``StorageFull``.
    """
    path = data_dir / PEPPER_NAME
    pepper = kept(path, lambda: secrets.token_bytes(32))
    if len(pepper) != 32:
        raise CorruptRecord(str(path), f"{len(pepper)} bytes instead of 32")
    return pepper


def runtime_config(
    settings: Settings,
    identity: Identity,
    *,
    host: str,
    scratch_dir: Path,
    seat_hosts: Sequence[str] = (),
    ships: bool = False,
) -> RuntimeConfig:
    """What every process of a runtime is told. This process is its driver, and the runtime one
    that ``ships`` to the archive, if there is one. Where acknowledgements wait for it, all ship.

    ``seat_hosts`` are the nodes where the coordinators of a new group would be, in every shard,
    this one first; default: all on ``host``. Raises ``ConfigError`` where the data directory
    belongs to a group of another size, or to another number of shards, and for a durability that
    the settings cannot give.
    """
    first = settings.durability == "object_store"
    if first:
        _check_durable(settings)
    ports = [ShardPorts(coordinator=identity.coordinator_port, seats=identity.seats)]
    ports += identity.further
    config = _told_to_all(settings, identity, host=host, scratch_dir=scratch_dir)
    home, *further = (
        _of_shard(config, number, of_shard, settings, hosts=seat_hosts, ships=ships or first)
        for number, of_shard in enumerate(ports)
    )
    return replace(home, further=tuple(further))


def _told_to_all(
    settings: Settings, identity: Identity, *, host: str, scratch_dir: Path
) -> RuntimeConfig:
    return RuntimeConfig(
        runtime_id=identity.runtime_id,
        host=host,
        coordinator_port=identity.coordinator_port,
        gateway_port=identity.gateway_port,
        secret=bytes.fromhex(identity.secret),
        api_key=identity.api_key,
        data_dir=settings.data_dir,
        scratch_dir=scratch_dir,
        blobs_url=settings.blobs,
        s3=s3_options(settings),
        capacity=settings.pool.capacity,
        driver_pid=os.getpid(),
        faults=settings.faults,
        webhook_hosts=settings.service.webhook_hosts,
        archive_first=settings.durability == "object_store",
        archive_keep=settings.archive_keep,
        shard_count=settings.shards,
    )


def _of_shard(
    config: RuntimeConfig,
    shard: int,
    ports: ShardPorts,
    settings: Settings,
    *,
    hosts: Sequence[str],
    ships: bool,
) -> RuntimeConfig:
    """What a shard is told beside what all are."""
    folder = shard_folder(settings.data_dir, shard)
    claim_shard(folder, shard, settings.shards)
    fresh = config.runtime_id if shard == HOME else f"{config.runtime_id}-{shard}"
    group = claim_group(folder, settings.coordinators, fresh, hosts)
    # Outside a cluster all are here, whatever was recorded in one.
    nodes = group.nodes if group is not None and hosts else [config.host] * len(ports.seats)
    return replace(
        config,
        shard=shard,
        data_dir=folder,
        coordinator_port=ports.coordinator,
        archive_url=shard_url(settings.archive, shard) if ships and settings.archive else "",
        group=group.group if group is not None else "",
        forming=group is not None and not group.formed,
        seats=tuple(
            SeatPlace(host=at, port=port, peer_port=peer_port)
            for at, (port, peer_port) in zip(nodes, ports.seats, strict=True)
        ),
    )


def _check_durable(settings: Settings) -> None:
    if settings.archive is None:
        raise ConfigError('`durability = "object_store"` needs an archive: set `archive_url`')
    if settings.blobs_url is None:
        raise ConfigError(
            '`durability = "object_store"` keeps nothing in the data directory alone: set '
            "`blobs_url` to where blobs outlive it"
        )


def api_settings(settings: Settings, config: RuntimeConfig) -> ApiSettings:
    """What the HTTP API of a runtime is told. Raises ``StorageUnwritable`` and the like."""
    return ApiSettings(
        pepper=pepper_of(settings.data_dir),
        import_paths=(str(settings.service.app_dir or Path.cwd()),),
        not_code=tuple(map(str, not_code(settings))),
        modules=settings.service.modules,
        upload_tenants=settings.service.upload_tenants,
        webhook_hosts=settings.service.webhook_hosts,
        model=settings.model,
        models=_local_models(settings),
        check=WorkflowCheck(settings),
        gateway_url=config.gateway_url,
        gateway_key=config.api_key,
    )


def _local_models(settings: Settings) -> tuple[str, ...]:
    """The embedded models that can be asked here: those of the settings, and those pulled."""
    pulled = [name for name, m in CATALOGUE.items() if (settings.models_dir / m.filename).is_file()]
    return tuple(f"local/{name}" for name in sorted({*settings.models, *pulled}))


@dataclass(frozen=True)
class WorkflowCheck:
    """``check_workflow`` with the settings of the service: crosses to the API's processes."""

    settings: Settings = field(repr=False)

    def __call__(self, workflow: Workflow, model: str | None) -> None:
        check_workflow(workflow, self.settings, model)


def supervisor_settings(
    settings: Settings, *, gateway_url: str, awake_from_ms: int, warm: Mapping[str, int]
) -> SupervisorSettings:
    """What the coordinator's supervisor is told."""
    pool = settings.pool
    return SupervisorSettings(
        gateway_url=gateway_url,
        awake_from_ms=awake_from_ms,
        heartbeat_timeout_s=pool.heartbeat_timeout_s,
        handoffs_waiting_max=pool.handoffs_waiting_max,
        start_timeout_s=pool.start_timeout_s,
        warm=warm,
        limits=Limits(workers_max=pool.workers_max, idle_max=pool.idle_max),
    )


def check_workflow(workflow: Workflow, settings: Settings, model: str | None) -> None:
    """Check what a workflow needs before anything is started: its frameworks are installed and
    its models can be reached or loaded. Raises ``ConfigError`` or ``NotFound``."""
    router = router_settings(settings)
    for agent in workflow.agents:
        require(agent.framework)
        name = model or workflow.model_of(agent) or settings.model
        if name is None:
            if agent.framework == "python" or agent.entrypoint is not None:
                # Its own code names the model, and may ask none.
                continue
            raise ConfigError(f"agent {agent.name!r} names no model: set one, or use --model")
        route = resolve(name, providers=router.providers, local_models=router.local_models)
        if isinstance(route, LocalRoute):
            path = local_path(route, router.models_directory)
            if not path.is_file():
                raise ConfigError(
                    f"the file of model {name!r} is not here ({path}): run `omium models pull`"
                )


def router_settings(settings: Settings) -> RouterSettings:
    """What the router is told: providers with their keys, local models, sizes."""
    providers: dict[str, Provider] = {
        "openai": openai_provider(
            api_key=settings.openai_api_key, base_url=settings.openai_base_url
        )
    }
    for name, provider in settings.providers.items():
        key = environment(provider.api_key_env) if provider.api_key_env else None
        providers[name] = Provider(
            name=name,
            base_url=provider.base_url,
            api_key=SecretStr(key) if key else None,
            api_key_env=provider.api_key_env,
            timeout_s=provider.timeout_s,
            headers=provider.headers,
            stream=provider.stream,
        )
    return RouterSettings(
        providers=providers,
        local_models={name: model.path for name, model in settings.models.items()},
        models_directory=settings.models_dir,
        ctx_tokens=settings.embedded.ctx_tokens,
        threads=settings.embedded.threads,
        slots=settings.embedded.slots,
    )


def object_store_at(settings: Settings, url: str) -> ObjectStore:
    """The object store at ``url``, an S3 one reached as the settings say. Raises ``ConfigError``,
    ``StorageUnwritable`` and ``StorageFull``."""
    return open_object_store(url, s3=s3_options(settings))


def s3_options(settings: Settings) -> S3Options:
    s3 = settings.s3
    return S3Options(
        endpoint=s3.endpoint,
        region=s3.region,
        access_key=s3.access_key,
        secret_key=s3.secret_key.get_secret_value() if s3.secret_key is not None else None,
        allow_http=s3.allow_http,
    )
