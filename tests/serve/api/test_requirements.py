"""A definition that comes over HTTP may not have packages installed: their code would run. Who may
upload code may have it run anyhow."""

from __future__ import annotations

from omium.definitions import workflow_from
from omium.serve.api.code import code_problems


def test_requirements_are_refused() -> None:
    definition = {
        "name": "needing",
        "version": "1",
        "agents": [{"name": "a", "framework": "python", "entrypoint": "json:loads"}],
    }
    assert code_problems(workflow_from(definition), (), ("json",)) == []
    needing = workflow_from({**definition, "requirements": ["pandas>=2"]})
    (problem,) = code_problems(needing, (), ("json",))
    assert problem.field == "requirements"
    assert "installs nothing" in problem.message
    assert code_problems(needing, (), ("json",), uploaded=True) == []
