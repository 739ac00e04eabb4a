"""The workflow, run whole with a model that answers what the test says."""

from pathlib import Path

from omium.testing import Answer, Rule, When, try_workflow

WORKFLOW = Path(__file__).with_name("workflow.yaml")


def test_the_shorter_draft_is_taken() -> None:
    rules = [
        Rule(
            when=When(contains="about bridges"), answer=Answer(content="Bridges join two shores.")
        ),
        Rule(
            when=When(contains="fewer words: Bridges join two shores."),
            answer=Answer(content="Bridges join shores."),
        ),
    ]
    run = try_workflow(WORKFLOW, {"topic": "bridges"}, rules=rules)
    assert run.result == "Bridges join shores."
    assert [step.name for step in run.steps] == ["draft", "draft", "choose"]


def test_a_longer_draft_is_left() -> None:
    answers = ["It is wet.", "It is very, very wet."]
    rules = [Rule(answer=Answer(content=text), times=1) for text in answers]
    assert try_workflow(WORKFLOW, rules=rules).result == "It is wet."
