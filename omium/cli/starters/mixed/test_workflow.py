"""The workflow, run whole with a model that answers what the test says."""

from pathlib import Path

from omium.testing import Answer, Rule, ToolCall, When, try_workflow

WORKFLOW = Path(__file__).with_name("workflow.yaml")


def test_what_one_finds_the_next_goes_on_with() -> None:
    look_up = ToolCall(name="look_up", arguments={"topic": "tea"})
    asked = "Topic: tea"
    rules = [
        Rule(when=When(any_contains=asked, tool_messages=0), answer=Answer(tool_calls=(look_up,))),
        Rule(when=When(any_contains=asked), answer=Answer(content={"kind": "drink"})),
        Rule(when=When(contains="tea, which is a drink"), answer=Answer(content="Tea is drunk.")),
        Rule(when=When(contains="fewer words"), answer=Answer(content="Tea is a hot drink.")),
        Rule(answer=Answer(content="Tea is a drink."), times=1),
        Rule(answer=Answer(content="APPROVE")),
    ]
    run = try_workflow(WORKFLOW, {"topic": "tea"}, rules=rules)
    assert run.outputs == {
        "researcher": {"kind": "drink"},
        "drafter": "Tea is drunk.",
        "pair": "Tea is a drink.",
    }
    assert "Make this one short sentence: Tea is drunk." in str(run.llm_calls("pair")[0].request)
    assert len(run.tool_calls("look_up")) == 1
