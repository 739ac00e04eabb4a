"""From the name of a kind back to its error.

Owns the look-up for what crosses processes and versions as text. Imports every room of the tree,
so that no kind is missing, and defines no error itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omium.errors.base import OmiumError
from omium.errors.consensus import ConsensusError
from omium.errors.execution import ExecutionError
from omium.errors.platform import PlatformError
from omium.errors.remote import ServiceError
from omium.errors.user import UserError


def kinds() -> tuple[str, ...]:
    """The kinds of all errors, in the order of the drawing."""
    return tuple(_BY_KIND)


def exit_code_of(kind: str) -> int:
    """Exit code that belongs to a failure ``kind``; 3 for kinds this version does not know."""
    error = _BY_KIND.get(kind)
    return error.exit_code if error is not None else 3


def rebuilt(kind: str, args: Sequence[Any]) -> OmiumError:
    """The error of ``kind`` made again from the arguments that another process sent."""
    error = _BY_KIND.get(kind, OmiumError)
    try:
        return error(*args)
    except TypeError:
        return OmiumError(*args)


def _walk(cls: type[OmiumError]) -> dict[str, type[OmiumError]]:
    found = {cls.kind: cls}
    for child in cls.__subclasses__():
        found |= _walk(child)
    return found


# What is not imported is no subclass yet: each room of the tree is named, and so imported.
_BRANCHES = (UserError, ServiceError, PlatformError, ConsensusError, ExecutionError)

_BY_KIND: dict[str, type[OmiumError]] = {
    OmiumError.kind: OmiumError,
    **{kind: error for branch in _BRANCHES for kind, error in _walk(branch).items()},
}
