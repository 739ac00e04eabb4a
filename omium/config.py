"""Settings: the only reader of the environment and of ``omium.toml``.

Environment variables begin with ``OMIUM_`` (``OMIUM_DATA_DIR=…``; nested names with two
underscores, ``OMIUM_S3__ENDPOINT=…``) and win over ``omium.toml``, which is looked for in the
working directory and its parents, unless ``OMIUM_CONFIG`` names one. ``OPENAI_API_KEY``,
``OPENAI_BASE_URL`` and ``RAY_ADDRESS`` are read under their usual names.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from omium.errors import ConfigError

CONFIG_FILE = "omium.toml"
COORDINATORS = (1, 3, 5)
CONFIG_BYTES_MAX = 1024 * 1024


class ProviderSettings(BaseModel):
    """``[providers.NAME]``: a server that speaks the OpenAI HTTP API.

    ``api_key_env`` names the environment variable that holds its key; none means no key. With
    ``stream``, answers to agents are asked for as streams, so that those who watch an execution
    see them grow.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: str
    api_key_env: str | None = None
    timeout_s: Annotated[float, Field(gt=0, le=3_600)] = 300.0
    headers: dict[str, str] = Field(default_factory=dict)
    stream: bool = True


class ModelSettings(BaseModel):
    """``[models.NAME]``: a GGUF file to be served as ``local/NAME``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path


class S3Settings(BaseModel):
    """``[s3]``: how an ``s3://`` blob URL is reached. Left out: AWS, with its usual chain."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint: str | None = None
    region: str = "us-east-1"
    access_key: str | None = None
    secret_key: SecretStr | None = None
    allow_http: bool = False


class RaySettings(BaseModel):
    """``[ray]``: the local Ray that is started where none is named.

    ``num_cpus`` is what Ray believes to have; ``object_store_mb`` its shared memory.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    num_cpus: Annotated[int, Field(ge=1)] | None = None
    object_store_mb: Annotated[int, Field(ge=75)] = 100


class PoolSettings(BaseModel):
    """``[pool]``: workers. ``spare`` unbound ones are kept ready beside those at work. Of those
    that serve an agent and wait for more of it, ``idle_max`` are kept (default: all that there
    is room for)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    spare: Annotated[int, Field(ge=0, le=16)] = 1
    workers_max: Annotated[int, Field(ge=1, le=1_024)] = 16
    idle_max: Annotated[int, Field(ge=0, le=1_024)] | None = None
    capacity: Annotated[int, Field(ge=1, le=256)] = 8
    handoffs_waiting_max: Annotated[int, Field(ge=1, le=100_000)] = 64
    heartbeat_timeout_s: Annotated[float, Field(gt=1, le=600)] = 15.0
    start_timeout_s: Annotated[float, Field(gt=1, le=3_600)] = 180.0


class ServiceSettings(BaseModel):
    """``[service]``: the HTTP API of ``omium up``.

    ``port`` 0 is any free one. ``replicas`` processes serve requests. ``app_dir`` (default: the
    working directory) is where definitions that come over HTTP may name code, beside the
    ``modules`` listed here. When the service stops, running steps have ``grace_s`` seconds to
    finish. ``warm`` are the frameworks of which ``pool.spare`` workers are kept ready.
    ``upload_tenants`` may bring code of their own, which runs as the service's user.
    ``webhook_hosts`` are what tenants' webhooks may reach beside public hosts by https: names,
    ``*.name``, addresses and networks. They may be reached by http as well.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8_700
    replicas: Annotated[int, Field(ge=1, le=256)] = 1
    app_dir: Path | None = None
    modules: tuple[str, ...] = ()
    grace_s: Annotated[float, Field(ge=0, le=3_600)] = 10.0
    warm: tuple[str, ...] = ("python",)
    upload_tenants: tuple[str, ...] = ()
    webhook_hosts: tuple[str, ...] = ()

    @field_validator("app_dir")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return value.expanduser().absolute() if value is not None else None


class EmbeddedSettings(BaseModel):
    """``[embedded]``: the llama.cpp server of ``local/`` models. ``slots`` answer at a time.

    One core is left to the rest of the runtime: llama.cpp's threads wait for one another, and
    for none longer than for one that does not get its core.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    ctx_tokens: Annotated[int, Field(ge=256)] = 4_096
    threads: Annotated[int, Field(ge=1)] = Field(
        default_factory=lambda: max(1, (os.cpu_count() or 1) - 1)
    )
    slots: Annotated[int, Field(ge=1, le=64)] = 2


class Settings(BaseSettings):
    """All settings. Build one with ``load_settings``."""

    model_config = SettingsConfigDict(
        env_prefix="OMIUM_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    data_dir: Path = Field(default_factory=lambda: platformdirs.user_data_path("omium"))
    """Where the journal is. One runtime at a time may use it."""

    models_dir: Path = Field(default_factory=lambda: platformdirs.user_cache_path("omium/models"))
    """Where pulled models are."""

    coordinators: int = 1
    """How many coordinators hold the journal: 1, 3 or 5. More than half of them must be alive, and
    what is acknowledged is on the disks of more than half."""

    shards: Annotated[int, Field(ge=1, le=16)] = 1
    """How many groups of coordinators share out the executions. Fixed with the first start on a
    data directory."""

    blobs_url: str | None = None
    """Where large state goes: a directory or ``s3://bucket/prefix``. Default: in the data
    directory."""

    archive_url: str | None = None
    """Where a service ships what it commits: a directory, ``s3://bucket/prefix``, or ``off``.
    Default: where the blobs are, if that is S3."""

    archive_keep: Annotated[int, Field(ge=1, le=1_000)] = 2
    """How many copies of the database an archive keeps of a replica: how far back one can go."""

    durability: Literal["disk", "object_store"] = "disk"
    """What an acknowledgement waits for: the disks of the coordinators, or the archive as well."""

    model: str | None = None
    """The model for agents that name none."""

    providers: dict[str, ProviderSettings] = Field(default_factory=dict)
    models: dict[str, ModelSettings] = Field(default_factory=dict)
    s3: S3Settings = Field(default_factory=S3Settings)
    ray: RaySettings = Field(default_factory=RaySettings)
    pool: PoolSettings = Field(default_factory=PoolSettings)
    embedded: EmbeddedSettings = Field(default_factory=EmbeddedSettings)
    service: ServiceSettings = Field(default_factory=ServiceSettings)

    openai_api_key: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("OPENAI_API_KEY", "openai_api_key")
    )
    openai_base_url: str | None = Field(
        default=None, validation_alias=AliasChoices("OPENAI_BASE_URL", "openai_base_url")
    )
    ray_address: str | None = Field(
        default=None, validation_alias=AliasChoices("RAY_ADDRESS", "ray_address")
    )
    address: str | None = None
    """Where a service is, ``http://HOST:PORT``. None: Omium runs in the own process."""

    api_key: SecretStr | None = None
    """The key for the service. Default: the one that ``omium up`` has stored."""

    faults: str | None = None
    """Faults to inject, for crash tests: see ``omium.actors.faults``."""

    @field_validator("coordinators")
    @classmethod
    def _odd(cls, value: int) -> int:
        # An even number survives no more losses than the odd one below it.
        if value not in COORDINATORS:
            raise ValueError(f"must be 1, 3 or 5, not {value}")
        return value

    @field_validator("data_dir", "models_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = _config_file()
        toml = [TomlConfigSettingsSource(settings_cls, file)] if file is not None else []
        return (init_settings, env_settings, *toml)

    @property
    def warm_pool(self) -> dict[str, int]:
        """How many workers of each framework a service keeps ready."""
        return dict.fromkeys(self.service.warm, self.pool.spare)

    @property
    def blobs(self) -> str:
        """URL or directory of the blob store."""
        return self.blobs_url or str(self.data_dir / "blobs")

    @property
    def archive(self) -> str | None:
        """Where a service ships what it commits, if anywhere: a directory beside the replica
        would be lost with it."""
        if self.archive_url is not None:
            return None if self.archive_url == "off" else self.archive_url
        return self.blobs if self.blobs.startswith("s3://") else None


def load_settings(overrides: Mapping[str, Any] | None = None) -> Settings:
    """The settings in force. ``overrides`` win over environment and file.

    Raises ``ConfigError`` with a line for each setting that cannot be used.
    """
    try:
        return Settings(**{k: v for k, v in (overrides or {}).items() if v is not None})
    except ValidationError as error:
        lines = [
            f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}, found {item['input']!r}"
            for item in error.errors()
        ]
        raise ConfigError("settings that cannot be used: " + "; ".join(lines)) from error
    except ValueError as error:  # TOML that cannot be read
        raise ConfigError(f"{_config_file()}: {error}") from error


def environment(name: str) -> str | None:
    """One environment variable, for keys whose variable a setting names."""
    return os.environ.get(name)


def _config_file() -> Path | None:
    named = os.environ.get("OMIUM_CONFIG")
    if named:
        path = Path(named)
        if not path.is_file():
            raise ConfigError(f"OMIUM_CONFIG names {named!r}, which is no file")
        return path
    here = Path.cwd()
    for folder in (here, *here.parents):
        path = folder / CONFIG_FILE
        if path.is_file():
            if path.stat().st_size > CONFIG_BYTES_MAX:
                raise ConfigError(f"{path} is over {CONFIG_BYTES_MAX} bytes")
            return path
    return None
