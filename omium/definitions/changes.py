"""What differs between two definitions, by the names of the parts. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

_ABSENT = object()


def parts_that_differ(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, ...]:
    """The dotted paths at which two definitions in JSON differ, those of ``before`` first.

    Items of a list that have names go by them, as in ``agents.analyst.model``, which is how a
    fork names what it changes. Where only their order differs, the list itself is named.
    """
    return tuple(_parts("", before, after))


def _parts(path: str, before: Any, after: Any) -> Iterator[str]:
    was, now = _members(before), _members(after)
    if was is None or now is None:
        if before is _ABSENT or after is _ABSENT or _text(before) != _text(after):
            yield path
        return
    for name in dict.fromkeys((*was, *now)):
        inner = f"{path}.{name}" if path else name
        yield from _parts(inner, was.get(name, _ABSENT), now.get(name, _ABSENT))
    if isinstance(before, list) and list(was) != list(now) and set(was) == set(now):
        yield path


def _members(value: Any) -> dict[str, Any] | None:
    """What can be named below a value; None where that is nothing."""
    if isinstance(value, Mapping):
        return dict(cast("Mapping[str, Any]", value))
    if not isinstance(value, list):
        return None
    named: dict[str, Any] = {}
    for item in cast("list[Any]", value):
        name: Any = cast("Mapping[str, Any]", item).get("name") if isinstance(item, dict) else None
        if not isinstance(name, str) or name in named:
            return None
        named[name] = item
    return named


def _text(value: Any) -> str:
    # In Python 1 and True are equal, in a schema they are not.
    return json.dumps(value, sort_keys=True)
