"""Which code a definition that came over HTTP may name. Reads sources; imports nothing.

A tenant must not be able to name ``os:system``. So a function is one that a module under the
service's import paths itself defines, or one of a module that the service lists by name. What
a module merely imported is not its own: ``tools:subprocess.run`` is refused.
"""

from __future__ import annotations

import ast
import threading
from collections.abc import Sequence
from pathlib import Path

from omium.definitions import Workflow
from omium.serve.api.problems import FieldError

SOURCE_BYTES_MAX = 4 * 1024 * 1024

# CPython 3.11 counts the depth of all threads' trees together, and fails where two are parsed at
# once (gh-106905).
_parsing = threading.Lock()


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
    source = _source_of(module, import_paths)
    if source is None:
        return (
            f"there is no module {module!r} in the folders of this service, and its setting "
            "service.modules does not list it"
        )
    try:
        with _parsing:
            tree = ast.parse(_text_of(source))
    except (OSError, SyntaxError, ValueError, RecursionError) as error:
        return f"the source of {module!r} cannot be read: {type(error).__name__}"
    if not _defines(tree.body, attribute.split(".")):
        return f"module {module!r} itself defines no {attribute!r}"
    return None


def _listed(module: str, modules: Sequence[str]) -> bool:
    for entry in modules:
        package = entry.removesuffix(".*")
        if module == package or (package != entry and module.startswith(package + ".")):
            return True
    return False


def _source_of(module: str, import_paths: Sequence[str]) -> Path | None:
    """The file of a module, looked up as Python does: the first folder that has its package."""
    first, *rest = module.split(".")
    for folder in import_paths:
        base = Path(folder)
        if not (base / first).is_dir() and not (base / f"{first}.py").is_file():
            continue
        place = base.joinpath(first, *rest)
        for file in (place / "__init__.py", place.with_name(place.name + ".py")):
            if file.is_file():
                return file
        return None
    return None


def _text_of(file: Path) -> bytes:
    with file.open("rb") as source:
        text = source.read(SOURCE_BYTES_MAX + 1)
    if len(text) > SOURCE_BYTES_MAX:
        raise ValueError(f"over {SOURCE_BYTES_MAX} bytes")
    return text


def _defines(body: Sequence[ast.stmt], path: Sequence[str]) -> bool:
    """Whether these statements define the function, or the class and in it the function."""
    name, rest = path[0], path[1:]
    for statement in body:
        match statement:
            case ast.FunctionDef() | ast.AsyncFunctionDef() if statement.name == name:
                if not rest:
                    return True
            case ast.ClassDef() if statement.name == name:
                if not rest or _defines(statement.body, rest):
                    return True
            case ast.Assign(targets=targets) if not rest:
                if any(isinstance(t, ast.Name) and t.id == name for t in targets):
                    return True
            case ast.AnnAssign(target=ast.Name(id=known)) if not rest and known == name:
                return True
            case _:
                pass
    return False
