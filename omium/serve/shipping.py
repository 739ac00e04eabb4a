"""The user's code on its way to the cluster: what of it makes up a workflow, and is it all there.

Decides which folders are packed. How is the business of ``storage.code_bundle``.
"""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from omium.config import Settings
from omium.definitions import Workflow, handoffs_of
from omium.errors import InputError
from omium.frameworks.sources import (
    Imported,
    defines,
    folder_of,
    imported_by,
    may_have,
    source_of,
)
from omium.storage.code_bundle import Bundle, changes_between, pack, unpack


def not_code(settings: Settings) -> tuple[Path, ...]:
    """Folders of Omium's own, which are no part of anybody's code wherever they lie."""
    return (settings.data_dir, settings.models_dir)


def functions_of(workflow: Workflow) -> tuple[str, ...]:
    """Every function that a workflow names, as ``package.module:function``."""
    named = [agent.entrypoint for agent in workflow.agents if agent.entrypoint is not None]
    named += [tool.function for tool in workflow.tools]
    named += [name for one in handoffs_of(workflow) for name in one.functions]
    return tuple(dict.fromkeys(named))


def code_of(
    workflow: Workflow, import_paths: Sequence[str], *, leave_out: Collection[Path] = ()
) -> Bundle | None:
    """The code of a workflow, or None where it names none that lies in ``import_paths``.

    The whole folder in which a module is found is taken, since modules import one another, but
    for ``leave_out``. Installed packages belong to the environment and are not taken. Raises
    ``InputError`` for a folder that is too large.
    """
    folders: dict[Path, None] = {}
    for function in functions_of(workflow):
        folder = folder_of(function.partition(":")[0], import_paths)
        if folder is not None:
            folders[folder] = None
    if not folders:
        return None
    # In the order of look-up, or the copy would find other modules than the original.
    ordered = [Path(path) for path in import_paths if Path(path) in folders]
    return pack(ordered, leave_out=leave_out)


def check_new_code(workflow: Workflow, new: Bundle, old: bytes | None) -> str:
    """Check that new code has every function that a workflow finds in the old, and all that the
    modules with these functions import of it; returns what differs between the two, in words.

    Raises ``InputError`` naming what is missing and what has changed.
    """
    differs = "it was not pinned before" if old is None else str(changes_between(old, new.data))
    with unpacked(new.data) as paths, unpacked(old) as was:
        functions = functions_of(workflow)
        modules = dict.fromkeys(function.partition(":")[0] for function in functions)
        missing = list(_missing(functions, paths, was)) or list(_unmet(modules, paths, was))
    if missing:
        raise InputError(f"the new code does not fit: {'; '.join(missing)} ({differs})")
    return differs


@contextmanager
def unpacked(bundle: bytes | None) -> Iterator[tuple[str, ...]]:
    """The folders of a bundle, to be read and gone with the block; none for no bundle.

    Raises ``CorruptBlob`` and ``StorageUnwritable``.
    """
    if bundle is None:
        yield ()
        return
    with tempfile.TemporaryDirectory(prefix="omium-code-") as directory:
        yield unpack(bundle, Path(directory) / "code")


def _missing(functions: Sequence[str], paths: Sequence[str], was: Sequence[str]) -> Iterator[str]:
    for function in functions:
        module, _, attribute = function.partition(":")
        source = source_of(module, paths)
        if source is None:
            # What the old code did not have either comes from an installed package.
            if not was or source_of(module, was) is not None:
                yield f"there is no module {module!r}"
            continue
        try:
            if not defines(source, attribute) and _was_defined(module, attribute, was):
                yield f"module {module!r} defines no {attribute!r}"
        except (OSError, SyntaxError, ValueError, RecursionError) as error:
            yield f"the source of {module!r} cannot be read: {error}"


def _was_defined(module: str, attribute: str, was: Sequence[str]) -> bool:
    """Whether the old code defined it. What a module imports is not seen by reading it."""
    source = source_of(module, was)
    return source is None or defines(source, attribute)


def _unmet(modules: Iterable[str], paths: Sequence[str], was: Sequence[str]) -> Iterator[str]:
    """What these modules import, and those that they import in turn, and what the old code has
    and the new has not."""
    left, seen = deque(modules), set(modules)
    while left:
        module = left.popleft()
        source = source_of(module, paths)
        if source is None:
            continue
        try:
            needed = list(imported_by(module, source))
        except (OSError, SyntaxError, ValueError, RecursionError) as error:
            yield f"the source of {module!r} cannot be read: {error}"
            continue
        for one in needed:
            yield from _unmet_by(module, one, paths, was)
            parts = [one.module, *(f"{one.module}.{name}" for name in one.names)]
            left.extend(part for part in parts if part not in seen)
            seen.update(parts)


def _unmet_by(
    module: str, needed: Imported, paths: Sequence[str], was: Sequence[str]
) -> Iterator[str]:
    here, before = source_of(needed.module, paths), source_of(needed.module, was)
    if before is None:
        # What the old code did not have either comes from an installed package.
        return
    if here is None:
        yield f"module {module!r} imports {needed.module!r}, and there is none"
        return
    for name in needed.names:
        inner = f"{needed.module}.{name}"
        if source_of(inner, paths) is not None:
            continue
        had = source_of(inner, was) is not None or _may_have(before, name)
        if had and not _may_have(here, name):
            yield f"module {module!r} imports {name!r} of {needed.module!r}, which has none"


def _may_have(source: Path, name: str) -> bool:
    try:
        return may_have(source, name)
    except (OSError, SyntaxError, ValueError, RecursionError):
        # That it cannot be read is told when its turn comes.
        return True
