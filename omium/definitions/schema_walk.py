"""The parts of a JSON Schema (draft 2020-12): where schemas lie in it and what they describe.

Pure. Reads a schema and says what is there; whether it is right, and whether a value fits it,
is for its siblings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

from omium.definitions.plain import MAX_DEPTH
from omium.definitions.problems import Path
from omium.types import Json

ONE = (
    "items", "contains", "additionalProperties", "propertyNames", "unevaluatedItems",
    "unevaluatedProperties", "contentSchema", "not", "if", "then", "else",
)  # fmt: skip
LIST = ("allOf", "anyOf", "oneOf", "prefixItems")
MAPPING = ("properties", "patternProperties", "dependentSchemas", "$defs", "definitions")
TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")

# Those that look at the very value that their parent looks at.
_SAME_VALUE = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas")
# Those of whose parts the value must fit at least one, or all.
_COMBINED = ("allOf", "anyOf", "oneOf")
_EVERY_TYPE = frozenset(TYPES)


def children(schema: Json) -> Iterator[tuple[Path, Json]]:
    """The schemas directly inside ``schema``, each with the way to it."""
    if not isinstance(schema, dict):
        return
    for key, value in schema.items():
        if key in ONE:
            yield (key,), value
        elif key in LIST and isinstance(value, list):
            yield from (((key, i), item) for i, item in enumerate(value))
        elif key in MAPPING and isinstance(value, dict):
            yield from (((key, name), item) for name, item in value.items())


def every(schema: Json, path: Path = ()) -> Iterator[tuple[Path, dict[str, Json]]]:
    """``schema`` and all schemas inside it, with the way to each; ``true``/``false`` left out."""
    if isinstance(schema, dict):
        yield path, schema
        for step, child in children(schema):
            yield from every(child, (*path, *step))


def target(reference: str, root: Json) -> Json | None:
    """What ``#/$defs/name`` points to in ``root`` (RFC 6901), or ``None``."""
    if reference == "#":
        return root
    if not reference.startswith("#/"):
        return None
    at: Json = root
    for token in reference[2:].split("/"):
        name = token.replace("~1", "/").replace("~0", "~")
        if isinstance(at, dict) and name in at:
            at = at[name]
        elif isinstance(at, list) and name.isdecimal() and int(name) < len(at):
            at = at[int(name)]
        else:
            return None
    return at


def on_same_value(schema: Mapping[str, Json], root: Json) -> Iterator[Json]:
    """Schemas that a check of a value against ``schema`` goes on to with the same value."""
    reference = schema.get("$ref")
    if isinstance(reference, str):
        yield target(reference, root)
    for step, child in children(cast("Json", schema)):
        if step[0] in _SAME_VALUE:
            yield child


def properties(schema: Json, root: Json) -> dict[str, list[Json]] | None:
    """The properties that ``schema`` names, each with the schemas that it gives for them.

    ``$ref``, ``allOf``, ``anyOf`` and ``oneOf`` are followed. ``None`` means any: an object
    is allowed and no property is named.
    """
    named: dict[str, list[Json]] = {}
    for part in _combined(schema, root):
        own = part.get("properties")
        for name, value in own.items() if isinstance(own, dict) else ():
            named.setdefault(name, []).append(value)
    return named if named or "object" not in types(schema, root) else None


def types(schema: Json, root: Json) -> frozenset[str]:
    """The JSON types that a value of ``schema`` may have, as far as it says."""
    return _types(schema, root, {}, 0)


def _types(
    schema: Json, root: Json, known: dict[int, frozenset[str]], depth: int
) -> frozenset[str]:
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        return _EVERY_TYPE if schema is not False else frozenset()
    if id(schema) in known:
        return known[id(schema)]
    # A schema that leads back to itself adds nothing to what its other parts say.
    known[id(schema)] = _EVERY_TYPE
    known[id(schema)] = allowed = _types_here(schema, root, known, depth + 1)
    return allowed


def _types_here(
    schema: dict[str, Json], root: Json, known: dict[int, frozenset[str]], depth: int
) -> frozenset[str]:
    allowed = _EVERY_TYPE
    kind = schema.get("type")
    if isinstance(kind, str):
        allowed = frozenset([kind])
    elif isinstance(kind, list):
        allowed = frozenset(name for name in kind if isinstance(name, str))
    if "number" in allowed:
        allowed |= {"integer"}
    values = schema.get("enum")
    if isinstance(values, list):
        allowed &= {type_of(value) for value in values}
    if "const" in schema:
        allowed &= {type_of(schema["const"])}
    reference = schema.get("$ref")
    if isinstance(reference, str):
        allowed &= _types(target(reference, root), root, known, depth)
    for key in _COMBINED:
        parts = schema.get(key)
        if not isinstance(parts, list):
            continue
        each = [_types(part, root, known, depth) for part in parts]
        if key == "allOf":
            for part in each:
                allowed &= part
        else:
            allowed &= frozenset[str]().union(*each)
    return allowed


def type_of(value: Json) -> str:
    """The JSON Schema type of ``value``; a number without fraction is an ``integer``."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "string"
    if isinstance(value, list):
        return "array"
    if isinstance(value, dict):
        return "object"
    return "integer" if value == int(value) else "number"


def _combined(schema: Json, root: Json) -> Iterator[dict[str, Json]]:
    seen: set[int] = set()
    ahead = [schema]
    while ahead:
        part = ahead.pop(0)
        if not isinstance(part, dict) or id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        reference = part.get("$ref")
        if isinstance(reference, str):
            ahead.append(target(reference, root))
        for key in _COMBINED:
            parts = part.get(key)
            ahead += parts if isinstance(parts, list) else ()
