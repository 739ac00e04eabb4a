"""From a model's name to the provider that serves it. Pure: it opens no file or connection.

A name is ``provider/model``:

- ``local/<name>`` a model that this machine runs itself: one of the catalogue, one that the
  configuration names, or the path of a GGUF file (``local/models/x.gguf``);
- ``openai/<model>`` OpenAI, or whatever ``OPENAI_BASE_URL`` points to;
- ``<provider>/<model>`` a provider that the configuration names; the model's own name may
  contain slashes.

The records are given: reading the environment and ``omium.toml`` is the configuration's work.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

from pydantic import SecretStr

from omium.errors import ConfigError, NotFound
from omium.llm.catalogue import CATALOGUE, EmbeddedModel

LOCAL = "local"
OPENAI = "openai"
OPENAI_BASE_URL = "https://api.openai.com/v1"
TIMEOUT_S = 300.0


@dataclass(frozen=True, kw_only=True)
class Provider:
    """Where a model answers over the OpenAI HTTP API.

    ``base_url`` is what precedes ``/chat/completions``. ``api_key_env`` names the environment
    variable that the key comes from, for messages: with it set and no key, the provider cannot
    be used. ``timeout_s`` bounds one whole call, a stream included. ``headers`` go with every
    request. With ``stream``, agents' calls are asked for as streams whatever the agent asked for,
    so that those who watch see answers grow. Keys and headers stay out of ``repr``.
    """

    name: str
    base_url: str
    api_key: SecretStr | None = None
    api_key_env: str | None = None
    timeout_s: float = TIMEOUT_S
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    stream: bool = True

    def __post_init__(self) -> None:
        if not _is_base_url(self.base_url):
            raise ConfigError(
                f"base URL of provider {self.name!r} must be http://host/path or "
                f"https://host/path, found {self.base_url!r}"
            )
        if not self.timeout_s > 0:
            raise ConfigError(
                f"time-out of provider {self.name!r} must be above 0 s, found {self.timeout_s!r}"
            )


@dataclass(frozen=True, kw_only=True)
class ModelRoute:
    """A model that can be asked: ``model`` is the name that ``provider`` knows it by."""

    provider: Provider
    model: str

    @property
    def name(self) -> str:
        """The full name, ``provider/model``."""
        return f"{self.provider.name}/{self.model}"


@dataclass(frozen=True, kw_only=True)
class LocalRoute:
    """A model that this machine must load before it can be asked.

    ``source`` is the catalogue's entry or the path of the user's own GGUF file; whether the
    file is there is for whoever loads it to find out.
    """

    model: str
    source: EmbeddedModel | Path

    @property
    def name(self) -> str:
        """The full name, ``local/model``."""
        return f"{LOCAL}/{self.model}"

    def served_by(self, provider: Provider) -> ModelRoute:
        """The route once the model answers at ``provider``."""
        return ModelRoute(provider=provider, model=self.model)


Route: TypeAlias = ModelRoute | LocalRoute


def openai_provider(
    *, api_key: SecretStr | None, base_url: str | None = None, timeout_s: float = TIMEOUT_S
) -> Provider:
    """OpenAI, or any server that ``base_url`` names in its stead."""
    return Provider(
        name=OPENAI,
        base_url=base_url or OPENAI_BASE_URL,
        api_key=api_key,
        api_key_env="OPENAI_API_KEY",
        timeout_s=timeout_s,
    )


def resolve(
    name: str,
    *,
    providers: Mapping[str, Provider],
    local_models: Mapping[str, Path] | None = None,
) -> Route:
    """The route to the model called ``name``.

    ``providers`` holds the providers by name, OpenAI among them; ``local_models`` the GGUF
    files that the configuration names. Raises NotFound for a name that leads nowhere, saying
    what there is, and ConfigError for a provider whose key is not set.
    """
    head, slash, model = name.partition("/")
    if not slash or not head or not model:
        raise NotFound("model", name, _what_a_name_is(name, providers, local_models or {}))
    if head == LOCAL:
        return _resolve_local(model, local_models or {})
    provider = providers.get(head)
    if provider is None and head == OPENAI:
        provider = openai_provider(api_key=None)
    if provider is None:
        raise NotFound("model provider", head, _there_is(head, [LOCAL, OPENAI, *providers]))
    if provider.api_key_env and _is_blank(provider.api_key):
        raise ConfigError(
            f"model {name!r} needs a key: set the environment variable {provider.api_key_env}"
        )
    return ModelRoute(provider=replace(provider, name=head), model=model)


def _resolve_local(model: str, local_models: Mapping[str, Path]) -> LocalRoute:
    # The user's own names win: they were written on purpose.
    if model in local_models:
        return LocalRoute(model=model, source=local_models[model])
    if model in CATALOGUE:
        return LocalRoute(model=model, source=CATALOGUE[model])
    if model.lower().endswith(".gguf"):
        return LocalRoute(model=model, source=Path(model))
    hint = _there_is(model, [*CATALOGUE, *local_models])
    raise NotFound("local model", model, f"{hint}, or give the path of a .gguf file")


def _what_a_name_is(
    name: str, providers: Mapping[str, Provider], local_models: Mapping[str, Path]
) -> str:
    if name in CATALOGUE or name in local_models:
        return f"did you mean {f'{LOCAL}/{name}'!r}?"
    known = ", ".join(sorted({LOCAL, OPENAI, *providers}))
    return f"a name is provider/model, as in 'local/{next(iter(CATALOGUE))}'; providers: {known}"


def _there_is(name: str, names: Iterable[str]) -> str:
    known = sorted(set(names))
    close = difflib.get_close_matches(name, known, n=1)
    ask = f"did you mean {close[0]!r}? " if close else ""
    return f"{ask}there is {', '.join(known)}"


def _is_blank(key: SecretStr | None) -> bool:
    return key is None or not key.get_secret_value().strip()


def _is_base_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        # Asking for the port checks it.
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
