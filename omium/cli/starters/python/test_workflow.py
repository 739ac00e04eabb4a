"""The workflow, run whole with a model that answers what the test says."""

from pathlib import Path

from omium.testing import Answer, Rule, When, try_workflow

WORKFLOW = Path(__file__).with_name("workflow.yaml")


def test_a_line_is_written_and_counted() -> None:
    rules = [
        Rule(when=When(contains="about bridges"), answer=Answer(content="Bridges join shores."))
    ]
    run = try_workflow(WORKFLOW, {"topic": "bridges"}, rules=rules)
    assert run.result == {"line": "Bridges join shores.", "words": 3}
    assert [step.name for step in run.steps] == ["draft"]
    assert [call.request for call in run.tool_calls("count_words")] == [
        {"text": "Bridges join shores."}
    ]


def test_an_empty_line_is_refused() -> None:
    run = try_workflow(WORKFLOW, rules=[Rule(answer=Answer(content=""))])
    assert run.failure is not None
    assert run.failure.kind == "output_schema"
