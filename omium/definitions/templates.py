"""Texts with references: ``{principal}`` is an input, ``{analyst.apr}`` an upstream output.

Pure. Owns the grammar and the rendering: ``{name}`` or ``{name.field.field}``, where ``{{``
and ``}}`` stand for the braces themselves. What a name may refer to is decided elsewhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from omium.definitions.problems import described, did_you_mean, listed, shortened
from omium.errors import InputError
from omium.types import Json

_PIECE = re.compile(r"\{\{|\}\}|\{[^{}]*\}|[{}]|[^{}]+")
_REFERENCE = re.compile(r"\{\s*[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*\s*\}")


@dataclass(frozen=True, kw_only=True)
class Reference:
    """``{name.field.field}``: the name of an input or agent, and the way into its value."""

    name: str
    fields: tuple[str, ...]

    def __str__(self) -> str:
        return "{" + ".".join((self.name, *self.fields)) + "}"


@dataclass(frozen=True, kw_only=True)
class Stray:
    """A brace, or braces with something that is no reference between them."""

    found: str


def pieces(text: str) -> Iterator[str | Reference | Stray]:
    """The literal texts, references and mistakes of a template, in order."""
    for match in _PIECE.finditer(text):
        piece = match.group()
        if piece in ("{{", "}}"):
            yield piece[0]
        elif piece[0] not in "{}":
            yield piece
        elif _REFERENCE.fullmatch(piece):
            name, *fields = piece[1:-1].strip().split(".")
            yield Reference(name=name, fields=tuple(fields))
        else:
            yield Stray(found=piece)


def references(text: str) -> tuple[Reference, ...]:
    """The references of ``text``, each once."""
    return tuple(dict.fromkeys(p for p in pieces(text) if isinstance(p, Reference)))


def mistake(text: str) -> str | None:
    """What is wrong with the braces of ``text``: one that is in no reference and not doubled."""
    strays = [piece.found for piece in pieces(text) if isinstance(piece, Stray)]
    if not strays:
        return None
    return (
        f"found {shortened(repr(strays[0]))} in the text, expected a reference such as {{name}} "
        "or {agent.field} (a brace itself is written twice)"
    )


def render(text: str, values: Mapping[str, Json], *, absent: Collection[str] = frozenset()) -> str:
    """``text`` with each reference replaced by its value.

    ``values`` holds the inputs and the outputs of the upstream agents by name. A string is
    inserted as it is, anything else as JSON; what is inserted is not read for references
    again. A reference to one of ``absent``, agents that may have no output, is the empty text
    while it has none. Raises :class:`InputError` for any other reference to a value that is not
    there; the same values will not do better.
    """
    rendered: list[str] = []
    for piece in pieces(text):
        if isinstance(piece, str):
            rendered.append(piece)
        elif isinstance(piece, Reference):
            if piece.name in absent and piece.name not in values:
                continue
            value = _value(piece, values)
            rendered.append(value if isinstance(value, str) else _json(value))
        else:
            raise InputError(mistake(text) or "")
    return "".join(rendered)


def escaped(text: str) -> str:
    """``text`` such that :func:`render` gives it back."""
    return text.replace("{", "{{").replace("}", "}}")


def _value(reference: Reference, values: Mapping[str, Json]) -> Json:
    if reference.name not in values:
        hint = did_you_mean(reference.name, values)
        raise InputError(f"{reference}: found no such value, expected {listed(values)}{hint}")
    value = values[reference.name]
    for depth, field in enumerate(reference.fields):
        if not isinstance(value, dict) or field not in value:
            at = ".".join((reference.name, *reference.fields[:depth]))
            found = f"fields {listed(value)}" if isinstance(value, dict) else described(value)
            raise InputError(f"{reference}: found {found} at {at!r}, expected a field {field!r}")
        value = value[field]
    return value


def _json(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False)
