"""The workflow, run whole with a model that answers what the test says."""

from pathlib import Path

from omium.testing import Answer, Rule, ToolCall, When, try_workflow

WORKFLOW = Path(__file__).with_name("workflow.yaml")


def test_the_note_is_about_what_was_found() -> None:
    look_up = ToolCall(name="look_up", arguments={"topic": "tea"})
    rules = [
        Rule(
            when=When(any_contains="Topic: tea", tool_messages=0),
            answer=Answer(tool_calls=(look_up,)),
        ),
        Rule(when=When(any_contains="Topic: tea"), answer=Answer(content={"kind": "drink"})),
        Rule(
            when=When(any_contains="about tea, which is a drink"),
            answer=Answer(content={"note": "Tea is a drink."}),
        ),
    ]
    run = try_workflow(WORKFLOW, {"topic": "tea"}, rules=rules)
    assert run.result == {"note": "Tea is a drink."}
    assert run.outputs["researcher"] == {"kind": "drink"}
    assert [call.response for call in run.tool_calls("look_up")] == [{"kind": "drink"}]


def test_a_note_that_breaks_its_schema_is_refused() -> None:
    rules = [
        Rule(when=When(any_contains="Topic: rain"), answer=Answer(content={"kind": "weather"})),
        Rule(answer=Answer(content={"note": "it rains"})),
    ]
    run = try_workflow(WORKFLOW, rules=rules)
    assert run.failure is not None
    assert (run.failure.agent, run.failure.kind) == ("writer", "output_schema")
