"""Which code a definition that came over HTTP may name. Reads sources; imports nothing.

A tenant must not be able to name ``os:system``. So a function is one that a module under the
service's import paths itself defines, or one of a module that the service lists by name. What
a module merely imported is not its own: ``tools:subprocess.run`` is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from omium.definitions import Workflow
from omium.frameworks.sources import defines, source_of
from omium.serve.api.problems import FieldError


def code_problems(
    workflow: Workflow, import_paths: Sequence[str], modules: Sequence[str]
) -> list[FieldError]:
    """A mistake for each function of ``workflow`` that may not be named."""
    named = [
        (f"agents[{at}].entrypoint", agent.entrypoint)
        for at, agent in enumerate(workflow.agents)
        if agent.entrypoint is not None
    ]
    named += [(f"tools[{at}].function", tool.function) for at, tool in enumerate(workflow.tools)]
    found = ((field, name, refusal_of(name, import_paths, modules)) for field, name in named)
    return [
        FieldError(field=field, message=f"found {name!r}: {refusal}")
        for field, name, refusal in found
        if refusal is not None
    ]


def refusal_of(function: str, import_paths: Sequence[str], modules: Sequence[str]) -> str | None:
    """Why ``package.module:function`` may not be named; None where it may."""
    module, _, attribute = function.partition(":")
    if _listed(module, modules):
        if "." in attribute:
            return "of a listed module a function is named without dots"
        return None
    source = source_of(module, import_paths)
    if source is None:
        return (
            f"there is no module {module!r} in the folders of this service, and its setting "
            "service.modules does not list it"
        )
    try:
        defined = defines(source, attribute)
    except (OSError, SyntaxError, ValueError, RecursionError) as error:
        return f"the source of {module!r} cannot be read: {type(error).__name__}"
    if not defined:
        return f"module {module!r} itself defines no {attribute!r}"
    return None


def _listed(module: str, modules: Sequence[str]) -> bool:
    for entry in modules:
        package = entry.removesuffix(".*")
        if module == package or (package != entry and module.startswith(package + ".")):
            return True
    return False
