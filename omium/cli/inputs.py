"""Inputs as a command line gives them: a file of them, and one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, cast

from omium.cli.options import pairs_of
from omium.errors import InputError
from omium.types import Json

if TYPE_CHECKING:
    from omium.definitions import Workflow

INPUTS_FILE_BYTES_MAX = 4 * 1024 * 1024


def inputs_given(workflow: Workflow, texts: list[str] | None, file: Path | None) -> dict[str, Json]:
    """What ``file`` holds, and over it what ``texts`` (``name=value``) say.

    Raises ``InputError``. Whether they are what the workflow wants is not checked here.
    """
    from omium.definitions import coerce_inputs

    given: dict[str, Json] = _read(file) if file is not None else {}
    return given | coerce_inputs(workflow, pairs_of(texts, "--input"))


def _read(path: Path) -> dict[str, Json]:
    try:
        with path.open("rb") as file:
            text = file.read(INPUTS_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r}: {error.strerror or error}") from error
    if len(text) > INPUTS_FILE_BYTES_MAX:
        raise InputError(f"{str(path)!r} is over {INPUTS_FILE_BYTES_MAX} bytes")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{str(path)!r} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"{str(path)!r} holds a {type(value).__name__}, expected a JSON object")
    return cast("dict[str, Json]", value)
