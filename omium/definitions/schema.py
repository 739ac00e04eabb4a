"""Does a value fit a JSON Schema (draft 2020-12), and if not, why, in a line a reader can use.

Pure: no reference is ever fetched, and ``format`` is an annotation, as the draft has it by
default. The schema must have passed :func:`omium.definitions.schema_check.schema_problems`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, cast

from jsonschema import Draft202012Validator, ValidationError
from referencing import Registry

from omium.definitions.problems import (
    Path,
    Problem,
    described,
    did_you_mean,
    lines,
    listed,
    resembling,
    shortened,
)
from omium.types import Json

MAX_PROBLEMS = 50

_BOUNDS = {
    "minimum": "a number of at least {}",
    "exclusiveMinimum": "a number above {}",
    "maximum": "a number of at most {}",
    "exclusiveMaximum": "a number below {}",
    "multipleOf": "a multiple of {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "pattern": "a string that matches {}",
    # The one format that is ever checked, and only in schemas themselves.
    "format": "a regular expression",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "minProperties": "at least {} keys",
    "maxProperties": "at most {} keys",
}
_COUNTED = {
    "minLength": "characters",
    "maxLength": "characters",
    "minItems": "items",
    "maxItems": "items",
    "minProperties": "keys",
    "maxProperties": "keys",
}


def value_problems(schema: Json, value: Json) -> tuple[str, ...]:
    """A line for each way in which ``value`` breaks ``schema``: ``rate: found 9, expected …``.

    Empty where it fits. At most :data:`MAX_PROBLEMS` lines.
    """
    return lines(problems_of(schema, value))


def problems_of(schema: Json, value: Json) -> list[Problem]:
    """:func:`value_problems` before they are lines: each with the place in ``value``."""
    registry: Registry[Any] = Registry()
    validator: Any = Draft202012Validator(cast("Any", schema), registry=registry)
    return explained(validator.iter_errors(value))


def explained(errors: Iterable[ValidationError]) -> list[Problem]:
    """The problems that ``errors`` of a validator amount to, at most :data:`MAX_PROBLEMS`."""
    problems: dict[Problem, None] = {}
    try:
        for error in errors:
            for problem in _problems(error):
                problems[problem] = None
            if len(problems) >= MAX_PROBLEMS:
                break
    except RecursionError:
        text = "found values nested too deep for the schema, expected fewer levels"
        problems[Problem(path=(), text=text)] = None
    return list(problems)[:MAX_PROBLEMS]


def _problems(error: ValidationError) -> Iterator[Problem]:
    path: Path = tuple(error.absolute_path)
    keyword, limit = str(error.validator), cast("Any", error.validator_value)
    found = cast("Json", error.instance)
    if keyword in ("anyOf", "oneOf"):
        yield from _alternatives(error, path, found)
    elif keyword == "required" and isinstance(found, dict):
        for name in cast("list[str]", limit):
            if name not in found:
                expected = _expected_of(error, name)
                text = f"found nothing, expected {expected}"
                yield Problem(path=(*path, name), text=text, missing=True)
    elif keyword == "additionalProperties" and limit is False and isinstance(found, dict):
        schema = cast("dict[str, Any]", error.schema)
        known = list(cast("dict[str, Any]", schema.get("properties", {})))
        patterns = list(cast("dict[str, Any]", schema.get("patternProperties", {})))
        for name in found:
            if name not in known and not any(re.search(p, name) for p in patterns):
                yield unknown((*path, name), name, known)
    else:
        yield Problem(path=path, text=_text(error, keyword, limit, found))


def unknown(path: Path, name: str, known: Iterable[str]) -> Problem:
    """The problem of a key ``name`` that is none of ``known``."""
    known = list(known)
    text = f"unknown key {shortened(repr(name))}, expected one of {listed(known)}"
    meant = resembling(name, known)
    return Problem(path=path, text=text + did_you_mean(name, known), meant=meant)


def _text(error: ValidationError, keyword: str, limit: Any, found: Json) -> str:
    if keyword == "type":
        return _found(found, " or ".join([limit] if isinstance(limit, str) else limit))
    if keyword == "enum":
        names = [_json(value) for value in limit]
        close = ""
        if isinstance(found, str):
            close = did_you_mean(found, [value for value in limit if isinstance(value, str)])
        return _found(found, f"one of {listed(names)}{close}")
    if keyword == "const":
        return _found(found, _json(limit))
    if keyword in _COUNTED and isinstance(found, str | list | dict):
        return f"found {len(found)} {_COUNTED[keyword]}, expected {_BOUNDS[keyword].format(limit)}"
    if keyword in _BOUNDS:
        shown = shortened(_json(limit)) if keyword == "pattern" else limit
        return _found(found, _BOUNDS[keyword].format(shown))
    if keyword == "uniqueItems":
        return _found(found, "items that differ from one another")
    if keyword == "None":
        return _found(found, "nothing here")
    return f"found {described(found)}, which breaks {keyword!r} of the schema"


def _alternatives(error: ValidationError, path: Path, found: Json) -> Iterator[Problem]:
    context = list(error.context or ())
    here = [e for e in context if not e.relative_path]
    kinds = [e for e in here if e.validator == "type"]
    if context and len(kinds) == len(context):
        names = dict.fromkeys(
            name
            for e in kinds
            for name in ([e.validator_value] if isinstance(e.validator_value, str) else [])
        )
        yield Problem(path=path, text=_found(found, " or ".join(names)))
        return
    # The alternative that the value got furthest into tells most.
    branches: dict[object, list[ValidationError]] = {}
    for e in context:
        branches.setdefault(e.relative_schema_path[0], []).append(e)
    if branches:
        nearest = max(branches.values(), key=lambda es: min(len(e.relative_path) for e in es))
        for e in nearest:
            yield from _problems(e)
    else:
        text = _found(found, f"a value that fits just one of {error.validator}")
        yield Problem(path=path, text=text)


def _expected_of(error: ValidationError, name: str) -> str:
    schema = cast("dict[str, Any]", error.schema)
    own = cast("dict[str, Any]", schema.get("properties", {})).get(name)
    kind = cast("dict[str, Any]", own).get("type") if isinstance(own, dict) else None
    return kind if isinstance(kind, str) else "a value"


def _found(found: Json, expected: str) -> str:
    return f"found {described(found)}, expected {expected}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
