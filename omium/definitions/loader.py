"""Workflow files: the only module of the definitions that reads anything."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from omium.definitions.checks import KNOWN_FRAMEWORKS
from omium.definitions.document import MAX_TEXT_BYTES, too_large
from omium.definitions.model import Workflow
from omium.definitions.validation import parse_workflow
from omium.errors import DefinitionError, InputError


def load_workflow(path: Path, *, frameworks: Collection[str] = KNOWN_FRAMEWORKS) -> Workflow:
    """The workflow that the YAML or JSON file at ``path`` defines.

    Raises :class:`InputError` where the file cannot be read, and :class:`DefinitionError`
    with a line for each mistake in it. A file above the limit is not read, let alone parsed.
    """
    source = str(path)
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            # The size of what is no regular file is not known before it is read.
            content = b"" if size > MAX_TEXT_BYTES else file.read(MAX_TEXT_BYTES + 1)
    except OSError as error:
        raise InputError(f"cannot read {source!r}: {error.strerror or error}") from error
    if size > MAX_TEXT_BYTES:
        raise DefinitionError(source, [too_large(f"{size} bytes")])
    if len(content) > MAX_TEXT_BYTES:
        raise DefinitionError(source, [too_large(f"more than {MAX_TEXT_BYTES} bytes")])
    return parse_workflow(_decoded(content, source), source, frameworks=frameworks)


def _decoded(content: bytes, source: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found = f"byte {error.start} is 0x{content[error.start]:02x}"
        problem = f"line {line}: found text that is not UTF-8 ({found}), expected UTF-8"
        raise DefinitionError(source, [problem]) from None
