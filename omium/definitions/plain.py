"""Any Python value as plain JSON data, or the reasons why it is none.

Owns the bounds on nesting and size that every definition and every set of inputs meets,
wherever it came from. The result shares nothing with what was given.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeGuard, cast

from pydantic import BaseModel

from omium.definitions.problems import Path, Problem, described
from omium.types import Json

MAX_DEPTH = 64
MAX_NODES = 20_000
MAX_INT_BITS = 1024


class _Copy:
    def __init__(self, max_nodes: int, schemas: bool) -> None:
        self.max_nodes = max_nodes
        self.schemas = schemas
        self.nodes = 0
        self.problems: list[Problem] = []

    def value(self, value: object, path: Path) -> Json:
        self.nodes += 1
        if self.nodes > self.max_nodes:
            return self._refuse((), f"more than {self.max_nodes} values", "fewer")
        if len(path) > MAX_DEPTH:
            found = f"values nested more than {MAX_DEPTH} deep"
            # The whole path of such a value would be longer than any line should be.
            return self._refuse(path[:3], found, "fewer")
        if self.schemas and _is_model(value):
            value = value.model_json_schema()
        elif isinstance(value, BaseModel):
            value = value.model_dump(mode="json", by_alias=True)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self._text(value, path)
        if isinstance(value, int):
            if value.bit_length() > MAX_INT_BITS:
                return self._refuse(path, described(value), "a smaller number")
            return int(value)
        if isinstance(value, float):
            if not math.isfinite(value):
                return self._refuse(path, repr(value), "a finite number")
            return float(value)
        if isinstance(value, Mapping):
            return self._mapping(cast("Mapping[object, object]", value), path)
        if isinstance(value, list | tuple):
            items = cast("list[object] | tuple[object, ...]", value)
            return [self.value(item, (*path, i)) for i, item in enumerate(items)]
        return self._refuse(path, described(value), "a value that JSON can carry")

    def _mapping(self, mapping: Mapping[object, object], path: Path) -> Json:
        copy: dict[str, Json] = {}
        for key, value in mapping.items():
            if not isinstance(key, str):
                self._refuse(path, f"the key {described(key)}", "keys that are strings")
            elif self._text(key, path) is not None:
                copy[str.__str__(key)] = self.value(value, (*path, key))
            if self.nodes > self.max_nodes:
                break
        return copy

    def _text(self, text: str, path: Path) -> Json:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            found = f"half of a surrogate pair at character {error.start}"
            return self._refuse(path, found, "Unicode text")
        return str.__str__(text)

    def _refuse(self, path: Path, found: str, expected: str) -> None:
        self.problems.append(Problem(path=path, text=f"found {found}, expected {expected}"))


def _is_model(value: object) -> TypeGuard[type[BaseModel]]:
    return isinstance(value, type) and issubclass(value, BaseModel)


def plain(
    value: object, *, max_nodes: int = MAX_NODES, schemas: bool = False
) -> tuple[Json, tuple[Problem, ...]]:
    """A copy of ``value`` made of JSON types only, and what could not be copied.

    Tuples become lists, pydantic models mappings, and with ``schemas`` their classes become JSON
    Schemas. Cycles end at :data:`MAX_DEPTH`.
    """
    copy = _Copy(max_nodes, schemas)
    result = copy.value(value, ())
    # Past a bound each further value would tell the same mistake again.
    return result, tuple(dict.fromkeys(copy.problems))
