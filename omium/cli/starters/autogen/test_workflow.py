"""The workflow, run whole with a model that answers what the test says."""

from pathlib import Path

from omium.testing import Answer, Rule, try_workflow

WORKFLOW = Path(__file__).with_name("workflow.yaml")


def said(*texts: str) -> list[Rule]:
    """Each text once, in order."""
    return [Rule(answer=Answer(content=text), times=1) for text in texts]


def test_the_pair_goes_on_until_the_critic_approves() -> None:
    rules = said("Bridges are things.", "Be plain.", "Bridges join shores.", "APPROVE")
    run = try_workflow(WORKFLOW, {"topic": "bridges"}, rules=rules)
    assert run.result == "Bridges join shores."
    assert [step.name for step in run.steps] == ["writer", "critic", "writer", "critic"]
    assert "about bridges" in str(run.llm_calls()[0].request)


def test_the_pair_ends_unapproved_at_last() -> None:
    run = try_workflow(WORKFLOW, rules=said("One.", "No.", "Two.", "No."))
    assert run.result == "Two."
