"""The strict form of a JSON Schema, for guided decoding.

Pure. A grammar that guides a model wants every object closed and every property required.
"""

from __future__ import annotations

from omium.definitions.schema_walk import every
from omium.types import Json

# Beside these an object is described in several places at once, so that closing one of them
# could shut out what another demands; and below some of them less is more.
_LOGIC = (
    "allOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependentRequired",
    "contains", "propertyNames", "patternProperties", "unevaluatedItems",
    "unevaluatedProperties",
)  # fmt: skip
_DEFINITIONS = ("$defs", "definitions")


def strict(schema: dict[str, Json]) -> dict[str, Json]:
    """``schema`` with its objects closed and all their properties required.

    Whatever fits the result fits ``schema``. An object that names no properties, or that is
    described by logic keywords (``oneOf``, ``not``, …) or demands one that it does not name,
    stays as it is, and so do shared definitions where logic keywords occur anywhere.
    """
    parts = [part for _, part in every(schema)]
    plain = not any(key in part for part in parts for key in _LOGIC)
    if not plain and not all(_is_shared(part.get("$ref", "#/$defs/")) for part in parts):
        return schema
    tightened = _tightened(schema, definitions=plain)
    return tightened if isinstance(tightened, dict) else schema


def _tightened(schema: Json, *, definitions: bool) -> Json:
    if not isinstance(schema, dict):
        return schema
    copy = dict(schema)
    if any(key in schema for key in _LOGIC):
        return copy

    def inner(part: Json) -> Json:
        return _tightened(part, definitions=definitions)

    shared = "$ref" in schema or "anyOf" in schema
    for key, value in schema.items():
        if key == "properties" or (key in _DEFINITIONS and definitions):
            if isinstance(value, dict):
                copy[key] = {name: inner(part) for name, part in value.items()}
        elif key == "items" or (key == "additionalProperties" and "properties" not in schema):
            copy[key] = inner(value)
        elif isinstance(value, list) and (
            key == "prefixItems" or (key == "anyOf" and "properties" not in schema)
        ):
            copy[key] = [inner(part) for part in value]
    names = schema.get("properties")
    if not isinstance(names, dict) or not names or shared:
        return copy
    demanded = schema.get("required")
    if not isinstance(demanded, list) or all(name in names for name in demanded):
        copy["required"] = list(names)
        copy["additionalProperties"] = False
    return copy


def _is_shared(reference: Json) -> bool:
    return isinstance(reference, str) and reference.startswith(("#/$defs/", "#/definitions/"))
