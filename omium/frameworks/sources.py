"""Functions found in source files, by reading: nothing is imported."""

from __future__ import annotations

import ast
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SOURCE_BYTES_MAX = 4 * 1024 * 1024

# CPython 3.11 counts the depth of all threads' trees together, and fails where two are parsed at
# once (gh-106905).
_parsing = threading.Lock()


def folder_of(module: str, import_paths: Sequence[str]) -> Path | None:
    """The first folder that has a module's package, as Python looks it up."""
    first = module.partition(".")[0]
    for folder in import_paths:
        base = Path(folder)
        if (base / first).is_dir() or (base / f"{first}.py").is_file():
            return base
    return None


def source_of(module: str, import_paths: Sequence[str]) -> Path | None:
    """The file of a module in the folder that has its package."""
    base = folder_of(module, import_paths)
    if base is None:
        return None
    place = base.joinpath(*module.split("."))
    for file in (place / "__init__.py", place.with_name(place.name + ".py")):
        if file.is_file():
            return file
    return None


def defines(source: Path, attribute: str) -> bool:
    """Whether the module in this file itself defines the function ``attribute``.

    Raises ``OSError``, ``SyntaxError``, ``ValueError`` or ``RecursionError`` for a source that
    cannot be read.
    """
    with _parsing:
        tree = ast.parse(_text_of(source))
    return _defines(tree.body, attribute.split("."))


def imports(source: Path, name: str) -> bool:
    """Whether the module in this file may have ``name`` from another one, at its top level.

    Raises what ``defines`` raises.
    """
    with _parsing:
        tree = ast.parse(_text_of(source))
    for statement in tree.body:
        match statement:
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                if any(
                    (n.asname or n.name.partition(".")[0]) == name or n.name == "*" for n in names
                ):
                    return True
            case _:
                pass
    return False


@dataclass(frozen=True, kw_only=True)
class Imported:
    """A module that another one imports at its top level, and the ``names`` that it takes of it."""

    module: str
    names: tuple[str, ...] = ()


def imported_by(module: str, source: Path) -> Iterator[Imported]:
    """What ``module``, whose file is ``source``, cannot be imported without.

    Imports below a condition, in a ``try`` or in a function may never be made, and are left out.
    Raises what ``defines`` raises.
    """
    with _parsing:
        tree = ast.parse(_text_of(source))
    package = module.split(".") if source.name == "__init__.py" else module.split(".")[:-1]
    for statement in tree.body:
        match statement:
            case ast.Import(names=names):
                yield from (Imported(module=one.name) for one in names)
            case ast.ImportFrom(module=name, names=names, level=level):
                base = package[: len(package) - level + 1] if level else []
                full = ".".join([*base, *([name] if name else [])])
                if full:
                    taken = tuple(one.name for one in names if one.name != "*")
                    yield Imported(module=full, names=taken)
            case _:
                pass


def may_have(source: Path, name: str) -> bool:
    """Whether the module in this file may have ``name`` once it is imported: whether anything in
    it binds that, or may bind anything. Raises what ``defines`` raises."""
    with _parsing:
        tree = ast.parse(_text_of(source))
    return any(name in bound or "*" in bound for bound in map(_bound, ast.walk(tree)))


def _bound(node: ast.AST) -> Sequence[str]:
    match node:
        case ast.FunctionDef(name="__getattr__"):
            return ["*"]
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Name(id=name, ctx=ast.Store()):
            return [name]
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            return [one.asname or one.name.partition(".")[0] for one in names]
        case ast.Call(func=ast.Name(id="globals" | "vars" | "exec" | "setattr")):
            return ["*"]
        case _:
            return []


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
