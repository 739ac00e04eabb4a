"""What an agent said, read as the JSON that its definition asks for."""

from __future__ import annotations

import json
from typing import NoReturn

from omium.errors import OutputSchemaError
from omium.types import Json

SHOWN_CHARS_MAX = 200


def parsed_answer(agent: str, raw: str) -> Json:
    """The JSON in ``raw``. Raises ``OutputSchemaError`` showing what was found instead."""
    try:
        return json.loads(raw, parse_constant=_no_constant)
    except ValueError as error:
        shown = raw if len(raw) <= SHOWN_CHARS_MAX else f"{raw[:SHOWN_CHARS_MAX]}…"
        problem = f"found {shown!r}, expected JSON ({error}); was it cut off by max_tokens?"
        raise OutputSchemaError(agent, [problem]) from error


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"JSON has no {name}")
