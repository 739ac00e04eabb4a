"""Which frameworks there are, and the adapter of each. Imports a framework only when asked."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from omium.errors import ConfigError, NotFound
from omium.frameworks.protocol import Adapter

# framework → (module and class of its adapter, package that must be installed, extra).
_ADAPTERS: dict[str, tuple[str, str, str | None, str]] = {
    "python": ("omium.frameworks.plain", "PlainAdapter", None, ""),
    "autogen": ("omium.frameworks.autogen", "AutoGenAdapter", "autogen_agentchat", "autogen"),
    "crewai": ("omium.frameworks.crewai", "CrewAIAdapter", "crewai", "crewai"),
    "langgraph": ("omium.frameworks.langgraph", "LangGraphAdapter", "langgraph", "langgraph"),
}

FRAMEWORKS = tuple(_ADAPTERS)


def adapter_of(framework: str, storage: Path) -> Adapter:
    """The adapter of a framework, with a scratch folder for the framework's own files.

    Raises ``NotFound``, or ``ConfigError`` naming the extra that is not installed.
    """
    require(framework)
    module, name, _, _ = _ADAPTERS[framework]
    return getattr(import_module(module), name)(storage / framework)


def require(framework: str) -> None:
    """Check that a framework can be used here, without importing it."""
    if framework not in _ADAPTERS:
        raise NotFound("framework", framework, f"there is {', '.join(FRAMEWORKS)}")
    _, _, package, extra = _ADAPTERS[framework]
    if package is not None and find_spec(package) is None:
        raise ConfigError(f"framework {framework!r} is not installed: pip install 'omium[{extra}]'")
