"""From data or text to a validated workflow, or every mistake at once.

Pure. The one place where structure and relations come together.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping

from pydantic import ValidationError

from omium.definitions.checks import KNOWN_FRAMEWORKS, relational_problems
from omium.definitions.document import read_document
from omium.definitions.model import Workflow
from omium.definitions.plain import plain
from omium.definitions.problems import Path, Problem, lines
from omium.definitions.structure import structural_problems
from omium.errors import DefinitionError
from omium.types import Json

MAX_PROBLEMS = 100


def parse_workflow(
    text: str, source: str, *, frameworks: Collection[str] = KNOWN_FRAMEWORKS
) -> Workflow:
    """The workflow that the YAML or JSON ``text`` defines; ``source`` names it in errors.

    Raises :class:`DefinitionError` with a line for each mistake.
    """
    document = read_document(text, source)
    return _validated(document.value, source, frameworks, document.problems, document.lines)


def workflow_from(
    data: Mapping[str, object] | Workflow,
    source: str = "definition",
    *,
    frameworks: Collection[str] = KNOWN_FRAMEWORKS,
) -> Workflow:
    """The workflow that a Python mapping of the same shape as a file defines.

    The values may be records (:class:`Agent`, :class:`Tool`, …) too, a schema a class of
    pydantic's, and ``data`` itself a :class:`Workflow` that was put together by hand. Raises
    :class:`DefinitionError` with a line for each mistake.
    """
    value, problems = plain(data, schemas=True)
    return _validated(value, source, frameworks, problems, {})


def workflow_from_data(data: Mapping[str, object], source: str = "stored definition") -> Workflow:
    """The workflow of which ``data`` is the :meth:`Workflow.to_data`.

    What was stored once is not refused for its framework later: whether that is still
    installed shows when the execution goes on. Raises :class:`DefinitionError`.
    """
    value, problems = plain(data)
    return _validated(value, source, None, problems, {})


def _validated(
    value: Json,
    source: str,
    frameworks: Collection[str] | None,
    problems: tuple[Problem, ...],
    where: Mapping[Path, int],
) -> Workflow:
    if not isinstance(value, dict):
        raise DefinitionError(source, lines(problems) or ("found no mapping, expected one",))
    workflow: Workflow | None = None
    found: list[Problem] = []
    try:
        workflow = Workflow.model_validate(value)
    except ValidationError as error:
        found += structural_problems(error)[:MAX_PROBLEMS]
    found += itertools.islice(relational_problems(value, frameworks), MAX_PROBLEMS)
    # What stands at a place that was refused is a stand-in, not a second mistake.
    refused = {problem.path for problem in problems}
    found = [*problems[:MAX_PROBLEMS], *(p for p in found if p.path not in refused)]
    if found or workflow is None:
        raise DefinitionError(source, lines(found, where)[:MAX_PROBLEMS])
    return workflow
