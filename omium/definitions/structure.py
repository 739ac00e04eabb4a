"""What pydantic finds wrong with the parts of a definition, in the words of problem lines.

Owns the way from a validation error to "found …, expected …": the expectation is the
``description`` of the field.
"""

from __future__ import annotations

from typing import cast

from pydantic import ValidationError

from omium.definitions.model import ITEMS, MEMBERS, Record, Workflow
from omium.definitions.problems import Path, Problem, described, listed
from omium.definitions.schema import unknown
from omium.types import Json

_SIZES = ("too_short", "too_long")


def structural_problems(error: ValidationError) -> list[Problem]:
    """One problem for each place that does not have the shape of a :class:`Workflow`."""
    problems: list[Problem] = []
    for detail in error.errors(include_url=False, include_context=False):
        path = _path(detail["loc"])
        found = described(detail["input"])
        size = len(cast("list[Json]", detail["input"])) if detail["type"] in _SIZES else 0
        if size:
            # pydantic counts the good items only, and has told the bad ones already.
            if detail["type"] == "too_short":
                continue
            found = f"a list of {size}"
        if detail["type"] == "extra_forbidden":
            record = _record_at(path[:-1])
            problems.append(unknown(path, str(path[-1]), keys_of(record)))
            continue
        expected = _expected_at(path)
        missing = detail["type"] == "missing"
        hint = _quoting_hint(cast("Json", detail["input"]), detail["type"])
        text = f"found {'nothing' if missing else found}, expected {expected}{hint}"
        problems.append(Problem(path=path, text=text, missing=missing))
    return problems


def keys_of(record: type[Record]) -> list[str]:
    """The keys of ``record`` as a definition writes them."""
    return [field.alias or name for name, field in record.model_fields.items()]


def _path(loc: tuple[int | str, ...]) -> Path:
    # A handoff is one of two kinds, and pydantic puts the kind into the place.
    if loc[:1] == ("handoffs",) and len(loc) > 2:
        return (*loc[:2], *loc[3:])
    return loc


def _record_at(path: Path) -> type[Record]:
    record: type[Record] = Workflow
    for part in path:
        if isinstance(part, str):
            record = MEMBERS.get((record, part), record)
    return record


def _expected_at(path: Path) -> str:
    record: type[Record] = Workflow
    expected = _a_record(Workflow)
    for part in path:
        if isinstance(part, str):
            expected = _descriptions(record).get(part, expected)
            record = MEMBERS.get((record, part), record)
        elif path[-1] == part:
            key = str(path[-2])
            member = (Workflow, key) if len(path) == 2 else (_record_at(path[:-2]), key)
            is_record = member in MEMBERS and key != "handoffs"
            expected = _a_record(MEMBERS[member]) if is_record else ITEMS[key]
    return expected


def _descriptions(record: type[Record]) -> dict[str, str]:
    fields = record.model_fields.items()
    return {field.alias or name: field.description or "" for name, field in fields}


def _a_record(record: type[Record]) -> str:
    required = [
        field.alias or name for name, field in record.model_fields.items() if field.is_required()
    ]
    return f"a mapping with {listed(required)}"


def _quoting_hint(found: Json, kind: str) -> str:
    if kind == "string_type" and isinstance(found, int | float) and not isinstance(found, bool):
        return f' (in quotes: "{found}")'
    return ""
