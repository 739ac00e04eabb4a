"""What a user hands over as a workflow, and the folders in which it looks for its code.

Light to import: it knows no Ray.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omium.definitions import Workflow, load_workflow, workflow_from
from omium.frameworks.registry import FRAMEWORKS

Definition = Workflow | Mapping[str, Any] | Path | str
"""A workflow, its definition as a mapping, or the path of a file that holds one."""


@dataclass(frozen=True, kw_only=True)
class Located:
    """A workflow; its modules are looked up in ``import_paths``, then among the packages."""

    workflow: Workflow
    import_paths: tuple[str, ...]


def located(definition: Definition) -> Located:
    """The workflow, to be looked up in the folder of its file, then in the working directory.

    Raises ``DefinitionError`` and ``InputError``.
    """
    paths = [str(Path.cwd())]
    if isinstance(definition, str | Path):
        workflow = load_workflow(Path(definition), frameworks=FRAMEWORKS)
        paths.insert(0, str(Path(definition).absolute().parent))
    else:
        workflow = workflow_from(definition, frameworks=FRAMEWORKS)
    return Located(workflow=workflow, import_paths=tuple(dict.fromkeys(paths)))
