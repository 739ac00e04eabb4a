"""Is a JSON Schema in a definition one that can be used: draft 2020-12, whole, and finite.

Pure. Also names keywords that look mistyped: the draft ignores a keyword that it does not
know, so a bound that is written ``minimun`` would silently be none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, cast

from jsonschema import Draft202012Validator, FormatChecker

from omium.definitions.problems import Path, Problem, described, did_you_mean, listed, resembling
from omium.definitions.schema import explained
from omium.definitions.schema_walk import MAPPING, TYPES, every, on_same_value, target
from omium.types import Json

MAX_COMPARED_KEYWORDS = 200
MAX_REFERENCES = 64
MAX_SCHEMAS_PER_VALUE = 1000

DRAFT = "https://json-schema.org/draft/2020-12/schema"

# JSON Schema Core and Validation, draft 2020-12, with what older drafts called the same.
_KEYWORDS = """
    $schema $id $ref $defs $comment $anchor definitions allOf anyOf oneOf not if then else
    dependentSchemas dependentRequired dependencies prefixItems items contains properties
    patternProperties additionalProperties propertyNames unevaluatedItems
    unevaluatedProperties type enum const multipleOf maximum exclusiveMaximum minimum
    exclusiveMinimum maxLength minLength pattern maxItems minItems uniqueItems maxContains
    minContains maxProperties minProperties required format contentEncoding
    contentMediaType contentSchema title description default deprecated readOnly writeOnly
    examples
    """
_KNOWN = frozenset(_KEYWORDS.split())
# Annotations of OpenAPI and other users of schemas that resemble a keyword but are none.
_FOREIGN = frozenset(["example", "nullable", "discriminator", "xml", "externalDocs"])
_UNSUPPORTED = frozenset(["$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor"])


def schema_problems(schema: Json, path: Path = ()) -> list[Problem]:
    """What keeps ``schema``, which stands at ``path``, from being used; empty if nothing."""
    if not isinstance(schema, dict):
        return []
    # The parts that look inside can rely on the shape that the metaschema demands.
    problems = list(_against_metaschema(schema))
    problems += _keywords(schema)
    if not problems:
        problems += _references(schema)
    return [
        Problem(path=(*path, *p.path), text=p.text, missing=p.missing, meant=p.meant)
        for p in problems
    ]


def _against_metaschema(schema: dict[str, Json]) -> Iterator[Problem]:
    metaschema = cast("Any", Draft202012Validator.META_SCHEMA)
    validator: Any = Draft202012Validator(metaschema, format_checker=FormatChecker(["regex"]))
    for problem in explained(validator.iter_errors(schema)):
        if _is_type(problem.path):
            yield _no_type(problem.path, _at(schema, problem.path))
        else:
            yield problem


def _is_type(path: Path) -> bool:
    way = path[:-1] if path and isinstance(path[-1], int) else path
    # Below these a key is a name that the user chose, "type" as good as any.
    return way[-1:] == ("type",) and way[-2:-1] not in [(key,) for key in MAPPING]


def _no_type(path: Path, found: Json) -> Problem:
    close = did_you_mean(found, TYPES) if isinstance(found, str) else ""
    text = f"found {described(found)}, expected one of {listed(TYPES)}{close}"
    return Problem(path=path, text=text)


def _at(schema: Json, path: Path) -> Json:
    at = schema
    for part in path:
        if isinstance(at, dict) and isinstance(part, str):
            at = at.get(part)
        elif isinstance(at, list) and isinstance(part, int):
            at = at[part]
    return at


def _keywords(schema: dict[str, Json]) -> Iterator[Problem]:
    compared: set[str] = set()
    for path, part in every(schema):
        for key in part:
            if key in _UNSUPPORTED or (key == "$id" and path):
                text = f"found {key}, expected $ref to a place in the same schema"
                yield Problem(path=(*path, key), text=text)
            elif key not in _KNOWN | _FOREIGN and not key.startswith("x-"):
                compared.add(key)
                if len(compared) > MAX_COMPARED_KEYWORDS:
                    return
                meant = resembling(key, _KNOWN)
                if meant is not None:
                    text = f"unknown keyword {key!r}, expected one of JSON Schema"
                    text += f" (did you mean {meant!r}?)"
                    yield Problem(path=(*path, key), text=text, meant=meant)
        draft = part.get("$schema", DRAFT)
        if draft not in (DRAFT, DRAFT + "#"):
            text = f"found {described(draft)}, expected {DRAFT!r}"
            yield Problem(path=(*path, "$schema"), text=text)


def _references(schema: dict[str, Json]) -> Iterator[Problem]:
    lost = False
    for path, part in every(schema):
        reference = part.get("$ref")
        if isinstance(reference, str) and not isinstance(target(reference, schema), dict | bool):
            lost = True
            known = [f"#/$defs/{name}" for name in _definitions(schema)]
            text = f"found {described(reference)}, expected a schema in the same schema: "
            text += listed(known) + did_you_mean(reference, known)
            yield Problem(path=(*path, "$ref"), text=text)
    if not lost:
        yield from _endless(schema)


def _definitions(schema: dict[str, Json]) -> list[str]:
    definitions = schema.get("$defs")
    return list(definitions) if isinstance(definitions, dict) else []


def _endless(schema: dict[str, Json]) -> Iterator[Problem]:
    """References that come back without going into the value, or multiply on the way."""
    costs: dict[int, float] = {}
    for path, part in every(schema):
        if "$ref" in part and _cost(part, schema, costs, ()) > MAX_SCHEMAS_PER_VALUE:
            found = f"{described(part['$ref'])}, which comes back here or leads to too many schemas"
            text = f"found {found}, expected at most {MAX_SCHEMAS_PER_VALUE}"
            yield Problem(path=(*path, "$ref"), text=text)
            # The other references on the same way round are no further mistake.
            return


def _cost(schema: Json, root: Json, costs: dict[int, float], way: tuple[int, ...]) -> float:
    """How many schemas one value is checked against, endless ones counting as infinite."""
    if not isinstance(schema, dict):
        return 1
    key = id(schema)
    if key in way or len(way) >= MAX_REFERENCES:
        return math.inf
    if key not in costs:
        inner = (_cost(part, root, costs, (*way, key)) for part in on_same_value(schema, root))
        costs[key] = 1 + sum(inner)
    return costs[key]
