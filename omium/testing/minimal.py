"""The smallest JSON value that satisfies a JSON Schema: what a guided model would answer, minus
the model. Pure and deterministic.

It covers what output schemas and tool parameters are written with; where it fails, it says so
instead of answering wrongly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jsonschema

from omium.errors import InputError
from omium.types import Json

_DEPTH_MAX = 64
_SIZE_MAX = 100_000
_FORMATS = {
    "date": "2000-01-01",
    "date-time": "2000-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "email": "a@example.org",
    "uri": "https://example.org",
    "uuid": "00000000-0000-0000-0000-000000000000",
}


def minimal_value(schema: Mapping[str, Any]) -> Json:
    """A smallest value that ``schema`` accepts: least numbers, shortest strings and lists, and
    required properties only. ``const``, ``default``, ``examples`` and the first of ``enum`` win.

    Raises InputError when no value was found that the schema accepts.
    """
    value = _value(schema, schema, 0)
    try:
        jsonschema.validate(value, schema)
    except (jsonschema.ValidationError, jsonschema.SchemaError) as error:
        raise InputError(
            f"no minimal value for the schema: {value!r} fails with {error.message}; "
            "give the answer itself, or an example in the schema"
        ) from error
    return value


def _value(schema: Any, root: Mapping[str, Any], depth: int) -> Any:
    if depth > _DEPTH_MAX:
        raise InputError(f"the schema needs a value nested more than {_DEPTH_MAX} deep")
    if not isinstance(schema, Mapping):
        return None
    if "$ref" in schema:
        return _value(_referenced(str(schema["$ref"]), root), root, depth + 1)
    if "allOf" in schema:
        return _value(_all_of(schema, root), root, depth + 1)
    if "const" in schema:
        return schema["const"]
    for name in ("enum", "examples"):
        if schema.get(name):
            return schema[name][0]
    if "default" in schema:
        return schema["default"]
    for name in ("anyOf", "oneOf"):
        if schema.get(name):
            rest = {key: value for key, value in schema.items() if key != name}
            return _value({**rest, **schema[name][0]}, root, depth + 1)
    match _type_of(schema):
        case "object":
            properties = schema.get("properties", {})
            return {
                name: _value(properties.get(name, {}), root, depth + 1)
                for name in schema.get("required", [])
            }
        case "array":
            fixed = [_value(item, root, depth + 1) for item in schema.get("prefixItems", [])]
            missing = max(0, _bounded(schema, "minItems") - len(fixed))
            return fixed + [_value(schema.get("items"), root, depth + 1) for _ in range(missing)]
        case "string":
            text = _FORMATS.get(schema.get("format", ""), "")
            return text.ljust(_bounded(schema, "minLength"), "a")
        case "integer":
            return _least(schema, 1)
        case "number":
            return _least(schema, 0)
        case "boolean":
            return False
        case _:
            return None


def _bounded(schema: Mapping[str, Any], name: str) -> int:
    size = schema.get(name, 0)
    if size > _SIZE_MAX:
        raise InputError(f"the schema asks for {name} {size}, more than {_SIZE_MAX}")
    return size


def _type_of(schema: Mapping[str, Any]) -> str | None:
    kind = schema.get("type")
    if isinstance(kind, list):
        return next((name for name in kind if name != "null"), "null")
    if kind is None and ("properties" in schema or "required" in schema):
        return "object"
    return kind


def _least(schema: Mapping[str, Any], unit: int) -> float:
    """The least number from 0 upward, else the greatest below it; ``unit`` is 1 for integers."""
    step = schema.get("multipleOf") or unit
    low = max(schema.get("minimum", -math.inf), schema.get("exclusiveMinimum", -math.inf))
    high = min(schema.get("maximum", math.inf), schema.get("exclusiveMaximum", math.inf))
    open_low = schema.get("exclusiveMinimum", -math.inf) >= low
    open_high = schema.get("exclusiveMaximum", math.inf) <= high
    start = min(max(0, low), high)
    if step:
        value = math.ceil(start / step) * step
        if value > high:
            value = math.floor(high / step) * step
        if open_low and value == low:
            value += step
        if open_high and value == high:
            value -= step
        return value
    if (open_low and start == low) or (open_high and start == high):
        if math.isfinite(low) and math.isfinite(high):
            return (low + high) / 2
        return start + 1 if start == low else start - 1
    return start


def _referenced(reference: str, root: Mapping[str, Any]) -> Any:
    if not reference.startswith("#"):
        raise InputError(f"a schema may only refer to itself, found $ref {reference!r}")
    found: Any = root
    for part in reference[1:].split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, Mapping) or name not in found:
            raise InputError(f"$ref {reference!r} leads nowhere in the schema")
        found = found[name]
    return found


def _all_of(schema: Mapping[str, Any], root: Mapping[str, Any]) -> dict[str, Any]:
    merged = {name: value for name, value in schema.items() if name != "allOf"}
    for given in schema["allOf"]:
        part = _referenced(given["$ref"], root) if "$ref" in given else given
        required = [*merged.get("required", []), *part.get("required", [])]
        properties = {**merged.get("properties", {}), **part.get("properties", {})}
        merged = {**merged, **part}
        if required:
            merged["required"] = list(dict.fromkeys(required))
        if properties:
            merged["properties"] = properties
    return merged
