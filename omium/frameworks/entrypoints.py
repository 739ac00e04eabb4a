"""Loading the user's own functions from ``package.module:function`` names."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from omium.errors import EntrypointError


def load_entrypoint(
    entrypoint: str, import_paths: Sequence[str] = (), *, ready: tuple[type, ...] = ()
) -> Any:
    """The function that ``package.module:function`` names, or an object of the ``ready`` types,
    which need no function to make them.

    ``import_paths`` are folders looked in before the installed packages. Raises
    ``EntrypointError`` saying whether the module is missing, raised while it was imported,
    or has no such function.
    """
    module_name, _, attribute = entrypoint.partition(":")
    for path in reversed(import_paths):
        if path not in sys.path:
            sys.path.insert(0, path)
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # A module that this one imports may be what is missing.
        raise EntrypointError(entrypoint, str(error)) from error
    except (Exception, SystemExit) as error:
        reason = f"importing {module_name!r} raised {type(error).__name__}: {error}"
        raise EntrypointError(entrypoint, reason) from error
    for name in attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            reason = f"module {module_name!r} has no {attribute!r}"
            raise EntrypointError(entrypoint, reason) from error
    if not callable(found) and not isinstance(found, ready):
        raise EntrypointError(
            entrypoint, f"{attribute!r} is a {type(found).__name__}, not a function"
        )
    return found


def wanted_arguments(
    entrypoint: str, build: Callable[..., Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    """What of ``given`` the function takes, by name. Raises ``EntrypointError`` where it takes
    anything else."""
    try:
        parameters = inspect.signature(build).parameters
    except (TypeError, ValueError) as error:
        raise EntrypointError(entrypoint, f"its parameters cannot be told: {error}") from error
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    for name, parameter in parameters.items():
        needed = parameter.default is parameter.empty and parameter.kind not in variadic
        if needed and (name not in given or parameter.kind is parameter.POSITIONAL_ONLY):
            raise EntrypointError(
                entrypoint,
                f"it takes {name!r}; it can be given {' and '.join(given)}, by these names",
            )
    return {name: value for name, value in given.items() if name in parameters}
