"""Which code a definition that came over HTTP may name, and what of it is pinned.

Reads sources; imports nothing.

A tenant must not be able to name ``os:system``. So a function is one that a module under the
service's import paths itself defines, or one of a module that the service lists by name. What
a module merely imported is not its own: ``tools:subprocess.run`` is refused. Who may upload code
may run anything, so of that it is only looked at whether it is there.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from omium.definitions import Handoff, Workflow
from omium.errors import InputError
from omium.frameworks.sources import defines, imports, source_of
from omium.serve.api.problems import FieldError, ProblemError
from omium.serve.api.settings import ApiSettings
from omium.serve.shipping import code_of
from omium.storage.code_bundle import Bundle

log = logging.getLogger(__name__)


def service_code(workflow: Workflow, settings: ApiSettings) -> Bundle | None:
    """What the service's folders hold now of the code that ``workflow`` names, if anything.

    Raises a ``config`` problem where a folder is too large, or cannot be read.
    """
    left_out = tuple(map(Path, settings.not_code))
    try:
        return code_of(workflow, settings.import_paths, leave_out=left_out)
    except InputError as error:
        # Of the operator's folders, nothing is told to a tenant.
        log.warning("workflow %r cannot be registered: %s", workflow.name, error)
        raise ProblemError(
            "config", "the code in the service's folders cannot be pinned; its log says why"
        ) from error


def code_problems(
    workflow: Workflow,
    import_paths: Sequence[str],
    modules: Sequence[str],
    *,
    uploaded: bool = False,
) -> list[FieldError]:
    """A mistake for each function of ``workflow`` that may not be named, and for requirements:
    to install a package runs what its author wrote. Beside ``uploaded`` code that is nothing new,
    and a function may be anything that a module has."""
    named = [
        (f"agents[{at}].entrypoint", agent.entrypoint)
        for at, agent in enumerate(workflow.agents)
        if agent.entrypoint is not None
    ]
    named += [(f"tools[{at}].function", tool.function) for at, tool in enumerate(workflow.tools)]
    named += [
        (f"handoffs[{at}].validators[{place}]", name)
        for at, handoff in enumerate(workflow.handoffs or ())
        if isinstance(handoff, Handoff)
        for place, name in enumerate(handoff.validators or ())
        if name in handoff.functions
    ]
    found = (
        (field, name, refusal_of(name, import_paths, modules, uploaded=uploaded))
        for field, name in named
    )
    problems = [
        FieldError(field=field, message=f"found {name!r}: {refusal}")
        for field, name, refusal in found
        if refusal is not None
    ]
    if workflow.requirements and not uploaded:
        message = (
            "only with code that is uploaded: for its own a service installs nothing, have the "
            "packages installed where it runs"
        )
        problems.append(FieldError(field="requirements", message=message))
    return problems


def refusal_of(
    function: str, import_paths: Sequence[str], modules: Sequence[str], *, uploaded: bool = False
) -> str | None:
    """Why ``package.module:function`` may not be named; None where it may."""
    module, _, attribute = function.partition(":")
    if _listed(module, modules):
        if "." in attribute:
            return "of a listed module a function is named without dots"
        return None
    source = source_of(module, import_paths)
    if source is None and uploaded:
        return (
            f"there is no module {module!r} in the uploaded code, and the service's setting "
            "service.modules does not list it"
        )
    if source is None:
        return (
            f"there is no module {module!r} where this service has its code (omium up --app-dir), "
            "and its setting service.modules does not list it; the code beside a definition is "
            "uploaded by omium workflows register"
        )
    try:
        defined = defines(source, attribute) or (
            uploaded and imports(source, attribute.partition(".")[0])
        )
    except (OSError, SyntaxError, ValueError, RecursionError) as error:
        return f"the source of {module!r} cannot be read: {type(error).__name__}"
    if not defined:
        itself = "" if uploaded else " itself"
        return f"module {module!r}{itself} defines no {attribute!r}"
    return None


def _listed(module: str, modules: Sequence[str]) -> bool:
    for entry in modules:
        package = entry.removesuffix(".*")
        if module == package or (package != entry and module.startswith(package + ".")):
            return True
    return False
