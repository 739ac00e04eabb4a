"""The router: from the model named in a request to an upstream that answers it.

Keeps one upstream for each provider, and starts the embedded model when it is first asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from omium.llm.llamacpp import LlamaServer
from omium.llm.providers import OPENAI, LocalRoute, ModelRoute, Provider, resolve
from omium.llm.pull import model_path, require_gguf
from omium.llm.upstream import Upstream


@dataclass(frozen=True, kw_only=True)
class RouterSettings:
    """``providers`` by name; ``local_models`` are GGUF files by name; ``models_directory`` is
    where pulled models are. The other three size the embedded model's server."""

    providers: Mapping[str, Provider]
    local_models: Mapping[str, Path]
    models_directory: Path
    ctx_tokens: int = 4_096
    threads: int = 2
    slots: int = 2


class Router:
    """See the module's docstring. Lives in one event loop."""

    def __init__(self, settings: RouterSettings) -> None:
        self._settings = settings
        self._upstreams: dict[str, Upstream] = {}
        self._embedded: dict[Path, LlamaServer] = {}
        self._loading = asyncio.Lock()

    async def route(self, name: str) -> tuple[Upstream, ModelRoute]:
        """Who answers for the model ``name``, such as ``openai/gpt-4o-mini``.

        Raises NotFound, ConfigError or InputError for a name that cannot be served, and
        Unavailable when the embedded model does not load.
        """
        route = resolve(
            # What OpenAI's own clients send by default has no provider in front.
            name if "/" in name else f"{OPENAI}/{name}",
            providers=self._settings.providers,
            local_models=self._settings.local_models,
        )
        if isinstance(route, LocalRoute):
            route = route.served_by(await self._serve_local(route))
        upstream = self._upstreams.get(route.provider.base_url)
        if upstream is None:
            upstream = Upstream(route.provider)
            self._upstreams[route.provider.base_url] = upstream
        return upstream, route

    async def _serve_local(self, route: LocalRoute) -> Provider:
        path = local_path(route, self._settings.models_directory)
        async with self._loading:
            server = self._embedded.get(path)
            if server is None:
                require_gguf(path)
                server = LlamaServer()
                await asyncio.to_thread(
                    server.start,
                    path,
                    ctx_tokens=self._settings.ctx_tokens,
                    threads=self._settings.threads,
                    slots=self._settings.slots,
                )
                self._embedded[path] = server
        return server.provider

    async def close(self) -> None:
        for upstream in self._upstreams.values():
            await upstream.close()
        for server in self._embedded.values():
            await asyncio.to_thread(server.stop)


def local_path(route: LocalRoute, directory: Path) -> Path:
    """Where the file of an embedded model is, or would be once pulled."""
    return route.source if isinstance(route.source, Path) else model_path(route.source, directory)
