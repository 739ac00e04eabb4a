"""The inputs of an execution: do they fit the workflow, and what do command-line texts mean.

Pure. Raises :class:`~omium.errors.InputError` with every mistake at once, one a line; giving
the same inputs again changes nothing.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from typing import cast

from omium.definitions.checks import templates
from omium.definitions.model import Workflow
from omium.definitions.plain import plain
from omium.definitions.problems import Problem, described, lines, listed
from omium.definitions.schema import problems_of, unknown
from omium.definitions.schema_walk import properties, types
from omium.definitions.templates import references
from omium.errors import InputError
from omium.types import Json

MAX_INPUT_BYTES = 16 * 1024 * 1024
MAX_INPUT_NODES = 1_000_000

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
_MAX_NUMBER_CHARS = 320
_DECIDING = ("additionalProperties", "unevaluatedProperties", "patternProperties")


def validate_inputs(workflow: Workflow, inputs: Mapping[str, object]) -> dict[str, Json]:
    """``inputs`` as plain JSON data that fits ``workflow``, defaults of the schema filled in.

    An input that the schema does not name is refused, unless the schema says itself what it
    thinks of others (``additionalProperties`` and the like) or names none. Every input that a
    template of an agent refers to must be there, required or not.
    """
    schema = _schema(workflow)
    given, problems = plain(dict(inputs), max_nodes=MAX_INPUT_NODES)
    if problems or not isinstance(given, dict):
        raise _wrong(workflow, list(problems))
    if (size := len(json.dumps(given, ensure_ascii=False).encode())) > MAX_INPUT_BYTES:
        text = f"found inputs of {size} bytes, expected at most {MAX_INPUT_BYTES}"
        raise _wrong(workflow, [Problem(path=(), text=text)])
    named = properties(schema, schema)
    own = schema.get("properties")
    for name, part in own.items() if isinstance(own, dict) else ():
        if name not in given and isinstance(part, dict) and "default" in part:
            given[name] = copy.deepcopy(part["default"])
    found = problems_of(schema, given)
    if named is not None and not any(key in schema for key in _DECIDING):
        found += [unknown((name,), name, named) for name in given if name not in named]
    told = {problem.path for problem in found}
    for name, agents in _referred(workflow).items():
        if name not in given and (name,) not in told:
            text = f"found nothing, expected a value for {listed(agents)}"
            found.append(Problem(path=(name,), text=text, missing=True))
    if found:
        raise _wrong(workflow, found)
    return given


def coerce_inputs(workflow: Workflow, texts: Mapping[str, str]) -> dict[str, Json]:
    """The values that ``key=value`` texts of a command line mean.

    The schema of an input decides: a number, an integer, ``true`` or ``false``, ``null``, an
    object or array as JSON, else the text itself. Where several types are allowed, the first
    of these that the text can be is taken. Names that the schema does not know stay texts;
    :func:`validate_inputs` tells them.
    """
    schema = _schema(workflow)
    named = properties(schema, schema) or {}
    values: dict[str, Json] = {}
    problems: list[Problem] = []
    for name, text in texts.items():
        allowed = frozenset[str]().union(*(types(p, schema) for p in named.get(name, [])))
        if len(allowed) in (0, 7):
            allowed = frozenset(["string"])
        fits, value = _read(text, allowed)
        values[name] = value
        if not fits:
            kinds = sorted(allowed - {"integer"} if "number" in allowed else allowed)
            found = f"found {described(text)}, expected {' or '.join(kinds)}"
            problems.append(Problem(path=(name,), text=found))
    if problems:
        raise _wrong(workflow, problems)
    return values


def _read(text: str, allowed: frozenset[str]) -> tuple[bool, Json]:
    """Whether ``text`` can be a value of an ``allowed`` type, and that value."""
    short = len(text) <= _MAX_NUMBER_CHARS
    if "integer" in allowed and short and _INTEGER.fullmatch(text):
        return True, int(text)
    if "number" in allowed and short and _NUMBER.fullmatch(text):
        return True, float(text)
    if "boolean" in allowed and text in ("true", "false"):
        return True, text == "true"
    if "null" in allowed and text == "null":
        return True, None
    for kind, opening in (("object", "{"), ("array", "[")):
        if kind in allowed and text.lstrip().startswith(opening):
            try:
                return True, cast("Json", json.loads(text))
            except (ValueError, RecursionError):
                # Not JSON after all: a string if that is allowed too, else a mistake.
                continue
    return "string" in allowed, text


def _schema(workflow: Workflow) -> dict[str, Json]:
    return {"type": "object", **(workflow.inputs or {})}


def _referred(workflow: Workflow) -> dict[str, list[str]]:
    agents = {agent.name for agent in workflow.agents}
    referred: dict[str, list[str]] = {}
    for agent in workflow.agents:
        data = cast("dict[str, Json]", agent.model_dump(mode="json", by_alias=True))
        for _, text in templates(data):
            for reference in references(text):
                users = referred.setdefault(reference.name, [])
                if agent.name not in users:
                    users.append(agent.name)
    return {name: users for name, users in referred.items() if name not in agents}


def _wrong(workflow: Workflow, problems: list[Problem]) -> InputError:
    told = lines(problems)
    head = f"inputs of {workflow.name!r}: {len(told)} mistake{'s' if len(told) != 1 else ''}"
    return InputError("\n".join([head, *(f"  {line}" for line in told)]))
