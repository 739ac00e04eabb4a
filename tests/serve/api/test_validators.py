"""Who votes about a handoff is code as well: a definition over HTTP may not name just any."""

from __future__ import annotations

from omium.definitions import workflow_from
from omium.serve.api.code import code_problems
from omium.serve.shipping import functions_of


def test_validators_are_looked_at_like_all_code() -> None:
    agents = [{"name": n, "framework": "python", "entrypoint": "json:loads"} for n in "ab"]
    definition = {
        "name": "voted",
        "version": "1",
        "agents": agents,
        "handoffs": [{"from": "a", "to": "b", "validators": ["json:loads", "os:system"]}],
    }
    (problem,) = code_problems(workflow_from(definition), (), ("json",))
    assert problem.field == "handoffs[0].validators[1]"
    assert "os:system" in problem.message


def test_judges_are_no_code() -> None:
    names = ("a", "judge", "b")
    agents = [{"name": n, "framework": "python", "entrypoint": "json:loads"} for n in names]
    validators = ["judge", "json:loads"]
    definition = {
        "name": "judged",
        "version": "1",
        "agents": agents,
        "handoffs": [{"from": "a", "to": "b", "validators": validators}],
    }
    workflow = workflow_from(definition)
    assert code_problems(workflow, (), ("json",)) == []
    assert functions_of(workflow) == ("json:loads",)
