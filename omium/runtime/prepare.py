"""From what a user hands over to what can be submitted: workflow, inputs and import paths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from omium.config import Settings
from omium.definitions import Workflow, validate_inputs
from omium.errors import InputError
from omium.runtime.located import Definition, located
from omium.serve.composition import check_workflow
from omium.serve.shipping import code_of, not_code
from omium.storage.code_bundle import Bundle
from omium.types import Json

INPUT_BYTES_MAX = 4 * 1024 * 1024
"""Inputs are a part of every lease, so they must fit a frame with room to spare."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What can be submitted. ``model`` overrides that of every agent where it is not empty;
    ``code`` is the user's own that it names, to be pinned."""

    workflow: Workflow
    inputs: dict[str, Json]
    model: str
    import_paths: tuple[str, ...]
    code: Bundle | None


def prepare(
    definition: Definition,
    inputs: Mapping[str, Json] | None,
    settings: Settings,
    *,
    model: str | None = None,
) -> Prepared:
    """Check everything that can be checked before anything is started.

    Entrypoints are looked up in the folder of the definition's file, then in the working
    directory. Raises ``DefinitionError``, ``InputError``, ``ConfigError`` or ``NotFound``.
    """
    found = located(definition)
    workflow = found.workflow
    if workflow.model is None and settings.model is not None:
        workflow = workflow.model_copy(update={"model": settings.model})
    valid = validate_inputs(workflow, dict(inputs or {}))
    size = len(msgspec.json.encode(valid))
    if size > INPUT_BYTES_MAX:
        raise InputError(
            f"inputs of {size} bytes are over the limit of {INPUT_BYTES_MAX}: "
            "hand over a path or an address instead"
        )
    check_workflow(workflow, settings, model)
    return Prepared(
        workflow=workflow,
        inputs=valid,
        model=model or "",
        import_paths=found.import_paths,
        code=code_of(workflow, found.import_paths, leave_out=not_code(settings)),
    )
